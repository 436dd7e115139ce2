"""Denoising, its deterministic twin and the encoder-only penalty, trained side by side.

DAE(σ), RCAE(σ²), the CAE with the same weight, and the CAE held to the DAE's mean ‖J_f‖_F²: from the same initial
weights, on the same batches. Then: how far apart are the functions that they have learned? As an analysis it asks that
of a run's own network, data and seed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import pandas as pd
import torch
from matplotlib.figure import Figure
from pydantic import Field
from torch import Tensor

from caelab import hookimpl
from caelab.analysis.columns import Column
from caelab.data import Dataset
from caelab.errors import CaelabError, NotApplicable
from caelab.options import Count, Positive
from caelab.runs.config import Block, RunConfig
from caelab.runs.recipes import recipe_config
from caelab.runs.run import Run, dataset_of
from caelab.streams import Streams
from caelab.training import train
from caelab_analyses.twin_training import twins
from caelab_analyses.twin_training.comparison import CAE, DAE, MATCHED, RCAE, Rows, compared
from caelab_analyses.twin_training.figure import twin_figure

LAST = 0.01  # of the learning rate, in the last step
BATCH = 500  # examples on which gradients are compared
DEPARTURE = 0.03  # of the held norm from its target, in logarithms, at which λ is σ²
MEMORY = 0.99  # of the held weight's running mean, per step

SETTINGS: dict[str, tuple[list[str], dict[str, Any]]] = {
    "gaussian-mixture": (
        ["model.hidden=[100]", "model.tied=false", "training.learning_rate=0.01", "training.epochs=200"],
        {"kind": "gaussian-mixture"},
    ),
    "mnist5k": (
        ["model.hidden=[100]", "training.learning_rate=0.004", "training.epochs=20"],
        {"kind": "mnist5k", "splits": [1000, 200, 200]},
    ),
    "digits": (
        ["model.hidden=[100]", "training.learning_rate=0.003", "training.epochs=100"],
        {"kind": "digits", "splits": [1000, 200, 200]},
    ),
}


Sigmas = Annotated[tuple[Positive, ...], Field(min_length=1)]
Radii = Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1)]
RADII = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)

title = "Trained twins"
caption = (
    "How far apart the functions are that denoising, its deterministic twin and the contractive penalty have "
    "learned from one start: a distance near 0 and a cosine near 1 mean the same function."
)
columns = (
    Column(name="* distance to the DAE", heading="* to the DAE:\ndistance of r(x) − x", better="smaller"),
    Column(name="* cosine to the DAE", heading="* to the DAE:\ncosine of r(x) − x", better="larger"),
)


def measure(
    run: Run,
    streams: Streams,
    *,
    sigmas: Sigmas = (0.1, 0.3),
    draws: Count = 4,
    watched: Count = 20,
    examples: Count = 200,
    radii: Radii = RADII,
) -> pd.DataFrame:
    """Train the four twins anew as the run was trained, and compare them; see ``train_twins``.

    The run says what network, data, training and seed; its own regularizers make way for those of the twins.

    Args:
        run: the run.
        streams: not used; every twin draws from the run's seed.
        sigmas: σ of every comparison, in units of the input; each takes four trainings.
        draws: antithetic pairs of noise per example and step, of the DAE.
        watched: how many times along the DAE's training gradients are compared.
        examples: validation examples that functions are compared on.
        radii: of the contraction curves, in units of the input.

    Returns:
        The table of ``train_twins``.

    Raises:
        NotApplicable: no decoder, no training to repeat, or another reconstruction error than squared error.
    """
    if not hasattr(run.model, "decode"):
        raise NotApplicable(f"twins need a model with decode(code), but {run.label!r} only encodes")
    training = run.config.training
    if training.reconstruction != "squared-error":
        raise NotApplicable(
            f"twins are equal under squared-error, but {run.label!r} was trained under {training.reconstruction}; "
            "train it with --set training.reconstruction=squared-error --set model.output=identity"
        )
    base = run.config.model_copy(update={"regularizers": {}})
    return train_twins(base, sigmas, draws=draws, watched=watched, examples=examples, radii=radii, dataset=run.dataset)


def twin_config(dataset: str, settings: Sequence[str] = (), seed: int = 0) -> RunConfig:
    """The run whose regularizer the twins exchange: tanh code, linear output, squared error, on one of ``SETTINGS``.

    Raises:
        CaelabError: another data set, or settings that do not fit.
    """
    if dataset not in SETTINGS:
        raise CaelabError(f"expected one of {', '.join(SETTINGS)}, but {dataset!r} came; give train_twins a config")
    own, block = SETTINGS[dataset]
    common = ["training.reconstruction=squared-error", "model.output=identity", "model.activation=tanh"]
    return recipe_config("ae", [*common, *own, *settings], dataset=block, seed=seed)


@dataclass(eq=False)
class Denoising:
    """Adds what denoising adds to the plain error, by antithetic draws; see ``twins.denoising_penalty``."""

    sigma: float
    draws: int

    @hookimpl
    def penalty_terms(self, model: Any, clean: Tensor, streams: Streams) -> dict[str, Tensor]:
        """The penalty of one batch."""
        noise = torch.randn((self.draws, *clean.shape), generator=streams["twin noise"], dtype=clean.dtype)
        return {"denoising": twins.denoising_penalty(model, clean, self.sigma * noise)}


@dataclass(eq=False)
class HeldNorm:
    """Adds μ (log n - log target)², n the mean of ‖J_f‖_F²: a contractive penalty whose weight finds itself.

    Its gradient is that of λ n with λ = 2 μ log(n / target) / n: positive where the network without it would contract
    less than the target, negative where it would contract more.
    """

    strength: float
    target: float
    weight: float = math.nan  # the running mean of λ: batches differ

    @hookimpl
    def penalty_terms(self, encoder_jacobian: Any) -> dict[str, Tensor]:
        """The penalty of one batch."""
        norm: Tensor = encoder_jacobian.squared_norm().mean()
        apart = norm.log() - math.log(self.target)
        weight = float(2 * self.strength * apart.detach() / norm.detach())
        self.weight = weight if math.isnan(self.weight) else MEMORY * self.weight + (1 - MEMORY) * weight
        return {"held norm": self.strength * apart.square()}


@dataclass(eq=False)
class FallingRate:
    """Scales every step of the optimiser by a factor that falls from 1 to ``LAST`` along half a cosine.

    The step is taken whole and then partly taken back, which for Adam and SGD is the same as a lower learning rate.
    """

    total: int
    done: int = 0
    before: list[Tensor] = field(default_factory=list)

    @hookimpl
    def before_update(self, model: Any) -> None:
        """Remember where the step starts."""
        self.before = [parameter.detach().clone() for parameter in model.parameters()]

    @hookimpl
    def after_batch(self, model: Any) -> None:
        """Take the rest of the step back."""
        self.done += 1
        factor = LAST + (1 - LAST) * (1 + math.cos(math.pi * self.done / self.total)) / 2
        with torch.no_grad():
            for parameter, start in zip(model.parameters(), self.before, strict=True):
                parameter.lerp_(start, 1 - factor)


@dataclass(eq=False)
class GradientWatch:
    """Along a training: the cosines of the gradients that other objectives have at the same weights.

    ``objective`` is the whole gradient, ``penalty`` that of what each adds to the plain error.
    """

    clean: Tensor
    sigma: float
    draws: int
    stream: torch.Generator
    every: int
    rows: list[dict[str, Any]] = field(default_factory=list)
    steps: int = 0

    @hookimpl
    def before_update(self, model: Any) -> None:
        """Every so many steps, three gradients on one fixed batch; those of training stay as they are."""
        if self.steps % self.every == 0:
            self.rows += [{"at": float(self.steps), **row} for row in self.cosines(model)]
        self.steps += 1

    def cosines(self, model: Any) -> list[dict[str, Any]]:
        """RCAE's and CAE's gradient against the DAE's, whole and without the plain error's part."""
        plain = twins.parameter_gradient(model, twins.plain_error(model, self.clean))
        denoising = [self.denoising_gradient(model) for _ in range(2)]
        rows = []
        for name, norm in ((RCAE, twins.reconstruction_norm), (CAE, twins.encoder_norm)):
            penalty = twins.parameter_gradient(model, self.sigma**2 * norm(model, self.clean))
            cosines = {
                "penalty": twins.unattenuated_cosine(penalty, *denoising),
                "objective": twins.unattenuated_cosine(plain + penalty, *(plain + noisy for noisy in denoising)),
            }
            rows += [
                {"twin": name, "quantity": f"gradient cosine ({part})", "value": value}
                for part, value in cosines.items()
            ]
        return rows

    def denoising_gradient(self, model: Any) -> Tensor:
        """The gradient of what denoising adds, from noise drawn anew."""
        noise = torch.randn((self.draws, *self.clean.shape), generator=self.stream, dtype=self.clean.dtype)
        return twins.parameter_gradient(model, twins.denoising_penalty(model, self.clean, self.sigma * noise))


def train_twins(
    base: RunConfig,
    sigmas: Iterable[float],
    *,
    draws: int = 4,
    watched: int = 20,
    examples: int = 200,
    radii: Sequence[float] = RADII,
    dataset: Dataset | None = None,
) -> pd.DataFrame:
    """Train DAE(σ), RCAE(σ²), CAE(σ²) and the CAE matched to the DAE's mean ‖J_f‖², for every σ, and compare them.

    Every twin starts from the same weights and sees the same batches. The learning rate falls to a hundredth, so
    that what is compared are minima and not the noise of the last steps.

    Args:
        base: a run without regularizers, under squared error; see ``twin_config``.
        sigmas: σ of every comparison.
        draws: antithetic pairs of noise per example and step, of the DAE.
        watched: how many times along the DAE's training gradients are compared.
        examples: validation examples that functions are compared on, in float64.
        radii: of the contraction curves, in units of the input.
        dataset: data to use instead of the base's.

    Returns:
        One row per ``sigma``, ``twin``, ``quantity`` and ``at`` (a step, a rank or a radius; NaN for single numbers),
        with the ``value``. Distances and cosines are to the DAE of the same σ.

    Raises:
        CaelabError: a base with regularizers or under cross-entropy, a σ that is not positive, or a count below 1.
    """
    check(base, sigmas := list(sigmas), draws=draws, watched=watched, examples=examples)
    data = dataset or dataset_of(base)
    parts = []
    for sigma in sigmas:
        runs, rows = _trained_twins(base, data, sigma, draws, watched)
        streams = Streams(base.seed)
        rows += compared(runs, examples, radii, streams["twin directions"])
        parts.append(pd.DataFrame(rows).assign(sigma=sigma))
    table = pd.concat(parts, ignore_index=True).assign(dataset=base.dataset.kind)
    return table[["dataset", "sigma", "twin", "quantity", "at", "value"]]


def check(base: RunConfig, sigmas: Sequence[float], **counts: int) -> None:
    """Refuse what cannot be compared.

    Raises:
        CaelabError: as ``train_twins`` says.
    """
    if base.regularizers:
        raise CaelabError(
            f"the twins bring their own penalties, but the base has {sorted(base.regularizers)}; drop them"
        )
    if base.training.reconstruction != "squared-error":
        raise CaelabError("twins are equal under squared-error, but cross-entropy came; set training.reconstruction")
    if not sigmas or min(sigmas) <= 0:
        raise CaelabError(f"expected noise levels above 0, but {sigmas} came")
    for name, count in counts.items():
        if count < 1:
            raise CaelabError(f"expected {name} of at least 1, but {name}={count} came")
    if not base.training.epochs:
        raise CaelabError("twins have to be trained, but training.epochs=0 came; set it to at least 1")


def _trained_twins(
    base: RunConfig, data: Dataset, sigma: float, draws: int, watched: int
) -> tuple[dict[str, Run], Rows]:
    """The four runs of one σ by name, and the rows of the gradients along the DAE's training."""
    every = max(1, steps_of(base, data) // watched)
    watch = GradientWatch(data.train_inputs[:BATCH], sigma, draws, Streams(base.seed)["watched noise"], every)
    dae = trained(base, data, {}, {"denoising": Denoising(sigma, draws), "watch": watch})
    target = float(twins.encoder_norm(dae.model, data.train_inputs).detach())
    held = HeldNorm(sigma**2 * target / (2 * DEPARTURE), target)
    runs = {
        DAE: dae,
        RCAE: trained(base, data, {"reconstruction-contractive": {"weight": sigma**2}}),
        CAE: trained(base, data, {"contractive": {"weight": sigma**2}}),
        MATCHED: trained(base, data, {}, {"held": held}),
    }
    weight = {"twin": MATCHED, "quantity": "weight", "at": math.nan, "value": held.weight}
    return runs, [*watch.rows, weight]


def trained(
    base: RunConfig,
    data: Dataset,
    regularizers: dict[str, dict[str, float]],
    observers: dict[str, object] | None = None,
) -> Run:
    """One training from the base's initial weights, on its batches, the rate falling over all steps."""
    blocks = {name: Block(kind=name, **options) for name, options in regularizers.items()}
    config = base.model_copy(update={"regularizers": blocks})
    falling = FallingRate(steps_of(base, data))
    return train(config, dataset=data, observers={**(observers or {}), "falling rate": falling})


def steps_of(base: RunConfig, data: Dataset) -> int:
    """How many updates a training makes."""
    return base.training.epochs * -(-len(data.train) // base.training.batch_size)


def summarise(table: pd.DataFrame) -> dict[str, float]:
    """At the smallest σ: how far the RCAE's and the CAE's r(x) - x is from the DAE's, and the cosines."""
    smallest = table[(table["sigma"] == table["sigma"].min()) & table["at"].isna()]
    values = smallest.groupby(["twin", "quantity"])["value"].mean()
    return {
        f"{name} {part} to the DAE": float(values[twin, f"{part} of r(x) - x"])
        for name, twin in (("RCAE", RCAE), ("CAE", CAE))
        for part in ("distance", "cosine")
    }


def draw(table: pd.DataFrame, axes: Any = None) -> Figure:
    """Distances and cosines against σ, gradients along training, and the spectra and curves of one σ."""
    return twin_figure(table, axes)
