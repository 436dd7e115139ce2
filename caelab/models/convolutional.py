"""A small convolutional auto-encoder for images."""

from __future__ import annotations

from torch import nn

from caelab.errors import CaelabError
from caelab.models.autoencoder import Autoencoder
from caelab.models.layers import ACTIVATIONS, Activation, glorot_linear
from caelab.options import Count


def convolutional(
    inputs: int,
    image_shape: tuple[int, ...] | None = None,
    *,
    channels: tuple[Count, Count] = (8, 16),
    hidden: Count = 64,
    activation: Activation = "sigmoid",
    output: Activation = "sigmoid",
) -> Autoencoder:
    """Two strided 4×4 convolutions and an affine layer to the code; transposed convolutions back. Weights are untied.

    Args:
        inputs: width of the flat input.
        image_shape: (height, width) or (height, width, channels); both sides divisible by 4.
        channels: feature maps of the two convolutions.
        hidden: width of the code.
        activation: of every layer but the output.
        output: activation of the reconstruction.

    Raises:
        CaelabError: the data are not images of a fitting size.
    """
    depth, height, width = _channels_first(image_shape)
    inner = (channels[1], height // 4, width // 4)
    flat = inner[0] * inner[1] * inner[2]

    def act() -> nn.Module:
        return ACTIVATIONS[activation]()

    encode = nn.Sequential(
        nn.Unflatten(1, (depth, height, width)),
        nn.Conv2d(depth, channels[0], 4, stride=2, padding=1),
        act(),
        nn.Conv2d(channels[0], channels[1], 4, stride=2, padding=1),
        act(),
        nn.Flatten(),
        glorot_linear(flat, hidden),
        act(),
    )
    decode = nn.Sequential(
        glorot_linear(hidden, flat),
        act(),
        nn.Unflatten(1, inner),
        nn.ConvTranspose2d(channels[1], channels[0], 4, stride=2, padding=1),
        act(),
        nn.ConvTranspose2d(channels[0], depth, 4, stride=2, padding=1),
        nn.Flatten(),
        ACTIVATIONS[output](),
    )
    return Autoencoder(encode, decode)


def _channels_first(image_shape: tuple[int, ...] | None) -> tuple[int, int, int]:
    if image_shape is None or len(image_shape) not in (2, 3):
        raise CaelabError(
            f"the convolutional model needs images, but the data's image shape is {image_shape}; "
            "use the model 'autoencoder' for flat inputs"
        )
    height, width, *depth = image_shape
    if height % 4 or width % 4 or depth not in ([], [1]):
        raise CaelabError(
            f"the convolutional model needs grey images with sides divisible by 4, but {image_shape} came; "
            "pad the images or use the model 'autoencoder'"
        )
    return 1, height, width
