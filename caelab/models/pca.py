"""Principal component analysis as an auto-encoder: the floor of what a linear code gives."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from caelab.errors import CaelabError
from caelab.models.autoencoder import Autoencoder
from caelab.models.layers import TiedLinear, glorot_linear
from caelab.options import Width


class PCA(Autoencoder):
    """h = U (x - m) and r(x) = Uᵀ h + m, with the mean m and the leading principal directions U (code, input).

    It is solved and not trained: ``solve`` finds m and U from the training examples (Pearson 1901; Hotelling 1933).
    Afterwards they are parameters as any others, from which a classifier can be fine-tuned.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        layer = glorot_linear(inputs, hidden)
        super().__init__(nn.Sequential(layer), nn.Sequential(TiedLinear(layer), nn.Identity()))

    @torch.no_grad()
    def solve(self, inputs: Tensor) -> None:
        """Find mean and principal directions of the inputs, in float64; each direction's largest entry is positive.

        Args:
            inputs: shape (n, input).

        Raises:
            CaelabError: there are fewer examples than directions.
        """
        layer, back = cast(nn.Linear, self.encode[0]), cast(TiedLinear, self.decode[0])
        if len(inputs) < layer.out_features:
            raise CaelabError(
                f"PCA with {layer.out_features} directions needs as many training examples, but {len(inputs)} came; "
                "lower model.hidden"
            )
        exact = inputs.double()
        mean = exact.mean(dim=0)
        centred = exact - mean
        _, vectors = torch.linalg.eigh(centred.T @ centred)  # ascending
        directions = vectors.flip(1)[:, : layer.out_features].T
        largest = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True))
        directions = directions * largest.sign()
        layer.weight.copy_(directions)
        cast(Tensor, layer.bias).copy_(-(directions @ mean))
        back.bias.copy_(mean)


def pca(inputs: int, image_shape: tuple[int, ...] | None = None, *, hidden: Width) -> PCA:
    """Principal component analysis.

    Args:
        inputs: width of the input.
        image_shape: not used; the input is a flat vector.
        hidden: how many directions, at most as many as the input has entries.

    Raises:
        CaelabError: more directions than the input has entries.
    """
    if hidden > inputs:
        raise CaelabError(f"PCA of {inputs} inputs has at most {inputs} directions, but model.hidden={hidden} came")
    return PCA(inputs, hidden)
