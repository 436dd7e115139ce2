"""Verdicts: each registered claim is asked about a comparison; one that fails does not stop the others."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_object_dtype

from caelab.analysis.base import shortened
from caelab.analysis.isolation import failure_told, undisturbed
from caelab.errors import CaelabError, NotApplicable
from caelab.registry.catalogue import Offer, catalogue
from caelab.report.claims import VERDICTS, Finding, Numbers

log = logging.getLogger(__name__)

TEXTS = ("statement", "source", "evidence")


@dataclass(frozen=True)
class Failure:
    """A claim that failed: its name, and a sentence that names it, its plugin and the reason."""

    claim: str
    message: str


def claims() -> list[Offer]:
    """All claims that are offered, in the order in which they were registered."""
    return [offer for offer in catalogue().offers.values() if offer.kind == "claim"]


def verdicts(numbers: Numbers, only: Sequence[str] | None = None) -> tuple[list[Finding], list[Failure]]:
    """What the comparison says of every claim that can be asked of it, and the claims that failed.

    Args:
        numbers: stay as they are; every claim gets a copy.
        only: the names of the claims to ask of; None for all.
    """
    findings, failures = [], []
    for offer in (each for each in claims() if only is None or each.name in only):
        try:
            findings.append(_verdict_on(offer, numbers))
        except NotApplicable as error:
            log.debug("the claim %r is left out: %s", offer.name, error)
        except CaelabError as error:
            log.debug("the claim %r", offer.name, exc_info=True)
            failures.append(Failure(offer.name, str(error)))
    return findings, failures


def _verdict_on(offer: Offer, numbers: Numbers) -> Finding:
    """What the comparison says of one claim.

    Raises:
        NotApplicable: the claim cannot be asked of it.
        CaelabError: the claim cannot be imported, raises, changes what others share, or returns no proper finding.
    """
    claim, who = offer.load(), f"the claim {offer.name!r} of plugin {offer.provider!r}"
    if not callable(claim):
        raise CaelabError(f"{who} is {shortened(claim)}, but a function claim(numbers) -> caelab.Finding is expected")
    with undisturbed(who, f"claim {offer.name}"), failure_told(f"{who} failed"):
        try:
            found = claim(copied(numbers))
        except NotApplicable:
            raise
        except CaelabError as error:
            raise CaelabError(f"{who} failed: {error}") from error
    return checked(found, who)


def checked(found: Any, who: str) -> Finding:
    """What a claim returned, if it is a finding that can be shown.

    Args:
        found: what it returned.
        who: is named, as "the claim 'mine'".

    Raises:
        CaelabError: it is none.
    """
    if not isinstance(found, Finding):
        raise CaelabError(f"{who} returns {shortened(found)}, but a caelab.Finding is expected")
    no_text = [name for name in TEXTS if not isinstance(vars(found)[name], str)]
    if no_text:
        value = shortened(vars(found)[no_text[0]])
        raise CaelabError(f"{who} returns a finding whose {no_text[0]} is {value}, but a text is expected")
    if found.verdict not in VERDICTS:
        raise CaelabError(
            f"{who} returns the verdict {shortened(found.verdict)}, but one of {', '.join(VERDICTS)} is expected"
        )
    return found


def copied(numbers: Numbers) -> Numbers:
    """The same numbers, for code that may change what it is handed; a table is copied when it is asked for."""
    return replace(numbers, rows=_copy_of(numbers.rows), tables=Copies(numbers.tables))


def _copy_of(table: pd.DataFrame) -> pd.DataFrame:
    """A table that shares nothing with the other; lists and arrays in its cells are copied too."""
    copy = table.copy()
    for place, kind in enumerate(table.dtypes):
        if is_object_dtype(kind):
            cells = np.empty(len(table), dtype=object)
            cells[:] = [deepcopy(cell) for cell in table.iloc[:, place]]
            copy.isetitem(place, cells)
    return copy


class Copies(Mapping[str, pd.DataFrame]):
    """Tables by name, each copied when it is first asked for."""

    def __init__(self, tables: Mapping[str, pd.DataFrame]) -> None:
        self._tables = tables
        self._copy = cache(lambda name: _copy_of(tables[name]))

    def __getitem__(self, name: str) -> pd.DataFrame:
        return self._copy(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)


def refuse_failed(failures: Sequence[Failure]) -> None:
    """Say at the end that claims failed, once everything else is published.

    Raises:
        CaelabError: one did.
    """
    if not failures:
        return
    more = f" (as did {len(failures) - 1} more, see above)" if len(failures) > 1 else ""
    raise CaelabError(
        f"{failures[0].message}{more}; all else is published, so correct the claim or leave its plugin out"
    )
