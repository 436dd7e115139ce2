"""The table, in the terminal and as a page of the documentation."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch

from tests.benchmarks.case import Row

HEAD = ("what", "aim", "measured", "met")


def markdown(rows: Iterable[Row]) -> str:
    """The rows as a table in Markdown, which reads well in a terminal too; ``before`` where one of them has it."""
    rows = list(rows)
    lines: list[tuple[str, ...]] = [HEAD, *(row.cells() for row in rows)]
    if any(row.case.before for row in rows):
        known = ["before", *(row.case.before for row in rows)]
        lines = [(*line[:2], before, *line[2:]) for line, before in zip(lines, known, strict=True)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    ruled = [lines[0], tuple("-" * width for width in widths), *lines[1:]]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in ruled
    )


def machine(device: str) -> str:
    """The processor or GPU, its cores, and torch's version."""
    name = torch.cuda.get_device_name() if device == "cuda" else processor()
    cores = "one core used" if device == "cpu" else "one GPU"
    return f"{name} ({torch.get_num_threads()} thread, {cores}), {platform.system()}, torch {torch.__version__}"


def processor() -> str:
    """The processor's name."""
    told = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", told.read_text()) if told.is_file() else None
    return found[1] if found else platform.processor() or platform.machine()


ON_A_GPU = """# Benchmarks on a GPU

Ratios of times in one run, both sides in turns; the median over the rounds, with the quartiles in brackets. Aims are
for the encoder of today's size alone: the others were set for [one core](benchmarks.md), where arithmetic takes the
time. Small networks leave a GPU idle while the processor hands it one step after the other, so their ratios count
steps. Convolutions are in float32 itself on both sides, not in TF32, which is torch's default on a GPU.

* machine: {machine}
* date: {date}
* command: `{command}`

{sections}
"""

PAGE = """# Benchmarks

Ratios of times in one run, both sides in turns on one core; the median over the rounds, with the quartiles in
brackets. 784 inputs, 1000 tied sigmoid units and full training steps with fused Adam unless a row says otherwise. "By
autograd" is the trainer's ordinary path, in which PyTorch finds the gradient; where nothing is said the trainer
chooses, and takes the hand-written objective where the model fits.

* machine: {machine}
* date: {date}
* command: `{command}`

{sections}

## How cost grows

![Time and memory against units, inputs, batch and examples](images/growth.png)

Time on one core, and peak memory beyond model and inputs, in a process of its own; one sigmoid layer, starting from 500
units, 784 inputs and 16 examples. The broken line is `vmap(jacrev)` with the squared norms alone, which holds every
Jacobian of the batch at once; the spectrum holds one Gram matrix at a time.
"""


def page(sections: Sequence[tuple[str, Sequence[Row]]], command: str, device: str) -> str:
    """docs/benchmarks.md, or the page of a GPU."""
    tables = "\n\n".join(f"## {title}\n\n{markdown(rows)}" for title, rows in sections)
    date = datetime.now(UTC).strftime("%Y-%m-%d")
    layout = PAGE if device == "cpu" else ON_A_GPU
    return layout.format(machine=machine(device), date=date, command=command, sections=tables)
