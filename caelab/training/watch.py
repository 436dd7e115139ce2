"""Detecting plugins that change what others see: every argument is compared when a call returns.

Versions of tensors and a few settings are compared at every call, in some microseconds; at the first steps of an epoch,
and now and then after, every value, every setting of the process and the random generators.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from caelab.process.settings import ALL, CHEAP, GENERATORS, Found, sentence
from caelab.streams import stream_seed
from caelab.training.gradients import untrainable
from caelab.training.structure import Structure

EVERY = 64  # the first step of an epoch is looked at closely, the second of the first one, and every so many after
WITHIN_STEP = ("corrupt_input", "penalty_terms", "before_update", "after_batch")
READS_WEIGHTS = ("corrupt_input", "penalty_terms", "extra_metrics")  # the others may change them
OFTEN = [*CHEAP, GENERATORS[0]]
READS = [setting.read for setting in OFTEN]


class ChangedArgument(Exception):
    """A plugin changed, in place, what all plugins of the run are handed."""

    def __init__(self, names: list[str]) -> None:
        self.names = names


class Interference(Exception):
    """What a plugin changed that others see, and what to do instead."""


def _hurdle(changed: str, instead: str) -> Interference:
    """The sentence that follows "plugin 'mine' in penalty_terms"."""
    return Interference(f"changes {changed}, which others see too; {instead}")


class Snapshot:
    """A snapshot of everything that one call may not change."""

    def __init__(self, watch: Watch, plugin: str, hook: str, arguments: Mapping[str, Any]) -> None:
        self.tensors = {name: value for name, value in arguments.items() if isinstance(value, Tensor)}
        self.values = {name: fingerprint(value) for name, value in self.tensors.items()}
        self.plain = without_gradient(arguments.values())
        self.config = arguments.get("config")
        self.written = self.config.model_dump() if self.config is not None else None
        self.weights = Weights(watch, plugin, hook)
        self.settings = Found(ALL, torch_state=False)

    def again(self) -> None:
        """Compare the present state with the snapshot.

        Raises:
            Interference: something that others see is different now.
        """
        _refuse_settings(self.settings)
        _undo_gradients(self.plain)
        changed = [name for name, value in self.values.items() if fingerprint(self.tensors[name]) != value]
        if changed:
            raise ChangedArgument(changed)
        if self.config is not None and self.config.model_dump() != self.written:
            raise _hurdle("the config", "make another config, and train with that")
        self.weights.again()


class Weights:
    """The model before a call: its parameters, modes and gradients, as far as the hook may not change them."""

    def __init__(self, watch: Watch, plugin: str, hook: str) -> None:
        self.watch, self.plugin, self.hook = watch, plugin, hook
        self.reads = hook in READS_WEIGHTS
        self.versions = watch.versions() if self.reads else []
        self.modes = watch.modes() if self.reads or hook in WITHIN_STEP else []
        self.fixed = watch.measured() if self.reads else []
        self.sums = [fingerprint(value) for _, value in self.fixed]
        self.grads = [_state_of_gradient(p) for p in watch.parameters]
        self.finite = not self.reads and watch.not_finite() is None

    def again(self) -> None:
        """Compare the model with what it was before the call.

        Raises:
            Interference: weights that only may be read, or the mode, are different; or NaN came into the weights.
        """
        if self.reads and self.watch.versions() != self.versions:
            raise changed_weights()
        if self.modes and self.watch.modes() != self.modes:
            raise self.watch.changed_mode(self.modes)
        self.watch.check_structure(self.hook)
        if [fingerprint(value) for _, value in self.fixed] != self.sums:
            raise changed_weights()
        if self.finite and (name := self.watch.not_finite()) is not None:
            raise Interference(
                f"leaves NaN or infinite values in the weights ({name}); a run with such weights is not stored"
            )
        if self.hook == "penalty_terms" and [_state_of_gradient(p) for p in self.watch.parameters] != self.grads:
            self.watch.ran_backward = self.plugin


def changed_weights() -> Interference:
    """The sentence for a hook that only may read the weights."""
    remedy = "change them in before_update or after_batch, or work on copy.deepcopy(model)"
    return _hurdle("the model's weights", remedy)


def _refuse_settings(found: Found) -> None:
    """Put the settings of the process back.

    Raises:
        Interference: some were changed.
    """
    changes = found.changes()
    if changes:
        found.put_back(changes)
        raise Interference(sentence("", changes).strip())


def without_gradient(values: Iterable[Any]) -> list[Tensor]:
    """The tensors among arguments that ask for no gradient."""
    return [value for value in values if type(value) is Tensor and not value.requires_grad]


def _undo_gradients(plain: Sequence[Tensor]) -> None:
    """A plugin may ask for a gradient by the input; only others must not see it."""
    for value in plain:
        if value.requires_grad and value.is_leaf:
            value.requires_grad_(False)


@dataclass
class Watch:
    """Detects what the plugins of one run change for each other.

    Args:
        model: the one that is trained.
        seed: of the run; a plugin that draws from torch's global generator draws from a stream of its own.
        device: of the run.
    """

    model: nn.Module
    seed: int
    device: torch.device
    epoch: int = 0
    step: int = 0
    owners: dict[str, str] = field(default_factory=dict)  # of the terms of the loss
    ran_backward: str = ""  # the plugin that called backward() in penalty_terms, which frees graphs
    drawing: dict[str, list[Tensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.generators = [torch.default_generator]
        if self.device.type == "cuda":
            self.generators.append(torch.cuda.default_generators[self.device.index or 0])
        self.structure = Structure(self.model)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The parameters that the model had when it was read last."""
        return self.structure.parameters

    @property
    def modules(self) -> list[nn.Module]:
        """The modules that the model had when it was read last."""
        return self.structure.modules

    def renew(self, optimised: Collection[int] | None = None) -> None:
        """Read anew what the model consists of, and the ``id`` of each parameter that the optimiser changes."""
        self.structure.renew(optimised)

    def check_structure(self, hook: str) -> None:
        """Compare the model's parts with those that were there.

        Raises:
            Interference: they are other ones, or of another type.
        """
        if wrong := self.structure.wrong(hook):
            raise Interference(wrong)

    def begin(self, epoch: int, step: int = 0) -> None:
        """Count calls as those of a step from now on; step 0 is what comes before the first one of an epoch."""
        if epoch != self.epoch:
            self.drawing = {}  # their generators start anew at every epoch, so that a resumed run draws the same
        self.epoch, self.step = epoch, step
        self.thorough = step <= 1 or (epoch, step) == (1, 2) or step % EVERY == 0

    def call(
        self, plugin: str, hook: str, names: Sequence[str], function: Callable[..., Any], given: Sequence[Any]
    ) -> Any:
        """The plugin's answer.

        Raises:
            Interference: it changed what others see.
        """
        thorough = self.thorough or hook not in WITHIN_STEP
        if not thorough and plugin not in self.drawing:
            return self._quickly(hook, function, given)
        with self.chance(plugin):
            snapshot = Snapshot(self, plugin, hook, dict(zip(names, given, strict=True)))
            try:
                answer = function(*given)
            except BaseException:
                snapshot.settings.put_back(snapshot.settings.changes())
                raise
            snapshot.again()
        return answer

    def _quickly(self, hook: str, function: Callable[..., Any], given: Sequence[Any]) -> Any:
        """The answer, after the checks that take a few microseconds."""
        settings, modes, plain = [read() for read in READS], self.modes(), without_gradient(given)
        versions = self.versions() if hook in READS_WEIGHTS else None
        try:
            answer = function(*given)
        except BaseException:
            found = Found(OFTEN, torch_state=False, values=settings)
            found.put_back(found.changes())
            raise
        if [read() for read in READS] != settings:
            _refuse_settings(Found(OFTEN, torch_state=False, values=settings))
        _undo_gradients(plain)
        if versions is not None and self.versions() != versions:
            raise changed_weights()
        if self.modes() != modes:
            raise self.changed_mode(modes)
        if not self.structure.seems_same():
            self.check_structure(hook)
        return answer

    def versions(self) -> list[int]:
        """How often each parameter was changed in place, as torch counts it."""
        return [p._version for p in self.parameters]

    def modes(self) -> list[bool]:
        """Whether each module is in training mode."""
        return [module.training for module in self.modules]

    def changed_mode(self, modes: Sequence[bool]) -> Interference:
        """Put the mode of every module back, and return the sentence that says what changed."""
        for module, mode in zip(self.modules, modes, strict=True):
            module.training = mode
        return _hurdle(
            "the model's mode, training or evaluation", "call model.train() or eval() only for a while and put it back"
        )

    @contextmanager
    def chance(self, plugin: str) -> Iterator[None]:
        """Within the block torch's global generators are the plugin's, seeded by the run, its name and the epoch."""
        outer = [generator.get_state() for generator in self.generators]
        inner = self.drawing.get(plugin) or self._seeded(plugin)
        for generator, state in zip(self.generators, inner, strict=True):
            generator.set_state(state)
        try:
            yield
        finally:
            states = [generator.get_state() for generator in self.generators]
            if plugin in self.drawing or not all(map(torch.equal, states, inner)):
                self.drawing[plugin] = states
            for generator, state in zip(self.generators, outer, strict=True):
                generator.set_state(state)

    def _seeded(self, plugin: str) -> list[Tensor]:
        seed = stream_seed(self.seed, f"plugin {plugin} in epoch {self.epoch}")
        return [torch.Generator(each.device).manual_seed(seed).get_state() for each in self.generators]

    def measured(self) -> list[tuple[str, Tensor]]:
        """The parameters by name; in evaluation mode also the buffers, which no forward pass changes then."""
        named: list[tuple[str, Tensor]] = [*self.model.named_parameters()]
        return named if self.model.training else [*named, *self.model.named_buffers()]

    def not_finite(self) -> str | None:
        """The name of the first parameter that holds NaN or infinity, if there is one."""
        return next((name for name, p in self.model.named_parameters() if not _finite(p)), None)

    def check_term(self, plugin: str, name: str, term: Tensor) -> str:
        """Why a term would train nothing, or the empty text; its graph is looked at now and then."""
        self.owners[name] = plugin
        return untrainable(term, self.structure.trainable) if self.thorough or not term.requires_grad else ""


def _version(tensor: Tensor) -> int:
    """How often a tensor was changed in place, as torch counts it; what goes around ``.data`` is not counted."""
    return 0 if tensor.is_inference() else tensor._version


WHOLE = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by the size of an entry


def _finite(tensor: Tensor) -> bool:
    """Whether a tensor holds finite numbers alone; their sum tells it twenty times faster, unless it overflows."""
    return math.isfinite(float(tensor.detach().sum())) or bool(torch.isfinite(tensor).all())


def _state_of_gradient(parameter: Tensor) -> tuple[int, int] | None:
    return None if parameter.grad is None else (id(parameter.grad), _version(parameter.grad))


def fingerprint(tensor: Tensor) -> tuple[int, int]:
    """Sums of a tensor's bits, read as whole numbers, over all of it and over its first half: for order counts too."""
    flat = tensor.detach().reshape(-1)
    flat = torch.view_as_real(flat).reshape(-1) if flat.is_complex() else flat
    size = flat.element_size()
    pairs = flat.numel() * size % 16 == 0 and flat.is_contiguous() and flat.storage_offset() * size % 8 == 0
    whole = flat.view(torch.int64 if pairs else WHOLE[size])
    return int(whole.sum()), int(whole[: len(whole) // 2].sum())
