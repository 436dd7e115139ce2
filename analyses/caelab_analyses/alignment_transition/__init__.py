"""A study of when the leading directions of J_f become tangents, over the penalty's weight and the input's scale.

Two numbers are needed together. The principal angles say whether the k leading right singular vectors of J_f(x) span
the tangent space; the gap s_k / s_{k+1} says whether the spectrum itself tells them from the others. Beside the models
stands local PCA, which sees the data alone. As an analysis it asks that of a run's own network and manifold.

``python -m caelab_analyses.alignment_transition FOLDER`` runs the study of docs/theory/alignment.md into FOLDER.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from caelab.analysis.columns import Column
from caelab.analysis.plotting import save_figure
from caelab.data import Tangents
from caelab.errors import NotApplicable
from caelab.options import Positive
from caelab.runs.config import RunConfig
from caelab.runs.recipes import recipe_config
from caelab.runs.run import Run
from caelab.streams import Streams
from caelab.study.study import Study
from caelab_analyses.alignment_transition.figure import transition_figure
from caelab_analyses.manifold_alignment.figure import ANGLE, DATA, GAP, MODEL

NOISE = 0.03  # in units of the scale
STRENGTHS = {"cae": "contractive.weight", "dae-g": "gaussian.sigma", "ae-wd": "weight-decay.weight"}
WEIGHTS: Mapping[str, Sequence[float]] = {
    "cae": (0.03, 0.1, 0.3, 1.0, 3.0),
    "dae-g": (0.1, 0.2, 0.4, 0.8),
    "ae-wd": (0.001, 0.01, 0.1),
}
SCALES = (1.0, 2.0, 4.0)
DATASETS = ("circle", "sphere", "torus", "swiss-roll", "curve")
SETTINGS = (
    "model.hidden=[100]",
    "model.output=identity",
    "training.reconstruction=squared-error",
    "training.learning_rate=0.01",
    "training.batch_size=250",
    "training.epochs=200",
)
SPLITS = (1500, 100, 100)
COLUMNS = ["dataset", "scale", "recipe", "strength", "seed", "dimensions", "angle", "gap", "error"]

Strengths = tuple[Positive, ...]
Point = tuple[str, float]

title = "When the leading directions become the tangents"
caption = (
    "Above, the largest angle between the Jacobian's leading directions and the data's tangents, against the "
    "penalty's strength; below, the gap of the spectrum. Both fall into place where the penalty is strong enough."
)
columns = (
    Column(name="smallest angle of * (deg)", heading="smallest angle\nof * (°)", better="smaller", optional=True),
)


def measure(
    run: Run,
    streams: Streams,
    *,
    contractive: Strengths = (0.03, 0.1, 0.3, 1.0),
    gaussian: Strengths = (0.1, 0.4),
    weight_decay: Strengths = (0.01, 0.1),
) -> pd.DataFrame:
    """Train the run's network on its manifold with each penalty and strength, and measure angle and gap.

    The run says what network, data, training and seed; its own regularizers make way for those of the study. Its scale
    is the only one.

    Args:
        run: a run on a synthetic manifold.
        streams: not used; every training draws from the run's seed.
        contractive: λ of cae.
        gaussian: σ of dae-g.
        weight_decay: λ of ae-wd.

    Returns:
        The table of ``alignment_transition`` without its seed.

    Raises:
        NotApplicable: the data have no known tangents, or the model only encodes.
    """
    if not isinstance(run.dataset.truth, Tangents):
        raise NotApplicable(
            f"alignment_transition needs known tangents, as of sphere, but {run.config.dataset.kind} has none"
        )
    if not hasattr(run.model, "decode"):
        raise NotApplicable(f"alignment_transition trains auto-encoders, but {run.label!r} only encodes")
    points = _points({"cae": contractive, "dae-g": gaussian, "ae-wd": weight_decay})
    configs = {point: _as_run(run.config, *point) for point in points}
    scale = float(run.config.dataset.options.get("scale", 1.0))
    with TemporaryDirectory() as folder:
        table = _at_scale(configs, scale, [run.seed], Path(folder), 1).assign(dataset=run.config.dataset.kind)
    return table[COLUMNS].drop(columns="seed").sort_values(COLUMNS[:4], ignore_index=True)


def alignment_transition(
    dataset: str,
    weights: Mapping[str, Sequence[float]] = WEIGHTS,
    scales: Sequence[float] = SCALES,
    *,
    out: Path,
    seeds: Sequence[int] = (0,),
    settings: Sequence[str] = SETTINGS,
    splits: tuple[int, int, int] = SPLITS,
    noise: float = NOISE,
    workers: int = 1,
) -> pd.DataFrame:
    """Angles to the true tangent space and gap in the spectrum, for each model, strength, scale and seed.

    Args:
        dataset: a synthetic manifold.
        weights: strengths by recipe: λ of cae and ae-wd, σ of dae-g. The plain AE is always there, with strength 0.
        scales: of the manifold; its noise grows with it.
        out: folder of the runs; what is there already is not trained again.
        seeds: of weights, batches and splits.
        settings: what all models share.
        splits: examples to train, validate and test.
        noise: standard deviation of the data's noise in each direction, over the scale.
        workers: runs at once.

    Returns:
        One row per number: ``dataset``, ``recipe`` (or "local PCA"), ``strength``, ``scale``, ``seed``, ``dimensions``;
        ``angle``, the largest principal angle in degrees, mean over validation examples; ``gap``, s_k / s_{k+1}, its
        median over them; ``error``, the reconstruction error over scale² (both NaN for local PCA).
    """
    parts = []
    for scale in scales:
        data = {"kind": dataset, "splits": list(splits), "samples": sum(splits), "scale": scale, "noise": noise * scale}
        configs = {point: _config(*point, settings, dataset=data) for point in _points(weights)}
        parts.append(_at_scale(configs, scale, seeds, out, workers))
    table = pd.concat(parts, ignore_index=True).assign(dataset=dataset)
    return table[COLUMNS].sort_values(COLUMNS[:5], ignore_index=True)


def _at_scale(
    configs: Mapping[Point, RunConfig], scale: float, seeds: Sequence[int], out: Path, workers: int
) -> pd.DataFrame:
    """The rows of one scale: every model of every seed, and local PCA."""
    study = Study([*configs.values()], seeds, {"manifold_alignment": {}, "jacobian_norm": {}}, out)
    study.check()
    found = study.run(executor="processes" if workers > 1 else "serial", workers=workers).tables()
    named = {config.label: point for point, config in configs.items()}
    rows = [_of_model(rows, *named[str(m)]) | {"seed": s} for (m, s), rows in _by_run(found["manifold_alignment"])]
    errors = [rows["reconstruction_error"].mean() / scale**2 for _, rows in _by_run(found["jacobian_norm"])]
    of_data = [_of_data(rows) | {"seed": seed} for seed, rows in found["manifold_alignment"].groupby("seed")]
    parts = [pd.DataFrame(rows).assign(error=errors), pd.DataFrame(of_data)]
    return pd.concat(parts, ignore_index=True).assign(scale=scale)


def _points(weights: Mapping[str, Sequence[float]]) -> list[Point]:
    return [("ae", 0.0), *((recipe, strength) for recipe, values in weights.items() for strength in values)]


def _config(recipe: str, strength: float, settings: Sequence[str], **top: Any) -> RunConfig:
    own = [f"{STRENGTHS[recipe]}={strength:g}"] if recipe in STRENGTHS else []
    return recipe_config(recipe, [*settings, *own], label=" ".join([recipe, *own]), **top)


def _as_run(config: RunConfig, recipe: str, strength: float) -> RunConfig:
    """That recipe with the run's data, network, training and seed."""
    plain = config.as_dict()
    return _config(recipe, strength, [], **{key: plain[key] for key in ("seed", "dataset", "model", "training")})


def _by_run(table: pd.DataFrame) -> Any:
    return table.groupby(["model", "seed"], sort=False)


def _of_model(table: pd.DataFrame, recipe: str, strength: float) -> dict[str, Any]:
    angle, gap = (
        table[(table["source"] == MODEL) & (table["quantity"] == quantity)].groupby("example")["value"].max()
        for quantity in (ANGLE, GAP)
    )
    point = {"recipe": recipe, "strength": strength, "dimensions": table["dimensions"].iloc[0]}
    return {**point, "angle": angle.mean(), "gap": gap.median()}


def _of_data(table: pd.DataFrame) -> dict[str, Any]:
    """Local PCA is the same beside every model of a seed."""
    angles = table[(table["source"] == DATA) & (table["model"] == table["model"].iloc[0])]
    largest = angles.groupby("example")["value"].max().mean()
    return {"recipe": DATA, "strength": 0.0, "dimensions": table["dimensions"].iloc[0], "angle": largest}


def summarise(table: pd.DataFrame) -> dict[str, float]:
    """The smallest angle that each model reaches over its strengths, and local PCA's."""
    smallest = table.groupby("recipe")["angle"].min()
    return {f"smallest angle of {recipe} (deg)": float(angle) for recipe, angle in smallest.items()}


def draw(table: pd.DataFrame, axes: Any = None) -> Figure:
    """A row of panels per scale, the angle's and the gap's, against the strength; a column per data set."""
    return transition_figure(table, axes)


def main(folder: Path, workers: int = 2) -> None:
    """The whole study: every data set once, the sphere from three seeds."""
    tables = [
        alignment_transition(name, out=folder / "runs", seeds=range(3 if name == "sphere" else 1), workers=workers)
        for name in DATASETS
    ]
    table = pd.concat(tables, ignore_index=True)
    table.to_csv(folder / "alignment-transition.csv", index=False, float_format="%.4g")
    save_figure(draw(table), folder / "alignment-transition")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
