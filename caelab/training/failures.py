"""Errors of training steps: the sentence that says which plugin or setting is at fault, and what to do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from caelab.errors import CaelabError
from caelab.models.adapted import Adapted
from caelab.process.exits import how
from caelab.training.watch import Watch


def nothing_to_train(model: nn.Module) -> CaelabError:
    """The sentence for a loss that has no gradient."""
    return CaelabError(
        f"the loss of {type(getattr(model, 'inner', model)).__name__} depends on none of its trainable parameters, so "
        "nothing can be trained; let encode and decode compute without detach() and torch.no_grad()"
    )


def refuse_nonfinite(values: dict[str, Any], epoch: int, step: int, model: nn.Module) -> None:
    """Stop a run at the first term that is not a number.

    Raises:
        CaelabError: names the term, the epoch and the step.
    """
    for name, value in values.items():
        if math.isfinite(value):
            continue
        if not all(torch.isfinite(p).all() for p in model.parameters()):
            raise CaelabError(
                f"the weights became NaN or infinite before epoch {epoch}, step {step}: a term of the loss was finite, "
                "but its gradient was not, as that of a square root or a norm at zero, or the step was too large; look "
                "at the terms of this run, or lower training.learning_rate"
            )
        raise CaelabError(
            f"the term {name!r} became {value} at epoch {epoch}, step {step}; lower training.learning_rate or "
            "the weight of that term, and check the data"
        )


def step_failed(model: nn.Module, epoch: int, step: int, error: BaseException) -> BaseException:
    """The sentence for a user's model that fails in the middle of training; of caelab's own the error itself."""
    if type(model).__module__.startswith("caelab.") and not isinstance(model, Adapted):
        return error
    said = (
        f"ends the whole program with {how(error)}"
        if isinstance(error, SystemExit)
        else f"{type(error).__name__}: {error}"
    )
    name = type(getattr(model, "inner", model)).__name__
    return CaelabError(f"the model {name} failed in training at epoch {epoch}, step {step}: {' '.join(said.split())}")


def no_gradient(terms: Mapping[str, Tensor], watch: Watch, epoch: int, error: Exception) -> CaelabError:
    """The sentence for a backward pass that fails, with the name of the plugin by whose term it does."""
    said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    if watch.ran_backward:
        return CaelabError(
            f"plugin {watch.ran_backward!r} in penalty_terms at epoch {epoch} calls backward(), which frees what the "
            f"other terms need for theirs ({said}); use torch.autograd.grad(..., retain_graph=True), and return the "
            "term"
        )
    parameters = [p for p in watch.parameters if p.requires_grad]
    for name, term in terms.items():
        if name in watch.owners:
            try:
                torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
            except Exception as own:
                if str(own) == str(error):  # another term may only miss what the failure freed
                    return CaelabError(
                        f"plugin {watch.owners[name]!r} answers penalty_terms at epoch {epoch} with the term {name!r}, "
                        f"whose gradient cannot be computed ({said}); use operations that torch differentiates, and "
                        "change nothing in place"
                    )
    return CaelabError(f"the gradient of the loss cannot be computed at epoch {epoch} ({said})")
