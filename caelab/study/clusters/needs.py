"""What one run takes of a machine: cores, GPUs and memory, as the resources of a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from caelab.errors import CaelabError, unknown_name

KNOWN = ("cores", "gpus", "memory")


@dataclass(frozen=True)
class Needs:
    """What one run takes.

    Attributes:
        cores: threads.
        gpus: may be a part of one.
        memory: bytes, or None where it does not matter.
    """

    cores: int = 1
    gpus: float = 0
    memory: int | None = None

    @classmethod
    def of(cls, resources: Mapping[str, Any] | None) -> Needs:
        """The needs that a mapping states.

        Raises:
            CaelabError: an unknown name, or no number of at least 0.
        """
        for name, value in (resources or {}).items():
            if name not in KNOWN:
                raise unknown_name("resource", name, KNOWN)
            number = isinstance(value, int | float) and not isinstance(value, bool) and value >= (name == "cores")
            if not number and not (name == "memory" and value is None):
                raise CaelabError(f"resources: {name} is expected as a number of at least 0, but {value!r} came")
        return cls(**(resources or {}))

    def as_resources(self) -> dict[str, float]:
        """The same for a cluster; one core is what a worker's thread is, so it is not named.

        >>> Needs(cores=2, gpus=0.5).as_resources()
        {'CPU': 2, 'GPU': 0.5}
        """
        found = {"CPU": self.cores if self.cores > 1 else 0, "GPU": self.gpus, "MEMORY": self.memory or 0}
        return {name: amount for name, amount in found.items() if amount}

    def shared_by(self, workers: int, cores: int) -> dict[str, float]:
        """What each of so many workers of this machine has: its share of the cores, of the GPUs and of the memory."""
        import psutil

        have = {"CPU": cores, "GPU": _gpus() if self.gpus else 0, "MEMORY": psutil.virtual_memory().total}
        return {name: have[name] / workers for name in self.as_resources()}


def refuse_unmet(needs: Mapping[str, float], workers: Mapping[str, Mapping[str, float]]) -> None:
    """Refuse runs that no worker could ever take.

    Args:
        needs: of one run.
        workers: what each has.

    Raises:
        CaelabError: names the first resource of which none has enough.
    """
    for name, amount in needs.items():
        most = max(have.get(name, 0) for have in workers.values())
        if most < amount:
            raise CaelabError(
                f"a run takes {name} {amount:g}, but no worker has more than {most:g}; start workers that have it, as "
                f'with: dask worker ADDRESS --resources "{name}={amount:g}", or let a run take less'
            )


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()
