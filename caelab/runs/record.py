"""The content of ``run.json``, and whether a run without checksums is what its folder's name says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from caelab.errors import DamagedFile
from caelab.registry.signatures import readable
from caelab.runs.config import hash_of
from caelab.storage.checked_files import stored_facts
from caelab.storage.checksums import FILES

NAMED = re.compile(r".*-([0-9a-f]{12})", re.DOTALL)  # a folder that bears the name that training gave it


def _of_one_length(rows: list[list[float]]) -> list[list[float]]:
    if len({len(row) for row in rows}) > 1:
        raise ValueError("rows of one length are expected")
    return rows


Row = Annotated[list[FiniteFloat], Field(min_length=1)]
Rows = Annotated[list[Row], Field(min_length=1), AfterValidator(_of_one_length)]


class Record(BaseModel):
    """What was found about a run, as far as reading it depends on it; an older run lacks some of it."""

    model_config = ConfigDict(strict=True, extra="allow")
    data_hash: str
    split_hash: str = ""
    model: dict[str, str] = {}
    fingerprints: dict[str, str] = {}
    sources: dict[str, str] = {}  # their name in earlier records
    versions: dict[str, str] = {}
    outputs: dict[Literal["code", "reconstruction"], Rows] = {}
    added: list[str] = []


class Facts(BaseModel):
    """The content of ``run.json``."""

    config: dict[str, Any]
    record: Record


def check_facts(facts: Mapping[str, Any]) -> None:
    """Refuse what is no record of a run.

    Raises:
        DamagedFile: names each key, what was expected and what came.
    """
    try:
        Facts.model_validate(dict(facts))
    except ValidationError as error:
        raise DamagedFile(str(readable(error, "", Facts, stored=True))) from error


def tables_count(folder: Path | None) -> bool:
    """Whether the tables in a run's folder are of its config: it has checksums, or its name says that it is as it was.

    Of another run without checksums they may have been measured before its config was changed.
    """
    if folder is None:
        return False
    facts = stored_facts(folder)
    return FILES in facts or bears_its_name(folder, facts) is True


def bears_its_name(folder: Path, facts: Mapping[str, Any]) -> bool | None:
    """Whether config, data and code of a run are those that its folder is named by; None if the name does not say.

    Args:
        folder: of the run.
        facts: the content of its ``run.json``.
    """
    named = NAMED.fullmatch(folder.resolve().name)
    if named is None:
        return None
    record = facts["record"]
    return named[1] == hash_of(facts["config"], record["data_hash"], fingerprints_in(record) or {})


def fingerprints_in(record: Mapping[str, Any]) -> dict[str, str] | None:
    """The fingerprints of other people's code in a record, under their name of today or earlier; None in the oldest."""
    found: dict[str, str] | None = record.get("fingerprints", record.get("sources"))
    return found
