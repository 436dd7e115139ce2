"""Similarity of the codes of two encoders by linear CKA, which ignores the order and the rotation of units.

Centred kernel alignment with linear kernels (Kornblith et al. 2019, ICML, equation 3 and section 3)::

    CKA(A, B) = ‖Bᵀ A‖_F² / (‖Aᵀ A‖_F ‖Bᵀ B‖_F)

with A (examples, units of the one) and B (examples, units of the other), each column without its mean. It is 1 where
one code is a rotation and scaling of the other, and 0 where no unit of one correlates with a unit of the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from caelab import Column, NotApplicable
from caelab.options import Count
from caelab.runs.run import Run
from caelab.streams import Streams
from caelab_analyses.code_similarity.figure import similarity_figure

title = "Similarity of codes"
caption = (
    "Each cell compares the codes of two models by linear CKA on the same validation examples, mean over all pairs of "
    "seeds: 1 means one code up to rotation and scale, 0 that they have nothing in common. The diagonal compares "
    "seeds of one model; a model that differs more from others than from its own seeds has learned a code of its own."
)
columns = (
    Column(name="CKA between seeds", heading="CKA with\nits other seeds", optional=True),
    Column(name="CKA with other models", heading="CKA with\nother models", optional=True),
)


def compare(runs: Sequence[Run], streams: Streams, *, examples: Count = 500) -> pd.DataFrame:
    """Linear CKA of the codes of every two runs on the validation examples of the run with the smallest seed.

    All runs see the same examples, so that their codes can be compared. In the splits of another seed some of these may
    be training examples.

    Args:
        runs: models and seeds on data of one shape.
        streams: not used; nothing here is random.
        examples: how many validation examples, the first ones.

    Returns:
        One row per ordered pair of runs: ``model`` and ``seed`` of the one, ``other model`` and ``other seed``, and
        ``similarity`` in [0, 1]; NaN where a code is constant.

    Raises:
        NotApplicable: there is one run only, or the data differ.
    """
    if len(runs) < 2:
        raise NotApplicable("codes are compared between runs, but there is one run only")
    if len({(run.dataset.name, tuple(run.dataset.inputs.shape)) for run in runs}) > 1:
        raise NotApplicable("codes are compared on the same examples, but the runs have different data")
    first = min(runs, key=lambda run: run.seed)
    inputs = first.dataset.valid_inputs[:examples]
    similarities = similarity_matrix([run.encode(inputs).flatten(1).double() for run in runs]).tolist()
    rows = [
        (one.label, one.seed, other.label, other.seed, similarity)
        for one, of_one in zip(runs, similarities, strict=True)
        for other, similarity in zip(runs, of_one, strict=True)
    ]
    return pd.DataFrame(rows, columns=["model", "seed", "other model", "other seed", "similarity"])


def similarity_matrix(codes: Sequence[Tensor]) -> Tensor:
    """‖Bᵀ A‖_F² / (‖Aᵀ A‖_F ‖Bᵀ B‖_F) for every two codes; differentiable.

    Kornblith et al. (2019), ICML, section 3.

    Args:
        codes: each of shape (examples, units), of the same examples; the number of units may differ.

    Returns:
        Shape (codes, codes), symmetric, in [0, 1]; NaN where a code is constant.
    """
    spread = [centred(code) for code in codes]
    aligned = torch.eye(len(codes), dtype=codes[0].dtype)
    for i, j in combinations_with_replacement(range(len(codes)), 2):
        aligned[i, j] = aligned[j, i] = (spread[j].T @ spread[i]).square().sum()
    sizes = aligned.diagonal().sqrt()
    return aligned / sizes.outer(sizes)


def centred(code: Tensor) -> Tensor:
    """A code whose units have the mean 0 over the examples, shape (examples, units)."""
    return code - code.mean(dim=0)


def summarise(table: pd.DataFrame) -> dict[str, float]:
    """Of one run, the mean similarity to other seeds of its model, and to other models; what there is of both."""
    model, seed = table["model"].iloc[0], table["seed"].iloc[0]
    own = table["other model"] == model
    parts = {
        "CKA between seeds": table[own & (table["other seed"] != seed)],
        "CKA with other models": table[~own],
    }
    return {name: float(rows["similarity"].mean()) for name, rows in parts.items() if len(rows)}


def draw(table: pd.DataFrame, axes: Any = None) -> Figure:
    """Every model against every model: the mean over pairs of seeds, as colour and number."""
    return similarity_figure(table, axes)
