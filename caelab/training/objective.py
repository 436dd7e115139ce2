"""What one batch is trained on: the reconstruction error and whatever the plugins add to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from caelab.errors import CaelabError
from caelab.jacobian.service import jacobian
from caelab.models.reconstruction import reconstruction_error
from caelab.streams import Streams
from caelab.training.plugins import TrainingPlugins, merged_terms


class Objective:
    """The terms of the loss on one batch, by name; their sum is minimised."""

    def __init__(self, model: Any, kind: str, plugins: TrainingPlugins, streams: Streams) -> None:
        self.model = model
        self.kind = kind
        self.plugins = plugins
        self.streams = streams
        self.corrupts = plugins.implements("corrupt_input")
        self.reconstruct = reconstruction_map(model)

    def terms(self, clean: Tensor, epoch: int) -> dict[str, Tensor]:
        """``{name: weighted scalar}``; the first is the model's own, the penalties follow, sorted by name."""
        corrupted = self.corrupt(clean, epoch)
        code = self.model.encode(corrupted)
        return self.own_term(clean, corrupted, code) | self.penalties(clean, corrupted, code, epoch)

    def corrupt(self, clean: Tensor, epoch: int) -> Tensor:
        """The batch that the encoder sees."""
        if not self.corrupts:
            return clean
        corrupted: Tensor = self.plugins.call("corrupt_input", epoch, clean=clean, streams=self.streams)
        return corrupted

    def own_term(self, clean: Tensor, corrupted: Tensor, code: Tensor) -> dict[str, Tensor]:
        """What the model is trained on without any penalty: reconstruction, unless it brings its own loss."""
        if hasattr(self.model, "training_loss"):
            return {"training_loss": self.model.training_loss(corrupted, self.streams)}
        return {"reconstruction": reconstruction_error(self.kind, self.model, code, clean).mean()}

    def penalties(self, clean: Tensor, corrupted: Tensor, code: Tensor, epoch: int) -> dict[str, Tensor]:
        """What the plugins add."""
        wanted = self.plugins.wanted
        answers = self.plugins.call(
            "penalty_terms",
            epoch,
            model=self.model,
            clean=clean,
            corrupted=corrupted,
            code=code,
            reconstruction=self.model.decode(code) if "reconstruction" in wanted else None,
            encoder_jacobian=jacobian(self.model.encode, clean, outputs=code if corrupted is clean else None),
            reconstruction_jacobian=jacobian(self.reconstruct, clean),
            streams=self.streams,
        )
        terms = merged_terms(answers, "penalty_terms")
        if terms.keys() & {"reconstruction", "training_loss"}:
            raise CaelabError(
                "a plugin calls its penalty 'reconstruction' or 'training_loss'; those are taken, rename it"
            )
        return terms


def reconstruction_map(model: Any) -> Callable[[Tensor], Tensor]:
    """r = g∘f as one module where both are modules, so that the Jacobian service can look into it."""
    if isinstance(model.encode, nn.Module) and isinstance(model.decode, nn.Module):
        return nn.Sequential(model.encode, model.decode)
    return lambda inputs: model.decode(model.encode(inputs))
