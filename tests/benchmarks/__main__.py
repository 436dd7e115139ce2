"""``python -m tests.benchmarks``: measure, print the table, and write the page and the figure of the documentation."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import torch
from threadpoolctl import threadpool_limits

from caelab.analysis.plotting import save_figure
from caelab.process.denormals import flushed_denormals
from caelab.storage.files import written_aside
from tests.benchmarks import (
    classifiers,
    curves,
    encoders,
    growth,
    large,
    norms,
    overhead,
    report_page,
    runs,
    spectra,
    stacks,
    studies,
    training,
)
from tests.benchmarks.case import Bench, Case, Row, without_aim
from tests.benchmarks.measure import QUICK, Effort
from tests.benchmarks.table import machine, markdown, page

TOPICS = {
    "Training steps": training,
    "Norms": norms,
    "Singular values and tangents": spectra,
    "Jacobians of any encoder": encoders,
    "Contraction curves": curves,
    "What the trainer adds": overhead,
    "Data in files, and stacks": stacks,
    "Classifiers": classifiers,
    "The report page": report_page,
    "Several runs in one process": runs,
    "Studies": studies,
}
ON_A_GPU = {
    **{
        title: TOPICS[title]
        for title in (
            "Training steps",
            "Norms",
            "Singular values and tangents",
            "Jacobians of any encoder",
            "Contraction curves",
        )
    },
    "An encoder of today's size": large,
}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--only", metavar="TEXT", default="", help="Only rows whose text holds this; writes nothing.")
@click.option("--quick", is_flag=True, help="Fewer rounds, and no rows without an aim.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--out", metavar="FOLDER", type=click.Path(path_type=Path), default=Path("docs"), show_default=True)
def main(only: str, quick: bool, device: str, out: Path) -> None:
    """Measure how fast caelab is, as ratios in one run on one core, beside what is aimed at."""
    torch.set_num_threads(1)
    for kind in (torch.backends.cudnn.conv, torch.backends.cudnn.rnn):
        kind.fp32_precision = "ieee"  # of both sides: the service takes no TF32
    bench = Bench(QUICK if quick else Effort(), device, quick)
    started = time.perf_counter()
    click.echo(machine(device))
    with threadpool_limits(1), flushed_denormals():
        sections = [(title, rows) for title, rows in measured(bench, only) if rows]
        if not only:
            write(sections, out, bench)
    click.echo(f"\n{_verdict([row for _, rows in sections for row in rows])}, {time.perf_counter() - started:.0f} s")


def measured(bench: Bench, only: str) -> Iterator[tuple[str, list[Row]]]:
    """The rows of each topic, told as they come."""
    for title, topic in (TOPICS if bench.device == "cpu" else ON_A_GPU).items():
        chosen: list[Case] = [c for c in topic.cases() if only.lower() in c.what.lower()]
        if bench.device != "cpu" and topic is not large:
            chosen = [without_aim(case) for case in chosen]
        rows = []
        for case in chosen:
            if case.aim or not bench.quick or bench.device != "cpu":
                rows.append(Row(case, case.measure(bench)))
                click.echo("  ".join(cell for cell in rows[-1].cells() if cell), err=True)
        if rows:
            click.echo(f"\n{title}\n\n{markdown(rows)}\n")
        yield title, rows


def write(sections: Sequence[tuple[str, Sequence[Row]]], out: Path, bench: Bench) -> None:
    """``benchmarks.md`` and ``images/growth.png``; on a GPU ``benchmarks-cuda.md`` alone."""
    name = "benchmarks.md" if bench.device == "cpu" else f"benchmarks-{bench.device}.md"
    (out / "images").mkdir(parents=True, exist_ok=True)
    options = ["--quick"] * bench.quick + ["--device cuda"] * (bench.device == "cuda")
    command = " ".join(["python -m tests.benchmarks", *options])
    with written_aside(out / name) as partial:
        partial.write_text(page(sections, command, bench.device), encoding="utf-8")
    if bench.device == "cpu":
        save_figure(growth.draw(growth.table(bench.quick)), out / "images" / "growth")
        (out / "images" / "growth.pdf").unlink()


def _verdict(rows: Sequence[Row]) -> str:
    judged = [row.case.aim.met_by(row.found.middle) for row in rows if row.case.aim]
    return f"{sum(judged)} of {len(judged)} aims met"


if __name__ == "__main__":
    main()
