"""The contraction curve: ‖f(x1) - f(x0)‖ / ‖x1 - x0‖ as a function of the radius ‖x1 - x0‖ (Rifai et al. 2011).

At radius 0 the ratio is ‖J_f(x0) u‖, what a penalty on the Jacobian sees. A curve that rises from there to a bump
before it must fall belongs to an encoder that contracts near the data more than between them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from pydantic import AfterValidator
from pydantic_core import PydanticCustomError
from torch import Tensor

from caelab.analysis.columns import Column
from caelab.errors import CaelabError
from caelab.jacobian.service import jacobian
from caelab.options import Count
from caelab.runs.run import Run
from caelab.streams import Streams
from caelab_analyses.contraction_curve.figure import contraction_figure
from caelab_analyses.shared.contraction_ratios import contraction_ratios
from caelab_analyses.shared.float64 import double_encoder

RANDOM, OTHERS, NEAREST = "random", "other examples", "nearest example"
TANGENTS, ORTHOGONAL = "tangents", "orthogonal to tangents"

SAME = 1e-6  # of the longest input: examples nearer than this are copies, with no direction from one to the other
BUMP = 1.005  # times the value at 0: below it the curve is flat to within the noise of its directions
NEAR = 1.0  # radius at which the direction of the nearest example is compared with random ones

Encode = Callable[[Tensor], Tensor]

title = "The contraction curve"
caption = (
    "How far apart two codes are for inputs at distance r, divided by r. At r → 0 it is the Jacobian. Shape: "
    "against the curve's own start; one that rises first contracts more near the data than between them. Level: "
    "against the ratio between examples; below 1 that direction is contracted more than the way to other data."
)
default = True
columns = (
    Column(name="bump height", heading="bump\nheight", table="contraction"),
    Column(name="bump radius", heading="bump\nradius", table="contraction"),
    Column(name="nearest-to-random ratio", heading="toward neighbour\n/ random", table="contraction"),
)


def _checked(radii: Sequence[float]) -> Sequence[float]:
    if not radii or not all(math.isfinite(radius) and radius >= 0 for radius in radii):
        raise PydanticCustomError("radii", "expected at least one radius, each finite and at least 0")
    return radii


Radii = Annotated[tuple[float, ...], AfterValidator(_checked)]
DEFAULT_RADII = (0.25, 0.5, 1, 1.5, 2, 3, 4, 6, 8, 11, 15, 20, 25, 30, 40, 50, 60)


def measure(
    run: Run,
    streams: Streams,
    *,
    examples: Count = 100,
    directions: Count = 8,
    tangents: Count = 5,
    radii: Radii = DEFAULT_RADII,
) -> pd.DataFrame:
    """Contraction ratios ‖f(x + r u) - f(x)‖ / r around validation examples x, in float64; u of length 1.

    Kinds of direction, the same ones at every radius:

    * ``random``: uniform on the sphere, drawn anew for each x. (With one set for all x, the part that a few
      directions happen to have along common tangents moved a bump by 0.04; with their own, by 0.003.)
    * ``other examples``: toward training examples drawn at random for each x;
    * ``nearest example``: toward the nearest training example;
    * ``tangents``: along the leading right singular vectors of J_f(x), both ways, since their signs are arbitrary;
    * ``orthogonal to tangents``: the random ones without their part in the span of the tangents.

    Args:
        run: the trained model and its data.
        streams: draws the directions.
        examples: how many validation examples, the first ones.
        directions: how many random directions, and how many other examples, for each x.
        tangents: how many of them, or as many as there are.
        radii: r, in units of the input; 0, the limit ‖J_f(x) u‖, is always among them.

    Returns:
        One row per ``kind`` and ``radius``: the ``ratio``, mean over directions and examples; ``relative to zero``,
        the ratio over that at radius 0 of its kind; ``relative to data``, the ratio over the mean of
        ‖f(a) - f(b)‖ / ‖a - b‖ over all pairs of the examples, ``data ratio``; and the mean of ‖a - b‖ over these
        pairs, ``mean distance``, and of the distance to the nearest training example, ``nearest distance``. Copies of
        an example do not count. Where the tangents span the input space nothing is orthogonal to them.

    Raises:
        CaelabError: fewer than two distinct examples.
    """
    encode = double_encoder(run)
    inputs, among = run.dataset.valid_inputs[:examples].double(), run.dataset.train_inputs.double()
    reached = torch.tensor(sorted({0.0, *radii}), dtype=torch.float64)
    distance, ratio = between_examples(encode, inputs)
    nearest, nearest_distance = _toward_nearest(inputs, among)
    random = sphere((len(inputs), directions, inputs.shape[1]), streams["contraction directions"])
    leading = leading_tangents(encode, inputs, tangents)
    kinds = {
        RANDOM: random,
        OTHERS: toward_others(inputs, among, directions, streams["contraction examples"]),
        NEAREST: nearest,
        TANGENTS: torch.cat([leading, -leading], dim=1),
        ORTHOGONAL: without_span(random, leading) if leading.shape[1] < inputs.shape[1] else None,
    }
    curves = {
        kind: contraction_ratios(encode, inputs, toward, reached).mean(dim=(1, 2))
        for kind, toward in kinds.items()
        if toward is not None
    }
    return _tidy(curves, reached, ratio).assign(**{"mean distance": distance, "nearest distance": nearest_distance})


def sphere(shape: tuple[int, ...], stream: torch.Generator) -> Tensor:
    """Directions drawn uniformly from the unit sphere, shape (..., d)."""
    return unit(torch.randn(shape, generator=stream, dtype=torch.float64))


def unit(vectors: Tensor) -> Tensor:
    """Vectors scaled to length 1 along their last axis."""
    return torch.nn.functional.normalize(vectors, dim=-1)


def leading_tangents(encode: Encode, inputs: Tensor, count: int) -> Tensor:
    """The leading right singular vectors of J_f(x), shape (batch, k, d), k = min(count, m, d).

    Their span to a sine of 2e-2, which moves the mean along them by less than 1e-3 of itself.
    """
    here = jacobian(encode, inputs)
    return here.tangents(min(count, *here.shape), "fast")[1]


def without_span(directions: Tensor, tangents: Tensor) -> Tensor:
    """Directions without their part in the span of orthonormal tangents, of length 1 again, shape (batch, count, d)."""
    return unit(directions - directions @ tangents.mT @ tangents)


def distances(first: Tensor, second: Tensor) -> Tensor:
    """‖a - b‖, shape (first, second); NaN between copies of one example."""
    found = torch.cdist(first, second)
    return found.where(found > SAME * first.norm(dim=1).max(), torch.nan)


def between_examples(encode: Encode, inputs: Tensor) -> tuple[float, float]:
    """Mean of ‖a - b‖ and mean of ‖f(a) - f(b)‖ / ‖a - b‖ over all pairs of distinct examples.

    Raises:
        CaelabError: there is no such pair.
    """
    apart = distances(inputs, inputs)
    if apart.isnan().all():
        raise CaelabError(
            f"a contraction curve needs two distinct validation examples, but {len(inputs)} came without; "
            "give more examples"
        )
    with torch.no_grad():
        code = encode(inputs).flatten(1)
    return float(apart.nanmean()), float((torch.cdist(code, code) / apart).nanmean())


def _toward_nearest(inputs: Tensor, among: Tensor) -> tuple[Tensor, float]:
    """The direction to the nearest other example, shape (batch, 1, d), and the mean of its distance."""
    nearest = distances(inputs, among).nan_to_num(torch.inf).min(dim=1)
    return unit(among[nearest.indices] - inputs)[:, None], float(nearest.values.mean())


def toward_others(inputs: Tensor, among: Tensor, count: int, stream: torch.Generator) -> Tensor:
    """Directions to other examples, drawn for each example without replacement, shape (batch, count, d)."""
    others = (~distances(inputs, among).isnan()).double()
    count = min(count, int(others.sum(dim=1).min()))
    chosen = torch.multinomial(others, count, generator=stream)
    return unit(among[chosen] - inputs[:, None])


def _tidy(curves: dict[str, Tensor], radii: Tensor, data_ratio: float) -> pd.DataFrame:
    parts = [
        pd.DataFrame(
            {
                "kind": kind,
                "radius": radii.numpy(),
                "ratio": ratios.numpy(),
                "relative to zero": (ratios / ratios[0]).numpy(),
                "relative to data": (ratios / data_ratio).numpy(),
            }
        )
        for kind, ratios in curves.items()
    ]
    return pd.concat(parts, ignore_index=True).assign(**{"data ratio": data_ratio})


def summarise(table: pd.DataFrame) -> dict[str, float]:
    """How high the curve of random directions rises over its value at 0 and where, and how much more the encoder
    responds toward the nearest example than in random directions at radius 1.

    A curve that only falls has height 1 and no bump, so no radius (NaN); so has one whose height is below 1.005.
    """
    random, nearest = (table[table["kind"] == kind].set_index("radius") for kind in (RANDOM, NEAREST))
    height = random["relative to zero"].max()
    near = NEAR in random.index
    return {
        "bump height": height,
        "bump radius": float(random.index[int(random["relative to zero"].argmax())]) if height >= BUMP else np.nan,
        "nearest-to-random ratio": nearest["ratio"][NEAR] / random["ratio"][NEAR] if near else np.nan,
    }


def draw(table: pd.DataFrame, axes: Any = None) -> Figure:
    """Random directions by shape and level, the other kinds by level; bands are intervals over seeds."""
    return contraction_figure(table, axes)
