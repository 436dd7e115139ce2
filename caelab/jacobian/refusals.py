"""What has no Jacobian per example, or none that could be right, is refused before anything is computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from caelab.errors import CaelabError

BATCH_NORM = nn.modules.batchnorm._BatchNorm
DROPOUT = nn.modules.dropout._DropoutNd


def refuse_inputs(inputs: Any) -> None:
    """Refuse what is no batch of floating-point examples.

    Raises:
        CaelabError: not a tensor, integers, or no examples.
    """
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


def refuse_modules(encode: Any) -> None:
    """Refuse modules that couple the examples of a batch, or that draw numbers.

    Raises:
        CaelabError: batch normalisation that uses the batch, or dropout that is on.
    """
    if not isinstance(encode, nn.Module):
        return
    for name, module in encode.named_modules():
        where = f"{name or 'the encoder'} ({type(module).__name__})"
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


@torch.no_grad()
def refuse_mixing(encode: Callable[[Tensor], Tensor], inputs: Tensor) -> None:
    """Refuse a map whose output at one example depends on the others, or on chance, seen in two passes.

    Both passes hold the same first example; the second example differs.

    Raises:
        CaelabError: the first example's outputs differ, or the output has no batch axis or is not floating-point.
    """
    name = name_of(encode)
    pair = torch.stack([inputs[0], inputs[-1]]) if len(inputs) > 1 else torch.cat([inputs, inputs])
    first = encode(pair)
    if not isinstance(first, Tensor) or first.ndim < 2 or len(first) != len(pair):
        shape = tuple(first.shape) if isinstance(first, Tensor) else type(first).__name__
        raise CaelabError(
            f"{name} maps inputs {tuple(pair.shape)} to {shape}; expected an output (batch, *code), example by example"
        )
    if not first.is_floating_point():
        raise CaelabError(f"{name} returns {first.dtype}, which has no derivative; return floating-point codes")
    other = torch.stack([pair[0], 1 - 2 * pair[1]])
    if not torch.equal(encode(other)[0], first[0]):
        reason = (
            "depends on chance" if not torch.equal(encode(pair), first) else "depends on the batch's other examples"
        )
        raise CaelabError(
            f"the output of {name} at one example {reason}, so no Jacobian per example exists; call .eval(), "
            "or find the layer that normalises over the batch or draws numbers"
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


def name_of(encode: Any) -> str:
    """What a message calls an encoder."""
    return type(encode).__name__ if isinstance(encode, nn.Module) else str(getattr(encode, "__name__", encode))
