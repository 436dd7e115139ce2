"""Two classifiers that learn from a run's features: softmax regression on the code, and the encoder fine-tuned."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caelab.errors import CaelabError
from caelab.process.denormals import flushed_denormals
from caelab.runs.run import Run
from caelab.streams import Streams
from caelab_analyses.shared.float64 import copied_encoder

Predict = Callable[[Tensor], Tensor]  # inputs (batch, d) -> classes (batch,)


@dataclass(frozen=True)
class Labelled:
    """Inputs (n, d) and their classes (n,), counted from 0."""

    inputs: Tensor
    classes: Tensor


@dataclass(frozen=True)
class Descent:
    """How the fine-tuned classifier is trained."""

    learning_rate: float
    momentum: float
    batch_size: int
    epochs: int
    patience: int


def linear_probe(run: Run, train: Labelled, ridge: float) -> Predict:
    """Multinomial logistic regression on the code: min over W, b of Σ -log softmax_y(W z + b) + ρ/2 ‖W‖².

    The loss is summed over examples; b goes free. z is the code, centred and divided by one number, its root mean
    square deviation over examples and units, so that ρ asks the same of codes of every scale. Strictly convex in W,
    so that there is one answer.
    """
    from sklearn.linear_model import LogisticRegression

    def features(inputs: Tensor) -> Tensor:
        return run.encode(inputs).flatten(1).double()

    code = features(train.inputs)
    centre = code.mean(dim=0)
    spread = (code - centre).square().mean().sqrt() or 1.0
    probe = LogisticRegression(C=1 / ridge, tol=1e-6, max_iter=5000)
    probe.fit(((code - centre) / spread).numpy(), train.classes.numpy())
    return lambda inputs: torch.from_numpy(probe.predict(((features(inputs) - centre) / spread).numpy()))


class Classifier(nn.Module):
    """A copy of a run's encoder under a softmax layer that starts as Glorot and Bengio (2010, eq. 16) say."""

    def __init__(self, run: Run, classes: int, stream: torch.Generator) -> None:
        super().__init__()
        self.encode, self.owner = copied_encoder(run)
        code = run.encode(run.dataset.inputs[:1]).flatten(1)
        skip_init: Any = nn.utils.skip_init  # draws nothing from torch's global generator
        self.softmax = skip_init(nn.Linear, code.shape[1], classes, dtype=code.dtype)
        nn.init.xavier_uniform_(self.softmax.weight, generator=stream)
        nn.init.zeros_(self.softmax.bias)
        self.requires_grad_()  # all of the encoder, even if it came frozen

    def forward(self, inputs: Tensor) -> Tensor:
        """The logits, shape (batch, classes); a plain function as encoder stays as it is."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.owner is not None):
            code = self.encode(inputs)
        logits: Tensor = self.softmax(code.flatten(1))
        return logits

    @torch.no_grad()
    def predict(self, inputs: Tensor) -> Tensor:
        """The likeliest classes, shape (batch,)."""
        self.eval()
        classes: Tensor = self(inputs).argmax(dim=1)
        return classes


def fine_tuned(run: Run, train: Labelled, valid: Labelled, descent: Descent, streams: Streams) -> tuple[Predict, int]:
    """Train encoder and softmax layer together on the cross-entropy; return the best epoch's classifier and epoch.

    Best is the lowest validation error, of equals the lowest validation cross-entropy, of equals the earliest.
    """
    classes = int(max(part.classes.max() for part in (train, valid))) + 1
    model = Classifier(run, classes, streams["classifier weights"])
    optimizer = torch.optim.SGD(model.parameters(), lr=descent.learning_rate, momentum=descent.momentum, fused=True)
    best, kept, weights = (math.inf, math.inf), 0, {}
    with flushed_denormals():
        for epoch in range(1, descent.epochs + 1):
            run_epoch(model, optimizer, train, descent.batch_size, streams["classifier order"])
            found = validated(model, valid, epoch)
            if found < best:
                best, kept = found, epoch
                weights = {name: value.clone() for name, value in model.state_dict().items()}
            if epoch - kept >= descent.patience:
                break
    model.load_state_dict(weights)
    return model.predict, kept


def run_epoch(
    model: Classifier, optimizer: torch.optim.Optimizer, train: Labelled, batch_size: int, stream: torch.Generator
) -> None:
    """One pass over the labelled examples in a new order."""
    model.train()
    for batch in torch.split(torch.randperm(len(train.classes), generator=stream), batch_size):
        optimizer.zero_grad()
        F.cross_entropy(model(train.inputs[batch]), train.classes[batch]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()


@torch.no_grad()
def validated(model: Classifier, valid: Labelled, epoch: int) -> tuple[float, float]:
    """Validation error and mean cross-entropy, both as shares.

    Raises:
        CaelabError: the cross-entropy is no longer a number.
    """
    model.eval()
    logits = model(valid.inputs)
    loss = float(F.cross_entropy(logits, valid.classes))
    if not math.isfinite(loss):
        raise CaelabError(
            f"fine-tuning diverged: the validation loss is {loss} after epoch {epoch}; "
            "lower the option learning_rate of classification"
        )
    return float((logits.argmax(dim=1) != valid.classes).double().mean()), loss
