"""Two sparse auto-encoders around a block: one of what it takes in, one of what it gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caelab.errors import CaelabError
from caelab.models.autoencoder import Autoencoder
from caelab.models.sparse_codes import TopK
from caelab.options import Count, Width
from caelab.registry.importing import load_named
from caelab.streams import Streams

BLOCK = "caelab.models.sae_pair:mlp_block"
WIDER = 4  # times the input, as in a transformer


class Dictionary(nn.Module):
    """The decoder of a sparse auto-encoder, x̂ = Σ_j h_j d_j + c, one direction d_j in input space for each unit.

    Attributes:
        directions: d_j as rows, shape (code, input), so that those of few units are read in one piece.
        bias: c, shape (input,).
    """

    def __init__(self, directions: Tensor) -> None:
        super().__init__()
        self.directions = nn.Parameter(directions.detach().clone())
        self.bias = nn.Parameter(directions.new_zeros(directions.shape[1]))

    def affine(self) -> tuple[Tensor, Tensor | None]:
        """The weight (input, code) and the bias (input,), for the Jacobian service."""
        return self.directions.T, self.bias

    def forward(self, code: Tensor) -> Tensor:
        """Map ``(batch, code)`` to ``(batch, input)``."""
        return F.linear(code, self.directions.T, self.bias)


class SparsePair(nn.Module):
    """Sparse auto-encoders of x and of y = block(x), trained side by side; the block stands still.

    ``encode`` and ``decode`` are those of x. The loss is ‖x - x̂‖² + ‖y - ŷ‖², sum over inputs, mean over examples.

    Attributes:
        encode: x to its sparse code.
        decode: the code to x̂.
        encode_after: y to its sparse code.
        decode_after: that code to ŷ.
        block: x to y; its parameters are not trained.
    """

    def __init__(self, first: Autoencoder, second: Autoencoder, block: nn.Module) -> None:
        super().__init__()
        self.encode, self.decode = first.encode, first.decode
        self.encode_after, self.decode_after = second.encode, second.decode
        self.block = block.requires_grad_(False)
        # in a tuple, so that torch does not register its parameters twice
        self._code_map = (nn.Sequential(self.decode, self.block, self.encode_after),)

    @property
    def code_map(self) -> nn.Sequential:
        """The block in terms of sparse codes: from that of x to that of block(x̂)."""
        return self._code_map[0]

    def forward(self, inputs: Tensor) -> Tensor:
        """The reconstruction x̂, shape (batch, input)."""
        return cast(Tensor, self.decode(self.encode(inputs)))

    def training_loss(self, inputs: Tensor, streams: Streams) -> Tensor:
        """Mean over examples of ‖x - x̂‖² + ‖y - ŷ‖², shape ()."""
        return self.loss_of_code(inputs, self.encode(inputs), streams)

    def loss_of_code(self, inputs: Tensor, code: Tensor, streams: Streams) -> Tensor:
        """The same from the inputs and their code, shape ()."""
        with torch.no_grad():
            after = self.block(inputs)
        before, behind = self.decode(code) - inputs, self.decode_after(self.encode_after(after)) - after
        loss: Tensor = before.square().sum(dim=1).mean() + behind.square().sum(dim=1).mean()
        return loss


def mlp_block(inputs: int) -> nn.Sequential:
    """An MLP block of a transformer with random weights, always the same: d → 4 d → d with GELU.

    It stands in for a trained one, which the option ``block`` names.

    Args:
        inputs: d.
    """
    draws = torch.Generator().manual_seed(0)
    block = nn.Sequential(nn.Linear(inputs, WIDER * inputs), nn.GELU(), nn.Linear(WIDER * inputs, inputs))
    with torch.no_grad():
        for layer in (block[0], block[2]):
            linear = cast(nn.Linear, layer)
            linear.weight.normal_(std=linear.in_features**-0.5, generator=draws)
            linear.bias.zero_()
    return block


def sparse_autoencoder(inputs: int, hidden: int, k: int) -> Autoencoder:
    """One affine layer with the k largest positive units of every example, and a dictionary of unit directions.

    The encoder starts as the dictionary's transpose. Gao et al. (2024), arXiv:2406.04093.
    """
    layer = nn.Linear(inputs, hidden)
    directions = F.normalize(layer.weight.detach(), dim=1)
    with torch.no_grad():
        layer.weight.copy_(directions)
        layer.bias.zero_()
    return Autoencoder(nn.Sequential(layer, TopK(k)), nn.Sequential(Dictionary(directions)))


def sae_pair(
    inputs: int, image_shape: tuple[int, ...] | None = None, *, hidden: Width, k: Count, block: str = BLOCK
) -> SparsePair:
    """Two sparse auto-encoders around a block, as Jacobian sparse auto-encoders have (Farnik et al. 2025, ICML).

    Args:
        inputs: width of the block's input.
        image_shape: not used; the input is a flat vector.
        hidden: units of either code.
        k: how many of them may be active in an example.
        block: ``package.module:name`` or ``FILE.py:name`` of a function from the width to the block, an ``nn.Module``
            that maps (batch, inputs) to (batch, outputs); by default an MLP block with random weights.

    Raises:
        CaelabError: more active units than there are, or what ``block`` names makes no module.
    """
    if k > hidden:
        raise CaelabError(
            f"expected at most as many active units as there are, but k is {k} of {hidden}; lower model.k"
        )
    made = mlp_block(inputs) if block == BLOCK else _named_block(block, inputs)
    with torch.no_grad():
        outputs = made(torch.zeros(1, inputs)).shape[1]
    return SparsePair(sparse_autoencoder(inputs, hidden, k), sparse_autoencoder(outputs, hidden, k), made)


def _named_block(block: str, inputs: int) -> nn.Module:
    make: Callable[[int], Any] = load_named(block, "block")
    made = make(inputs)
    if not isinstance(made, nn.Module):
        raise CaelabError(
            f"expected {block} to be a function from a width to an nn.Module, but it gave {type(made).__name__}"
        )
    return made.eval()
