"""The stored comparison: from a study's runs to a folder with tables and a manifest, and back.

A comparison's folder::

    comparison.json    what was asked, what was found, what went wrong
    runs/              one folder per run
    data/              one table per analysis, over all runs: all that the figures are drawn from
    tuning.csv         with --tune: the candidates, their validation errors, and what was chosen
    runs.csv           one row per model and seed
    summary.csv        one row per model
    statistics.csv     one row per number and pair of models: differences, intervals, tests
    findings.csv       one row per claim: statement, source, verdict, evidence
    figures/  tables/  report.html

All of them but the runs belong together: ``comparison.json`` names each with its SHA-256, and they change together.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from pydantic import AfterValidator, BaseModel, ValidationError

from caelab.analysis.base import drawn, named_failure
from caelab.analysis.columns import Column
from caelab.analysis.contract import checked_columns, load_analysis
from caelab.analysis.plotting import Appearance, appearance, family_of, stored_appearances
from caelab.errors import CaelabError, ContractError, DamagedFile, StorageError
from caelab.registry.catalogue import checked_name
from caelab.registry.reserved import ABOUT_A_RUN
from caelab.runs.config import RunConfig
from caelab.runs.recipes import Look
from caelab.runs.run import versions
from caelab.storage.checksums import FILES, checksum
from caelab.storage.files import parquet_bytes, told_as_storage, write_bytes
from caelab.storage.transactions import Sums, change, is_ours, read_record, sums_of, unchanging, write_record
from caelab.study.outcomes import Problem, StudyResult, run_rows

log = logging.getLogger(__name__)

MANIFEST = "comparison.json"
TUNING = "tuning.csv"
TRAINING = "training"  # what a problem of a run that failed is about
ROWS = "data/runs.parquet"
DATA = ("data/*.parquet", TUNING)
OURS = (
    *DATA,
    "runs.csv",
    "summary.csv",
    "statistics.csv",
    "findings.csv",
    "figures/*.pdf",
    "figures/*.png",
    "tables/*.tex",
    "report.html",
)


@dataclass(frozen=True)
class Comparison:
    """A comparison as it lies on disk, apart from its runs.

    Attributes:
        command: the words that made it.
        configs: one per model.
        seeds: of every model.
        problems: analyses that failed or had no meaning.
        rows: one row per model and seed.
        tables: by analysis, over all runs.
        tuning: what was chosen on validation examples, and among what; None where nothing was.
        appearances: how recipes name and draw their models, so that figures stay as they are without the plugins.
        columns: by analysis, what it says of its numbers, so that tables stay as they are without the plugins.
        claims: the names of those to judge; None for all that can be asked.
        test_to_train: by model, how many examples test for each one that trains, where seeds draw the split.
    """

    command: str
    configs: Sequence[Mapping[str, Any]]
    seeds: Sequence[int]
    problems: Sequence[Problem]
    versions: Mapping[str, str]
    rows: pd.DataFrame
    tables: Mapping[str, pd.DataFrame]
    tuning: pd.DataFrame | None = None
    appearances: Mapping[str, Appearance] = field(default_factory=dict)
    columns: Mapping[str, Sequence[Column]] = field(default_factory=dict)
    claims: Sequence[str] | None = None
    test_to_train: Mapping[str, float] = field(default_factory=dict)


PlainName = Annotated[str, AfterValidator(checked_name)]


class StoredAppearance(BaseModel):
    """How a recipe's models are named and drawn, as plain values."""

    name: str
    look: tuple[str, str, Any] | None = None

    def plain(self) -> Appearance:
        """The display name and the look; a line style of dashes is a tuple, which JSON does not know."""
        if self.look is None:
            return self.name, None
        color, marker, line = self.look
        return self.name, Look(color, marker, (line[0], tuple(line[1])) if isinstance(line, list) else line)


class Record(BaseModel):
    """The schema of ``comparison.json``."""

    command: str
    configs: list[dict[str, Any]]
    seeds: list[int]
    problems: list[Problem]
    versions: dict[str, str]
    analyses: list[PlainName]
    appearances: dict[str, StoredAppearance] = {}
    columns: dict[str, list[Column]] = {}
    claims: list[str] | None = None
    test_to_train: dict[str, float] = {}


def collect(
    command: str,
    configs: Sequence[RunConfig],
    seeds: Sequence[int],
    result: StudyResult,
    tuning: pd.DataFrame | None = None,
    claims: Sequence[str] | None = None,
) -> Comparison:
    """Make a comparison from a finished study."""
    plain = [config.as_dict() for config in configs]
    rows, tables = run_rows(result), result.tables()
    families = dict.fromkeys(family_of(config.label) for config in configs)
    looks = {family: appearance(family) for family in families}
    columns = {name: checked_columns(name, load_analysis(name)) for name in tables}
    failed = [Problem(each.config.label, TRAINING, each.message, applies=True) for each in result.failures]
    problems = list(dict.fromkeys([*failed, *result.problems]))
    return Comparison(command, plain, list(seeds), problems, versions(), rows, tables, tuning, looks, columns, claims)


def save(comparison: Comparison, folder: Path) -> None:
    """Store everything that figures, tables and report are made from; those of an earlier comparison go.

    Raises:
        StorageError: a file cannot be written; the earlier comparison is still there, whole.
    """
    with change(folder, MANIFEST, OURS) as place:
        write_data(comparison, place)
        write_record(place, MANIFEST, record_facts(comparison), {})


def write_data(comparison: Comparison, place: Path) -> None:
    """Write every table that figures and report are made from."""
    for name, table in {**comparison.tables, "runs": comparison.rows}.items():
        with named_failure(name, "has a table that cannot be stored as Parquet"):
            content = parquet_bytes(table)
        write_bytes(place / "data" / f"{name}.parquet", content)
    if comparison.tuning is not None:
        write_bytes(place / TUNING, comparison.tuning.to_csv(index=False).encode())


def record_facts(comparison: Comparison) -> dict[str, Any]:
    """What ``comparison.json`` says besides the files that belong to it."""
    return {
        "command": comparison.command,
        "configs": comparison.configs,
        "seeds": comparison.seeds,
        "problems": [asdict(problem) for problem in comparison.problems],
        "versions": comparison.versions,
        "analyses": list(comparison.tables),
        "appearances": {
            family: {"name": name, "look": None if look is None else [look.color, look.marker, look.linestyle]}
            for family, (name, look) in comparison.appearances.items()
        },
        "columns": {name: [asdict(column) for column in columns] for name, columns in comparison.columns.items()},
        "test_to_train": comparison.test_to_train,
        "claims": None if comparison.claims is None else list(comparison.claims),
    }


def load_comparison(folder: Path) -> Comparison:
    """Read a comparison back, all of it from one time.

    Raises:
        CaelabError: the folder holds none, one that was not finished, or one that was changed after it was written.
    """
    with unchanging(folder, MANIFEST, OURS):
        return stored(folder)[0]


def stored(folder: Path) -> tuple[Comparison, Sums]:
    """A comparison, and the checksums of all files that belong to it; for those who keep others from writing.

    Raises:
        CaelabError: as ``load_comparison``.
    """
    facts = _record(folder)
    found = {
        name: facts[name] for name in ("command", "configs", "seeds", "problems", "versions", "test_to_train", "claims")
    }
    looks = {family: StoredAppearance.model_validate(each).plain() for family, each in facts["appearances"].items()}
    sums = sums_of(folder, facts, OURS)
    tables = {name: _table(folder, f"data/{name}.parquet", sums, ABOUT_A_RUN) for name in facts["analyses"]}
    rows = _table(folder, ROWS, sums, ABOUT_A_RUN)
    tuned = TUNING in sums or (FILES not in facts and (folder / TUNING).exists())
    tuning = _table(folder, TUNING, sums, ("model", "setting")) if tuned else None
    return Comparison(
        **found, rows=rows, tables=tables, tuning=tuning, appearances=looks, columns=facts["columns"]
    ), sums


def _record(folder: Path) -> dict[str, Any]:
    try:
        facts = read_record(folder, MANIFEST)
        if not facts:
            raise _unfinished(folder, "it was not finished")
        return {**facts, **dict(Record.model_validate(facts))}
    except FileNotFoundError as error:
        raise _unfinished(folder, f"{MANIFEST} is missing") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise _unfinished(folder, f"{MANIFEST} is damaged ({where}: {first['msg']})") from error
    except (DamagedFile, ContractError) as error:
        raise _unfinished(folder, f"{MANIFEST} is damaged ({error})") from error


def _table(folder: Path, name: str, sums: Sums, columns: Sequence[str]) -> pd.DataFrame:
    """A table of a comparison, once it is sure that it is the one that was written."""
    path = folder / name
    try:
        if path.is_dir():
            raise DamagedFile("it is a folder")
        with told_as_storage(path, "read"):
            content = path.read_bytes()
        if sums.get(name) != checksum(content):
            raise DamagedFile("its content is not what was written")
        read = pd.read_csv if name.endswith(".csv") else pd.read_parquet
        table = read(BytesIO(content))
        lacking = [column for column in columns if column not in table.columns]
        if lacking:
            raise DamagedFile(f"it lacks the column {lacking[0]}")
    except StorageError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise _unfinished(folder, f"{name} is missing") from error
        raise
    except (OSError, ValueError, TypeError, DamagedFile) as error:
        raise _unfinished(folder, f"{name} is damaged ({' '.join(str(error).split())})") from error
    return table


def _unfinished(folder: Path, what: str) -> CaelabError:
    return CaelabError(f"{folder} holds no finished comparison: {what}; make it with: caelab compare --out {folder}")


def draw_figures(comparison: Comparison, place: Path) -> tuple[dict[str, Any], list[Problem]]:
    """Draw every analysis from its table into ``figures/``, as PDF and PNG.

    Args:
        comparison: what to draw.
        place: where ``figures/`` is to lie.

    Returns:
        The figures by name, and the analyses that could not be drawn.

    Raises:
        StorageError: a figure cannot be written.
    """
    from caelab.analysis.plotting import plain_look, save_figure

    figures, problems = {}, []
    for name, table in comparison.tables.items():
        try:
            with stored_appearances(comparison.appearances):
                figure = drawn(name, table)
            with named_failure(name, "could not be drawn"), plain_look():
                save_figure(figure, place / "figures" / name)
        except StorageError:  # no fault of the analysis: the others could not be written either
            raise
        except CaelabError as error:  # the others go on
            log.debug("drawing %s", name, exc_info=True)
            problems.append(Problem("all", name, str(error), applies=True))
            continue
        figures[name] = figure
    return figures, problems


def redraw_figures(folder: Path) -> tuple[dict[str, Any], list[Problem]]:
    """Draw the figures of a stored comparison again; one that cannot be drawn stays as it is.

    Returns:
        The figures by name, and the analyses that could not be drawn.

    Raises:
        CaelabError: the folder holds no finished comparison.
        StorageError: a figure cannot be written; the earlier ones are all still there.
    """
    refuse_missing(folder)
    with change(folder, MANIFEST, OURS) as place:
        comparison, sums = stored(folder)
        figures, problems = draw_figures(comparison, place)
        write_record(place, MANIFEST, record_facts(comparison), kept(sums, problems, but=()))
    return figures, problems


def kept(sums: Sums, undrawn: Sequence[Problem], but: Sequence[str]) -> dict[str, str]:
    """What belongs to a comparison before and after its figures are drawn again from the same tables.

    Args:
        sums: all that belongs to it.
        undrawn: the analyses whose earlier figures stay.
        but: what else is written anew, in patterns.
    """
    stay = {f"figures/{problem.analysis}.{kind}" for problem in undrawn for kind in ("pdf", "png")}
    anew = ("figures/*.pdf", "figures/*.png", *but)
    return {name: sum_ for name, sum_ in sums.items() if name in stay or not is_ours(name, anew)}


def refuse_missing(folder: Path) -> None:
    """Refuse a folder without a comparison before anything is made in it.

    Raises:
        CaelabError: there is none.
    """
    if not (folder / MANIFEST).exists():
        raise _unfinished(folder, f"{MANIFEST} is missing")


def refuse_undrawn(comparison: Comparison, figures: Mapping[str, Any]) -> None:
    """Refuse that nothing at all could be drawn.

    Raises:
        CaelabError: there are tables, but no figure.
    """
    if comparison.tables and not figures:
        raise CaelabError(
            f"none of the figures could be drawn ({', '.join(comparison.tables)}); the lines above say why"
        )
