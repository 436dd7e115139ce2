"""A chain of corruptions, one after the other, as one plugin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Annotated, Any, ClassVar

import torch
from pydantic import AfterValidator
from torch import Tensor

from caelab import CaelabError, hookimpl
from caelab.registry.catalogue import catalogue
from caelab.registry.signatures import checked_options
from caelab.streams import Streams


def _checked_steps(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The steps with the defaults of their options filled in.

    Raises:
        CaelabError: there is no step; one has no kind, is not a corruption, or has a wrong option.
    """
    if not steps:
        raise CaelabError("corruption-chain.steps is empty; give at least one, as in [{kind: gaussian, sigma: 0.1}]")
    return [checked_step(step, f"corruption-chain.steps.{place}") for place, step in enumerate(steps)]


def checked_step(step: Mapping[str, Any], where: str) -> dict[str, Any]:
    """One corruption ``{kind: NAME, option: value, ...}`` with the defaults of its options filled in.

    Raises:
        CaelabError: it has no kind, is not a corruption, or has a wrong option; ``where`` says which it is.
    """
    options = dict(step)
    kind = options.pop("kind", None)
    if not isinstance(kind, str):
        raise CaelabError(
            f"{where} expects a mapping with a kind, as in {{kind: gaussian, sigma: 0.1}}, but {step} came"
        )
    options = checked_options(catalogue().get("regularizer", kind), options, where)
    if not hasattr(make_step(kind, **options), "corrupt_input"):
        raise CaelabError(
            f"{where} expects a corruption, but {kind!r} does not corrupt the input; "
            "give it as a regularizer of its own"
        )
    return {"kind": kind, **options}


def make_step(kind: str, **options: Any) -> Any:
    """The instance of one checked step."""
    return catalogue().get("regularizer", kind)(**options)


Steps = Annotated[list[dict[str, Any]], AfterValidator(_checked_steps)]
"""A list of ``{kind: NAME, option: value, ...}``, each a registered corruption."""


@dataclass(eq=False)
class CorruptionChain:
    """Applies corruptions in turn, x̃ = c_K(... c_2(c_1(x))) (of the steps: Vincent et al. 2010, JMLR 11).

    Any registered corruption may be a step, a third party's too. Steps of one kind draw from one random stream in
    turn, so their noises are independent.

    Attributes:
        steps: ``{kind: NAME, option: value, ...}`` each, the first one first.
    """

    trial_options: ClassVar[Mapping[str, Any]] = {
        "steps": [{"kind": "masking", "p": 0.2}, {"kind": "gaussian", "sigma": 0.1}]
    }

    steps: Steps

    def __post_init__(self) -> None:
        self.steps = _checked_steps(self.steps)
        self.corruptions = [make_step(**step) for step in self.steps]

    @hookimpl
    def corrupt_input(self, clean: Tensor, epoch: int, streams: Streams) -> Tensor:
        """A copy that went through every step."""
        given = {"epoch": epoch, "streams": streams}
        for corruption in self.corruptions:
            wanted = signature(corruption.corrupt_input).parameters  # as pluggy: a hook names only what it wants
            clean = corruption.corrupt_input(clean=clean, **{k: v for k, v in given.items() if k in wanted})
        return clean

    @property
    def declares_moments(self) -> bool:
        """Whether every step declares its own, so that ``moments`` can put them together."""
        return not any(map(_missing_moments, self.corruptions))

    def mean(self, clean: Tensor) -> Tensor:
        """E[x~ | x], shape (batch, *input); see ``moments``."""
        return self.moments(clean)[0]

    def covariance_diagonal(self, clean: Tensor) -> Tensor:
        """Var[x~_i | x], shape (batch, *input); see ``moments``."""
        return self.moments(clean)[1]

    def moments(self, clean: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of every input after the last step, each of shape (batch, *input).

        Laws of total mean and variance, step by step: where m and v are the moments of a step as functions of its
        input u, the new mean is E m(u) and the new variance E v(u) + Var m(u). Exact for steps that act on each
        input by itself with m affine and v at most quadratic, as every built-in corruption does.

        Raises:
            CaelabError: a step does not declare its moments.
        """
        mean, variance = clean, torch.zeros_like(clean)
        for step, corruption in zip(self.steps, self.corruptions, strict=True):
            _refuse_without_moments(step["kind"], corruption)
            m, v = corruption.mean, corruption.covariance_diagonal
            slope = m(mean + 1) - m(mean)
            curvature = v(mean + 1) - 2 * v(mean) + v(mean - 1)
            variance = v(mean) + (curvature / 2 + slope.square()) * variance
            mean = m(mean)
        return mean, variance


def _missing_moments(corruption: Any) -> list[str]:
    return [name for name in ("mean", "covariance_diagonal") if not hasattr(corruption, name)]


def _refuse_without_moments(kind: str, corruption: Any) -> None:
    missing = _missing_moments(corruption)
    if missing:
        raise CaelabError(
            f"the moments of a corruption-chain need those of every step, but {kind!r} declares no "
            f"{' and no '.join(missing)}; add {' and '.join(f'{name}(clean)' for name in missing)} to it"
        )
