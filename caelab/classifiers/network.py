"""A copy of a run's model, whose encoder stands under a softmax layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caelab.errors import CaelabError, NotApplicable
from caelab.jacobian.layers import Layer, chain_of, find_layers
from caelab.models.identity import copied
from caelab.runs.run import Run

AT_ONCE = 2000  # examples that are encoded together


def copied_model(run: Run) -> Any:
    """A copy of the run's model, in evaluation mode.

    Raises:
        CaelabError: it has no encoder, or cannot be copied.
    """
    if not callable(getattr(run.model, "encode", None)):
        raise CaelabError(
            f"a classifier needs an encoder, but the model of {run.label!r}, {type(run.model).__name__}, has no "
            "encode(inputs); give a run whose model has one"
        )
    return copied(run.model).eval()


@torch.no_grad()
def codes_of(encode: Any, inputs: Tensor) -> Tensor:
    """The codes, those with several axes flattened, shape (n, code)."""
    return torch.cat([encode(part).flatten(1) for part in torch.split(inputs, AT_ONCE)])


def encoder_parameters(model: Any) -> list[nn.Parameter]:
    """The parameters that a model's code may depend on: those of its encoder, or of all where that is a method."""
    encode = model.encode
    owner = encode if isinstance(encode, nn.Module) else getattr(encode, "__self__", None)
    return [*owner.parameters()] if isinstance(owner, nn.Module) else []


class Network(nn.Module):
    """log p(class | x) = log softmax(V f(x) + c), f a run's encoder.

    V starts as Glorot and Bengio (2010, eq. 16) say, c at zero.

    Args:
        model: whose ``encode`` is f; it is trained, not copied.
        classes: how many.
        example: one input, shape (1, d).
        stream: of the start of V.
    """

    def __init__(self, model: Any, classes: int, example: Tensor, stream: torch.Generator | None = None) -> None:
        super().__init__()
        self.model = model
        code = codes_of(model.encode, example)
        skip_init: Any = nn.utils.skip_init  # draws nothing from torch's global generator
        self.softmax = skip_init(nn.Linear, code.shape[1], classes, dtype=code.dtype)
        if stream is not None:
            nn.init.xavier_uniform_(self.softmax.weight, generator=stream)
            nn.init.zeros_(self.softmax.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """The logits, shape (batch, classes)."""
        logits: Tensor = self.softmax(self.model.encode(inputs).flatten(1))
        return logits

    @torch.no_grad()
    def log_probabilities(self, inputs: Tensor) -> Tensor:
        """log p(class | x) in evaluation mode, shape (batch, classes)."""
        self.eval()
        return torch.cat([F.log_softmax(self(part), dim=1) for part in torch.split(inputs, AT_ONCE)])

    def trainable(self) -> list[nn.Parameter]:
        """The parameters that fine-tuning changes: all of the encoder, even if it came frozen, and the softmax layer.

        Raises:
            NotApplicable: the encoder has none.
        """
        own = encoder_parameters(self.model)
        if not own:
            raise NotApplicable(
                f"the encoder of {type(self.model).__name__} has no weights that could be fine-tuned; take the method "
                "frozen, which learns from the code as it is"
            )
        found = [p for p in own if p.is_floating_point()]
        for parameter in found:
            parameter.requires_grad_()
        return [*found, *self.softmax.parameters()]

    def layers(self, width: int) -> list[Layer] | None:
        """The layers of an encoder that is a chain of affine and elementwise steps in training; None for any other."""
        self.train()  # dropout of the encoder's own is a step, too
        return find_layers(self.model.encode, (width,)) if chain_of(self.model.encode) else None

    def weights(self) -> dict[str, Tensor]:
        """A copy of all parameters and buffers."""
        return {name: value.clone() for name, value in tensors_of(self).items()}


def tensors_of(network: Network) -> dict[str, Tensor]:
    """All parameters and buffers of a network by name; a model behind an adapter has names of its own for its."""
    own = {f"model/{name}": value for name, value in network.model.state_dict().items()}
    return own | {f"softmax/{name}": value for name, value in network.softmax.state_dict().items()}


def load_tensors(network: Network, tensors: dict[str, Tensor]) -> None:
    """Put what ``tensors_of`` gave back."""
    for part, module in (("model", network.model), ("softmax", network.softmax)):
        begin = f"{part}/"
        module.load_state_dict({k.removeprefix(begin): v for k, v in tensors.items() if k.startswith(begin)})
