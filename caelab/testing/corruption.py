"""What a corruption of the input has to keep: a new batch, from its stream alone, example by example."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from caelab.errors import CaelabError
from caelab.streams import Streams
from caelab.testing.chance import random_states
from caelab.testing.conduct import untouched_random_state
from caelab.testing.outcome import Check, judged
from caelab.testing.settings import batch
from caelab.testing.subjects import Subject
from caelab.training.answers import ChangedArgument

DRAWS = 4000
DEVIATIONS = 6.0


def check_corruption(subject: Subject) -> Iterator[Check]:
    """The corrupted batch: its kind, what it depends on, its declared moments."""
    before, clean = random_states(), batch()
    remedy = "others train towards the clean batch: return a new tensor, change nothing in place"
    try:
        corrupted = corrupt(subject, clean)
    except CaelabError as error:
        if not isinstance(error.__cause__, ChangedArgument):
            raise
        yield Check("clean batch left alone", "failed", "a new tensor", str(error), remedy)
        return
    yield untouched_random_state(before, random_states())
    yield _kind(subject)
    unchanged = torch.equal(clean, batch()) and clean._version == 0 and corrupted is not clean
    yield judged("clean batch left alone", unchanged, "a new tensor", "so" if unchanged else "changed", remedy)
    again = torch.equal(corrupted, corrupt(subject, batch()))
    remedy = "draw every random number from streams, and keep nothing in the class or the module"
    yield judged("same stream, same copy", again, "equal, to the last bit", "so" if again else "different", remedy)
    changes = not torch.equal(corrupted, batch())
    remedy = "it does nothing to the input; look at its options"
    yield judged("corrupts", changes, "something else than the clean batch", "so" if changes else "the same", remedy)
    yield _examples_apart(subject)
    yield _finite(subject)
    yield from _moments(subject)


def corrupt(subject: Subject, clean: Tensor, seed: int = 0) -> Tensor:
    """The corrupted batch, from a fresh instance and fresh streams."""
    from caelab.training.plugins import TrainingPlugins

    plugins = TrainingPlugins({subject.name: subject.make()})
    corrupted: Tensor = plugins.call("corrupt_input", 1, clean=clean, streams=Streams(seed))
    return corrupted


def _kind(subject: Subject) -> Check:
    wrong = []
    for clean in (batch(), batch().float(), batch(16, 3).reshape(3, 1, 4, 4)):
        found = corrupt(subject, clean)
        if (found.shape, found.dtype) != (clean.shape, clean.dtype):
            wrong.append(f"{found.dtype} {tuple(found.shape)} for {clean.dtype} {tuple(clean.shape)}")
    remedy = "make noise with clean.shape, dtype=clean.dtype and device=clean.device"
    return judged("shape and type", not wrong, "those of the clean batch", "; ".join(wrong) or "so", remedy)


def _examples_apart(subject: Subject) -> Check:
    clean = batch()
    other = clean.clone()
    other[1:] = 1 - other[1:]
    apart = torch.equal(corrupt(subject, clean)[0], corrupt(subject, other)[0])
    remedy = "the copy of one example depends on the others; do not use statistics of the batch"
    found = "so" if apart else "changed with the other examples"
    return judged("no mixing of examples", apart, "the same copy of an example beside others", found, remedy)


def _finite(subject: Subject) -> Check:
    finite = all(torch.isfinite(corrupt(subject, size * batch().float())).all() for size in (0.0, 1e6))
    found = "so" if finite else "NaN or infinity"
    return judged(
        "finite", finite, "finite copies of zeros and of huge inputs", found, "look for a division by the input"
    )


def _moments(subject: Subject) -> Iterator[Check]:
    """The declared mean and variance of each input, against many draws."""
    sample: Any = subject.sample
    named = hasattr(sample, "mean") and hasattr(sample, "covariance_diagonal")
    if not getattr(sample, "declares_moments", named):
        expected = "mean(clean) and covariance_diagonal(clean)"
        remedy = "declare both, and the corruption can stand in a corruption-chain and have a deterministic twin"
        yield Check("moments", "reported", expected, "not declared", remedy)
        return
    one = batch()[:1]
    draws = corrupt(subject, one.expand(DRAWS, -1).clone())
    spread = sample.covariance_diagonal(one)[0]
    yield _moment("mean", sample.mean(one)[0], draws)
    yield _moment("variance", spread, (draws - sample.mean(one)).square())


def _moment(what: str, declared: Tensor, draws: Tensor) -> Check:
    error = draws.std(dim=0) / math.sqrt(len(draws))
    off = (draws.mean(dim=0) - declared).abs()
    worst = float((off / (error + 1e-12)).max())
    remedy = f"derive the {what} of a corrupted input given the clean one again"
    found = f"{worst:.1f} standard errors from that of {DRAWS} draws"
    return judged(f"moments: {what}", worst <= DEVIATIONS, f"within {DEVIATIONS:g} standard errors", found, remedy)
