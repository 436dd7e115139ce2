"""The command ``caelab study``: many runs from one file, which survive whatever ends their processes."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from caelab.cli.commands.shared import (
    chosen_executor,
    executor_options,
    plugin_options,
    track_option,
    use_plugins,
    with_progress,
)
from caelab.errors import CaelabError

if TYPE_CHECKING:
    from caelab.report.studies import Undertaking
    from caelab.study.folder import Status

PLACE = click.argument("place", metavar="FILE|FOLDER", type=click.Path(path_type=Path))
OUT = click.option(
    "--out", type=click.Path(path_type=Path), default=None, help="Folder of the study. [default: as the file says]"
)


def scale_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that make a smaller or larger study of a file, or one on other data."""
    smoke = "The same as --scale smoke: to see that it works."
    options = [
        click.option("--scale", metavar="NAME", default=None, help="A scale of the study: smoke, quick, ..."),
        click.option("--smoke", "scale", flag_value="smoke", help=smoke),
        click.option("--dataset", metavar="NAME", default=None, help="Other data than the file names."),
        click.option("--device", metavar="NAME", default=None, help="Where runs are trained: cpu or cuda."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.group()
def study() -> None:
    """Carry out many runs from one file, and go on after whatever ended them.

    \b
    caelab study run study.yaml
    caelab study status study.yaml

    A study file is YAML. It needs models, a list of recipes, and out, a folder; the page on studies in the
    documentation has every key. In place of the file, the folder of a study that was begun stands for the study.
    """


@study.command()
@PLACE
@OUT
@click.option("--dry-run", is_flag=True, help="Say how many runs there are, and what is left of them.")
@scale_options
@executor_options
@track_option
@plugin_options
def run(
    place: Path,
    out: Path | None,
    dry_run: bool,
    scale: str | None,
    dataset: str | None,
    device: str | None,
    workers: int | None,
    executor: str,
    address: str | None,
    executor_settings: tuple[str, ...],
    track: tuple[str, ...],
    plugins: tuple[Path, ...],
) -> None:
    """Carry out a study, or go on with it: only what is missing is done.

    A run that fails does not stop the others; the exit status says whether all succeeded.
    """
    use_plugins(plugins)
    how = chosen_executor(executor, workers, address, executor_settings)
    asked = undertaking(place, out, scale, how, plugins, track, dataset, device)
    if dry_run:
        _tell_estimate(asked, asked.how["workers"])
        return
    _carry_out(asked, place)


@study.command()
@PLACE
@OUT
def status(place: Path, out: Path | None) -> None:
    """Say which runs of a study are done, running, failed or missing."""
    from caelab.study.folder import folder_of, status_of

    folder = folder_of(place, out)
    for line in status_lines(folder, status_of(folder)):
        click.echo(line)


@study.command()
@PLACE
@OUT
@executor_options
@track_option
@plugin_options
def retry(
    place: Path,
    out: Path | None,
    workers: int | None,
    executor: str,
    address: str | None,
    executor_settings: tuple[str, ...],
    track: tuple[str, ...],
    plugins: tuple[Path, ...],
) -> None:
    """Try the failed runs of a study again, and those of which an analysis failed."""
    from caelab.study.folder import folder_of, read_plan
    from caelab.study.repairs import forget_failures

    use_plugins(plugins)
    how = chosen_executor(executor, workers, address, executor_settings)
    folder = folder_of(place, out)
    again = forget_failures(folder, read_plan(folder))
    click.echo(f"{again} runs are tried again" if again != 1 else "1 run is tried again")
    asked = undertaking(place, out, None, how, plugins, track)
    _carry_out(asked, place)


@study.command()
@PLACE
@OUT
def collect(place: Path, out: Path | None) -> None:
    """Write the results of a study, one Parquet file per analysis over all runs."""
    from caelab.study.folder import folder_of
    from caelab.study.results import collect as collected

    for name, path in collected(folder_of(place, out)).items():
        click.echo(f"{name}: {path}")


@study.command()
@click.argument("folders", nargs=-1, required=True, metavar="FOLDER FOLDER...", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the new study.")
@plugin_options
def merge(folders: tuple[Path, ...], out: Path, plugins: tuple[Path, ...]) -> None:
    """Put studies together, with results and a page over all their runs; refuse what cannot be compared."""
    from caelab.report.studies import publish_recorded
    from caelab.study.merging import merge as merged

    use_plugins(plugins)
    count = merged(folders, out)
    click.echo(f"{count} runs of {len(folders)} studies are together in {out}")
    for line in publish_recorded(out):
        click.echo(line)


@study.command()
@PLACE
@OUT
@click.option("--sample", type=click.IntRange(min=1), default=3, show_default=True, help="Runs to train again.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the sample.")
@plugin_options
def verify(place: Path, out: Path | None, sample: int, seed: int, plugins: tuple[Path, ...]) -> None:
    """Check the files of every run, train a sample of the runs again, and compare."""
    from caelab.study.folder import folder_of
    from caelab.study.verifying import damaged_runs, verified

    use_plugins(plugins)
    folder = folder_of(place, out)
    found = verified(folder, sample, seed, lambda each: click.echo(str(each)))
    broken = [f"{each.run}: {why}" for each, why in damaged_runs(folder)]
    for line in broken:
        click.echo(f"damaged: {line}")
    wrong = [each for each in found if not each.same]
    if broken or wrong:
        raise CaelabError(
            f"{len(wrong)} of {len(found)} runs that were trained again differ from what is stored, and {len(broken)} "
            "runs have damaged files; the lines above name them"
        )
    click.echo(f"{len(found)} runs were trained again and are the same; the files of all runs are whole")


@study.command()
@PLACE
@OUT
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Of the page. [default: a free one]")
def watch(place: Path, out: Path | None, port: int) -> None:
    """Serve a page with the study's progress, to this machine only, until interrupted."""
    from caelab.cli.watching import serve
    from caelab.study.folder import folder_of

    serve(folder_of(place, out), port)


@click.command()
@click.argument("name", required=False)
@OUT
@scale_options
@executor_options
@track_option
@plugin_options
@click.pass_context
def reproduce(context: click.Context, /, name: str | None, plugins: tuple[Path, ...], **options: Any) -> None:
    """Carry out a study that a plugin offers, as those behind the results in the documentation; without NAME list them.

    \b
    caelab reproduce table1 --scale quick
    """
    from caelab.registry.catalogue import catalogue

    use_plugins(plugins)
    if name is None:
        for each in catalogue().names("study"):
            click.echo(f"{each}: {_about(catalogue().get('study', each))}")
        return
    place = catalogue().get("study", name)
    context.invoke(run, place=place, dry_run=False, plugins=plugins, **options)


def _about(path: Path) -> str:
    from caelab.study.specification import read_study

    return read_study(path)[0].about


def undertaking(
    place: Path,
    out: Path | None,
    scale: str | None,
    how: dict[str, Any],
    plugins: Sequence[Path],
    track: tuple[str, ...] = (),
    dataset: str | None = None,
    device: str | None = None,
) -> Undertaking:
    """The study that a file or a folder describes, at a scale and on data of the user's choice."""
    from caelab.report.studies import Undertaking
    from caelab.study.folder import folder_of, opened
    from caelab.study.making import at

    file, text, home = opened(place)
    folder = folder_of(place, out)
    changes = {f"--scale {scale}": scale, f"--dataset {dataset}": dataset, f"--device {device}": device}
    for option in [option for option, value in changes.items() if value is not None]:
        if place.is_dir():
            raise CaelabError(f"{option} makes another study of a study file, but {place} is a folder; give the file")
        folder = out or folder.with_name(f"{folder.name}-{_as_name(option)}")
    file = at(file, scale, dataset, device)
    more = [str(path.resolve()) for path in plugins]
    file = file.model_copy(update={"plugins": [*file.plugins, *more], "out": str(folder)})
    return Undertaking(file, text, folder, home, " ".join(["caelab", *sys.argv[1:]]), how, with_progress, track)


def _as_name(option: str) -> str:
    """The value of an option as a part of a folder's name.

    >>> _as_name("--dataset idx:/data/fashion"), _as_name("--scale quick")
    ('idx-data-fashion', 'quick')
    """
    return "-".join(re.findall(r"[\w.]+", option.partition(" ")[2]))


def _carry_out(asked: Undertaking, path: Path) -> None:
    from caelab.report.studies import carry_out_study

    for line in carry_out_study(asked, path):
        click.echo(line)


def _tell_estimate(asked: Undertaking, workers: int) -> None:
    from caelab.study.estimates import estimated

    made = asked.made()
    found = estimated(made.study.jobs())
    candidates = sum(len(choice.candidates) for choice in made.choices)
    click.echo(
        f"{found.runs} runs: {found.there} are there, {found.runs - found.there} are missing, {found.failed} failed"
    )
    if candidates:
        seeds = len(made.study.seeds) * len(made.study.splits or [0])
        click.echo(f"before them, {candidates * seeds} runs of {candidates} candidates to choose from")
    if found.runs == found.there:
        return
    if found.seconds is None or found.size is None:
        click.echo("nothing of this study has run yet, so time and disk cannot be estimated")
        return
    click.echo(
        f"about {_duration(found.seconds / workers)} with {workers} workers ({_duration(found.seconds)} of training), "
        f"and {found.size / 2**20:.0f} MiB on disk, as the runs that are there took"
    )


def _duration(seconds: float) -> str:
    """A time for people.

    >>> _duration(5), _duration(90), _duration(7260)
    ('5 s', '2 min', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def status_lines(folder: Path, found: Status) -> list[str]:
    """How far a study is, for the terminal."""
    counts = {state: found.count(state) for state in ("done", "partly", "failed")}
    waiting = len(found.missing) - len(found.running)
    lines = [
        f"{len(found.plan)} runs in {folder}: {counts['done']} done, {counts['partly']} done but for an analysis, "
        f"{counts['failed']} failed, {len(found.running)} running, {waiting} waiting"
    ]
    return lines + [f"{state}: {line}" for state, line in _troubles(folder, found)]


SHOWN = 20  # runs that are told of one by one


def _troubles(folder: Path, found: Status) -> list[tuple[str, str]]:
    from caelab.study.records import entries_in

    wrong = [each for each in found.plan if found.states.get(each.run) in ("partly", "failed")]
    entries = entries_in(folder, [each.run for each in wrong[:SHOWN]])
    lines = []
    for each in wrong[:SHOWN]:
        entry = entries.get(each.run)
        messages = [entry.message, *(str(p["message"]) for p in entry.problems if p["applies"])] if entry else []
        lines.append((found.states[each.run], f"{each.run}: {'; '.join(filter(None, messages))}"))
    return lines + ([("and", f"{len(wrong) - SHOWN} more")] if len(wrong) > SHOWN else [])
