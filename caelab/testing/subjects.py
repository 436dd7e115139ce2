"""What is under test: instances made anew for every look, and their value in a setting."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from caelab.errors import CaelabError
from caelab.streams import Streams
from caelab.testing.chance import random_states, same_chance
from caelab.testing.claims import Claim, claim_named
from caelab.testing.settings import ALL_ACTIVATIONS, Noise, Setting, batch, settings_of, trial_config
from caelab.training.objective import Objective
from caelab.training.plugins import TrainingPlugins, merged_terms

OWN_TERMS = ("reconstruction", "training_loss")


@dataclass(frozen=True, eq=False)
class Subject:
    """A regularizer under test.

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
        """A fresh instance."""
        return self.factory(**{**self.options, **changed})

    @cached_property
    def sample(self) -> Any:
        """An instance to look at, never trained with."""
        return self.make()

    @property
    def penalises(self) -> bool:
        """Whether it adds terms to the loss."""
        return callable(getattr(self.sample, "penalty_terms", None))

    @property
    def corrupts(self) -> bool:
        """Whether it corrupts the input."""
        return callable(getattr(self.sample, "corrupt_input", None))

    @property
    def over_batch(self) -> bool:
        """Whether it says of itself that it is defined over the whole batch, not per example."""
        return bool(getattr(self.sample, "over_batch", False))

    @property
    def weight(self) -> float:
        """The factor in front of the quantity."""
        return float(getattr(self.sample, "weight", 1.0))

    @cached_property
    def claim(self) -> Claim | None:
        """The quantity that it claims to be."""
        name = self.claim_name or getattr(self.sample, "claims", None)
        return claim_named(name) if name else None

    @property
    def parameters(self) -> dict[str, Any]:
        """Its options by name, for quantities that have a parameter."""
        return {**getattr(self.sample, "__dict__", {}), **getattr(self.sample, "options", {}), **self.options}

    @cached_property
    def activations(self) -> tuple[str, ...]:
        """The activations that it is for."""
        return self.declared or tuple(getattr(self.sample, "activations", ALL_ACTIVATIONS))

    def is_beyond(self, setting: Setting) -> bool:
        """Whether a setting is none that a function for a few activations is for: it has more than one layer."""
        plain = len(setting.hidden) == 1 and not setting.layer
        return self.may_crash and not plain and {*self.activations} != {*ALL_ACTIVATIONS}

    @cached_property
    def draws_globally(self) -> bool:
        """Whether it touches the global random state: it is seeded anew then, so that the rest can be told."""
        trial = Trial(self, self.home, steady=False)
        before = random_states()
        trial.terms()
        return before != random_states()

    @cached_property
    def settings(self) -> list[Setting]:
        """Where its value is compared, for the activations that it supports.

        Raises:
            CaelabError: it refuses every activation.
        """
        declared, refusals = self.activations, []
        for place, activation in enumerate(declared):
            try:
                Trial(self, Setting("a first look", activation), steady=False)
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


class Trial:
    """A subject in a setting: its instance has seen the untrained model, the weights are those of the setting.

    Args:
        subject: what is looked at.
        setting: where.
        model: by default the setting's own.
        steady: whether the global random state is seeded for a subject that draws from it.
    """

    def __init__(
        self, subject: Subject, setting: Setting, model: nn.Module | None = None, *, steady: bool = True
    ) -> None:
        self.subject, self.setting, self.steady = subject, setting, steady
        self.model: Any = setting.initial_model() if model is None else model
        self.clean = batch(setting.inputs)
        self.instance = subject.make()
        instances = {subject.name: self.instance}
        if setting.corrupted and not subject.corrupts:
            instances["noise"] = Noise()
        self.plugins = TrainingPlugins(instances)
        self.plugins.call("before_training", model=self.model, config=trial_config())
        self.first_step()
        setting.finish(self.model, self.clean)

    def first_step(self) -> None:
        """One look at the untrained model, as in a run: what is kept from the first batch is kept from there."""
        if self.subject.penalises:
            with suppress(CaelabError), same_chance(0):
                self.objective().terms(self.clean.clone(), 1)

    def objective(self, seed: int = 0) -> Objective:
        """The loss as training computes it, its random streams at their start."""
        return Objective(self.model, self.setting.reconstruction, self.plugins, Streams(seed))

    def terms(self, clean: Tensor | None = None, seed: int = 0) -> dict[str, Tensor]:
        """All terms of the loss on a batch; every call starts its random streams anew."""
        with self.chance(seed):
            return self.objective(seed).terms(self.clean if clean is None else clean, 1)

    @torch.no_grad()
    def code(self) -> Tensor:
        """The code that the penalty is about: of the corrupted batch, if something corrupts it and it looks there."""
        with self.chance(0):
            corrupted = self.objective().corrupt(self.clean, 1)
            code: Tensor = self.model.encode(corrupted)
            sees_corrupted = getattr(self.instance, "sees_corrupted", None)
            if sees_corrupted is not None:  # it encodes for itself, and dropout draws anew
                code = self.model.encode(corrupted if sees_corrupted else self.clean)
        return code

    def chance(self, seed: int) -> AbstractContextManager[None]:
        """Dropout draws from torch's global state, the same every time; so does a subject that draws there, by seed."""
        if self.steady and self.subject.draws_globally:
            return same_chance(seed)
        return same_chance(0) if self.setting.layer == "dropout" else nullcontext()

    def value(self, clean: Tensor | None = None, seed: int = 0) -> Tensor:
        """The sum of the subject's terms, shape ()."""
        terms = [checked_term(name, term) for name, term in self.terms(clean, seed).items() if name not in OWN_TERMS]
        return sum(terms, torch.zeros((), dtype=self.clean.dtype))

    def number(self, clean: Tensor | None = None, seed: int = 0) -> float:
        """The value without its gradient."""
        return float(self.value(clean, seed).detach())

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
            found = torch.autograd.grad(value, list(named.values()), allow_unused=True)
        except RuntimeError as error:
            if "is not implemented" not in str(error):
                raise
            found = (None,) * len(named)  # torch has no derivative of //
        pairs = zip(named.items(), found, strict=True)
        return {name: torch.zeros_like(p) if gradient is None else gradient for (name, p), gradient in pairs}

    def gradient(self) -> Tensor:
        """All gradients as one vector."""
        return torch.cat([gradient.flatten() for gradient in self.gradients().values()])

    def answers(self, **arguments: Any) -> dict[str, Any]:
        """What the plugin itself returns for these arguments of ``penalty_terms``."""
        return merged_terms(self.plugins.call("penalty_terms", 1, **arguments), "penalty_terms")


def checked_term(name: str, term: Any) -> Tensor:
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
    """Whether a plugin says that it does not apply, rather than fails."""
    return not isinstance(error, WrongTerm) and not isinstance(error.__cause__, Exception)
