"""From arrays to arrays, by the model of a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from caelab.models.adapted import dtype_of
from caelab.models.autoencoder import Autoencoder
from caelab.models.identity import copied
from caelab.process.torch_settings import pinned_settings

AT_ONCE = 4096  # examples that are computed together

Array = NDArray[Any]


def model_for(model: Any, values: Array) -> Any:
    """The model, for float64 with its weights widened to float64; a user's own model in the type that it has."""
    return copied(model).double() if values.dtype == np.float64 and isinstance(model, Autoencoder) else model


def mapped(function: Callable[[Tensor], Tensor], model: Any, values: Array) -> Array:
    """What a function of a batch makes of all examples, (n, ...) to (n, ...), in the type of the values.

    Args:
        function: of a batch, example by example.
        model: whose type it computes in.
        values: shape (n, ...).
    """
    inputs = torch.from_numpy(np.array(values, order="C")).to(dtype_of(model))
    with pinned_settings(), torch.no_grad():
        found = torch.cat([function(part) for part in torch.split(inputs, AT_ONCE)])
    return found.numpy().astype(values.dtype, copy=False)
