"""What is measured, what is aimed at, and what came out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from tests.benchmarks.measure import Clock, Effort, Spread, Work, clock_of, time_ratio


@dataclass(frozen=True)
class Aim:
    """A bound on a number with a unit: ``×`` times as fast, nothing for a share of time, ``MB``, ``%``."""

    sense: Literal["≤", "≥"]
    bound: float
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.sense} {shown(self.bound)}{self.unit}"

    def met_by(self, value: float) -> bool:
        """Whether a number keeps to the bound."""
        return value <= self.bound if self.sense == "≤" else value >= self.bound


def at_most(bound: float, unit: str = "") -> Aim:
    """Not more than that."""
    return Aim("≤", bound, unit)


def at_least(bound: float, unit: str = "×") -> Aim:
    """So many times as fast, or more."""
    return Aim("≥", bound, unit)


@dataclass(frozen=True)
class Bench:
    """How this run measures."""

    effort: Effort = field(default_factory=Effort)
    device: str = "cpu"
    quick: bool = False

    def ratio(self, slow: Work, fast: Work) -> Spread:
        """Time of ``slow`` over time of ``fast``."""
        clock: Clock = clock_of(self.device)
        return time_ratio(slow, fast, self.effort, clock)


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes:
        what: as the table says it.
        aim: the bound, or None for a number that is only shown.
        measure: computes the number.
        unit: of the number, where there is no aim.
        before: the number of an earlier version, as the table says it.
    """

    what: str
    aim: Aim | None
    measure: Callable[[Bench], Spread]
    unit: str = ""
    before: str = ""


def without_aim(case: Case) -> Case:
    """The same row where its aim, which is for one core, does not count: elsewhere the peers are bound otherwise."""
    return replace(case, aim=None, unit=case.aim.unit if case.aim else case.unit, before="")


@dataclass(frozen=True)
class Row:
    """A case with its number."""

    case: Case
    found: Spread

    def cells(self) -> tuple[str, str, str, str]:
        """What, aim, measured, met."""
        aim = self.case.aim
        unit = aim.unit if aim else self.case.unit
        spread = f"{shown(self.found.middle)}{unit}"
        if self.found.low != self.found.high:
            spread += f" ({shown(self.found.low)}-{shown(self.found.high)})"
        met = "" if aim is None else "yes" if aim.met_by(self.found.middle) else "no"
        return self.case.what, str(aim) if aim else "", spread, met


def shown(value: float) -> str:
    """A number to three digits.

    >>> shown(0.0123), shown(1.0567), shown(23.4), shown(612.3), shown(2.1e-7)
    ('0.0123', '1.06', '23.4', '612', '2.1e-07')
    """
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}" if value < 1e-3 or value >= 10 else f"{value:.{2 if value >= 0.1 else 4}f}"
