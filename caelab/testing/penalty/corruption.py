"""Checking a corruption: it returns a new batch, drawn from its stream alone, example by example."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from caelab.errors import CaelabError
from caelab.testing.chance import random_states
from caelab.testing.outcome import Check, judged
from caelab.testing.penalty.conduct import untouched_random_state
from caelab.testing.penalty.settings import batch
from caelab.testing.penalty.subjects import Subject, Trial, one_line
from caelab.training.answers import ChangedArgument
from caelab.training.tracing import described

DRAWS = 4000
SEEDS = 10
DEVIATIONS = 6.0
SAY_SO = "a corruption that is defined over the batch, as mixup, says over_batch = True"
UNTIL_THEN = "it is needed only in a chain of corruptions, and for a deterministic twin of the corruption"
ALONE = "clean batch left alone"


def check_corruption(subject: Subject) -> Iterator[Check]:
    """Check the corrupted batch: its kind, what it depends on, its declared moments."""
    before, clean = random_states(), batch()
    remedy = "others train towards the clean batch: return a new tensor, change nothing in place"
    try:
        corrupted = corrupt(subject, clean)
    except CaelabError as error:
        if not isinstance(error.__cause__, ChangedArgument):
            raise
        yield Check(ALONE, "failed", "a new tensor", str(error), remedy)
        return
    yield untouched_random_state(before, random_states())
    yield _kind(subject)
    if not isinstance(corrupted, Tensor) or corrupted.shape != clean.shape:
        return
    yield from _images(subject)
    unchanged = torch.equal(clean, batch()) and clean._version == 0 and corrupted is not clean
    yield judged(ALONE, unchanged, "a new tensor", "so" if unchanged else "changed", remedy)
    again = torch.equal(corrupted, corrupt(subject, batch()))
    remedy = "draw every random number from streams, and keep nothing in the class or the module"
    yield judged("same stream, same copy", again, "equal, to the last bit", "so" if again else "different", remedy)
    yield from _memory(subject)
    changes = any(not torch.equal(corrupt(subject, batch(), seed), batch()) for seed in range(SEEDS))
    remedy = "it does nothing to the input; look at its options, or say at which epoch it acts, epoch = N"
    yield judged("corrupts", changes, "something else than the clean batch", "so" if changes else "the same", remedy)
    apart = _examples_apart(subject)
    yield apart
    yield _finite(subject)
    yield from _moments(subject, apart)


def _trial_of(subject: Subject, dtype: torch.dtype = torch.float64, *, steady: bool = True) -> Trial:
    """The corruption as a run has it, on an untrained model."""
    return Trial(subject, replace(subject.home, weights="random"), dtype=dtype, steady=steady)


def corrupt(subject: Subject, clean: Tensor, seed: int = 0, *, steady: bool = False) -> Tensor:
    """The corrupted batch, from a fresh instance and fresh streams; ``steady`` starts all other chance anew as well."""
    return _trial_of(subject, clean.dtype, steady=steady).corrupted(clean, seed)


def _kind(subject: Subject) -> Check:
    wrong = []
    for clean in (batch(), batch().float()):
        found: Any = corrupt(subject, clean)
        if not isinstance(found, Tensor) or (found.shape, found.dtype) != (clean.shape, clean.dtype):
            wrong.append(f"{described(found)} for {described(clean)}")
    remedy = "return a tensor; make noise with clean.shape, dtype=clean.dtype and device=clean.device"
    return judged("shape and type", not wrong, "those of the clean batch", "; ".join(wrong) or "so", remedy)


def _images(subject: Subject) -> Iterator[Check]:
    """What it does with images, which a run never hands it."""
    images = batch(16, 3).reshape(3, 1, 4, 4)
    try:
        came = described(corrupt(subject, images))
    except (Exception, SystemExit) as error:  # a plugin may fail in any way
        came = one_line(error)
    if came != described(images):
        remedy = "a run hands it flat batches (batch, input); other shapes come only from a script of one's own"
        yield Check("images", "reported", "a copy of a batch (3, 1, 4, 4)", came, remedy)


def _memory(subject: Subject) -> Iterator[Check]:
    """Whether a batch is corrupted in the same way after another one, from the same streams."""
    trial = _trial_of(subject)
    first = trial.corrupted(batch())
    trial.corrupted(1 - batch(), anew=False)
    if torch.equal(first, trial.corrupted(batch(), anew=False)):
        return
    name, expected = "the same when it is called again", "the same copy from the same streams, after another batch"
    kept = trial.memory.changed()
    if not torch.equal(first, trial.corrupted(batch())):
        found = "another copy with the same streams, whatever it keeps is put back"
        remedy = "it draws numbers from elsewhere than streams, or keeps what cannot be looked at: draw from streams"
        yield Check(name, "failed", expected, found, remedy)
        return
    found = f"another copy: it keeps {', '.join(kept) or 'something'} between the calls"
    if subject.stateful:
        yield Check(name, "reported", expected, f"{found}, as it says")
        return
    remedy = (
        "draw from streams and keep nothing between the calls; a corruption that is to remember says stateful = True"
    )
    yield Check(name, "failed", expected, found, remedy)


def _examples_apart(subject: Subject) -> Check:
    clean = batch()
    other = clean.clone()
    other[1:] = 1 - other[1:]
    name, expected = "no mixing of examples", "the same copy of an example beside others"
    first, again, beside = (
        [corrupt(subject, each, seed, steady=True)[0] for seed in range(SEEDS)] for each in (clean, clean, other)
    )
    if not all(map(torch.equal, first, again)):
        found = "cannot tell: it draws from elsewhere than streams, and the copy differs from call to call"
        return Check(name, "skipped", expected, found)
    apart = all(map(torch.equal, first, beside))
    remedy = f"the copy of one example depends on the others; do not use statistics of the batch; {SAY_SO}"
    found = "so" if apart else "changed with the other examples"
    row = judged(name, apart, expected, found, remedy)
    if apart or not (subject.over_batch or subject.stateful):
        return row
    return replace(row, verdict="reported", remedy="it is defined over the batch: keep the batch size fixed")


def _finite(subject: Subject) -> Check:
    finite = all(torch.isfinite(corrupt(subject, size * batch().float())).all() for size in (0.0, 1e6))
    found = "so" if finite else "NaN or infinity"
    return judged(
        "finite", finite, "finite copies of zeros and of huge inputs", found, "look for a division by the input"
    )


def _moments(subject: Subject, apart: Check) -> Iterator[Check]:
    """The declared mean and variance of each input, against many draws."""
    trial = _trial_of(subject)
    sample: Any = trial.instance
    named = hasattr(sample, "mean") and hasattr(sample, "covariance_diagonal")
    expected = "mean(clean) and covariance_diagonal(clean)"
    if apart.verdict != "passed":
        found = "none: the copy of one example depends on the others, so they do not follow from it alone"
        found = apart.found if apart.verdict == "skipped" else found
        yield Check("moments", "skipped", expected, found)
        return
    if not getattr(sample, "declares_moments", named):
        yield Check("moments", "reported", expected, "not declared", UNTIL_THEN)
        return
    one = batch()[:1]
    draws = trial.corrupted(one.expand(DRAWS, -1).clone())
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
