"""Several tied one-layer models of one shape as one: their parameters stacked, loss and gradient written out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caelab.runs.config import Training
from caelab.training.fused import TiedLayer
from caelab.training.optimizers import optimizer_of


class Stack:
    """r models h = s(W x + b), y = s(Wᵀ h + c), each trained on batches of its own by cross-entropy.

    The parameters of each model become views of the stacked ones, so that whoever holds a model sees it trained.

    Args:
        layers: the parameters of each model.
        strengths: by model, the factor λ of the mean squared norm of the encoder's Jacobian.
        config: of the optimiser, the same for all.
    """

    def __init__(self, layers: Sequence[TiedLayer], strengths: Sequence[float], config: Training) -> None:
        self.weight = stacked([layer.weight for layer in layers])  # (r, code, input)
        self.bias = stacked([layer.bias for layer in layers])  # (r, code)
        self.visible_bias = stacked([layer.visible_bias for layer in layers])  # (r, input)
        self.optimizer = optimizer_of([self.weight, self.bias, self.visible_bias], config)
        self.set_strengths(strengths)

    def set_strengths(self, strengths: Sequence[float]) -> None:
        """The factor of the squared norm in each model's loss, from now on."""
        self.strengths = torch.tensor(strengths, dtype=self.weight.dtype)

    @torch.no_grad()
    def step(self, x: Tensor) -> tuple[list[float], list[float]]:
        """One update of every model, by the gradient that ``TiedObjective`` has for one of them.

        Args:
            x: the batch of each model, shape (r, batch, input).

        Returns:
            By model, the mean over its batch of the reconstruction error and of the squared Jacobian norm.
        """
        w, size = self.weight, x.shape[1]
        h = torch.baddbmm(self.bias[:, None], x, w.transpose(1, 2)).sigmoid_()
        logits = torch.baddbmm(self.visible_bias[:, None], h, w)
        error = F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(dim=2).mean(dim=1)
        squared_rows = w.square().sum(dim=2)  # (r, code)
        slope = h * (1 - h)
        squared_slope = slope.square()
        norm = torch.bmm(squared_slope, squared_rows[:, :, None]).mean(dim=(1, 2))
        da = logits.sigmoid_().sub_(x).mul_(1 / size)
        dz = torch.bmm(da, w.transpose(1, 2)).mul_(slope)
        weighted = squared_slope.mul_((self.strengths / size)[:, None, None])
        dz.add_(torch.addcmul(weighted, weighted, h, value=-2).mul_(squared_rows[:, None]), alpha=2)
        dw = torch.bmm(torch.cat([h, dz], dim=1).transpose(1, 2), torch.cat([da, x], dim=1))
        self.weight.grad = dw.addcmul_(w, weighted.sum(dim=1)[:, :, None], value=2)
        self.bias.grad, self.visible_bias.grad = dz.sum(dim=1), da.sum(dim=1)
        self.optimizer.step()
        return error.tolist(), norm.tolist()


def stacked(parameters: Sequence[Tensor]) -> nn.Parameter:
    """The parameters as one with a new first axis; each becomes a view of it."""
    whole = nn.Parameter(torch.stack([parameter.detach() for parameter in parameters]))
    for parameter, part in zip(parameters, whole.detach(), strict=True):
        parameter.data = part
    return whole
