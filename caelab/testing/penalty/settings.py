"""The settings in which penalties are checked: tiny auto-encoders whose weights tell right formulas from wrong ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Literal, cast

import torch
from torch import Tensor, nn

from caelab.hookspecs import hookimpl
from caelab.models.autoencoder import Autoencoder, autoencoder
from caelab.models.layers import ACTIVATIONS, Activation
from caelab.runs.config import RunConfig
from caelab.runs.recipes import base_config

INPUTS, UNITS, EXAMPLES = 9, 4, 6  # inputs as a square, for penalties that take them for images

Weights = Literal["random", "trained", "identical", "huge"]


@dataclass(frozen=True)
class Setting:
    """One setting in which a penalty is checked: a tiny model, its weights, and its loss.

    Attributes:
        name: as rows call it.
        activation: of the encoder.
        hidden: widths of the encoder's layers.
        tied: whether the decoder shares the encoder's weights.
        weights: as initialised; after training, with correlated rows; with identical rows; with one huge row.
        corrupted: whether another plugin corrupts the input.
        layer: a layer between the affine map and the activation, in training mode.
        inputs: width of the input.
    """

    name: str
    activation: str = "sigmoid"
    hidden: tuple[int, ...] = (UNITS,)
    tied: bool = True
    weights: Weights = "trained"
    corrupted: bool = False
    layer: Literal["BatchNorm", "dropout"] | None = None
    inputs: int = INPUTS

    def initial_model(self) -> Autoencoder:
        """The model before any training, in float64 and training mode; biases are off zero."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(3)
            activation = cast(Activation, self.activation)
            model = autoencoder(self.inputs, hidden=list(self.hidden), activation=activation, tied=self.tied)
            for bias in biases(model):
                nn.init.normal_(bias, std=0.3)
            if self.layer:
                model.encode.insert(1, _extra_layer(self.layer, self.hidden[0]))
        return model.double().train()

    def finish(self, model: nn.Module, clean: Tensor) -> None:
        """Bring the weights, in place, to where this setting wants them."""
        if self.weights == "random":
            return
        train(model, clean)
        with torch.no_grad():
            weight, bias = first_layer(model)
            if self.weights == "identical":
                weight.copy_(weight[:1].expand_as(weight).clone())
            if self.weights == "huge":
                weight[0] *= 30
                bias[0] = -(weight[0] @ clean.mean(dim=0))  # centred, so that its slope does not vanish

    @property
    def reconstruction(self) -> str:
        """The reconstruction error; cross-entropy takes the hand-written objective where there is one."""
        fused = self.tied and len(self.hidden) == 1 and not self.corrupted and not self.layer
        return "cross-entropy" if fused else "squared-error"


def batch(inputs: int = INPUTS, examples: int = EXAMPLES) -> Tensor:
    """Examples in [0, 1], float64, always the same, shape (examples, inputs)."""
    return torch.rand(examples, inputs, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


def biases(model: nn.Module) -> list[nn.Parameter]:
    """The parameters with one axis."""
    return [parameter for parameter in model.parameters() if parameter.ndim == 1]


def first_layer(model: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias of the encoder's first affine layer."""
    layer = next(module for module in model.modules() if isinstance(module, nn.Linear))
    return layer.weight, layer.bias


def _extra_layer(name: str, width: int) -> nn.Module:
    """Batch normalisation whose running statistics are not the batch's and stay what they are, or dropout."""
    if name == "dropout":
        return nn.Dropout(0.5)
    layer = nn.BatchNorm1d(width, momentum=0.0)  # else every look in training mode would change the next one
    assert layer.running_mean is not None
    assert layer.running_var is not None
    layer.running_mean.add_(0.4)
    layer.running_var.mul_(2.5)
    return layer


def train(model: nn.Module, clean: Tensor) -> None:
    """Rows that share a direction, and some steps of descent: at a random start several wrong formulas agree."""
    stream = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in (p for p in model.parameters() if p.ndim == 2):
            parameter.add_(0.5 * torch.randn(parameter.shape[-1:], generator=stream, dtype=parameter.dtype))
    was_training = model.training
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.eval()
    for _ in range(4):
        optimizer.zero_grad()
        (model(clean) - clean).square().sum(dim=1).mean().backward()
        optimizer.step()
    model.zero_grad()
    model.train(was_training)


@dataclass(eq=False)
class Noise:
    """A corruption that stands beside the plugin under test; always the same, so that no value becomes random."""

    @hookimpl
    def corrupt_input(self, clean: Tensor) -> Tensor:
        """x + 0.3 ε with a fixed ε."""
        stream = torch.Generator().manual_seed(13)
        return clean + 0.3 * torch.randn(clean.shape, generator=stream, dtype=clean.dtype)


def settings_of(activations: tuple[str, ...]) -> list[Setting]:
    """The settings in which a value is compared, for a plugin that supports these activations."""
    home = activations[0]
    return [
        Setting("random initialisation", home, weights="random"),
        Setting("after training", home),
        Setting("identical weight rows", home, weights="identical"),
        Setting("one huge row", home, weights="huge"),
        *(Setting(name, name) for name in activations[1:]),
        Setting("untied weights", home, tied=False),
        Setting("two layers", home, hidden=(UNITS, 3)),
        Setting("corrupted input", home, corrupted=True),
        Setting("BatchNorm in training mode", home, layer="BatchNorm"),
        Setting("dropout in training mode", home, layer="dropout"),
    ]


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread: on networks this small several only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


ALL_ACTIVATIONS = tuple(ACTIVATIONS)
USUAL_ACTIVATIONS = ("sigmoid", "tanh", "relu", "softplus", "identity")  # looked at where a plugin names none

EPOCHS = 2


@cache
def trial_config(epochs: int = EPOCHS) -> RunConfig:
    """The config that ``before_training`` is shown: of a run at least as long as the epoch that is looked at."""
    small = ["model.hidden=[4]", "training.batch_size=4", "training.reconstruction=squared-error"]
    return base_config([*small, f"training.epochs={epochs}"], dataset={"kind": "digits"})
