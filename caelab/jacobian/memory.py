"""The memory budget of a computation, and the pieces that it is done in to keep within it."""

from __future__ import annotations

import logging

import psutil
import torch

from caelab.errors import CaelabError

log = logging.getLogger(__name__)

_SHARE_OF_FREE = 0.25
MEBIBYTE = 2**20
_MOST_TRIED, ENTRIES_TRIED = 8, 2**18


def handful(inputs: torch.Tensor) -> int:
    """How many examples something is tried out on: few where they are large."""
    return max(2, min(_MOST_TRIED, ENTRIES_TRIED // max(1, inputs[0].numel())))


def budget_in_bytes(asked: int | None, device: torch.device) -> int:
    """What was asked for, or a quarter of the memory that is free on the device now.

    Raises:
        CaelabError: a budget that is not above 0.
    """
    if asked is not None:
        if isinstance(asked, bool) or not isinstance(asked, int | float):
            raise CaelabError(f"expected a memory budget as a number of bytes, but {asked!r} came")
        if asked <= 0:
            raise CaelabError(f"expected a memory budget above 0 bytes, but {asked} came; leave it out for a default")
        return int(asked)
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    return int(_SHARE_OF_FREE * free)


def pieces(what: str, count: int, bytes_each: int, budget: int) -> int:
    """How many of ``count`` equal parts fit into the budget at once, evened out over the rounds; at least one.

    >>> pieces("rows", 10, 100, 450)
    4

    Raises:
        CaelabError: not even one fits.
    """
    if bytes_each > budget:
        raise CaelabError(
            f"{what} needs about {bytes_each / MEBIBYTE:.3g} MiB, but the memory budget is "
            f"{budget / MEBIBYTE:.3g} MiB; give fewer examples at once, ask for an estimate with samples=1, "
            "or raise memory_budget"
        )
    most = max(1, min(count, budget // max(bytes_each, 1)))
    rounds = -(-count // most)
    log.debug(
        "%s: %d times %.3g MiB in a budget of %.3g MiB, %d at once, %d rounds",
        what, count, bytes_each / MEBIBYTE, budget / MEBIBYTE, most, rounds,
    )  # fmt: skip
    return -(-count // rounds)


def refuse_beyond(what: str, needed: int, budget: int) -> None:
    """Refuse a result that does not fit into the budget, before anything is computed."""
    pieces(what, 1, needed, budget)
