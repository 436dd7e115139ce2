"""Denoising against its deterministic twin: E L(x, r(x̃)) over a corruption, and what its mean and covariance predict.

To second order (Bishop 1995; Gauss-Newton) the mean error at x̃ is L(x, r(μ)) + ½ Σ_k L''_k (J C Jᵀ)_kk, with J at the
mean μ(x) and C(x) the covariance. The prediction is that of the regularizer ``twin``, the noise that of the corruption
plugins. The first part needs no expansion; so the second is compared by itself, with the spread about the mean,
E L(x, r(x̃)) - L(x, r(μ)).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from inspect import signature
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from pydantic import AfterValidator, BeforeValidator
from pydantic_core import PydanticCustomError
from torch import Tensor

from caelab.analysis.columns import Column
from caelab.errors import CaelabError, NotApplicable
from caelab.models.reconstruction import check_objective, reconstruction_error
from caelab.options import Count
from caelab.registry.catalogue import catalogue
from caelab.runs.run import Run
from caelab.streams import Streams, stream_seed
from caelab_analyses.deterministic_twin.figure import deterministic_twin_figure

CLIPPED = "gaussian, clipped"
HOLDS = 0.2  # relative error of the second order up to which a twin is said to hold
SEEN = 3.0  # standard errors within which a number is known
REPEATS = 8  # times that a prediction of one's own corruption is made: its moments may be estimated

title = "Denoising and its deterministic twin"
caption = (
    "Above, what each corruption adds to the loss (marks) and what its mean and covariance predict (lines), "
    "against its strength. Below, the error of the second order, as a share of the spread about the mean."
)
columns = (Column(name="* twin holds to", heading="twin of * holds\nup to strength", better="larger", optional=True),)


def _increasing(strengths: Sequence[float]) -> Sequence[float]:
    if not strengths or not all(0 < low < high for low, high in zip((1e-300, *strengths), strengths, strict=False)):
        raise PydanticCustomError("strengths", "expected at least one strength, above 0 and in increasing order")
    return strengths


def _probabilities(strengths: Sequence[float]) -> Sequence[float]:
    if _increasing(strengths)[-1] > 1:
        raise PydanticCustomError("probabilities", "expected probabilities, at most 1")
    return strengths


Strengths = Annotated[tuple[float, ...], AfterValidator(_increasing)]
Probabilities = Annotated[tuple[float, ...], AfterValidator(_probabilities)]


def _twin(of: Mapping[str, Any]) -> Any:
    """The regularizer ``twin`` of a corruption ``{kind: NAME, option: value, ...}``."""
    try:
        return catalogue().get("regularizer", "twin")(weight=1.0, of=of)
    except CaelabError as error:
        raise CaelabError(str(error).replace("twin.of", "deterministic_twin.of")) from error


def _known(corruptions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for of in corruptions:
        _twin(of)
    return corruptions


Corruptions = Annotated[
    list[dict[str, Any]],
    BeforeValidator(lambda given: [given] if isinstance(given, Mapping) else given),
    AfterValidator(_known),
]
"""``{kind: NAME, option: value, ...}`` of a registered corruption, or several of them in a list."""


@dataclass(frozen=True)
class Case:
    """One corruption at one strength, perhaps clipped to [0, 1] against what its moments say.

    Attributes:
        corruption: its name.
        options: its kind and options.
        strength: the value of the option that tells it from others of its name.
        option: the name of that option, or "case" where the strength is a number in order.
        clipped: whether what it draws is clipped.
        repeats: how many times the prediction is made.
    """

    corruption: str
    options: Mapping[str, Any]
    strength: float
    option: str
    clipped: bool = False
    repeats: int = 1


def measure(
    run: Run,
    streams: Streams,
    *,
    sigmas: Strengths = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0),
    probabilities: Probabilities = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9),
    examples: Count = 20,
    samples: Annotated[Count, AfterValidator(lambda count: max(count, 2))] = 200,
    of: Corruptions = [],  # noqa: B006  never changed
) -> pd.DataFrame:
    """E L(x, r(x̃)) - L(x, r(x)), mean over validation examples, against the twin's prediction, in float64.

    Corruptions: Gaussian noise; the same clipped to [0, 1], whose moments are no longer those that the twin is given;
    masking; salt-and-pepper. Or those of ``of`` in their place.

    Args:
        run: the trained model and its data.
        streams: draws the corruptions, the same numbers at every strength.
        sigmas: σ of the Gaussian noise, in units of the input.
        probabilities: p of masking and of salt-and-pepper.
        examples: how many validation examples, the first ones.
        samples: corrupted copies of each example; at least 2.
        of: any registered corruptions instead, chains and one's own among them, ``{kind: NAME, option: value, ...}``
            each. The strength is the one option that is a number; where there is none or several, they are numbered.

    Returns:
        One row per ``corruption`` and ``strength``, the value of ``option``: the ``increment`` by Monte Carlo with its
        standard error, ``increment error``; its ``prediction``, the sum of ``mean shift`` L(x, r(μ)) - L(x, r(x)) and
        ``second order``; the ``spread``, increment less mean shift; ``relative error`` |prediction - increment| over
        |increment|;
        ``second-order error``, the same difference over |spread|, with its standard error, ``relative noise``, which
        counts that of the prediction too where moments are estimated by sampling; ``loss``.

    Raises:
        NotApplicable: an encoder without a decoder.
    """
    if not hasattr(run.model, "decode"):
        raise NotApplicable("a deterministic twin needs a reconstruction, but the model can only encode")
    kind = run.config.training.reconstruction
    inputs = run.dataset.valid_inputs[:examples].double()
    check_objective(kind, run.model, inputs)
    model = deepcopy(run.model).double().eval()
    seed = stream_seed(streams.seed, "deterministic twin")
    measured = _own_cases(of) if of else cases(sigmas, probabilities)
    with torch.no_grad():
        rows = [_row(case, model, kind, inputs, samples, seed) for case in measured]
    return pd.DataFrame(rows).assign(loss=kind)


def cases(sigmas: Sequence[float], probabilities: Sequence[float]) -> Iterator[Case]:
    """Every corruption at every strength."""
    for corruption in ("gaussian", CLIPPED):
        for sigma in sigmas:
            options = {"kind": "gaussian", "sigma": sigma}
            yield Case(corruption, options, sigma, "sigma", clipped=corruption == CLIPPED)
    for corruption in ("masking", "salt-and-pepper"):
        for p in probabilities:
            yield Case(corruption, {"kind": corruption, "p": p}, p, "p")


def _own_cases(corruptions: Sequence[Mapping[str, Any]]) -> Iterator[Case]:
    """The cases that a user chose, in order of strength within each kind."""
    for kind in dict.fromkeys(of["kind"] for of in corruptions):
        same = [of for of in corruptions if of["kind"] == kind]
        numbers = [[name for name, value in of.items() if _is_number(value)] for of in same]
        option = numbers[0][0] if len(numbers[0]) == 1 and all(names == numbers[0] for names in numbers) else "case"
        strengths = [float(of.get(option, place)) for place, of in enumerate(same, start=1)]
        for strength, of in sorted(zip(strengths, same, strict=True), key=lambda pair: pair[0]):
            yield Case(kind, of, strength, option, repeats=REPEATS)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _row(case: Case, model: Any, kind: str, inputs: Tensor, samples: int, seed: int) -> dict[str, Any]:
    twin = _twin(case.options)
    mean_shift, second_order, unsure = _predicted(twin, model, kind, inputs, case.repeats, Streams(seed))
    drawn = increments(case, twin.corruption, model, kind, inputs, samples, Streams(seed))
    increment, error = float(drawn.mean()), standard_error(drawn)
    off = abs(mean_shift + second_order - increment)
    return {
        "corruption": case.corruption,
        "option": case.option,
        "strength": case.strength,
        "increment": increment,
        "increment error": error,
        "mean shift": mean_shift,
        "second order": second_order,
        "prediction": mean_shift + second_order,
        "spread": increment - mean_shift,
        "relative error": off / abs(increment),
        "second-order error": off / abs(increment - mean_shift),
        "relative noise": math.hypot(error, unsure) / abs(increment - mean_shift),
    }


def _predicted(
    twin: Any, model: Any, kind: str, inputs: Tensor, repeats: int, streams: Streams
) -> tuple[float, float, float]:
    """Mean shift, second order, and the standard error of their sum: 0 where the corruption declares its moments."""
    parts = torch.stack([torch.stack(twin.parts(model, kind, inputs, 1, streams)) for _ in range(repeats)])
    each = parts.mean(dim=2)  # (repeats, 2)
    unsure = float(each.sum(dim=1).std(correction=min(1, repeats - 1))) / math.sqrt(repeats)
    shift, spread = each.mean(dim=0).tolist()
    return shift, spread, unsure


def increments(
    case: Case, corruption: Any, model: Any, kind: str, inputs: Tensor, samples: int, streams: Streams
) -> Tensor:
    """L(x, r(x̃)) - L(x, r(x)) of every example and corrupted copy, shape (examples, samples)."""
    wanted = signature(corruption.corrupt_input).parameters
    given = {name: value for name, value in {"epoch": 1, "streams": streams}.items() if name in wanted}
    clean = reconstruction_error(kind, model, model.encode(inputs), inputs)
    found = []
    for x in inputs:
        many = x.repeat(samples, 1)
        corrupted = corruption.corrupt_input(clean=many, **given)
        corrupted = corrupted.clamp(0, 1) if case.clipped else corrupted
        found.append(reconstruction_error(kind, model, model.encode(corrupted), many))
    return torch.stack(found) - clean[:, None]


def standard_error(drawn: Tensor) -> float:
    """The standard error of the mean over fixed examples and random copies, values (examples, samples)."""
    return float((drawn.var(dim=1) / drawn.shape[1]).sum().sqrt() / len(drawn))


def summarise(table: pd.DataFrame) -> dict[str, float]:
    """Of each corruption, the largest strength up to which the second order is within a fifth of the spread.

    A strength counts where the Monte Carlo can tell: with three standard errors within that fifth, or an error further
    beyond it than three. Others are passed over; NaN where none holds before the first that does not.
    """
    return {f"{name} twin holds to": _holds_to(rows) for name, rows in table.groupby("corruption", sort=False)}


def _holds_to(rows: pd.DataFrame) -> float:
    error, unsure = rows["second-order error"], SEEN * rows["relative noise"]
    known = unsure <= HOLDS
    broken = (error - unsure > HOLDS) | (known & (error > HOLDS))
    held = rows["strength"][known & (error <= HOLDS) & ~broken.cummax()]
    return float(held.max()) if len(held) else np.nan


def draw(table: pd.DataFrame, axes: Any = None) -> Figure:
    """Increment and prediction of every corruption against its strength, and the error of the second order beneath."""
    return deterministic_twin_figure(table, axes)
