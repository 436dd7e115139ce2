"""Checking how a penalty behaves beside others: modes, shared arguments, random numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from caelab.testing.chance import random_states
from caelab.testing.outcome import Check, judged
from caelab.testing.penalty.arguments import check_arguments
from caelab.testing.penalty.subjects import Subject, Trial


def check_conduct(subject: Subject) -> Iterator[Check]:
    """Check training and evaluation mode, unchanged arguments, and random numbers drawn from the streams alone."""
    yield _modes(subject)
    yield check_arguments(subject)
    yield _global_random_state(subject)
    yield _same_stream(subject)


def check_memory(subject: Subject) -> Iterator[Check]:
    """Check what the penalty keeps from one call to the next; one that remembers on purpose says so."""
    seen = subject.recalled
    name, expected = "the same when it is called again", "the same value of the same batch, after another one"
    if not seen.matters:
        yield Check(name, "passed", expected, "so")
    elif not seen.put_back:
        remedy = (
            "it draws numbers from elsewhere than streams, or keeps something that cannot be looked at, as an "
            "iterator, a file or a clock: draw from streams, and keep state in attributes of the plugin"
        )
        found = f"another value with the same streams{_kept(seen.names)}; nothing else can be told of it"
        yield Check(name, "failed", expected, found, remedy)
    elif seen.draws:
        remedy = "draw from streams['my noise'], which the seed of the run fixes and a checkpoint stores"
        yield Check(name, "failed", expected, f"another value: {', '.join(seen.names)} moved on", remedy)
    elif subject.stateful:
        yield Check(name, "reported", expected, f"another value{_kept(seen.names)}, as it says", _resumed(subject))
    else:
        remedy = "keep nothing between the calls; a penalty that is to remember, as a moving average does, says "
        yield Check(name, "failed", expected, f"another value{_kept(seen.names)}", f"{remedy}stateful = True")


def _kept(names: list[str]) -> str:
    return f": it keeps {', '.join(names)} between the calls" if names else ""


def _resumed(subject: Subject) -> str:
    carried = all(callable(getattr(subject.sample, name, None)) for name in ("state_dict", "load_state_dict"))
    return (
        "" if carried else "give it state_dict and load_state_dict, so that a run that was interrupted goes on with it"
    )


def _modes(subject: Subject) -> Check:
    trial = Trial(subject, subject.home)
    training = trial.number()
    trial.model.eval()
    evaluated = trial.number()
    found = f"{training:.8g} and {evaluated:.8g}"
    remedy = "no layer of this model knows a mode, so the penalty itself follows model.training; let it not"
    return judged("training and evaluation mode", training == evaluated, "the same value", found, remedy)


def _global_random_state(subject: Subject) -> Check:
    trial = Trial(subject, subject.home, steady=False)
    before = random_states()
    trial.gradients()
    return untouched_random_state(before, random_states())


def untouched_random_state(before: tuple[Any, ...], after: tuple[Any, ...]) -> Check:
    """Check that the global random state did not change."""
    whose = ("torch", "numpy", "numpy", "random")
    touched = sorted({name for name, old, new in zip(whose, before, after, strict=True) if old != new})
    remedy = "draw from a stream of your own, generator=streams['my noise']; then it changes nothing for the others"
    found = f"{', '.join(touched)} drawn from" if touched else "untouched"
    return judged("global random state", not touched, "untouched", found, remedy)


def _same_stream(subject: Subject) -> Check:
    first, again = (Trial(subject, subject.home, steady=False).number(seed=1) for _ in range(2))
    remedy = "draw every random number from streams, and keep nothing in the class or the module that other runs share"
    found = f"{first!r} and {again!r}"
    return judged("same stream, same value", first == again, "two equal values, to the last bit", found, remedy)
