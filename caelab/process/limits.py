"""Limits of the system on this process, refused before work begins where they are too low."""

from __future__ import annotations

import sys

from caelab.errors import CaelabError

NEEDED = 2560  # MiB of address space: what Python, torch and the libraries' threads reserve, most of it never used
MIB = 2**20


def refuse_few_files(needed: int) -> None:
    """Refuse what would need more open files than this process may have; the limit is raised where that is allowed.

    Raises:
        CaelabError: says which limit it is.
    """
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard == resource.RLIM_INFINITY or hard >= needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
        return
    raise CaelabError(
        f"worker processes need up to {needed} open files, but this process may have {hard} (see: ulimit -n); raise "
        "that limit, give fewer --workers, or --executor serial"
    )


def refuse_little_memory(needed: int = NEEDED) -> None:
    """Refuse to begin in an address space in which libraries hang or crash when they start their threads.

    Raises:
        CaelabError: says which limit it is.
    """
    if sys.platform == "win32":
        return
    import resource

    allowed = resource.getrlimit(resource.RLIMIT_AS)[0]
    if allowed != resource.RLIM_INFINITY and allowed < needed * MIB:
        raise CaelabError(
            f"this process may use {allowed // MIB} MiB of address space (see: ulimit -v), but Python, torch and their "
            f"threads reserve up to {needed} MiB, though they fill little of it; raise that limit, and limit resident "
            "memory instead where that is meant"
        )
