"""The memory budget of a computation, and the pieces that it is done in to keep within it."""

from __future__ import annotations

import logging

import psutil
import torch

from caelab.errors import CaelabError

log = logging.getLogger(__name__)


class BudgetError(CaelabError):
    """A computation would exceed the memory budget."""


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
        BudgetError: not even one fits.
    """
    if bytes_each > budget:
        raise _beyond(what, bytes_each, budget, "raise memory_budget")
    most = max(1, min(count, budget // max(bytes_each, 1)))
    rounds = -(-count // most)
    log.debug(
        "%s: %d times %.3g MiB in a budget of %.3g MiB, %d at once, %d rounds",
        what, count, bytes_each / MEBIBYTE, budget / MEBIBYTE, most, rounds,
    )  # fmt: skip
    return -(-count // rounds)


def refuse_beyond(what: str, needed: int, budget: int) -> None:
    """Refuse a result that does not fit into the budget, before anything is computed.

    Raises:
        BudgetError: it does not fit.
    """
    if needed > budget:
        raise _beyond(what, needed, budget, "give fewer examples at once, or raise memory_budget")


def _beyond(what: str, needed: int, budget: int, remedy: str) -> BudgetError:
    return BudgetError(
        f"expected a memory budget of about {in_mebibytes(needed)} or more for {what}, but it is "
        f"{in_mebibytes(budget)}; {remedy}"
    )


def in_mebibytes(count: int) -> str:
    """So many bytes, for a sentence.

    >>> in_mebibytes(3 * MEBIBYTE), in_mebibytes(1)
    ('3 MiB', '1 byte')
    """
    return f"{count / MEBIBYTE:.3g} MiB" if count >= MEBIBYTE / 10 else f"{count} byte{'s' * (count != 1)}"


def with_an_estimate_instead(error: BudgetError) -> BudgetError:
    """The refusal of what could be estimated, which then says so."""
    return BudgetError(f"{error}, or ask for an estimate with samples=1")
