"""The whole plugin contract, on one page.

Two plugin managers, never a global one. The *catalogue* (one per process) asks modules what they offer, through
the ``register_*`` hooks. The *training manager* (one per run) calls the instances made from that run's config,
through the other hooks, in the order in which they stand here. A hook implementation names only the arguments it
wants. Arguments are shared between plugins: never change them in place.
"""

from typing import Any

import pluggy

hookimpl = pluggy.HookimplMarker("caelab")
hookspec = pluggy.HookspecMarker("caelab")


class CatalogueHooks:
    """What a module offers. ``register(name, thing)``; a thing may be the string ``"module:attribute"``."""

    @hookspec
    def register_models(self, register: Any) -> None:
        """Offer models: ``register(name, factory)``, ``factory(inputs, image_shape, **options) -> nn.Module``."""

    @hookspec
    def register_datasets(self, register: Any) -> None:
        """Offer data sets: ``register(name, loader)``, ``loader(**options) -> caelab.data.Samples``."""

    @hookspec
    def register_regularizers(self, register: Any) -> None:
        """Offer regularizers: ``register(name, factory)``; the factory's parameters are the options of a run."""

    @hookspec
    def register_analyses(self, register: Any) -> None:
        """Offer analyses: ``register(name, thing)``, the thing with ``measure``, ``draw`` and perhaps ``summarise``."""

    @hookspec
    def register_recipes(self, register: Any) -> None:
        """Offer recipes: ``register(name, config)``, a mapping laid over the base config of a run."""

    @hookspec
    def register_executors(self, register: Any) -> None:
        """Offer executors: ``register(name, factory)``, ``factory(workers) -> concurrent.futures.Executor``."""

    @hookspec
    def register_commands(self, register: Any) -> None:
        """Offer subcommands: ``register(name, click_command)``."""


class TrainingHooks:
    """What happens in a run, in call order."""

    @hookspec
    def before_training(self, model: Any, config: Any) -> None:
        """Once, after the model has its initial weights."""

    @hookspec
    def before_epoch(self, model: Any, epoch: int) -> None:
        """Before the first batch of an epoch (epochs count from 1)."""

    @hookspec(firstresult=True)
    def corrupt_input(self, clean: Any, epoch: int, streams: Any) -> Any:
        """Return a corrupted copy of the batch ``(batch, *input)``; two implementers in one run are an error."""

    @hookspec
    def penalty_terms(
        self,
        model: Any,
        clean: Any,
        corrupted: Any,
        code: Any,
        reconstruction: Any,
        encoder_jacobian: Any,
        reconstruction_jacobian: Any,
        epoch: int,
        streams: Any,
    ) -> Any:
        """Return ``{name: already weighted scalar}``; the terms of all plugins add up to the loss.

        ``code`` and ``reconstruction`` belong to the corrupted batch, which is the clean one if nobody corrupts;
        both Jacobians are taken at the clean batch and cost nothing until they are asked for something.
        """

    @hookspec
    def before_update(self, model: Any, epoch: int, step: int) -> None:
        """Between the backward pass and the optimiser's step."""

    @hookspec
    def after_batch(self, model: Any, epoch: int, step: int, terms: Any) -> None:
        """After the optimiser's step, with the detached terms of the loss, ``{name: scalar}``."""

    @hookspec
    def extra_metrics(self, model: Any, inputs: Any, epoch: int) -> Any:
        """Return ``{name: number}`` measured on the validation inputs; evaluation mode, no gradient."""

    @hookspec
    def after_epoch(self, model: Any, epoch: int, metrics: Any) -> None:
        """After validation, with the epoch's metrics, ``{name: number}``."""

    @hookspec
    def after_training(self, model: Any, history: Any) -> None:
        """Once, with the metrics of every epoch, ``[{name: number}]``."""
