"""One working set of options for every registered regularizer; a new one is added here and is held to every promise."""

from dataclasses import dataclass

from torch import nn

from caelab.models.autoencoder import autoencoder
from caelab.models.convolutional import convolutional
from caelab.registry.catalogue import catalogue
from caelab.registry.importing import allow_code

OPTIONS = {
    "auxiliary-dead": {"weight": 0.5, "k": 3, "after": 1, "threshold": 1000.0},
    "code-orthogonality": {"weight": 0.05},
    "contractive": {"weight": 0.5},
    "corruption-chain": {"steps": [{"kind": "masking", "p": 0.2}, {"kind": "gaussian", "sigma": 0.1}]},
    "dead-units": {"threshold": 0.01},
    "decoder-jacobian": {"weight": 0.5},
    "finite-contraction": {"weight": 0.5, "radius": 1.0, "samples": 2},
    "gaussian": {"sigma": 0.3},
    "group-sparsity": {"weight": 0.5, "size": 2},
    "higher-order-contractive": {"weight": 0.5, "sigma": 0.1, "samples": 2},
    "jacobian-sparsity": {"weight": 0.5, "rows": 3},
    "masking": {"p": 0.3},
    "reconstruction-contractive": {"weight": 0.5},
    "resample-dead": {"every": 1, "threshold": 1000.0, "scale": 0.2},
    "salt-and-pepper": {"p": 0.2},
    "saturating": {"weight": 0.5},
    "sparse-kl": {"weight": 0.5, "target": 0.1},
    "sparse-l1": {"weight": 0.5},
    "tangent-propagation": {"weight": 0.5, "tangents": "caelab_regularizers.tangent_propagation:shifts"},
    "top-k": {"weight": 0.5, "k": 3},
    "twin": {"weight": 1.0, "of": {"kind": "masking", "p": 0.3}},
    "weight-decay": {"weight": 0.01},
}

allow_code(OPTIONS["tangent-propagation"]["tangents"])  # the tests name it, as a user would

NAMES = catalogue().names("regularizer")
CORRUPTIONS = [name for name in NAMES if hasattr(catalogue().get("regularizer", name), "corrupt_input")]
PENALTIES = [name for name in NAMES if hasattr(catalogue().get("regularizer", name), "penalty_terms")]
CHANGES_WEIGHTS = ["resample-dead"]
MEASURES = ["dead-units"]
REFUSED = [("auxiliary-dead", "plain methods")]  # the code before its activation cannot be had


def make(name, weight=None):
    """An instance with the example's options, perhaps with another weight."""
    options = OPTIONS[name] if weight is None else {**OPTIONS[name], "weight": weight}
    return catalogue().get("regularizer", name)(**options)


class PlainMethods(nn.Module):
    """A user's module whose encode and decode are methods, not modules."""

    def __init__(self):
        super().__init__()
        self.inner = autoencoder(64, hidden=[9])

    def encode(self, inputs):
        return self.inner.encode(inputs)

    def decode(self, code):
        return self.inner.decode(code)


@dataclass(frozen=True)
class Architecture:
    name: str

    def __str__(self):
        return self.name

    def build(self):
        return {
            "one layer": lambda: autoencoder(64, hidden=[9]),
            "untied": lambda: autoencoder(64, hidden=[9], tied=False),
            "deep": lambda: autoencoder(64, hidden=[12, 5]),
            "convolutional": lambda: convolutional(64, (8, 8), channels=(2, 3), hidden=6),
            "plain methods": PlainMethods,
        }[self.name]()


ARCHITECTURES = [Architecture(name) for name in ("one layer", "untied", "deep", "convolutional", "plain methods")]
