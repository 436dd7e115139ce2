"""Several small runs that share one process: stacked into few batched models, one thread for each.

On a processor a small model spends more time around its matrix products than in them. Here runs of one architecture
are trained side by side without autograd, each with its own data, seed, streams and weight of the contractive penalty,
to the weights that ``train`` gives, but for rounding. What cannot be trained so is trained by ``train``, one after
another.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from caelab.errors import CaelabError
from caelab.process.denormals import flushed_denormals
from caelab.process.threads import one_thread
from caelab.process.torch_settings import pinned_settings
from caelab.registry.arguments import count_of, path_of, rows_of
from caelab.registry.reserved import OF_TRAINING
from caelab.runs.run import Run
from caelab.storage.files import aside
from caelab.storage.locks import one_writer
from caelab.training import found_run, run_folder, run_of, saved_run, train, trainer_of
from caelab.training.asked import Asked, asked_for
from caelab.training.batches import Rows
from caelab.training.failures import refuse_nonfinite
from caelab.training.fused import TiedLayer, tied_layer
from caelab.training.loop import Trainer
from caelab.training.norm_penalties import Unlike, check_kind, factors
from caelab.training.stacked import Stack

log = logging.getLogger(__name__)

ENTRIES = 120_000  # of the inputs of one stacked batch: beyond, products are as fast alone, and the cache is too small


@dataclass(eq=False)
class Member:
    """One run among those that are trained together."""

    asked: Asked
    trainer: Trainer
    layer: TiedLayer
    terms: dict[str, float] = field(default_factory=dict)  # by penalty, its factor in this epoch
    error: CaelabError | None = None
    seconds: float = 0.0
    stacked: int = 1

    @property
    def goes_on(self) -> bool:
        """Whether it neither failed nor ran out of patience."""
        return self.error is None and not self.trainer.out_of_patience()

    def attempt(self, call: Callable[[], object]) -> None:
        """Do something for this run, unless it failed; what goes wrong is kept, and the other runs go on."""
        if self.error is None:
            try:
                call()
            except CaelabError as error:
                self.error = error


def train_together(configs: Sequence[Any], *, out: str | Path | None = None, threads: int | None = None) -> list[Run]:
    """Train several runs in this process, side by side where they can be.

    Side by side are runs whose models are one tied sigmoid layer of one shape under cross-entropy, with as many
    examples and the same ``training`` section, without regularizers or with penalties that are a factor times the mean
    squared norm of the encoder's Jacobian, which is found by trying. The others are trained one after another. An
    interrupted call keeps no checkpoints of runs that it trains side by side.

    Args:
        configs: as ``train`` takes them.
        out: folder that runs are kept in, each as ``train`` would keep it; what is there already is read back.
        threads: how many, by default as many as torch takes.

    Returns:
        The runs, in the order of the configs. Their weights are those of ``train`` on one thread, but for rounding.

    Raises:
        CaelabError: a run failed, as with ``train``; the first one is told once all others are finished and stored.
    """
    asked = [asked_for(config, stored=out is not None) for config in rows_of(configs, "configs")]
    threads = torch.get_num_threads() if threads is None else count_of(threads, "threads")
    place = None if out is None else path_of(out, "the folder out")
    together = _Together(asked, place)
    with pinned_settings(), together.locked():
        for group in together.groups().values():
            with one_thread():
                _fit(group, threads)
        together.finish()
    together.train_the_others()
    return together.runs()


class _Together:
    """The runs that were asked for: which are there, which are trained side by side, and what became of each."""

    def __init__(self, asked: Sequence[Asked], out: Path | None) -> None:
        self.asked, self.out = asked, out
        self.folders = [None if out is None else run_folder(out, each.config, each.dataset) for each in asked]
        self.done: dict[int, Run] = {}
        self.failed: dict[int, CaelabError] = {}
        self.members: dict[int, Member] = {}

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold every run that is not there yet, so that no other process trains it; always in one order."""
        with ExitStack() as stack:
            for folder in sorted({each for each in self.folders if each is not None and not each.is_dir()}):
                stack.enter_context(one_writer(folder))
            yield

    def groups(self) -> dict[Any, list[Member]]:
        """The runs to train side by side, by what they must have in common."""
        found: dict[Any, list[Member]] = {}
        known: set[Path] = set()
        for place, (asked, folder) in enumerate(zip(self.asked, self.folders, strict=True)):
            if folder is not None and (folder.is_dir() or folder in known):
                continue
            try:
                member = _member(asked)
            except Unlike as reason:
                log.info("%s, seed %d is trained by itself: %s", asked.config.label, asked.config.seed, reason)
                continue
            known |= set() if folder is None else {folder}
            self.members[place] = member
            found.setdefault(_shared(member), []).append(member)
        return found

    def finish(self) -> None:
        """Make a run of each member, and store it."""
        for place, member in self.members.items():
            if member.error is not None:
                self.failed[place] = member.error
                continue
            run = _run(member)
            folder = self.folders[place]
            self.done[place] = run if folder is None else saved_run(run, aside(folder), folder)

    def train_the_others(self) -> None:
        """Train one after another, or read back, what is not done."""
        for place, asked in enumerate(self.asked):
            if place in self.done or place in self.failed:
                continue
            folder = self.folders[place]
            try:
                found = folder is not None and folder.is_dir()
                self.done[place] = found_run(folder, asked) if folder and found else self._alone(asked)
            except CaelabError as error:
                self.failed[place] = error

    def _alone(self, asked: Asked) -> Run:
        return train(asked.config, out=self.out, progress=False)

    def runs(self) -> list[Run]:
        """All runs, in order.

        Raises:
            CaelabError: some failed; it is that of the first.
        """
        if self.failed:
            raise self.failed[min(self.failed)]
        return [self.done[place] for place in range(len(self.asked))]


def _member(asked: Asked) -> Member:
    """A run as it can be trained beside others.

    Raises:
        Unlike: it cannot.
    """
    trainer = trainer_of(asked, None, None)
    layer = tied_layer(trainer.model, asked.config.training.reconstruction)
    if layer is None or asked.config.training.device != "cpu":
        raise Unlike("its model is not one tied sigmoid layer under cross-entropy on a processor")
    if asked.config.training.schedule is not None or asked.config.training.clip_norm is not None:
        raise Unlike("its learning rate follows a schedule, or its gradient is clipped")
    if asked.config.pretraining != "end-to-end":
        raise Unlike("it is trained layer by layer, or not at all")
    if isinstance(trainer.train_inputs, Rows):
        raise Unlike("its examples stay in a file")
    check_kind(trainer.plugins.instances)
    member = Member(asked, trainer, layer)
    member.terms = factors(trainer.plugins, 1)
    return member


def _shared(member: Member) -> Any:
    """What members of one group have in common."""
    trainer = member.trainer
    return tuple(member.layer.weight.shape), len(trainer.train_inputs), trainer.config.training.model_dump_json()


def _run(member: Member) -> Run:
    how = {"seconds": round(member.seconds, 3), "threads": 1, "stacked": member.stacked}
    return run_of(member.asked, member.trainer, how)


def _fit(members: Sequence[Member], threads: int) -> None:
    """Train the runs of one group, a thread for each part of them."""
    parts = _parts(members, threads)
    with ThreadPoolExecutor(min(threads, len(parts)), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        list(pool.map(_fit_part, parts))


def _parts(members: Sequence[Member], threads: int) -> list[Sequence[Member]]:
    """The members cut so that every thread has work and a stacked batch stays small."""
    entries = members[0].trainer.config.training.batch_size * members[0].layer.weight.shape[1]
    size = max(1, min(-(-len(members) // threads), ENTRIES // entries))
    return [members[start : start + size] for start in range(0, len(members), size)]


@torch.no_grad()
def _fit_part(members: Sequence[Member]) -> None:
    """Train some runs as one stack, each to its last epoch or until its validation stops improving."""
    started = time.perf_counter()
    config = members[0].trainer.config.training
    with flushed_denormals():
        stack = Stack([member.layer for member in members], [0.0] * len(members), config)
        for member in members:
            member.stacked = len(members)
            member.trainer.untrained_error = member.trainer.validation_error()
        for epoch in range(1, config.epochs + 1):
            if not any(member.goes_on for member in members):
                break
            _run_epoch(members, stack, epoch)
    for member in members:
        member.trainer.end()
        for parameter in member.trainer.model.parameters():
            parameter.data = parameter.data.clone()  # of its own, not a view of the stack
        member.seconds = (time.perf_counter() - started) / len(members)


def _run_epoch(members: Sequence[Member], stack: Stack, epoch: int) -> None:
    """One pass of every run over its training examples, in an order of its own, then validation."""
    going = {member for member in members if member.goes_on}
    for member in going:
        member.attempt(partial(_ask_factors, member, epoch))
    stack.set_strengths([sum(member.terms.values()) for member in members])
    totals: list[defaultdict[str, float]] = [defaultdict(float) for _ in members]
    for step, clean in enumerate(_batches(members), start=1):
        for member, sums, error, norm in zip(members, totals, *stack.step(clean), strict=True):
            values = {"reconstruction": error, **{name: each * norm for name, each in member.terms.items()}}
            if member in going:
                member.attempt(partial(refuse_nonfinite, values, epoch, step, member.trainer.model))
            for name, value in values.items():
                sums[name] += value * clean.shape[1]
    for member, sums in zip(members, totals, strict=True):
        if member in going:
            member.attempt(partial(_end_epoch, member.trainer, sums, epoch))


def _ask_factors(member: Member, epoch: int) -> None:
    """The factors of this epoch, which a penalty may let grow."""
    try:
        with torch.enable_grad():
            member.terms = factors(member.trainer.plugins, epoch)
    except Unlike as error:
        raise CaelabError(f"the penalties changed at epoch {epoch}: {error}; train this run by itself") from error


def _batches(members: Sequence[Member]) -> Iterator[Tensor]:
    """The batches of an epoch, (runs, batch, input); every run draws its order from its own stream."""
    trainers = [member.trainer for member in members]
    count = len(trainers[0].train_inputs)
    orders = [torch.randperm(count, generator=trainer.streams["batch order"]) for trainer in trainers]
    inputs = torch.stack([each.train_inputs[order] for each, order in zip(trainers, orders, strict=True)])
    return (batch.contiguous() for batch in torch.split(inputs, trainers[0].config.training.batch_size, dim=1))


def _end_epoch(trainer: Trainer, totals: dict[str, float], epoch: int) -> None:
    means = {f"{OF_TRAINING}{name}": total / len(trainer.train_inputs) for name, total in totals.items()}
    metrics = {"epoch": float(epoch), **means, **trainer.validate(epoch)}
    trainer.check_monitored(metrics)
    trainer.history.append(metrics)
    trainer.keep_best()
