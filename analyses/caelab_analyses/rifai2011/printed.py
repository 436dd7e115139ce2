"""The numbers that the papers print, where they were checked; ``register_published`` offers them."""

from __future__ import annotations

from collections.abc import Mapping

from caelab import Published

LIKE_MNIST = ("mnist", "mnist5k")
SVM = "svm-rbf"
AFTER = "test error after fine-tuning"
LARGER = "There the models have 1 000 units, so that of a smaller study the order of the models is what compares."
SPLITS = "There 10 000 examples train (rect: 1 000), and 50 000 test."
WHOLE = "There 50 000 examples train, and 10 000 test."  # of the whole of MNIST
ENTRY = "The printed norm has the size of a mean squared entry of J; compare ranks and ratios, not values."

NORMS: Mapping[str, Mapping[str, float]] = {
    "mnist": {"cae": 0.73e-4, "dae-g": 0.86e-4, "rbm": 2.50e-4, "ae-wd": 5.00e-4, "dae-b": 7.87e-4, "ae": 17.5e-4},
    "cifar10-bw": {"cae": 2.40e-5, "dae-b": 4.85e-5, "dae-g": 4.94e-5, "ae-wd": 34.9e-5, "ae": 44.9e-5},
}
"""The average norm of Table 1."""

ERRORS: Mapping[str, Mapping[str, float]] = {
    "mnist": {"cae": 1.14, "dae-g": 1.18, "rbm": 1.30, "dae-b": 1.57, "ae-wd": 1.68, "ae": 1.78},
    "cifar10-bw": {"cae": 47.86, "dae-b": 49.03, "dae-g": 54.81, "ae-wd": 55.03, "ae": 55.47},
}
"""The test error in percent of Table 1."""

SATURATED: Mapping[str, Mapping[str, float]] = {
    "mnist": {"cae": 86.36, "dae-g": 17.77, "rbm": 78.59, "dae-b": 68.19, "ae-wd": 12.97, "ae": 49.90},
    "cifar10-bw": {"cae": 85.65, "dae-b": 80.66, "dae-g": 19.90, "ae-wd": 23.04, "ae": 22.57},
}
"""The share of saturated units in percent of Table 1."""

STACKS: Mapping[str, Mapping[str, float]] = {
    "mnist": {"svm-rbf": 1.40, "sae-3": 1.40, "rbm-3": 1.24, "dae-b-3": 1.28},
    "mnist-basic": {"svm-rbf": 3.03, "sae-3": 3.46, "rbm-3": 3.11, "dae-b-3": 2.84, "cae-2": 2.48},
    "mnist-rot": {"svm-rbf": 11.11, "sae-3": 10.30, "rbm-3": 10.30, "dae-b-3": 9.53},
    "mnist-bg-rand": {"svm-rbf": 14.58, "sae-3": 11.28, "rbm-3": 6.73, "dae-b-3": 10.30},
    "mnist-bg-img": {"svm-rbf": 22.61, "sae-3": 23.00, "rbm-3": 16.31, "dae-b-3": 16.68},
    "mnist-bg-img-rot": {"svm-rbf": 55.18, "sae-3": 51.93, "rbm-3": 47.39, "dae-b-3": 43.76},
    "rect": {"svm-rbf": 2.15, "sae-3": 2.41, "rbm-3": 2.60, "dae-b-3": 1.99},
    "rect-img": {"svm-rbf": 24.04, "sae-3": 24.05, "rbm-3": 22.50, "dae-b-3": 21.59},
}
"""The test error in percent on the variations of MNIST: Vincent et al. (2010), Table 3, and for CAE-2 the one value of
Rifai et al. (2011), Table 2, that was checked."""


def _word(kind: str) -> str:
    return kind.replace("-", "_")


def _of_table_1(kind: str) -> dict[str, Published]:
    datasets = LIKE_MNIST if kind == "mnist" else (kind,)
    where = f"Rifai et al. (2011), Table 1, {'MNIST' if kind == 'mnist' else 'CIFAR-bw'}"
    return {
        "error": Published(where, datasets, AFTER, ERRORS[kind], heading="test error (%)", note=LARGER),
        "entry": Published(where, datasets, "mean squared entry", NORMS[kind], heading="average norm", note=ENTRY),
        "saturated": Published(where, datasets, "saturated share", SATURATED[kind], "saturated (%)", 100.0),
    }


def _of_stacks(kind: str) -> Published:
    sources = ["Vincent et al. (2010), Table 3", *["and Rifai et al. (2011), Table 2"] * (kind == "mnist-basic")]
    errors = {recipe: error for recipe, error in STACKS[kind].items() if recipe != SVM}
    return _of_errors(kind, ", ".join([*sources, _called(kind)]), AFTER, errors)


def _of_support_vectors(kind: str) -> Published:
    """SVM-rbf learns from the inputs, which are the code of the recipe ``inputs``."""
    where = f"Vincent et al. (2010), Table 3, {_called(kind)}"
    return _of_errors(kind, where, "test error by svm-rbf", {"inputs": STACKS[kind][SVM]})


def _of_errors(kind: str, where: str, number: str, errors: Mapping[str, float]) -> Published:
    """Errors on a set; its basic one are digits of MNIST, of which fewer train."""
    datasets = ("mnist-basic", *LIKE_MNIST) if kind == "mnist-basic" else (kind,)
    note = WHOLE if kind == "mnist" else SPLITS
    return Published(where, datasets, number, errors, heading="test error (%)", note=note)


def _called(kind: str) -> str:
    """What the tables call a set."""
    return kind.removeprefix("mnist-") if kind != "mnist" else "MNIST"


PUBLISHED: Mapping[str, Published] = {
    **{f"table1_{_word(kind)}_{name}": each for kind in NORMS for name, each in _of_table_1(kind).items()},
    **{f"table2_{_word(kind)}": _of_stacks(kind) for kind in STACKS},
    **{f"table2_{_word(kind)}_svm": _of_support_vectors(kind) for kind in STACKS},
}


def __getattr__(name: str) -> Published:
    if name in PUBLISHED:
        return PUBLISHED[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
