"""Processes that train one run together: those of ``torchrun``, or of a process group that the user has initialised."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist

from caelab.errors import CaelabError, ToldElsewhere
from caelab.streams import Share

T = TypeVar("T")

WAITS = 600  # seconds, for the other processes, under torchrun
ENDED = "caelab: the process that told why it ended"


class Lost(CaelabError):
    """Another process of the group ended, or does not answer."""


@dataclass(frozen=True)
class Group:
    """The processes that train one run, and what they do together; every method is called by all of them.

    Attributes:
        rank: the number of this one, from 0.
        size: how many there are.
    """

    rank: int
    size: int

    def share(self, count: int) -> tuple[Share, float]:
        """The examples of a batch of ``count`` that are this process's, and what part of the batch they are.

        Earlier processes have one more where it does not come out even. Of a batch that is too small a process takes
        the first example, with the weight 0.
        """
        each, more = divmod(count, self.size)
        start = self.rank * each + min(self.rank, more)
        own = each + (self.rank < more)
        return (Share(slice(start, start + own), count), own / count) if own else (Share(slice(0, 1), count), 0.0)

    def add_up(self, flat: Tensor) -> Tensor:
        """Σ over the processes of a tensor, in place; the same in every bit for all of them."""
        with self._together():
            dist.all_reduce(flat)
        return flat

    def told_by_first(self, value: T) -> T:
        """The value that the process 0 has."""
        box = [value]
        with self._together():
            dist.broadcast_object_list(box, src=0)
        return box[0]

    def agree(self, value: Any, what: str) -> None:
        """Refuse to go on where the processes have different values.

        Raises:
            CaelabError: in all of them; it says what differs.
        """
        values: list[Any] = [None] * self.size
        with self._together():
            dist.all_gather_object(values, value)
        for rank, each in enumerate(values):
            if each != values[0]:
                raise CaelabError(
                    f"the processes that train one run together have different {what} (0: {values[0]}, {rank}: "
                    f"{each}); start all of them alike"
                )

    def wait(self) -> None:
        """Go on when all have come here."""
        self.agree(None, "values")

    @contextmanager
    def _together(self) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, ConnectionError) as error:  # of many kinds, by backend
            raise Lost(
                f"another of the {self.size} processes that train this run ended, or did not answer in time; the same "
                "command goes on from the last epoch that is stored"
            ) from error

    @contextmanager
    def ending_together(self) -> Iterator[None]:
        """Within the block only the first process that fails says why, and the others end without a word.

        Raises:
            ToldElsewhere: another process has told why.
        """
        try:
            yield
        except CaelabError as error:
            if self._told_by() != self.rank:
                raise ToldElsewhere("another process that trains this run failed, and says why") from error
            raise

    def _told_by(self) -> int:
        """The process that tells of the failure: the first that comes here, as far as can be known."""
        with suppress(Exception):  # the process that kept the store is gone
            store = dist.distributed_c10d._get_default_store()
            return int(store.compare_set(ENDED, "", str(self.rank)))
        return self.rank


def group() -> Group | None:
    """The processes that this one is to train with; None where it is alone."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return None
    return Group(dist.get_rank(), dist.get_world_size())


@contextmanager
def joined(waits: float = WAITS) -> Iterator[Group]:
    """Join the processes that ``torchrun`` has started; a GPU each, where there are GPUs.

    Args:
        waits: how long for the others, in seconds.

    Raises:
        CaelabError: they cannot be joined.
    """
    on_gpus = torch.cuda.is_available()
    try:
        if on_gpus:
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpus else "gloo", timeout=timedelta(seconds=waits))
    except Exception as error:  # of many kinds, by what is missing
        said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise CaelabError(
            f"the other processes of torchrun cannot be joined ({said}); start them as in: torchrun --nproc-per-node 2 "
            "-m caelab train cae"
        ) from error
    found = Group(dist.get_rank(), dist.get_world_size())
    with found.ending_together():
        yield found
    dist.destroy_process_group()  # after a failure the process ends, and with it its connections
