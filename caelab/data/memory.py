"""The memory that is left, compared with what a file claims to need before it is read."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np

from caelab.errors import CaelabError

CGROUP = Path("/sys/fs/cgroup")
UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
FEWER = "read fewer examples by the option examples, as in --set dataset.examples=1000"


def free_memory() -> int:
    """The bytes that this process may still take: of the machine, of its control group, and of ``ulimit -v``."""
    import psutil

    return max(0, min(int(psutil.virtual_memory().available), _left_in_group(), _left_of_addresses()))


def _left_in_group(folder: Path = CGROUP) -> int:
    """What the control group allows, less what it uses; a cache of files does not count, since it gives way."""
    with suppress(OSError, ValueError):
        limit, used = (int((folder / f"memory.{name}").read_text(encoding="ascii")) for name in ("max", "current"))
        lines = (folder / "memory.stat").read_text(encoding="ascii").splitlines()
        return limit - used + next((int(line.split()[1]) for line in lines if line.startswith("inactive_file ")), 0)
    return 2**63


def _left_of_addresses() -> int:
    import psutil

    with suppress(ImportError, OSError):
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            return limit - int(psutil.Process().memory_info().vms)
    return 2**63


def check_room(what: str, values: int, kind: np.dtype[np.generic], advice: str = FEWER) -> None:
    """Refuse to read so many values of a kind, if they and what is made of them would not fit into the memory.

    Beside the values as they stand in the file, caelab keeps them in float32, and two masks while it checks them.

    Raises:
        CaelabError: they would not fit; it says how much they take, how much there is, and what reads less.
    """
    needed = values * (kind.itemsize + (0 if kind == np.float32 else 4) + 2)
    free = free_memory()
    if needed > free:
        raise CaelabError(f"{what} would take {sized(needed)} of memory, but {sized(free)} are free; {advice}")


def sized(count: float) -> str:
    """A number of bytes as text with a unit.

    >>> sized(100), sized(3 * 2**20), sized(73 * 2**40)
    ('100 bytes', '3 MiB', '73 TiB')
    """
    for unit in UNITS[:-1]:
        if count < 1024:
            return f"{count:.4g} {unit}"
        count /= 1024
    return f"{count:.4g} {UNITS[-1]}"
