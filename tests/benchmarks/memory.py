"""Peak memory of a computation, measured in a process of its own."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

MEBIBYTE = 2**20


def peak_of(maker: str, *arguments: object, device: str = "cpu") -> float:
    """Mebibytes that a computation takes on top of its model and inputs.

    Args:
        maker: ``module:function``, called with the arguments and the device, returns the computation; it is run
            once before, so that what torch sets up at first use does not count.
        arguments: numbers or text.
        device: cpu or cuda.
    """
    return peaks_of([(maker, *arguments)], device)[0]


def peaks_of(jobs: Sequence[Sequence[object]], device: str = "cpu") -> list[float]:
    """The same for many, one after the other in one process, on a machine that tells its peaks; else NaN."""
    if device == "cpu" and not sys.platform.startswith("linux"):
        return [float("nan")] * len(jobs)
    returned_at_once = {"MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.benchmarks.memory", json.dumps([device, *jobs])]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | returned_at_once)
    peaks: list[float] = json.loads(done.stdout.splitlines()[-1])
    return peaks


def _peak_here(maker: str, arguments: Sequence[object], device: str) -> float:
    module, _, function = maker.partition(":")
    work = getattr(importlib.import_module(module), function)(*arguments, device=device)
    work()
    before = _reset(device)
    work()
    return _peak(device) - before


def _reset(device: str) -> float:
    """Let the peak start again from what is in use now."""
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")
    return _peak(device)


def _peak(device: str) -> float:
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / MEBIBYTE
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) / 1024


if __name__ == "__main__":
    torch.set_num_threads(1)
    chosen, *asked = json.loads(sys.argv[1])
    print(json.dumps([_peak_here(maker, arguments, chosen) for maker, *arguments in asked]))
