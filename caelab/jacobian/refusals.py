"""What has no Jacobian per example, or none that could be right, is refused before anything is computed."""

from __future__ import annotations

from operator import index
from typing import Any

import torch
from torch import Tensor, nn

from caelab.errors import CaelabError
from caelab.jacobian.context import innermost

BATCH_NORM = nn.modules.batchnorm._BatchNorm
DROPOUT = nn.modules.dropout._DropoutNd


def refuse_inputs(inputs: Any) -> None:
    """Refuse what is no batch of floating-point examples, and a mode in which nothing can be differentiated.

    Raises:
        CaelabError: not a tensor, integers, or no examples; or torch's inference mode is on.
    """
    if torch.is_inference_mode_enabled():
        raise CaelabError("in torch.inference_mode() nothing can be differentiated; use torch.no_grad() instead")
    if not isinstance(inputs, Tensor):
        raise CaelabError(f"expected inputs as a tensor (batch, *input), but {type(inputs).__name__} came; convert it")
    if not inputs.is_floating_point():
        raise CaelabError(
            f"a Jacobian needs inputs that are floating-point, but {inputs.dtype} came; convert them with .float()"
        )
    if inputs.ndim < 2 or len(inputs) == 0:
        raise CaelabError(
            f"expected a batch of inputs (batch, *input) with at least one example, but shape {tuple(inputs.shape)} "
            "came; add a batch axis with inputs[None]"
        )


def whole_number(value: Any) -> int | None:
    """The number where it is a whole one, of Python, numpy or torch; nothing otherwise, for a truth value too."""
    try:
        return None if isinstance(value, bool) else index(value)
    except (TypeError, ValueError):
        return None


def refuse_modules(encode: Any) -> None:
    """Refuse modules that couple the examples of a batch, or that draw numbers.

    Raises:
        CaelabError: batch normalisation that uses the batch, or dropout that is on.
    """
    if not isinstance(encode, nn.Module):
        return
    for name, module in encode.named_modules():
        refuse_module(module, name or "the encoder")


def refuse_module(module: nn.Module, name: str = "a layer") -> None:
    """Refuse one module, as ``refuse_modules`` does."""
    where = f"{name} ({type(module).__name__})"
    if isinstance(module, BATCH_NORM) and (module.training or module.running_mean is None):
        raise CaelabError(
            f"{where} normalises by the batch, so no Jacobian per example exists; call .eval() on it, "
            "or use nn.LayerNorm or nn.GroupNorm instead"
        )
    if isinstance(module, DROPOUT) and module.training and module.p > 0:
        raise CaelabError(
            f"{where} drops units at random, so the Jacobian would change with every call; call .eval() on it, "
            "or corrupt the input with a plugin instead"
        )


def refuse_untrainable(encode: Any) -> None:
    """Refuse to promise a gradient where nothing can take it.

    Raises:
        CaelabError: no parameter of the module asks for a gradient.
    """
    if isinstance(encode, nn.Module) and not any(p.requires_grad for p in encode.parameters()):
        count = sum(1 for _ in encode.parameters())
        state = f"its {count} parameters are all frozen" if count else "it has no parameters"
        raise CaelabError(
            f"a gradient with respect to the parameters of {name_of(encode)} was asked for, but {state}; "
            "set requires_grad_(True), or ask without gradients=True"
        )


def refuse_no_gradient(encode: Any) -> None:
    """Refuse to promise a gradient of a function whose output has none.

    Raises:
        CaelabError: always.
    """
    raise CaelabError(
        f"a gradient with respect to the parameters of {name_of(encode)} was asked for, but its output depends on no "
        "tensor that requires one; set requires_grad_(True), or ask without gradients=True"
    )


def name_of(encode: Any) -> str:
    """What a message calls an encoder."""
    encode = innermost(encode)
    return type(encode).__name__ if isinstance(encode, nn.Module) else str(getattr(encode, "__name__", encode))
