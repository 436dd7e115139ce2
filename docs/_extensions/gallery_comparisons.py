"""The comparisons that the gallery draws from: small enough to be trained once in every build of the documentation."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any

SQUARED = {"training.reconstruction": "squared-error", "model.output": "identity"}
DIGITS, IMAGES, PLANE, SPHERE = "digits", "images", "plane", "sphere"


@dataclass(frozen=True)
class Asked:
    """What is compared.

    Attributes:
        models: names of recipes.
        dataset: the data of all of them.
        settings: keys of every config that has them.
        seeds: how many.
        options: by analysis, those that differ from its defaults.
    """

    models: list[str]
    dataset: Mapping[str, Any]
    settings: Mapping[str, Any]
    seeds: int = 1
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def settings_of(self, model: str) -> list[str]:
        """The settings of one model: those of a regularizer only where it has it."""
        from caelab import recipe_config

        rooms = {"model", "training", *recipe_config(model).regularizers}
        return [f"{key}={_yaml(value)}" for key, value in self.settings.items() if key.partition(".")[0] in rooms]

    def command(self, analysis: str, out: str) -> str:
        """The command that trains the models and draws one analysis of them."""
        data = {key: value for key, value in self.dataset.items() if key != "kind"}
        pairs = {**{f"dataset.{key}": value for key, value in data.items()}, **self.settings}
        words = [f"--set {quote(f'{key}={_yaml(value)}')}" for key, value in pairs.items()]
        words = [
            f"caelab compare {' '.join(self.models)}",
            f"--dataset {self.dataset['kind']} --seeds {self.seeds}",
            *words,
        ]
        return " \\\n    ".join([*words, f"--analyses {analysis} --out {out}"])

    def call(self, analysis: str, out: str) -> str:
        """The same as a call in Python, which can give an analysis its options."""
        asked = {analysis: dict(self.options[analysis])} if analysis in self.options else [analysis]
        arguments = {
            "seeds": self.seeds,
            "dataset": dict(self.dataset),
            "analyses": asked,
            "out": out,
        }
        lines = [f"    {self.models!r},", *(f"    {name}={value!r}," for name, value in arguments.items())]
        return "\n".join(["caelab.compare(", *lines, f"    **{dict(self.settings)!r},", ")"]).replace("'", '"')


def _yaml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value).replace(" ", "")


TRAINING = {"training.epochs": 20, "training.batch_size": 20, "training.learning_rate": 0.003}
COMPARISONS = {
    DIGITS: Asked(
        models=["ae", "cae", "dae-g"],
        dataset={"kind": "digits", "splits": [600, 200, 200]},
        settings={"model.hidden": [60], **TRAINING},
        seeds=2,
        options={
            "dimension_from_noise": {"sigma": 0.3},
            "classification": {"epochs": 10},
            "few_labels": {"counts": [50, 200], "epochs": 10},
            "fine_tuning": {"epochs": 10},
            "noise_expansion": {"examples": 5, "samples": 100},
            "deterministic_twin": {"examples": 5, "samples": 100},
            "tangent_classifier": {"weights": [1.0], "epochs": 5, "tangents": 5, "candidates": 20},
        },
    ),
    IMAGES: Asked(
        models=["ae", "cae", "dae-g"],
        dataset={"kind": "mnist5k", "splits": [1000, 200, 200]},
        settings={"model.hidden": [100], **TRAINING},
        options={"denoiser_directions": {"sigma": 0.3, "examples": 4}},
    ),
    PLANE: Asked(
        models=["dae-g", "rcae", "cae"],
        dataset={"kind": "gaussian-mixture", "samples": 1500, "splits": [1000, 250, 250]},
        settings={
            **SQUARED,
            "model.activation": "tanh",
            "model.tied": False,
            "model.hidden": [60],
            "training.learning_rate": 0.01,
            "training.epochs": 60,
            "gaussian.sigma": 0.3,
            "reconstruction-contractive.weight": 0.09,
            "contractive.weight": 0.09,
        },
        options={"score_field": {"sigma": 0.3}, "samples": {"steps": 200}},
    ),
    SPHERE: Asked(
        models=["ae"],
        dataset={"kind": "sphere", "samples": 800, "splits": [600, 100, 100], "scale": 4.0, "noise": 0.12},
        settings={**SQUARED, "model.hidden": [40], "training.learning_rate": 0.01, "training.epochs": 30},
        options={"twin_training": {"sigmas": [0.3], "draws": 2, "watched": 10, "examples": 50}},
    ),
}
ELSEWHERE = {
    **dict.fromkeys(
        ["filters", "reconstructions", "tangents", "manifold_alignment", "eigendistortion", "denoiser_directions"],
        IMAGES,
    ),
    **dict.fromkeys(["score_field", "samples"], PLANE),
    **dict.fromkeys(["alignment_transition", "twin_training"], SPHERE),
}
SECTIONS = {
    "contraction": (
        "What contraction did",
        "The Jacobian of the encoder, its spectrum, and what becomes of distances.",
        ["jacobian_norm", "jacobian_spectrum", "contraction_curve", "frontier", "linear_limit", "higher_order",
         "intrinsic_dimension", "log_volume", "code_similarity"],
    ),
    "images": (
        "What a model sees",
        "Filters, reconstructions and directions of the input space as images.",
        ["filters", "reconstructions", "tangents", "manifold_alignment", "eigendistortion"],
    ),
    "bridge": (
        "Denoising and the bridge",
        "What noise adds to the loss, the penalty that stands for it, and the field of a reconstruction.",
        ["noise_expansion", "deterministic_twin", "twin_training", "score_field", "samples", "denoiser_directions",
         "dimension_from_noise", "alignment_transition"],
    ),
    "features": (
        "What features are worth",
        "Errors of classifiers that start from a trained encoder.",
        ["classification", "other_classifiers", "few_labels", "fine_tuning", "tangent_classifier"],
    ),
}  # fmt: skip
OTHERS = ("others", ("Other analyses", "Analyses that belong to none of these sections."))


def home_of(analysis: str) -> str:
    """The comparison that an analysis is drawn from."""
    return ELSEWHERE.get(analysis, DIGITS)


def sections(analyses: list[str]) -> dict[str, tuple[str, str, list[str]]]:
    """Title, sentence and analyses of each section; what no section names stands in one of its own."""
    found = {key: (title, text, [a for a in named if a in analyses]) for key, (title, text, named) in SECTIONS.items()}
    placed = {name for _, _, named in found.values() for name in named}
    rest = sorted(set(analyses) - placed)
    return {**found, **({OTHERS[0]: (*OTHERS[1], rest)} if rest else {})}


def make(name: str, analyses: list[str], folder: Path) -> None:
    """Train and measure one comparison, without its report; runs that are there already are found again."""
    from caelab import Study, recipe_config
    from caelab.report.store import collect, save

    asked = COMPARISONS[name]
    options = {each: dict(asked.options.get(each, {})) for each in analyses if home_of(each) == name}
    configs = [recipe_config(model, asked.settings_of(model), dataset=dict(asked.dataset)) for model in asked.models]
    study = Study(configs, asked.seeds, options, folder / name / "runs")
    save(collect("caelab compare", configs, range(asked.seeds), study.run(executor="serial")), folder / name)
