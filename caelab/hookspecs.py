"""The whole plugin contract on one page: the hooks, and the members that the core looks for.

Two plugin managers, never a global one. The *catalogue* (one per process) asks modules what they offer, through
the ``register_*`` hooks. The *training manager* (one per run) calls the instances made from that run's config,
through the other hooks, in the order in which they stand here. A hook implementation names only the arguments it
wants. Arguments are shared between plugins: never change them in place.

Below the hooks stand the *members*: what the core looks for on the things that plugins offer. Nobody inherits from
these classes; an attribute or method of the name is enough.
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
        """Offer analyses: ``register(name, thing)``, a module or object with the members of ``AnalysisMembers``."""

    @hookspec
    def register_claims(self, register: Any) -> None:
        """Offer claims: ``register(name, claim)``, ``claim(numbers: caelab.Numbers) -> caelab.Finding``.

        A claim raises ``caelab.NotApplicable`` where it cannot be asked of a comparison, and is left out.
        """

    @hookspec
    def register_published(self, register: Any) -> None:
        """Offer numbers that a publication prints: ``register(name, caelab.Published(...))``."""

    @hookspec
    def register_recipes(self, register: Any) -> None:
        """Offer recipes: ``register(name, recipe)``, a mapping laid over the base config, or a ``caelab.Recipe``."""

    @hookspec
    def register_executors(self, register: Any) -> None:
        """Offer executors: ``register(name, factory)``, ``factory(workers, **options) -> futures.Executor``.

        Further parameters of the factory are options of the command line; ``resources`` is what one run takes.
        """

    @hookspec
    def register_trackers(self, register: Any) -> None:
        """Offer trackers: ``register(name, factory)``, ``factory(target) -> observer``, which only watches a run."""

    @hookspec
    def register_studies(self, register: Any) -> None:
        """Offer studies that can be reproduced: ``register(name, path)``, the ``pathlib.Path`` of a study file."""

    @hookspec
    def register_estimators(self, register: Any) -> None:
        """Offer estimators of scikit-learn's kind: ``register(name, class)``, found as ``caelab.sklearn.NAME``."""

    @hookspec
    def register_commands(self, register: Any) -> None:
        """Offer subcommands: ``register(name, click_command)``."""


class TrainingHooks:
    """What happens in a run, in call order."""

    @hookspec
    def before_training(self, model: Any, config: Any, name: str) -> None:
        """Once, after the model has its initial weights; ``name`` is the run's, LABEL-HASH."""

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
    def after_batch(self, model: Any, clean: Any, epoch: int, step: int, terms: Any) -> None:
        """After the optimiser's step, with the batch and the detached terms of its loss, ``{name: scalar}``."""

    @hookspec
    def extra_metrics(self, model: Any, inputs: Any, epoch: int) -> Any:
        """Return ``{name: number}`` measured on the validation inputs; evaluation mode, no gradient."""

    @hookspec
    def after_epoch(self, model: Any, epoch: int, metrics: Any) -> None:
        """After validation, with the epoch's metrics, ``{name: number}``."""

    @hookspec
    def after_training(self, model: Any, history: Any) -> None:
        """Once, with the metrics of every epoch, ``[{name: number}]``."""


class ModelMembers:
    """What the core looks for on a model. It needs ``encode`` and ``decode``; the others are optional."""

    def encode(self, inputs: Any) -> Any:
        """The code ``(batch, code)`` of a batch; as an ``nn.Module``, the Jacobian service looks into its layers."""

    def decode(self, code: Any) -> Any:
        """The reconstruction ``(batch, input)`` of a code; as an ``nn.Module``, its last layer gives its range."""

    def logits(self, code: Any) -> Any:
        """The reconstruction before its final sigmoid, ``(batch, input)``; cross-entropy needs it."""

    def training_loss(self, inputs: Any, streams: Any) -> Any:
        """The loss ``()`` that training minimises in place of the reconstruction error."""

    def loss_of_code(self, inputs: Any, code: Any, streams: Any) -> Any:
        """The same loss from the inputs and their code, which training has already, so that it is computed once."""

    def solve(self, inputs: Any) -> None:
        """Sets the parameters from all training inputs ``(n, input)`` at once, before the first epoch."""

    takes_probabilities: bool
    """Whether the visible units are binary, so that inputs outside [0, 1] are refused."""

    code_part: int | str
    """Which of the things that ``encode`` returns is the code: a place in a tuple, a key, or an attribute."""

    example_shape: tuple[int, ...]
    """The shape of one example that ``encode`` takes, where it takes no flat inputs."""


class LayerMembers:
    """What the Jacobian service looks for on a layer of an encoder; with one of them it has a closed form."""

    def affine(self) -> Any:
        """The weight ``(out, in)`` and the bias ``(out,)`` or None of a layer that computes ``x @ weight.T + bias``."""

    def derivative(self, z: Any) -> Any:
        """s'(z), of the shape of z, of a layer that applies s to every entry alone."""

    switches: bool
    """Whether the layer passes z on or sets it to 0; ``derivative`` may then go by all entries of an example."""

    couples_in_training: bool
    """Whether in training mode the output at one example depends on the others, as ``caelab.BatchTopK``'s does."""


class DatasetMembers:
    """What the core looks for on a loader of a data set; optional."""

    facts: Any
    """Size, shape and source for ``caelab data``, stated by the decorator ``caelab.data.describes``."""


class RegularizerMembers:
    """What the core looks for on a regularizer beside its hooks: on its class, or on an instance. All are optional."""

    weight: float
    """The factor in front of the penalty; checks divide by it."""

    claims: str
    """The known quantity that the penalty claims to be; ``caelab check`` compares the two."""

    activations: tuple[str, ...]
    """The activations that the penalty is for; by default it is checked with all usual ones."""

    over_batch: bool
    """Whether the penalty or corruption is defined over the whole batch, and not per example."""

    epoch: int
    """The epoch at which the checks call the penalty, where it is 0 in early epochs."""

    stateful: bool
    """True: it remembers earlier calls on purpose. False: no number depends on the attributes that change."""

    held_constant: str
    """What the gradient of the penalty takes for constant on purpose, in words; checks then fail no other gradient."""

    trial_options: dict[str, Any]
    """Options that the checks make it with, on the class; needed where neither types nor a recipe say enough."""

    def state_dict(self) -> Any:
        """What it remembers, for checkpoints: tensors, numbers, texts, generators, in lists and dictionaries."""

    def load_state_dict(self, state: Any) -> Any:
        """Takes back what ``state_dict`` returned."""

    def mean(self, clean: Any) -> Any:
        """The mean of a corrupted input given the clean one, of the batch's shape."""

    def covariance_diagonal(self, clean: Any) -> Any:
        """The variance of each corrupted input given the clean one, of the batch's shape."""

    declares_moments: bool
    """Whether ``mean`` and ``covariance_diagonal`` are known; without it, they are where both are there."""


class AnalysisMembers:
    """What the core looks for on an analysis. It needs ``measure`` or ``compare``, and ``draw``."""

    def measure(self, run: Any, streams: Any) -> Any:
        """The table of one run, one row per observation; further parameters are the analysis's options."""

    def compare(self, runs: Any, streams: Any) -> Any:
        """The table of several runs; its columns ``model`` and ``seed`` say which of them a row is about."""

    def draw(self, table: Any, axes: Any = None) -> Any:
        """The figure, from nothing but the table, whose ``model`` and ``seed`` tell runs apart; or onto ``axes``."""

    def summarise(self, table: Any) -> Any:
        """``{name: number}`` from the table of one run, for the summary."""

    def preview(self, table: Any) -> Any:
        """A small picture from the table of one run: ``(height, width)`` or ``(height, width, 3)``, from 0 to 1."""

    title: str
    """What stands above the figure; without it, the analysis's name."""

    caption: str
    """How to read the figure; without it, the first line of the docstring."""

    default: bool
    """Whether a comparison runs the analysis unless it is told which analyses to run."""

    columns: Any
    """A list with a ``caelab.Column`` for each number of ``summarise``."""

    needs_labels: bool
    """Whether the analysis has no meaning for data without labels."""


class ClaimMembers:
    """What the core looks for on a claim, a function of a comparison's numbers. It is optional."""

    examples: dict[str, Any]
    """Made-up ``caelab.Numbers`` for each verdict, which ``caelab check`` asks the claim of."""


class ExecutorMembers:
    """What the core calls on an executor; it is used in a ``with`` statement."""

    def submit(self, function: Any, *arguments: Any) -> Any:
        """Start a call and return its ``concurrent.futures.Future``."""

    def begin(self, folder: Any, check: Any, *arguments: Any) -> None:
        """Before the first run: refuse workers that do not find the folder, or in which the check raises; optional."""
