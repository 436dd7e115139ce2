"""What is computed for the bridge: runs with their analyses, and trainings of twins, side by side in one pool."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from caelab.catalogue import catalogue
from caelab.comparison import claim
from caelab.config import RunConfig
from caelab.files import written_aside
from caelab.recipes import recipe_config
from caelab.runs import dataset_of, versions
from caelab.study import Outcome, Study, StudyResult, cancel
from caelab_analyses.alignment_transition import alignment_transition
from caelab_analyses.twin_training import train_twins, twin_config

MARK = "bridge.json"
SQUARED = ("training.reconstruction=squared-error",)
ON_IMAGES = ("ae", "ae-wd", "dae-g", "cae", "cae-h")
ANALYSES_ON_IMAGES: Mapping[str, Mapping[str, Any]] = {
    "noise_expansion": {},
    "deterministic_twin": {},
    "manifold_alignment": {},
    "linear_limit": {},
    "higher_order": {},
}
DENSITIES = ("gaussian-mixture", "spiral")
MANIFOLD, SCALE = "sphere", 4.0  # at smaller scales less than the strongest penalty aligns every model
STRENGTHS = {"cae": (0.03, 0.1, 0.3, 1.0), "dae-g": (0.1, 0.4), "ae-wd": (0.01, 0.1)}
SIGMAS = {"gaussian-mixture": (0.05, 0.1, 0.2, 0.5), "digits": (0.1, 0.3)}
FEW_EPOCHS = "training.epochs=2"

Tables = dict[str, pd.DataFrame]


@dataclass(frozen=True)
class BridgeStudy:
    """Everything the page shows.

    Attributes:
        dataset: images.
        seed: of every run.
        out: folder of the study.
        quick: two epochs and one noise level each.
    """

    dataset: str
    seed: int
    out: Path
    quick: bool = False

    def image_configs(self) -> list[RunConfig]:
        """The recipes on images, and the plain auto-encoder once more under squared error."""
        data: dict[str, Any] = {"dataset": {"kind": self.dataset}, "seed": self.seed}
        plain = [recipe_config(name, self._shorter(), **data) for name in ON_IMAGES]
        return [*plain, recipe_config("ae", [*SQUARED, *self._shorter()], **{**data, "label": "squared-error AE"})]

    def density_configs(self) -> list[RunConfig]:
        """A denoising auto-encoder on every density whose score is known; see docs/theory/score.md."""
        return [density_config(name, self.seed, self._shorter()) for name in DENSITIES]

    def studies(self) -> dict[str, Study]:
        """Runs and the analyses of each."""
        runs = self.out / "runs"
        on_images = {name: dict(options) for name, options in ANALYSES_ON_IMAGES.items()}
        return {
            "images": Study(self.image_configs(), [self.seed], on_images, runs),
            "densities": Study(self.density_configs(), [self.seed], {"score_field": {}, "samples": {}}, runs),
        }

    def tasks(self) -> dict[str, Callable[[], pd.DataFrame]]:
        """Tables that come from trainings of their own."""
        short = self._shorter()
        found: dict[str, Callable[[], pd.DataFrame]] = {
            f"twins on {name}": partial(twin_table, name, sigmas[:1] if self.quick else sigmas, [*short])
            for name, sigmas in SIGMAS.items()
        }
        found["transition"] = partial(transition_table, self.out / "transition", self.quick)
        return found

    def _shorter(self) -> list[str]:
        return [FEW_EPOCHS] if self.quick else []

    def check(self) -> None:
        """Refuse before anything is written what would fail later, and make the folder.

        Raises:
            CaelabError: data or settings that do not fit, or a folder that is not ours.
        """
        for study in self.studies().values():
            study.check()
        claim(self.out, MARK)

    def steps(self) -> int:
        """How many things there are to do."""
        return len(self.tasks()) + sum(len(study.jobs()) for study in self.studies().values())

    def run(self, executor: str, workers: int, done: Callable[[str], None]) -> None:
        """Compute what is not there yet, and store every table."""
        from caelab.study import carry_out

        jobs = {name: study.jobs() for name, study in self.studies().items()}
        with catalogue().get("executor", executor)(workers) as pool:
            tasks = {name: pool.submit(self._kept, name, make) for name, make in self.tasks().items()}
            futures = {name: [pool.submit(carry_out, job) for job in each] for name, each in jobs.items()}
            labels: dict[Future[Any], str] = {future: name for name, future in tasks.items()}
            labels |= {f: j.config.label for name in jobs for f, j in zip(futures[name], jobs[name], strict=True)}
            wait_for(labels, done)
        outcomes = {name: [future.result() for future in each] for name, each in futures.items()}
        self._store(outcomes, {name: future.result() for name, future in tasks.items()})

    def _kept(self, name: str, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        """The table of an earlier run of the same study, or a new one."""
        path = self.out / "tasks" / f"{name}{' quick' if self.quick else ''}.parquet"
        if not path.is_file():
            table = make()
            with written_aside(path) as partial_path:
                table.to_parquet(partial_path)
        return pd.read_parquet(path)

    def _store(self, outcomes: Mapping[str, Iterable[Outcome]], tables: Tables) -> None:
        results = {name: StudyResult(list(each)) for name, each in outcomes.items()}
        for result in results.values():
            tables |= result.tables()
        for name, table in tables.items():
            with written_aside(self.out / "data" / f"{name}.parquet") as path:
                table.to_parquet(path)
        problems = [f"{p.analysis} ({p.model}): {p.message}" for r in results.values() for p in r.problems if p.applies]
        facts = {
            "data": f"{dataset_of(self.image_configs()[0]).name}, {', '.join([*SIGMAS, MANIFOLD])}",
            "seed": self.seed,
            "quick": self.quick,
            "tables": list(tables),
            "problems": problems,
            "versions": versions(),
        }
        with written_aside(self.out / MARK) as path:
            path.write_text(json.dumps(facts, indent=2) + "\n")


def wait_for(labels: Mapping[Future[Any], str], done: Callable[[str], None]) -> None:
    """Report each as it comes; where one fails, call off the rest and raise its error."""
    try:
        for future in as_completed(labels):
            future.result()
            done(labels[future])
    except BaseException:
        cancel(list(labels))
        raise


def density_config(dataset: str, seed: int, settings: Iterable[str] = ()) -> RunConfig:
    """The denoising auto-encoder whose field is compared with the score of a density in the plane."""
    own = ["model.hidden=[100]", "model.activation=tanh", "model.output=identity", "model.tied=false"]
    rate = ["training.learning_rate=0.005", "training.epochs=150", "gaussian.sigma=0.3"]
    top: dict[str, Any] = {"dataset": {"kind": dataset}, "seed": seed, "label": dataset}
    return recipe_config("dae-g", [*SQUARED, *own, *rate, *settings], **top)


def twin_table(dataset: str, sigmas: Iterable[float], settings: list[str]) -> pd.DataFrame:
    """DAE, RCAE and the encoder-only CAE, trained side by side."""
    return train_twins(twin_config(dataset, settings), sigmas)


def transition_table(out: Path, quick: bool) -> pd.DataFrame:
    """Angles to the known tangents against the penalty's weight, on one manifold."""
    if not quick:
        return alignment_transition(MANIFOLD, STRENGTHS, (SCALE,), out=out)
    return alignment_transition(
        MANIFOLD, {"cae": (0.1,)}, (1.0,), out=out, settings=[*SQUARED, "model.output=identity", FEW_EPOCHS]
    )
