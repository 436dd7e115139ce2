"""Models: an encoder f, a decoder g, and the reconstruction r = g∘f."""

from collections.abc import Callable
from typing import Any

from caelab.hookspecs import hookimpl


@hookimpl
def register_models(register: Callable[[str, Any], None]) -> None:
    """Offer the built-in models."""
    register("autoencoder", "caelab.models.autoencoder:autoencoder")
    register("convolutional", "caelab.models.convolutional:convolutional")
    register("inputs", "caelab.models.unchanged:unchanged")
    register("pca", "caelab.models.pca:pca")
    register("rbm", "caelab.models.rbm:rbm")
    register("sparse-pair", "caelab.models.sae_pair:sae_pair")
