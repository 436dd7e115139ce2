"""The objective of one batch: the reconstruction error and the terms of plugins."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from caelab.jacobian.recording import Recording, recorded
from caelab.jacobian.service import jacobian
from caelab.models.reconstruction import reconstruction_error
from caelab.streams import Lent, Streams
from caelab.training.fused import Pass, TiedLayer, tied_layer
from caelab.training.plugins import TrainingPlugins, merged_terms


class Objective:
    """The terms of the loss on one batch, by name; their sum is minimised."""

    def __init__(self, model: Any, kind: str, plugins: TrainingPlugins, streams: Streams) -> None:
        self.model = model
        self.kind = kind
        self.plugins = plugins
        self.streams = streams
        self.lent = Lent(streams)  # to plugins
        self.corrupts = plugins.implements("corrupt_input")

    @cached_property
    def reconstruct(self) -> Callable[[Tensor], Tensor]:
        """r = g∘f of the parts that the model has at the first batch, which a plugin may have given it by then."""
        return reconstruction_map(self.model)

    @cached_property
    def tied(self) -> TiedLayer | None:
        """The one-layer model that loss and gradient are written out for; looked for at the first batch."""
        return None if self.corrupts else tied_layer(self.model, self.kind)

    def terms(self, clean: Tensor, epoch: int) -> dict[str, Tensor]:
        """``{name: weighted scalar}``; the first is the model's own, the penalties follow, sorted by name.

        Which path is taken depends on the model and on whether someone corrupts, never on what plugins ask for: a
        plugin that only watches changes no bit of the result.
        """
        return self.terms_of(clean, clean if self.tied else self.corrupt(clean, epoch), epoch)

    def terms_of(self, clean: Tensor, corrupted: Tensor, epoch: int) -> dict[str, Tensor]:
        """The same, of a batch that is corrupted already."""
        if self.tied:
            found = self.tied(clean)
            own = {"reconstruction": found.error.mean()}
            return own | self.penalties(clean, clean, found.code, epoch, found)
        passed = self.encoded(corrupted)
        own = self.own_term(clean, corrupted, passed.outputs)
        return own | self.penalties(clean, corrupted, passed.outputs, epoch, passed=passed)

    def corrupt(self, clean: Tensor, epoch: int) -> Tensor:
        """The batch that the encoder sees."""
        return self.plugins.corrupted(clean, epoch, self.lent)

    def encoded(self, inputs: Tensor) -> Recording:
        """One pass through the encoder, with what its Jacobian would otherwise compute again; the same in every bit."""
        if "encoder_jacobian" in self.plugins.wanted:
            return recorded(self.model.encode, inputs, twice=False)  # a plugin that only watches changes no bit
        return Recording(self.model.encode, inputs, self.model.encode(inputs))

    def own_term(self, clean: Tensor, corrupted: Tensor, code: Tensor) -> dict[str, Tensor]:
        """The model's own term without any penalty: the reconstruction error, unless it brings its own loss."""
        if hasattr(self.model, "loss_of_code"):
            return {"training_loss": self.model.loss_of_code(corrupted, code, self.streams)}
        if hasattr(self.model, "training_loss"):
            return {"training_loss": self.model.training_loss(corrupted, self.streams)}
        return {"reconstruction": reconstruction_error(self.kind, self.model, code, clean).mean()}

    def penalties(
        self,
        clean: Tensor,
        corrupted: Tensor,
        code: Tensor,
        epoch: int,
        found: Pass | None = None,
        passed: Recording | None = None,
    ) -> dict[str, Tensor]:
        """The terms of the plugins; ``found`` and ``passed`` hold what is known already."""
        answers = self.plugins.call(
            "penalty_terms",
            epoch,
            model=self.model,
            clean=clean,
            corrupted=corrupted,
            code=code,
            reconstruction=self.reconstruction(code, found),
            encoder_jacobian=jacobian(
                self.model.encode,
                clean,
                outputs=(passed or code) if corrupted is clean else None,
                gradients=True,
                known_squared_norm=found.squared_norm if found else None,
            ),
            reconstruction_jacobian=jacobian(self.reconstruct, clean, gradients=True),
            streams=self.lent,
        )
        return merged_terms(answers, "penalty_terms")

    def reconstruction(self, code: Tensor, found: Pass | None) -> Tensor | None:
        """The reconstruction from the code, if some plugin wants it."""
        if "reconstruction" not in self.plugins.wanted:
            return None
        reconstruction: Tensor = found.reconstruction if found else self.model.decode(code)
        return reconstruction


def reconstruction_map(model: Any) -> Callable[[Tensor], Tensor]:
    """r = g∘f as one module where both are modules, so that the Jacobian service can look into it."""
    if isinstance(model.encode, nn.Module) and isinstance(model.decode, nn.Module):
        return nn.Sequential(model.encode, model.decode)
    return lambda inputs: model.decode(model.encode(inputs))
