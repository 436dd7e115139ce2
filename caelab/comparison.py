"""The main job: from a study's runs to a folder with tables, figures and a report.

A comparison's folder::

    comparison.json    what was asked, what was found, what went wrong
    runs/              one folder per run
    data/              one table per analysis, over all runs: all that the figures are drawn from
    tuning.csv         with --tune: the candidates, their validation errors, and what was chosen
    runs.csv           one row per model and seed
    summary.csv        one row per model
    figures/  tables/  report.html
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from caelab.analysing import drawn, named_failure
from caelab.config import RunConfig
from caelab.errors import CaelabError
from caelab.files import written_aside
from caelab.runs import versions
from caelab.study import Problem, StudyResult, run_rows

log = logging.getLogger(__name__)

DEFAULT_RECIPES = ("ae", "ae-wd", "dae-g", "dae-b", "sparse-ae", "cae", "rbm")
DEFAULT_ANALYSES = (
    "jacobian_norm",
    "jacobian_spectrum",
    "contraction_curve",
    "tangents",
    "filters",
    "reconstructions",
    "frontier",
    "manifold_alignment",
    "classification",
)
MARK = "comparison.json"
TUNING = "tuning.csv"


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
    """

    command: str
    configs: Sequence[Mapping[str, Any]]
    seeds: Sequence[int]
    problems: Sequence[Problem]
    versions: Mapping[str, str]
    rows: pd.DataFrame
    tables: Mapping[str, pd.DataFrame]
    tuning: pd.DataFrame | None = None


def collect(
    command: str,
    configs: Sequence[RunConfig],
    seeds: Sequence[int],
    result: StudyResult,
    tuning: pd.DataFrame | None = None,
) -> Comparison:
    """What a finished study amounts to."""
    plain = [config.as_dict() for config in configs]
    rows, tables = run_rows(result), result.tables()
    return Comparison(command, plain, list(seeds), result.problems, versions(), rows, tables, tuning)


def claim(folder: Path, mark: str = MARK) -> None:
    """Make the folder of a comparison (or of a study with another mark), or go on in one that is ours.

    Raises:
        CaelabError: it is a file, or a folder with something else in it.
    """
    if folder.exists() and not folder.is_dir():
        raise CaelabError(f"the output {folder} is a file; give a folder that is new, empty, or an earlier one")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / mark).is_file():
        raise CaelabError(
            f"the output folder {folder} holds files that caelab did not make; give a new folder with --out"
        )
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / mark).is_file():
        (folder / mark).write_text("{}\n", encoding="utf-8")


def save(comparison: Comparison, folder: Path) -> None:
    """Store everything that figures, tables and report are made from."""
    for name, table in {**comparison.tables, "runs": comparison.rows}.items():
        with written_aside(folder / "data" / f"{name}.parquet") as partial:
            table.to_parquet(partial)
    stale = {p.stem for p in (folder / "data").glob("*.parquet")} - {*comparison.tables, "runs"}
    for name in stale:
        (folder / "data" / f"{name}.parquet").unlink()
    if comparison.tuning is None:
        (folder / TUNING).unlink(missing_ok=True)
    else:
        with written_aside(folder / TUNING) as partial:
            comparison.tuning.to_csv(partial, index=False)
    facts = {
        "command": comparison.command,
        "configs": comparison.configs,
        "seeds": comparison.seeds,
        "problems": [asdict(problem) for problem in comparison.problems],
        "versions": comparison.versions,
        "analyses": list(comparison.tables),
    }
    with written_aside(folder / MARK) as partial:
        partial.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def load_comparison(folder: Path) -> Comparison:
    """Read a comparison back.

    Raises:
        CaelabError: the folder holds none, or one that was not finished.
    """
    facts = _part(folder, MARK, lambda path: json.loads(path.read_text(encoding="utf-8")))
    try:
        names, problems = facts["analyses"], [Problem(**problem) for problem in facts["problems"]]
        asked = facts["command"], facts["configs"], facts["seeds"], problems, facts["versions"]
    except (KeyError, TypeError) as error:
        raise CaelabError(
            f"{folder} holds no finished comparison ({MARK} lacks {error}); make one with: "
            f"caelab compare --out {folder}"
        ) from error
    tables = {name: _part(folder, f"data/{name}.parquet", pd.read_parquet) for name in names}
    rows = _part(folder, "data/runs.parquet", pd.read_parquet)
    tuning = _part(folder, TUNING, pd.read_csv) if (folder / TUNING).is_file() else None
    return Comparison(*asked, rows, tables, tuning)


def _part(folder: Path, name: str, read: Callable[[Path], Any]) -> Any:
    try:
        return read(folder / name)
    except (OSError, ValueError, TypeError) as error:
        what = f"{name} is missing" if isinstance(error, FileNotFoundError) else f"{name} is damaged"
        raise CaelabError(
            f"{folder} holds no finished comparison: {what}; make it with: caelab compare --out {folder}"
        ) from error


def draw_figures(comparison: Comparison, folder: Path) -> tuple[dict[str, Any], list[Problem]]:
    """Draw every analysis from its table into ``figures/``, as PDF and PNG.

    Returns:
        The figures by name, and the analyses that could not be drawn.
    """
    from caelab.figures import save_figure

    figures, problems = {}, []
    for name, table in comparison.tables.items():
        try:
            figure = drawn(name, table)
            with named_failure(name, "could not be drawn"):
                save_figure(figure, folder / "figures" / name)
        except CaelabError as error:  # the others go on
            log.debug("drawing %s", name, exc_info=True)
            problems.append(Problem("all", name, str(error), applies=True))
            continue
        figures[name] = figure
    for path in (folder / "figures").glob("*.p[dn][fg]"):
        if path.stem not in figures:  # of an earlier comparison
            path.unlink()
    return figures, problems


def models_of(comparison: Comparison) -> Iterable[str]:
    """The labels of the models, in their order."""
    return (config["label"] for config in comparison.configs)
