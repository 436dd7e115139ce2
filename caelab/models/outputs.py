"""What a reconstruction error looks at, as one map of the input that the Jacobian service can look into."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from torch import Tensor, nn

from caelab.models.autoencoder import Autoencoder


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
