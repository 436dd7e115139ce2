"""The reconstruction error, summed over inputs, one number per example, and the map of the input that it is of."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caelab.errors import CaelabError
from caelab.models.autoencoder import Autoencoder
from caelab.models.ranges import last_step, range_of

log = logging.getLogger(__name__)

NEAR = 0.1  # of the data's range


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """-Σ_i x_i log s(a_i) + (1 - x_i) log(1 - s(a_i)), from logits a, so that nothing overflows.

    Args:
        logits: a, shape (batch, input).
        targets: x in [0, 1], shape (batch, input).

    Returns:
        Sum over inputs, shape (batch,). Rifai et al. (2011), section 2.1.
    """
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(dim=1)


def squared_error(reconstruction: Tensor, targets: Tensor) -> Tensor:
    """Σ_i (r_i - x_i)², without a factor ½; sum over inputs, shape (batch,)."""
    return (reconstruction - targets).square().sum(dim=1)


def reconstruction_error(kind: str, model: Any, code: Tensor, targets: Tensor) -> Tensor:
    """Error of the reconstruction from a code, shape (batch,); ``kind`` as in the training config."""
    if kind == "cross-entropy":
        return cross_entropy(model.logits(code), targets)
    return squared_error(model.decode(code), targets)


AFTER = {
    "standardise": (
        "after standardise ",
        "leave dataset.standardise out, or use --set dataset.minmax=clip in its place",
    ),
    "minmax": (
        "after minmax, by the ends of the training examples alone, ",
        "set what lies beyond these ends to 0 or 1 by --set dataset.minmax=clip",
    ),
}
"""By scaling, why inputs lie outside [0, 1], and what brings them into it."""


def check_objective(
    kind: str, model: nn.Module, inputs: Tensor, *, settable: bool = False, scaling: str | None = None
) -> None:
    """Refuse data and models on which the reconstruction error has no meaning.

    Args:
        kind: of the reconstruction error, as in the training config.
        model: with ``encode`` and ``decode``.
        inputs: shape (n, d).
        settable: whether a setting says what the model ends in.
        scaling: what the inputs went through, as ``standardise``, which is told where they lie outside [0, 1].

    Raises:
        CaelabError: NaN or infinity in the data; data outside [0, 1] for binary units or under cross-entropy; under
            cross-entropy, a model without ``logits``, or one whose output is not a sigmoid; under squared error, an
            output that cannot come near the data.
    """
    if not torch.stack(inputs.aminmax()).isfinite().all():  # which a NaN reaches, too; it takes no memory
        count = int((~torch.isfinite(inputs)).sum())
        raise CaelabError(f"expected finite inputs, but {count} values are NaN or infinite; remove or impute them")
    low, high = float(inputs.min()), float(inputs.max())
    outside = low < 0 or high > 1
    since, remedy = AFTER.get(scaling or "", ("", "rescale them"))
    if outside and getattr(model, "takes_probabilities", False):
        raise CaelabError(
            f"{type(model).__name__} has binary units and expects inputs in [0, 1], but {since}they lie in "
            f"[{low:.4g}, {high:.4g}]; {remedy}, or compare recipes without it"
        )
    if kind != "cross-entropy":
        _check_range(model, inputs, settable=settable)
        return
    if outside:
        raise CaelabError(
            f"cross-entropy expects inputs in [0, 1], but {since}they lie in [{low:.4g}, {high:.4g}]; {remedy}, "
            f"or use --set training.reconstruction=squared-error{' --set model.output=identity' * settable}"
        )
    if not hasattr(model, "logits"):
        raise CaelabError(
            f"cross-entropy needs a model with logits(code), but {_name(model)} has none; "
            "add it, or use --set training.reconstruction=squared-error"
        )
    output = last_step(getattr(model, "decode", None))
    if output is not None and not isinstance(output, nn.Sigmoid):
        raise CaelabError(
            f"cross-entropy expects a sigmoid output, but the model ends in {type(output).__name__}; "
            f"{_set_output(model, settable, 'sigmoid')}, or use --set training.reconstruction=squared-error"
        )


def _name(model: Any) -> str:
    return type(getattr(model, "inner", model)).__name__


def _set_output(model: Any, settable: bool, output: str) -> str:
    """What a person does for the model to end in something else: a setting, or another last step."""
    if settable:
        return f"use --set model.output={output}"
    return f"let {_name(model)}.decode end in {'a linear layer' if output == 'identity' else output}"


def _check_range(model: Any, inputs: Tensor, *, settable: bool = False) -> None:
    """Refuse an output that cannot reach data beyond it by a tenth of their range; less is only told.

    Raises:
        CaelabError: says in what range the data lie, and in what range every reconstruction.
    """
    (least, most), step = range_of(model, inputs[:2])
    low, high = float(inputs.min()), float(inputs.max())
    beyond = max(least - low, high - most, 0.0)
    told = (
        f"the inputs lie in [{low:.4g}, {high:.4g}], but every reconstruction of {_name(model)} lies in "
        f"[{least:.4g}, {most:.4g}], since it ends in {step}; rescale the inputs, or "
        f"{_set_output(model, settable, 'identity')}"
    )
    if beyond > NEAR * (high - low):
        raise CaelabError(told)
    if beyond > 1e-6 * (high - low):
        log.warning("%s", told)


def output_map(kind: str, model: Any) -> Callable[[Tensor], Tensor]:
    """The logits a(x) under cross-entropy, the reconstruction r(x) under squared error.

    One module where encoder and decoder are modules, so that its layers can be found; otherwise a function.

    Args:
        kind: ``cross-entropy`` or ``squared-error``, as in the training config.
        model: with ``encode`` and ``decode``; under cross-entropy also with ``logits``.

    Returns:
        Maps (batch, input) to (batch, input).
    """
    back = model.logits if kind == "cross-entropy" else model.decode
    if kind == "cross-entropy" and getattr(type(model), "logits", None) is Autoencoder.logits:
        back = model.decode[:-1]
    if isinstance(model.encode, nn.Module) and isinstance(back, nn.Module):
        return nn.Sequential(model.encode, back)
    return lambda inputs: cast(Tensor, back(model.encode(inputs)))
