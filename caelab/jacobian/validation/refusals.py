"""Refusal of encoders that have no Jacobian per example, or none that could be right."""

from __future__ import annotations

from operator import index
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.utils import parametrizations
from torch.nn.utils.spectral_norm import SpectralNorm

from caelab.errors import CaelabError
from caelab.jacobian.context import innermost

BATCH_NORM = nn.modules.batchnorm._BatchNorm
_DROPOUT = nn.modules.dropout._DropoutNd
_EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
_FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def refuse_inputs(inputs: Any, encode: Any = None) -> None:
    """Refuse what is no batch of floating-point examples, and a mode in which nothing can be differentiated.

    Raises:
        CaelabError: not a tensor, integers, or no examples; or torch's inference mode is on.
    """
    if torch.is_inference_mode_enabled():
        raise CaelabError("in torch.inference_mode() nothing can be differentiated; use torch.no_grad() instead")
    if not isinstance(inputs, Tensor):
        raise CaelabError(f"expected inputs as a tensor (batch, *input), but {type(inputs).__name__} came; convert it")
    if inputs.layout is not torch.strided or inputs.is_nested:
        kind = "nested" if inputs.is_nested else str(inputs.layout)
        raise CaelabError(f"a Jacobian needs inputs in a dense tensor, but {kind} came; call .to_dense() on it")
    if inputs.dtype not in _FLOATING:
        raise CaelabError(
            f"a Jacobian needs inputs that are floating-point, but {inputs.dtype} came; {_remedy(inputs, encode)}"
        )
    if inputs.ndim < 2 or inputs.numel() == 0:
        what = "entry of each" if inputs.ndim > 1 and len(inputs) else "example"
        raise CaelabError(
            f"expected a batch of inputs (batch, *input) with at least one {what}, but shape {tuple(inputs.shape)} "
            "came; add a batch axis with inputs[None]"
        )


def _remedy(inputs: Tensor, encode: Any) -> str:
    if inputs.is_complex():
        return "give real and imaginary parts as entries, with torch.view_as_real"
    if inputs.is_floating_point():
        return "convert them with .float()"
    if isinstance(encode, nn.Module) and any(isinstance(module, _EMBEDDINGS) for module in encode.modules()):
        return (
            "tokens that an embedding looks up have no derivative, so embed them first and ask at the embedding, as "
            "jacobian(rest, embedding(tokens))"
        )
    return "convert numbers, as pixels, with .float(); of tokens ask at their embedding, as jacobian(rest, embedded)"


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
    """Refuse a module that couples the examples of a batch, or that gives something else with every call.

    Raises:
        CaelabError: batch normalisation that uses the batch, or dropout or a power iteration that are on.
    """
    where = f"{name} ({type(module).__name__})"
    if isinstance(module, BATCH_NORM) and (module.training or module.running_mean is None):
        raise CaelabError(
            f"{where} normalises by the batch, so no Jacobian per example exists; call .eval() on it, "
            "or use nn.LayerNorm or nn.GroupNorm instead"
        )
    if isinstance(module, _DROPOUT) and module.training and module.p > 0:
        raise CaelabError(
            f"{where} drops units at random, so the Jacobian would change with every call; call .eval() on it, "
            "or corrupt the input with a plugin instead"
        )
    if module.training and getattr(type(module), "couples_in_training", False):
        raise CaelabError(
            f"{where} chooses the active units of an example by the whole batch in training mode, so no Jacobian per "
            "example exists; call .eval() on it, or use caelab.TopK"
        )


def refuse_power_iterations(encode: Any) -> None:
    """Refuse spectral normalisation in training mode; looked for before any layer is asked for its weight.

    Raises:
        CaelabError: a module whose weight is another one each time that it is looked at.
    """
    for name, module in encode.named_modules() if isinstance(encode, nn.Module) else ():
        if module.training and _iterates(module):
            raise CaelabError(
                f"spectral normalisation at {name or name_of(encode)} takes a step of its power iteration whenever the "
                "weight is used in training mode, so the weight and the Jacobian change with every call; "
                "call .eval() on it"
            )


def _iterates(module: nn.Module) -> bool:
    own = isinstance(module, parametrizations._SpectralNorm) and "_u" in module._buffers
    return own or any(isinstance(hook, SpectralNorm) for hook in module._forward_pre_hooks.values())


def dependent(encode: Any, reason: str, remedy: str) -> CaelabError:
    """The sentence for an output at one example that depends on something else."""
    return CaelabError(
        f"the output of {name_of(encode)} at one example {reason}, so no Jacobian per example exists; call .eval(), "
        f"or {remedy}"
    )


def refuse_output(encode: Any, inputs: Tensor, code: Any) -> None:
    """Refuse an output that is no code of every example.

    Raises:
        CaelabError: no tensor (batch, *code) of floating-point numbers, or one without a unit.
    """
    name = name_of(encode)
    if not isinstance(code, Tensor) or code.ndim < 1 or len(code) != len(inputs):
        shape = tuple(code.shape) if isinstance(code, Tensor) else type(code).__name__
        mean = "; return a tensor of it, as its .mean" if isinstance(code, Distribution) else ""
        raise CaelabError(
            f"{name} maps inputs {tuple(inputs.shape)} to {shape}; "
            f"expected an output (batch, *code), example by example{mean}"
        )
    if not code.is_floating_point():
        raise CaelabError(f"{name} returns {code.dtype}, which has no derivative; return floating-point codes")
    if code.numel() == 0:
        raise CaelabError(
            f"{name} maps inputs {tuple(inputs.shape)} to {tuple(code.shape)}, a code without units, which has no "
            "Jacobian; expected at least one unit"
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
    """The name of an encoder as messages use it."""
    encode = innermost(encode)
    return type(encode).__name__ if isinstance(encode, nn.Module) else str(getattr(encode, "__name__", encode))
