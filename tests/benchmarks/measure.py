"""Two computations timed in turns, and the ratio of their times."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median, quantiles

import torch

Work = Callable[[], object]
Clock = Callable[[], float]


@dataclass(frozen=True)
class Spread:
    """A measured number: the median of the rounds, with their quartiles."""

    middle: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """The median and quartiles of the rounds; one round has no spread."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, _, high = quantiles(values, n=4, method="inclusive")
        return cls(median(values), low, high)

    def times(self, factor: float) -> Spread:
        """The same in other units."""
        return Spread(self.middle * factor, self.low * factor, self.high * factor)


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Attributes:
        seconds: for one case, beyond the least number of rounds.
        least: rounds at least.
        most: rounds at most.
        turn: seconds that one side works at a stretch, so that the clock's grain does not matter.
    """

    seconds: float = 5.0
    least: int = 3
    most: int = 41
    turn: float = 0.05


QUICK = Effort(seconds=0.8, least=2, most=11, turn=0.02)


def time_ratio(slow: Work, fast: Work, effort: Effort, clock: Clock = time.process_time) -> Spread:
    """Time of ``slow`` over time of ``fast``: both in turns, and the ratio within each round.

    Whatever slows the machine down for a while, other programs or a warmer processor, slows both sides of a round;
    every second round runs them in the other order.

    Args:
        slow: the numerator.
        fast: the denominator.
        effort: how long to measure.
        clock: seconds; the processor time of this process unless told.
    """
    sides = [(work, _calls_in(work, effort.turn, clock)) for work in (slow, fast)]
    ratios: list[float] = []
    started = clock()
    while len(ratios) < effort.least or (len(ratios) < effort.most and clock() - started < effort.seconds):
        backwards = len(ratios) % 2 == 1
        taken = [_seconds(work, calls, clock) for work, calls in (sides[::-1] if backwards else sides)]
        ratios.append(taken[1] / taken[0] if backwards else taken[0] / taken[1])
    return Spread.of(ratios)


def _calls_in(work: Work, seconds: float, clock: Clock) -> int:
    """How many calls fill that many seconds; the first, which may set things up, is not asked."""
    if _seconds(work, 1, clock) > 20 * seconds:
        return 1
    return max(1, round(seconds / max(_seconds(work, 1, clock), 1e-9)))


def _seconds(work: Work, calls: int, clock: Clock) -> float:
    """Seconds per call."""
    started = clock()
    for _ in range(calls):
        work()
    return (clock() - started) / calls


def clock_of(device: str) -> Clock:
    """Processor time; on a GPU the time until the device has done what it was asked."""
    if device == "cpu":
        return time.process_time

    def synchronised() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return synchronised
