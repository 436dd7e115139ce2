"""An auxiliary loss for dead units: they learn to reconstruct what the others leave over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from caelab import CaelabError, hookimpl
from caelab.options import Count, Weight
from caelab_regularizers.dead_units import Threshold, dead_units


def before_activation(model: Any, inputs: Tensor) -> Tensor:
    """z, the output of the last step of the encoder that has parameters: the code before its activation, (batch, code).

    Raises:
        CaelabError: the encoder is no chain of steps, or what follows changes the shape.
    """
    return cast(Tensor, _into_code(model)(inputs))


def _into_code(model: Any) -> nn.Sequential:
    encode = getattr(model, "encode", None)
    if isinstance(encode, nn.Sequential):
        places = [k for k, step in enumerate(encode) if next(step.parameters(), None) is not None]
        if places:
            return nn.Sequential(*[*encode][: places[-1] + 1])
    raise CaelabError(
        f"auxiliary-dead needs the code before its activation, but encode of {type(model).__name__} is no "
        "nn.Sequential with a step that has parameters; make it one"
    )


def auxiliary_loss(decode: Any, residual: Tensor, z: Tensor, dead: Tensor, k: int) -> Tensor:
    """Mean over examples of ‖e - ê‖², ê = g(h') - g(0): what the k dead units with the largest z add to the output.

    h'_j = z_j for the k dead units of largest z_j in that example, and 0 for all others; with fewer dead units, for all
    of them. For an affine decoder ê = V h'. Gao et al. (2024), section 2.4. No activation is applied to z: that of
    their codes is the choice of the k largest, and behind ReLU a unit with z_j < 0 for every example has no gradient.

    Args:
        decode: g, maps (batch, code) to (batch, input); its output activation is best left out.
        residual: e, what the model leaves over, shape (batch, input); taken for constant.
        z: the code before its activation, shape (batch, code).
        dead: which units are, boolean, shape (code,); at least one.
        k: how many of them reconstruct.

    Returns:
        Scalar, shape (); differentiable with respect to z, and to the decoder: of an affine one, to the weights of dead
        units alone.
    """
    places = dead.nonzero().squeeze(1)
    largest = z[:, places].topk(min(k, len(places)), dim=1)
    activated = torch.zeros_like(z).scatter(1, places[largest.indices], largest.values)
    added = decode(activated) - decode(torch.zeros_like(z[:1]))
    left: Tensor = residual.detach() - added
    return left.square().flatten(1).sum(dim=1).mean()


@dataclass(eq=False)
class AuxiliaryDead:
    """Adds λ · mean over examples of ‖e - ê‖², e = x - r(x) held constant, ê what k dead units make of it (AuxK).

    ê = V h', V the decoder's weight (the logits of a sigmoid output), h'_j = z_j for the k dead units of largest z_j in
    that example, z the code before its activation, and 0 elsewhere; see ``auxiliary_loss``. A unit is dead
    where for so many batches on end, this one included, its activations differ by at most θ within the batch and from
    the last example of the batch before. Without dead units the term is 0. Gao et al. (2024), arXiv:2406.04093. Their
    loss is divided by that of predicting the mean, this is not; their λ is 1/32, their k about half the input's width.

    Attributes:
        weight: λ.
        k: how many dead units of every example reconstruct.
        after: the number of batches on end without activity after which a unit is dead.
        threshold: θ; see ``dead_units``.
    """

    over_batch = True
    stateful = True
    held_constant = "the residual x - r(x)"
    trial_options: ClassVar[Mapping[str, Any]] = {"weight": 1.0, "k": 2, "after": 1, "threshold": 1000.0}

    weight: Weight
    k: Count
    after: Count
    threshold: Threshold

    def __post_init__(self) -> None:
        self.idle: Tensor | None = None  # by unit, for how many batches it has not moved, (code,)
        self.last: Tensor | None = None  # the code of the last example, (code,)

    @hookimpl
    def before_training(self, model: Any) -> None:
        """Refuse a model whose code before its activation cannot be had."""
        _into_code(model)

    @hookimpl
    def penalty_terms(self, model: Any, clean: Tensor, corrupted: Tensor, code: Tensor) -> dict[str, Tensor]:
        """The weighted loss; see ``auxiliary_loss``."""
        dead = self.dead_now(code.detach())
        if not dead.any():
            return {"auxiliary-dead": 0.0 * code.sum()}
        z = before_activation(model, corrupted)
        if z.shape != code.shape:
            raise CaelabError(
                f"auxiliary-dead expects a code of the shape that its last step with parameters has, but "
                f"{tuple(code.shape)} came after {tuple(z.shape)}; let only an activation follow that step"
            )
        with torch.no_grad():
            residual = clean - model.decode(code)
        loss = auxiliary_loss(getattr(model, "logits", model.decode), residual, z, dead, self.k)
        return {"auxiliary-dead": self.weight * loss}

    def dead_now(self, code: Tensor) -> Tensor:
        """Which units are dead at this batch, which is counted; boolean, shape (code,)."""
        seen = code.flatten(1) if self.last is None else torch.cat([self.last[None].to(code), code.flatten(1)])
        idle = torch.zeros(seen.shape[1], dtype=torch.int64, device=code.device) if self.idle is None else self.idle
        self.idle = torch.where(dead_units(seen, self.threshold), idle.to(code.device) + 1, 0)
        self.last = seen[-1].clone()
        return self.idle >= self.after

    def state_dict(self) -> dict[str, Tensor]:
        """For how many batches each unit has not moved, and the last code."""
        return {} if self.idle is None or self.last is None else {"idle": self.idle, "last": self.last}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take both back."""
        self.idle, self.last = state.get("idle"), state.get("last")
