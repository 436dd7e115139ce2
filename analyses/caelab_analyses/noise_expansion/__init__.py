"""Denoising error compared with its second-order expansion: E L(x, r(x + ε)), ε ~ N(0, σ² I), and three predictions.

They are the full expansion, its Gauss-Newton part, and the contractive penalty σ² ‖J_f‖_F² on the encoder alone (Bishop
1995; Rifai et al. 2011). What the full expansion leaves is of order σ⁴.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from pydantic import AfterValidator
from pydantic_core import PydanticCustomError
from torch import Tensor

from caelab.analysis.columns import Column
from caelab.errors import NotApplicable
from caelab.models.reconstruction import check_objective
from caelab.options import Count, Positive
from caelab.runs.run import Run
from caelab.streams import Streams
from caelab_analyses.noise_expansion.expansions import Draws, encoder_term, expansion, monte_carlo
from caelab_analyses.noise_expansion.figure import expansion_figure

FULL, GAUSS_NEWTON, ENCODER = "full expansion", "Gauss-Newton", "encoder only"
FITTED = 3  # noise levels, the smallest: at larger ones the orders after the next count too
SEEN = 3.0  # standard errors that a difference has to exceed, to be fitted
ROUNDING = 1e-9  # of the increment

Numbers = NDArray[np.float64]

title = "Denoising against its expansion"
caption = (
    "Left, what denoising adds to the loss, divided by the full second-order expansion, against the noise level: "
    "1 is exact. Right, the relative error of each prediction; below its own noise an error is unknown."
)
columns = (
    Column(name="remainder order", heading="order of what\nthe expansion leaves"),
    Column(
        name="relative error at smallest sigma",
        heading="error of the expansion\nat the smallest σ (%)",
        factor=100,
        better="smaller",
    ),
    Column(
        name="Gauss-Newton error at smallest sigma",
        heading="error of Gauss-Newton\nat the smallest σ (%)",
        factor=100,
        better="smaller",
    ),
)


def _checked(sigmas: Sequence[float]) -> Sequence[float]:
    if not sigmas or len(set(sigmas)) < len(sigmas):
        raise PydanticCustomError("sigmas", "expected at least one noise level, each above 0 and each once")
    return sigmas


Sigmas = Annotated[tuple[Positive, ...], AfterValidator(_checked)]
DEFAULT_SIGMAS = (0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)


def measure(
    run: Run,
    streams: Streams,
    *,
    sigmas: Sigmas = DEFAULT_SIGMAS,
    examples: Count = 20,
    samples: Annotated[Count, AfterValidator(lambda count: max(count, 2))] = 200,
    loss: Literal["as trained", "squared-error", "cross-entropy"] = "as trained",
) -> pd.DataFrame:
    """E L(x, r(x + ε)) - L(x, r(x)), mean over validation examples x, against its predictions; in float64.

    Args:
        run: the trained model and its data.
        streams: draws the noise.
        sigmas: σ, in units of the input.
        examples: how many validation examples, the first ones.
        samples: antithetic pairs ±σu for each example, the same u at every σ; at least 2.
        loss: L; the one that the run was trained on, or another.

    Returns:
        One row per ``sigma`` and ``term`` (full expansion, Gauss-Newton, encoder only): the ``increment`` with its
        standard error over the draws, ``increment error``; the ``prediction``; their ``difference`` with its standard
        error, ``noise``; ``relative error`` and ``relative noise``, both over the increment; ``remainder order`` and
        ``relative order``, the log-log slopes in σ of difference and relative error at the three smallest σ where these
        stand out of the noise; ``loss``; ``method``, exact or estimated. The quadratic form of each draw is the
        increment's control variate (see ``monte_carlo``). Where the coefficients are estimated, because the input is
        too wide, they come from the same draws (Hutchinson 1989).

    Raises:
        NotApplicable: an encoder without a decoder.
        CaelabError: cross-entropy where it has no meaning.
    """
    if not hasattr(run.model, "decode"):
        raise NotApplicable("a noise expansion needs a reconstruction, but the model can only encode")
    kind = run.config.training.reconstruction if loss == "as trained" else loss
    inputs = run.dataset.valid_inputs[:examples].double()
    check_objective(kind, run.model, inputs)
    model = deepcopy(run.model).double().eval()
    draws = monte_carlo(model, kind, inputs, sigmas, samples, streams["noise expansion"])
    with torch.no_grad():
        return _table(model, kind, inputs, sigmas, draws)


def _table(model: Any, kind: str, inputs: Tensor, sigmas: Sequence[float], draws: Draws) -> pd.DataFrame:
    exact = expansion(model, kind, inputs)
    nothing = torch.zeros_like(draws.full)
    forms = {FULL: draws.full, GAUSS_NEWTON: draws.gauss_newton, ENCODER: nothing}
    known = {
        FULL: exact.full if exact else draws.full.mean(dim=1),
        GAUSS_NEWTON: exact.gauss_newton if exact else draws.gauss_newton.mean(dim=1),
        ENCODER: encoder_term(model, inputs),
    }
    controls = dict.fromkeys(forms, draws.full) if exact else forms
    increments, errors = _increments(draws, sigmas, known[FULL], exact is not None)
    parts = []
    for term, coefficients in known.items():
        prediction = np.square(sigmas) * float(coefficients.mean())
        rest = draws.increments - squares(sigmas) * controls[term]
        part = {"sigma": sigmas, "term": term, "increment": increments, "increment error": errors}
        parts.append(compared(pd.DataFrame(part).assign(prediction=prediction, noise=standard_errors(rest))))
    return pd.concat(parts, ignore_index=True).assign(loss=kind, method="exact" if exact else "estimated")


def squares(sigmas: Sequence[float]) -> Tensor:
    """σ², shape (sigmas, 1, 1), against draws (sigmas, examples, samples)."""
    return torch.tensor(sigmas, dtype=torch.float64).square()[:, None, None]


def _increments(draws: Draws, sigmas: Sequence[float], mean: Tensor, controlled: bool) -> tuple[Numbers, Numbers]:
    """Mean increments and their standard errors, with each draw's quadratic form, if its mean is known, as control."""
    rest = draws.increments - controlled * squares(sigmas) * (draws.full - mean[:, None])
    return rest.mean(dim=(1, 2)).numpy(), standard_errors(rest)


def standard_errors(values: Tensor) -> Numbers:
    """Of the mean over fixed examples and random samples, values (sigmas, examples, samples), shape (sigmas,)."""
    of_example = values.var(dim=2) / values.shape[2]
    return (of_example.sum(dim=1).sqrt() / values.shape[1]).numpy()


def compared(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of one term with its differences, relative errors and orders."""
    difference = table["increment"] - table["prediction"]
    relative, noise = (column.abs() / table["increment"].abs() for column in (difference, table["noise"]))
    seen = table["sigma"][(relative > SEEN * noise) & (relative > ROUNDING)]
    fitted = seen.nsmallest(FITTED)
    columns: dict[str, Any] = {
        "difference": difference,
        "relative error": relative,
        "relative noise": noise,
        "remainder order": order(fitted, difference[fitted.index].abs()),
        "relative order": order(fitted, relative[fitted.index]),
    }
    return table.assign(**columns)


def order(sigmas: Any, errors: Any) -> float:
    """The exponent n of errors ∝ σⁿ: the least-squares slope of log error against log σ; NaN for fewer than two."""
    if len(sigmas) < 2:
        return np.nan
    return float(np.polyfit(np.log(sigmas), np.log(errors), 1)[0])


def summarise(table: pd.DataFrame) -> dict[str, float]:
    """The order of what the full expansion leaves, its error at the smallest σ, and that of Gauss-Newton there."""
    smallest = table[table["sigma"] == table["sigma"].min()].set_index("term")
    return {
        "remainder order": smallest["remainder order"][FULL],
        "relative error at smallest sigma": smallest["relative error"][FULL],
        "Gauss-Newton error at smallest sigma": smallest["relative error"][GAUSS_NEWTON],
    }


def draw(table: pd.DataFrame, axes: Any = None) -> Figure:
    """Increments by Monte Carlo over the full expansion, and the relative error of each prediction over its noise."""
    return expansion_figure(table, axes)
