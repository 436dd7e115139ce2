"""Named random streams: an observer that draws numbers of its own never changes an experiment."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import torch


def stream_seed(seed: int, name: str) -> int:
    """A 63-bit seed from the run's seed and a stream's name, the same on every machine.

    >>> stream_seed(0, "batch order") == stream_seed(0, "batch order") != stream_seed(1, "batch order")
    True
    """
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@contextmanager
def seeded(seed: int, name: str, device: str | torch.device = "cpu") -> Iterator[None]:
    """Within the block torch's global generators run from that seed and name; behind it they are as they were.

    For what draws from them without asking: initial weights, and the dropout of a user's own modules.
    """
    device = torch.device(device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(stream_seed(seed, name))
        yield


class Streams:
    """``streams["gaussian corruption"]`` is a generator on the run's device, seeded by the run and that name.

    >>> a, b = Streams(0), Streams(0)
    >>> _ = torch.rand(3, generator=b["another"])
    >>> torch.equal(torch.rand(2, generator=a["noise"]), torch.rand(2, generator=b["noise"]))
    True
    """

    def __init__(self, seed: int, device: str | torch.device = "cpu") -> None:
        self.seed = seed
        self.device = torch.device(device)
        self._generators: dict[str, torch.Generator] = {}
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> torch.Generator:
        self.asked.add(name)
        return self._generator(name)

    def _generator(self, name: str) -> torch.Generator:
        if name not in self._generators:
            generator = torch.Generator(device=self.device)
            self._generators[name] = generator.manual_seed(stream_seed(self.seed, name))
        return self._generators[name]

    def state(self) -> dict[str, torch.Tensor]:
        """Where every stream used so far stands, for a checkpoint."""
        return {name: generator.get_state() for name, generator in self._generators.items()}

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Continue every stream from where a checkpoint left it."""
        for name, generator_state in state.items():
            self._generator(name).set_state(generator_state)


class Lent(Streams):
    """The streams of a run as its plugins get them: those that the run or its model draws from are not theirs.

    >>> run = Streams(0)
    >>> _ = run["batch order"]
    >>> torch.rand(1, generator=Lent(run)["noise"]).shape
    torch.Size([1])
    >>> Lent(run)["batch order"]
    Traceback (most recent call last):
    ValueError: the stream 'batch order' is the run's own; draw from one with a name of yours
    """

    def __init__(self, streams: Streams) -> None:
        super().__init__(streams.seed, streams.device)
        self._generators = streams._generators
        self._owner = streams

    def __getitem__(self, name: str) -> torch.Generator:
        if name in self._owner.asked:
            raise ValueError(f"the stream {name!r} is the run's own; draw from one with a name of yours")
        return self._owner._generator(name)

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Only the run itself restores its streams."""
        raise ValueError("streams.restore is for the run itself; draw from a stream with a name of yours")


@dataclass(eq=False)
class Share:
    """The examples of a batch that this process computes; others compute the other ones.

    Attributes:
        rows: which.
        whole: how many the batch has.
        drawn: by generator, its state behind the last draw for the whole batch.
    """

    rows: slice
    whole: int
    drawn: dict[torch.Generator, torch.Tensor] = field(default_factory=dict)


_share: ContextVar[Share | None] = ContextVar("share", default=None)


@contextmanager
def only(share: Share) -> Iterator[None]:
    """Within the block a batch of that many examples is this share of a larger one."""
    token = _share.set(share)
    try:
        yield
    finally:
        _share.reset(token)


def for_examples(
    draw: Callable[[int], torch.Tensor], count: int, generator: torch.Generator | None, axis: int = 0
) -> torch.Tensor:
    """Random numbers for each example of a batch; they do not depend on how many processes share the batch.

    Where the batch is a share of a larger one, they are drawn for all of that one, and the share's are taken.

    >>> generator = torch.Generator().manual_seed(0)
    >>> for_examples(lambda count: torch.randn(count, 3, generator=generator), 5, generator).shape
    torch.Size([5, 3])

    Args:
        draw: draws for so many examples.
        count: how many examples are at hand.
        generator: that it draws from.
        axis: of the examples, in what is drawn.
    """
    share = _share.get()
    if share is None or share.rows.stop - share.rows.start != count:
        return draw(count)
    found = draw(share.whole).narrow(axis, share.rows.start, count)
    if generator is not None:
        share.drawn[generator] = generator.get_state()
    return found
