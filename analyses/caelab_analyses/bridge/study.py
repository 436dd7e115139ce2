"""The runs of the bridge and their analyses, computed side by side in one pool of workers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from caelab.errors import CaelabError
from caelab.runs.config import RunConfig
from caelab.runs.recipes import recipe_config
from caelab.runs.run import dataset_of, versions
from caelab.storage.files import parquet_bytes, write_bytes
from caelab.storage.folders import open_folder
from caelab.storage.transactions import change, write_record
from caelab.study.outcomes import StudyResult
from caelab.study.study import Study, run_together
from caelab_analyses.alignment_transition import SETTINGS, SPLITS
from caelab_analyses.twin_training import twin_config

MANIFEST = "bridge.json"
DATA = ("data/*.parquet",)
OURS = (*DATA, "figures/*.pdf", "figures/*.png", "report.html")  # what changes together
SQUARED = ("training.reconstruction=squared-error", "model.output=identity")
ON_IMAGES = ("ae", "ae-wd", "dae-g", "cae", "cae-h")
IMAGES = "images"
ANALYSES_ON_IMAGES = (
    "noise_expansion",
    "deterministic_twin",
    "manifold_alignment",
    "intrinsic_dimension",
    "linear_limit",
    "higher_order",
)
DENSITIES: Mapping[str, float] = {"gaussian-mixture": 0.3, "spiral": 0.1}  # and the noise: at most twice their width
WALKED = "gaussian-mixture"  # where chains are run
MANIFOLD, SCALE, NOISE = "sphere", 4.0, 0.12  # at smaller scales less than the strongest penalty aligns every model
TRANSITION = {"contractive": (0.03, 0.1, 0.3, 1.0), "gaussian": (0.1, 0.4), "weight_decay": (0.01, 0.1)}
QUICK_TRANSITION = {"contractive": (0.1,), "gaussian": (), "weight_decay": ()}
SIGMAS = {"gaussian-mixture": (0.05, 0.1, 0.2, 0.5), "digits": (0.1, 0.3)}
FEW_EPOCHS = "training.epochs=2"


@dataclass(frozen=True)
class BridgeStudy:
    """The runs and analyses that the bridge's page shows, and their computation.

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
        squared = [SQUARED[0], *self._shorter()]
        return [*plain, recipe_config("ae", squared, **{**data, "label": "squared-error AE"})]

    def studies(self) -> dict[str, Study]:
        """Runs and the analyses of each, by the name of what they show."""
        images: dict[str, dict[str, Any]] = {name: {} for name in ANALYSES_ON_IMAGES}
        return {
            IMAGES: self._study(self.image_configs(), images),
            **{f"score on {name}": self._score(name, sigma) for name, sigma in DENSITIES.items()},
            **{f"twins on {name}": self._twins(name, sigmas) for name, sigmas in SIGMAS.items()},
            "transition": self._transition(),
        }

    def _study(self, configs: list[RunConfig], analyses: Mapping[str, Mapping[str, Any]]) -> Study:
        return Study(configs, [self.seed], analyses, self.out / "runs", folder=self.out)

    def _score(self, density: str, sigma: float) -> Study:
        configs = _density_configs(density, sigma, self.seed, self._shorter())
        analyses: dict[str, dict[str, Any]] = {"score_field": {"sigma": sigma}}
        if density == WALKED:
            analyses["samples"] = {}
        return self._study(configs, analyses)

    def _twins(self, dataset: str, sigmas: tuple[float, ...]) -> Study:
        config = twin_config(dataset, self._shorter(), self.seed).model_copy(update={"label": f"twins-{dataset}"})
        return self._study([config], {"twin_training": {"sigmas": sigmas[:1] if self.quick else sigmas}})

    def _transition(self) -> Study:
        data = {"kind": MANIFOLD, "splits": list(SPLITS), "samples": sum(SPLITS), "scale": SCALE, "noise": NOISE}
        top: dict[str, Any] = {"dataset": data, "seed": self.seed, "label": "transition"}
        config = recipe_config("ae", [*SETTINGS, *self._shorter()], **top)
        return self._study([config], {"alignment_transition": QUICK_TRANSITION if self.quick else TRANSITION})

    def _shorter(self) -> list[str]:
        return [FEW_EPOCHS] if self.quick else []

    def check(self) -> None:
        """Refuse before anything is written what would fail later, and make the folder.

        Raises:
            CaelabError: data or settings that do not fit, or a folder that is not ours.
        """
        self._check_range()
        for study in self.studies().values():
            study.check()
        open_folder(self.out, MANIFEST)

    def _check_range(self) -> None:
        inputs = dataset_of(self.image_configs()[0]).inputs
        low, high = float(inputs.min()), float(inputs.max())
        if low < 0 or high > 1:
            raise CaelabError(
                f"the bridge trains under cross-entropy, which expects inputs in [0, 1], but those of {self.dataset} "
                f"lie in [{low:.4g}, {high:.4g}]; give images, as --dataset digits, or data of your own rescaled to "
                "[0, 1], as --dataset npz:FILE"
            )

    def steps(self) -> int:
        """The number of computations to do, for the progress display."""
        return sum(len(study.jobs()) for study in self.studies().values())

    def run(self, executor: str, workers: int, done: Callable[[str], None]) -> None:
        """Compute what is missing, and store every table.

        Raises:
            CaelabError: a run failed; all others are stored.
        """
        studies = self.studies()
        longest_first = sorted(studies, key=lambda name: name == IMAGES)
        several = {name: studies[name] for name in longest_first}
        results = run_together(several, executor=executor, workers=workers, done=lambda told: done(str(told)))
        self._store({name: results[name] for name in studies})

    def _store(self, results: Mapping[str, StudyResult]) -> None:
        """Each table under the name of its analysis, or of what it shows where several studies share one."""
        tables = {
            _table_name(study, analysis): table
            for study, result in results.items()
            for analysis, table in result.tables().items()
        }
        with change(self.out, MANIFEST, OURS) as place:
            for name, table in tables.items():
                write_bytes(place / "data" / f"{name}.parquet", parquet_bytes(table))
            write_record(place, MANIFEST, self._facts(results, list(tables)), {})

    def _facts(self, results: Mapping[str, StudyResult], names: list[str]) -> dict[str, Any]:
        """What ``bridge.json`` says besides the files that belong to it."""
        problems = [(_table_name(study, p.analysis), p) for study, result in results.items() for p in result.problems]
        return {
            "data": f"{dataset_of(self.image_configs()[0]).name}, {', '.join(dict.fromkeys([*SIGMAS, *DENSITIES]))}, "
            f"{MANIFOLD}",
            "seed": self.seed,
            "quick": self.quick,
            "tables": names,
            "left_out": {table: p.message for table, p in reversed(problems) if table not in names},
            "problems": [f"{p.analysis} ({p.model}): {p.message}" for _, p in problems if p.applies],
            "versions": versions(),
        }


def _table_name(study: str, analysis: str) -> str:
    """What the table of an analysis is called on the page: ``score_field`` is there for every density."""
    return analysis if study == IMAGES or analysis == "samples" else study


def _density_configs(dataset: str, sigma: float, seed: int, settings: Iterable[str] = ()) -> list[RunConfig]:
    """DAE(σ), RCAE(σ²) and CAE(σ²), whose fields are compared with the score of a density; see docs/theory/score.md."""
    own = ["model.hidden=[100]", "model.activation=tanh", "model.tied=false"]
    rate = ["training.learning_rate=0.005", "training.epochs=150"]
    top: dict[str, Any] = {"dataset": {"kind": dataset}, "seed": seed}
    strengths = {
        "dae-g": f"gaussian.sigma={sigma:g}",
        "rcae": f"reconstruction-contractive.weight={sigma**2:g}",
        "cae": f"contractive.weight={sigma**2:g}",
    }
    return [
        recipe_config(recipe, [*SQUARED, *own, *rate, strength, *settings], **top)
        for recipe, strength in strengths.items()
    ]
