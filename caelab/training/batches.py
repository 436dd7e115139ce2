"""Drawing the batches of an epoch."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from caelab.errors import CaelabError
from caelab.streams import seeded

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Rows:
    """Examples of a data set that stay where they are until a batch of them is asked for.

    Attributes:
        inputs: of the whole data set, (n, d).
        chosen: the indices of these examples.
        device: where a batch goes.
    """

    inputs: Tensor
    chosen: Tensor
    device: str

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, rows: Tensor | slice) -> Tensor:
        """Some of the examples, as a tensor on the device."""
        return self.inputs[self.chosen[rows]].to(self.device)


Inputs = Tensor | Rows


def batches_of(inputs: Inputs, order: Tensor, size: int) -> Iterable[Tensor]:
    """The examples in an order, in batches; in memory they are put into that order at once."""
    if isinstance(inputs, Rows):
        return (inputs[rows] for rows in torch.split(order.to("cpu"), size))
    return torch.split(inputs[order], size)


def last_left_out(model: nn.Module, inputs: Inputs, size: int, option: str = "training.batch_size") -> int:
    """The number of examples left out of each epoch: 1 where the model cannot train on a last batch of one, else 0.

    So it is with batch normalisation of codes. Another example is left out in every epoch, since their order changes.

    Args:
        model: that is trained.
        inputs: the training examples.
        size: of a batch.
        option: by which the user gave that size.

    Raises:
        CaelabError: every batch would hold one example.
    """
    if (len(inputs) % size != 1 and size != 1) or _trains_on(model, inputs[:1]):
        return 0
    if min(size, len(inputs)) == 1:
        raise CaelabError(
            f"{type(getattr(model, 'inner', model)).__name__} cannot be trained on a single example at a time, as "
            f"batch normalisation cannot, but {option} is {size} for {len(inputs)} examples; make it at least 2"
        )
    log.warning(
        "the last of %d batches of each epoch would hold one example, on which %s cannot be trained (batch "
        "normalisation takes two or more), so that example is left out, another one in every epoch; another %s keeps "
        "all",
        *(-(-len(inputs) // size), type(getattr(model, "inner", model)).__name__, option),
    )
    return 1


def _trains_on(model: nn.Module, inputs: Tensor) -> bool:
    """Whether a copy of the model, in training mode, takes so few examples, where it takes twice as many."""
    if not any(isinstance(module, _BatchNorm) for module in model.modules()):
        return True
    made: Any = deepcopy(model).train()
    with torch.no_grad(), seeded(0, "a single example"):
        try:
            made.decode(made.encode(inputs))
        except ValueError:
            return False
    return True
