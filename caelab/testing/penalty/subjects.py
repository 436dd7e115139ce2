"""The plugin that is checked: fresh instances for every measurement, and its value in a setting."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import cached_property, reduce
from typing import Any

import torch
from torch import Tensor, nn

from caelab.errors import CaelabError
from caelab.process.exits import how
from caelab.process.settings import CHEAP, Found
from caelab.registry.reserved import OWN_TERMS
from caelab.streams import Streams
from caelab.testing.chance import random_states, same_chance
from caelab.testing.penalty.declared import checked_epoch, checked_flag, declared, known_activations
from caelab.testing.penalty.memory import Memory
from caelab.testing.penalty.precision import InDouble, default_type
from caelab.testing.penalty.quantities import Claim, Situation, claim_named
from caelab.testing.penalty.settings import USUAL_ACTIVATIONS, Noise, Setting, batch, settings_of, trial_config
from caelab.testing.side_effects import SideEffectRecorder
from caelab.training.objective import Objective
from caelab.training.plugins import TrainingPlugins, merged_terms

NO_DERIVATIVE = "is not implemented"  # how torch says that it cannot differentiate an operator


@dataclass(frozen=True)
class Recalled:
    """What a plugin keeps between its calls.

    Attributes:
        matters: whether the same batch gets another value after another call.
        names: of what changed.
        draws: whether what changed is a generator of its own.
        put_back: whether it has its first value again, once everything that changed is put back.
    """

    matters: bool
    names: list[str]
    draws: bool
    put_back: bool


EPOCHS = (1, 2, 5, 10, 20, 50, 100, 1000)
"""Where a penalty that does not say at which epoch to look is looked at."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A regularizer that is checked.

    Attributes:
        name: its label in the run.
        factory: makes an instance from options.
        options: of the instance.
        claim_name: the quantity it claims to be; by default what its attribute ``claims`` says.
        declared: the activations it is for; by default what its attribute ``activations`` says.
        may_crash: where it is for some activations only, deeper encoders are none of its business.
    """

    name: str
    factory: Callable[..., Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    claim_name: str | None = None
    declared: tuple[str, ...] = ()
    may_crash: bool = False

    def make(self, **changed: Any) -> Any:
        """Make a fresh instance.

        Raises:
            CaelabError: it cannot be made.
        """
        found = Found(CHEAP, torch_state=False)
        try:
            return self.factory(**{**self.options, **changed})
        except CaelabError:
            raise
        except (Exception, SystemExit) as error:  # a plugin may fail in any way
            raise CaelabError(
                f"{self.name!r} cannot be made with the options {dict(self.options)}: {one_line(error)}"
            ) from error
        finally:
            self.recorder.note(found, "making it")

    @cached_property
    def sample(self) -> Any:
        """An instance to read attributes of; it is never trained with."""
        return self.make()

    @cached_property
    def recorder(self) -> SideEffectRecorder:
        """The recorder of side effects, for every call of this regularizer."""
        return SideEffectRecorder()

    def says(self, name: str, default: Any = None) -> Any:
        """An attribute of the instance, of its class, or of the function that stands for it."""
        return declared((self.sample, self.factory), name, default)

    @property
    def penalises(self) -> bool:
        """Whether it adds terms to the loss."""
        return callable(getattr(self.sample, "penalty_terms", None))

    @property
    def corrupts(self) -> bool:
        """Whether it corrupts the input."""
        return callable(getattr(self.sample, "corrupt_input", None))

    @cached_property
    def over_batch(self) -> bool:
        """Whether it says of itself that it is defined over the whole batch, not per example."""
        return checked_flag(self.name, "over_batch", self.says("over_batch", False))

    @cached_property
    def stateful(self) -> bool:
        """Whether it says of itself that it remembers earlier calls, as a moving average does."""
        return checked_flag(self.name, "stateful", self.says("stateful", False))

    @cached_property
    def held_constant(self) -> str:
        """What the gradient takes for constant on purpose, in words; empty where it says nothing."""
        return str(self.says("held_constant", "") or "")

    @cached_property
    def stated_epoch(self) -> int | None:
        """The epoch at which the plugin asks to be checked, by its attribute ``epoch``."""
        return checked_epoch(self.name, self.says("epoch"))

    @cached_property
    def by_epoch(self) -> dict[int, float]:
        """Its value at home in each of some epochs, where it says no epoch and they differ; otherwise nothing."""
        found = {} if self.stated_epoch else {epoch: _value_at(self, epoch) for epoch in (EPOCHS[0], EPOCHS[-1])}
        if len({repr(value) for value in found.values()}) == 1 or not found:
            return {}
        return {epoch: value for epoch in EPOCHS if math.isfinite(value := _value_at(self, epoch))}

    @cached_property
    def epoch(self) -> int:
        """The epoch at which the plugin is checked: the stated one, one in which it equals its claim, or the first."""
        if self.stated_epoch or not self.by_epoch:
            return self.stated_epoch or EPOCHS[0]
        acting = [epoch for epoch, value in self.by_epoch.items() if value] or [EPOCHS[0]]
        if self.claim is None:
            return acting[0]
        wanted = self.claimed_at_home()
        right = [epoch for epoch in acting if math.isclose(self.by_epoch[epoch], wanted, rel_tol=1e-6)]
        return (right or acting)[0]

    def claimed_at_home(self) -> float:
        """What it claims to be, in the setting that everything else is looked at in."""
        assert self.claim is not None
        trial = Trial(self, self.home, epoch=EPOCHS[0])
        draws = self.claim.draws(Situation(trial.model, trial.clean, trial.code(), self.parameters))
        return self.weight * sum(draws) / len(draws)

    @cached_property
    def in_double(self) -> InDouble | None:
        """Where it makes float32 tensors beside a float64 batch, what takes them for float64 from then on."""
        mode = InDouble()
        try:
            trial = Trial(self, self.home, epoch=self.stated_epoch or EPOCHS[0], mode=mode, default=torch.float32)
            trial.gradient()
        except (Exception, SystemExit):  # whatever it is, it is found again where it is told
            return None
        return mode if mode.met else None

    @cached_property
    def recalled(self) -> Recalled:
        """What it keeps from one call to the next, and whether its value follows that."""
        trial = Trial(self, self.home)
        if self.draws[1] and trial.is_random:
            return Recalled(True, self.draws[1], draws=True, put_back=True)
        first = trial.number()
        trial.number(1 - trial.clean, anew=False)
        again, names = trial.number(anew=False), trial.memory.changed()
        return Recalled(repr(first) != repr(again), names, draws=False, put_back=repr(first) == repr(trial.number()))

    @property
    def remembers(self) -> list[str]:
        """The names of what it keeps between its calls, where its value follows them."""
        return self.recalled.names if self.recalled.matters else []

    @property
    def weight(self) -> float:
        """The factor in front of the quantity; 1 where the attribute ``weight`` is no single number."""
        try:
            return float(getattr(self.sample, "weight", 1.0))
        except (TypeError, ValueError, RuntimeError):
            return 1.0

    @cached_property
    def claim(self) -> Claim | None:
        """The quantity that it claims to be."""
        name = self.claim_name or self.says("claims")
        return claim_named(name) if name else None

    @property
    def parameters(self) -> dict[str, Any]:
        """Its options by name, for quantities that have a parameter."""
        return {**getattr(self.sample, "__dict__", {}), **getattr(self.sample, "options", {}), **self.options}

    @cached_property
    def activations(self) -> tuple[str, ...]:
        """The activations that it is for."""
        return self.declared or known_activations(self.says("activations", USUAL_ACTIVATIONS))

    def is_beyond(self, setting: Setting) -> bool:
        """Whether a setting is none that a function for a few activations is for: it has more than one layer."""
        plain = len(setting.hidden) == 1 and not setting.layer
        return self.may_crash and not plain and not {*self.activations} >= {*USUAL_ACTIVATIONS}

    @cached_property
    def draws(self) -> tuple[bool, list[str]]:
        """Whether it touches the global random state, and the generators of its own that it draws from.

        Both are seeded anew then, so that the rest can be told.
        """
        trial = Trial(self, self.home, steady=False, epoch=self.stated_epoch or EPOCHS[0], mode=nullcontext())
        before = random_states()
        with suppress(Exception):  # whatever it is, it is found again where it is told
            trial.terms()
        return before != random_states(), trial.memory.drawn_from()

    @cached_property
    def settings(self) -> list[Setting]:
        """Where its value is compared, for the activations that it supports.

        Raises:
            CaelabError: it refuses every activation.
        """
        declared, refusals = self.activations, []
        for place, activation in enumerate(declared):
            try:
                Trial(self, Setting("a first look", activation), steady=False, epoch=EPOCHS[0], mode=nullcontext())
            except CaelabError as error:
                if not is_refusal(error):
                    raise
                refusals.append(str(error))
                continue
            return settings_of((activation, *declared[:place], *declared[place + 1 :]))
        raise CaelabError(f"{self.name} refuses every activation: {refusals[-1] if refusals else 'it names none'}")

    @property
    def home(self) -> Setting:
        """The setting for everything that is checked only once: after training, the first activation."""
        return self.settings[1]


def _value_at(subject: Subject, epoch: int) -> float:
    """The value at home in an epoch, or what a corruption changes there; NaN where it fails."""
    try:
        trial = Trial(subject, subject.home, epoch=epoch, lived=False)
        if subject.penalises:
            return trial.number()
        return sum(float((trial.corrupted(seed=seed) - trial.clean).abs().sum()) for seed in range(3))
    except (Exception, SystemExit):  # a schedule may end before
        return math.nan


def one_line(error: BaseException) -> str:
    """An error's kind and message on one line, as a part of a sentence."""
    if isinstance(error, CaelabError):
        return " ".join(str(error).split())
    if isinstance(error, SystemExit):
        return f"it ends the program, with {how(error)}; let it return"
    return " ".join(f"{type(error).__name__}: {error}".split())


class Trial:
    """A subject in a setting: its instance has seen the untrained model, the weights are those of the setting.

    Every look finds the instance as it was after this was made, whatever it keeps between its calls.

    Args:
        subject: what is looked at.
        setting: where.
        model: by default the setting's own.
        steady: whether the global random state is seeded for a subject that draws from it.
        epoch: in which epoch; by default that of the subject.
        dtype: of the model and of the batch; torch's default type follows.
        mode: what the subject is called in; by default what its float32 tensors ask for.
        default: torch's default type, if it is to be another.
        lived: whether a subject that remembers was called in every epoch before.
    """

    def __init__(
        self,
        subject: Subject,
        setting: Setting,
        model: nn.Module | None = None,
        *,
        steady: bool = True,
        epoch: int | None = None,
        dtype: torch.dtype = torch.float64,
        mode: AbstractContextManager[Any] | None = None,
        default: torch.dtype | None = None,
        lived: bool = True,
    ) -> None:
        self.subject, self.setting, self.steady = subject, setting, steady
        self.epoch = subject.epoch if epoch is None else epoch
        self.mode, self.default = mode, default or dtype
        if mode is None and dtype is torch.float64:
            self.mode = subject.in_double
        trained: Any = setting.initial_model() if model is None else model
        self.model: Any = trained if dtype is torch.float64 else copy.deepcopy(trained).to(dtype)
        self.clean = batch(setting.inputs).to(dtype)
        with self.working():
            self.instance = subject.make()
            instances = {subject.name: self.instance}
            if setting.corrupted and not subject.corrupts:
                instances["noise"] = Noise()
            self.plugins = TrainingPlugins(instances)
            self.plugins.watch = subject.recorder
            config = trial_config(max(EPOCHS[1], self.epoch))
            self.plugins.call("before_training", model=self.model, config=config, name=config.label)
            self.first_epochs(lived)
        self.model.train()
        self.bring_weights(trained)
        self.memory = Memory(self.instance, self.model)

    @contextmanager
    def working(self) -> Iterator[None]:
        """What the subject is called in: a default type, and float64 in place of float32 where it needs that."""
        with default_type(self.default), self.mode or nullcontext():
            yield

    def bring_weights(self, start: nn.Module) -> None:
        """The weights that the setting wants, found in float64 whatever the type of this model."""
        if self.clean.dtype is torch.float64:
            self.setting.finish(self.model, self.clean)
            return
        self.setting.finish(start, batch(self.setting.inputs))
        found = dict(start.named_parameters())
        with torch.no_grad():
            for name, own in self.model.named_parameters():
                own.copy_(found.get(name, own))

    def first_epochs(self, lived: bool) -> None:
        """As a run does up to this epoch: what is kept from the first batch is kept from the untrained model."""
        for epoch in range(1, self.epoch + 1):
            self.plugins.call("before_epoch", epoch, model=self.model)
            if self.subject.penalises and (epoch == 1 or (lived and self.subject.stateful)):
                with suppress(CaelabError), same_chance(0):
                    terms = self.objective().terms(self.clean.clone(), epoch)
                    if self.subject.stateful:
                        values = {name: float(term.detach()) for name, term in terms.items()}
                        given = {"model": self.model, "clean": self.clean, "step": 1, "terms": values}
                        self.plugins.call("after_batch", epoch, **given)

    def objective(self, seed: int = 0) -> Objective:
        """The loss as training computes it, its random streams at their start."""
        return Objective(self.model, self.setting.reconstruction, self.plugins, Streams(seed))

    def terms(self, clean: Tensor | None = None, seed: int = 0, *, anew: bool = True) -> dict[str, Tensor]:
        """All terms of the loss on a batch; every call starts its random streams anew, and the plugin's memory."""
        if anew:
            self.put_back(seed)
        with self.chance(seed), self.working():
            return self.objective(seed).terms(self.clean if clean is None else clean, self.epoch)

    @torch.no_grad()
    def code(self) -> Tensor:
        """The code that the penalty is about: of the corrupted batch, if something corrupts it and it looks there."""
        with self.chance(0):
            corrupted = self.corrupted()
            code: Tensor = self.model.encode(corrupted)
            sees_corrupted = getattr(self.instance, "sees_corrupted", None)
            if sees_corrupted is not None:  # it encodes for itself, and dropout draws anew
                code = self.model.encode(corrupted if sees_corrupted else self.clean)
        return code

    def corrupted(self, clean: Tensor | None = None, seed: int = 0, *, anew: bool = True) -> Tensor:
        """The batch that the encoder sees, whatever the one who corrupts it returns."""
        if anew:
            self.put_back(seed)
        clean = self.clean if clean is None else clean
        if self.plugins.corrupter is None:
            return clean
        with self.chance(seed), self.working():
            found: Tensor = self.plugins.call("corrupt_input", self.epoch, clean=clean, streams=Streams(seed))
        return found

    def put_back(self, seed: int = 0) -> None:
        """Everything that the instance keeps as it was at the start; its own generators are seeded anew."""
        self.memory.restore()
        if self.steady and self.subject.draws[1]:
            self.memory.seed(seed)

    def chance(self, seed: int) -> AbstractContextManager[None]:
        """Dropout draws from torch's global state, the same every time; so does a subject that draws there, by seed."""
        if self.steady and self.subject.draws[0]:
            return same_chance(seed)
        return same_chance(0) if self.setting.layer == "dropout" else nullcontext()

    def value(self, clean: Tensor | None = None, seed: int = 0, *, anew: bool = True) -> Tensor:
        """The sum of the subject's terms, shape ()."""
        terms = self.terms(clean, seed, anew=anew).items()
        own = [_checked_term(name, term) for name, term in terms if name not in OWN_TERMS]
        return reduce(torch.add, own) if own else torch.zeros((), dtype=self.clean.dtype)

    def number(self, clean: Tensor | None = None, seed: int = 0, *, anew: bool = True) -> float:
        """The value without its gradient."""
        return float(self.value(clean, seed, anew=anew).detach())

    @cached_property
    def is_random(self) -> bool:
        """Whether the value depends on the random streams."""
        return len({repr(self.number(seed=seed)) for seed in range(3)}) > 1  # NaN differs from itself

    def draws(self, clean: Tensor | None, count: int, first: int = 0) -> Tensor:
        """Values on a batch, one if nothing is drawn, else one for each of ``count`` seeds; float64."""
        seeds = range(first, first + count) if self.is_random else range(1)
        return torch.tensor([self.number(clean, seed) for seed in seeds], dtype=torch.float64)

    def gradients(self) -> dict[str, Tensor]:
        """The gradient of the value by every parameter of the model, zero where there is none."""
        named, value = dict(self.model.named_parameters()), self.value()
        if not value.requires_grad:
            return {name: torch.zeros_like(parameter) for name, parameter in named.items()}
        found: tuple[Tensor | None, ...]
        try:
            with self.working():
                found = torch.autograd.grad(value, list(named.values()), allow_unused=True)
        except RuntimeError as error:
            if NO_DERIVATIVE not in str(error):
                raise
            found = (None,) * len(named)
        pairs = zip(named.items(), found, strict=True)
        return {name: torch.zeros_like(p) if gradient is None else gradient for (name, p), gradient in pairs}

    def gradient(self) -> Tensor:
        """All gradients as one vector."""
        return torch.cat([gradient.flatten() for gradient in self.gradients().values()])

    def answers(self, **arguments: Any) -> dict[str, Any]:
        """What the plugin itself returns for these arguments of ``penalty_terms``."""
        self.put_back()
        with self.working():
            return merged_terms(self.plugins.call("penalty_terms", self.epoch, **arguments), "penalty_terms")


def _checked_term(name: str, term: Any) -> Tensor:
    """A term that training can use.

    Raises:
        CaelabError: it is no tensor, or not a scalar.
    """
    if not isinstance(term, Tensor) or term.ndim:
        came = f"shape {tuple(term.shape)}" if isinstance(term, Tensor) else type(term).__name__
        raise WrongTerm(f"expected a scalar tensor as the term {name!r}, but {came} came; sum over its entries")
    return term


class WrongTerm(CaelabError):
    """A plugin returns something that is no term of a loss."""


def is_refusal(error: CaelabError) -> bool:
    """Whether a plugin says that it does not apply, rather than fails; the loop puts the plugin's name before it."""
    cause = error.__cause__
    if type(cause) is CaelabError:
        return is_refusal(cause)
    return not isinstance(error, WrongTerm) and not isinstance(cause, Exception)
