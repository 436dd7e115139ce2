"""Merging studies: the runs of several put together, once it is sure that they can be compared."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from caelab.errors import CaelabError
from caelab.storage.files import aside, publish, told_as_storage, write_bytes
from caelab.storage.folders import open_folder
from caelab.storage.locks import one_writer
from caelab.study.folder import (
    PLUGINS,
    RUNS,
    STUDY,
    Asked,
    PlannedRun,
    asked_in,
    read_plan,
    write_asked,
    write_plan,
)
from caelab.study.records import Entry, entries_in, files_of, write_entry
from caelab.study.results import runs_of


@dataclass(frozen=True)
class Part:
    """One of the studies that are put together.

    Attributes:
        folder: where it lies.
        asked: what was asked of it.
        plan: its runs.
        entries: what is recorded of them.
    """

    folder: Path
    asked: Asked
    plan: Sequence[PlannedRun]
    entries: dict[str, Entry]


def merge(folders: Sequence[Path], out: Path) -> int:
    """Put studies together into a new one, with copies of their finished runs; the studies stay as they are.

    Args:
        folders: of at least two studies.
        out: the folder of the new one.

    Returns:
        How many runs the new study has.

    Raises:
        CaelabError: fewer than two, a folder without a study, or studies that cannot be compared: says which and why.
        StorageError: something cannot be written.
    """
    if len(folders) < 2:
        raise CaelabError(f"expected at least two folders of studies to put together, but {len(folders)} came")
    parts = [_part(folder) for folder in folders]
    for part in parts[1:]:
        refuse_incomparable(parts[0], part)
    plan = _plan(parts)
    _refuse_into_itself(folders, out)
    open_folder(out, STUDY)
    with one_writer(out / STUDY):
        for place, part in enumerate(parts):
            _copy(part, out, place)
        write_plan(out, plan, "")
        write_asked(out, _together(parts))
    return len(plan)


def _part(folder: Path) -> Part:
    asked, plan = asked_in(folder), read_plan(folder)
    found = entries_in(folder, [each.run for each in plan])
    entries = {run: entry for run, entry in found.items() if entry.state != "failed"}
    if not entries:
        raise CaelabError(f"no run of the study in {folder} is finished, so there is nothing to put together")
    return Part(folder, asked, plan, entries)


def refuse_incomparable(first: Part, second: Part) -> None:
    """Refuse studies whose numbers mean different things.

    Raises:
        CaelabError: says what differs.
    """
    both = f"{first.folder} and {second.folder} cannot be put together"
    for name in first.asked.data.keys() & second.asked.data.keys():
        if first.asked.data[name] != second.asked.data[name]:
            raise CaelabError(
                f"{both}: the data {name!r} of the first have the hash {first.asked.data[name][:12]}, those of the "
                f"second {second.asked.data[name][:12]}; train one of them again on the data of the other"
            )
    for key in first.asked.conventions.keys() | second.asked.conventions.keys():
        one, other = first.asked.conventions.get(key), second.asked.conventions.get(key)
        if one != other:
            raise CaelabError(
                f"{both}: they have different conventions for {key} ({one!r} and {other!r}); measure both with one "
                "version of caelab"
            )
    _refuse_other_analyses(first, second, both)


def _refuse_other_analyses(first: Part, second: Part, both: str) -> None:
    one, other = (_tables(part) for part in (first, second))
    for name in one.keys() & other.keys():
        if one[name] != other[name]:
            raise CaelabError(
                f"{both}: they measured the analysis {name!r} with different options, or with different code of it; "
                "measure both in one way"
            )


def _tables(part: Part) -> dict[str, set[str]]:
    """By analysis, the names of its tables, which follow its options and its code."""
    found: dict[str, set[str]] = {}
    for entry in part.entries.values():
        for name, file in entry.tables.items():
            found.setdefault(name, set()).add(file)
    return found


def _plan(parts: Iterable[Part]) -> list[PlannedRun]:
    """The runs of all, each once.

    Raises:
        CaelabError: two different runs bear one name.
    """
    named: dict[tuple[Any, ...], tuple[PlannedRun, Path]] = {}
    for part in parts:
        for each in part.plan:
            if each.run not in part.entries:
                continue
            key = (each.dataset, each.model, each.split, each.seed)
            before = named.setdefault(key, (each, part.folder))
            if before[0].run.rpartition("-")[2] != each.run.rpartition("-")[2]:
                raise CaelabError(
                    f"{before[1]} and {part.folder} cannot be put together: both have a model {each.model!r} on "
                    f"{each.dataset} with seed {each.seed}, but with different settings, data or code; give one of the "
                    "models another label in its study file"
                )
    return [each for each, _ in named.values()]


def _refuse_into_itself(folders: Sequence[Path], out: Path) -> None:
    if out.resolve() in {folder.resolve() for folder in folders}:
        raise CaelabError(f"{out} is one of the studies; give a new folder with --out")


def _copy(part: Part, out: Path, place: int) -> None:
    """The finished runs of a study, their records and its plugin files."""
    runs = runs_of(part.folder, part.asked)
    for run, entry in part.entries.items():
        _copy_run(runs / entry.folder, out / RUNS / entry.folder)
        files = files_of(out / RUNS / entry.folder, entry.tables.values())
        write_entry(out, replace(entry, run=run, files=files))
    for name in part.asked.plugins:
        source = (part.folder / PLUGINS / name).parent  # with what the plugin imports beside it
        for path in (each for each in source.rglob("*.py") if each.is_file()):
            target = (out / PLUGINS / _plugin_name(place, name)).parent / path.relative_to(source)
            write_bytes(target, path.read_bytes())


def _copy_run(run: Path, target: Path) -> None:
    """A run's folder, by links where the file system allows it: its files never change."""
    if target.is_dir():
        return
    place = aside(target)
    with told_as_storage(target):
        shutil.rmtree(place, ignore_errors=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(run, place, copy_function=_linked, ignore=shutil.ignore_patterns(".partial-*"))
    publish(place, target)


def _linked(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:
        return str(shutil.copy2(source, target))
    return target


def _plugin_name(place: int, name: str) -> str:
    """The name of a plugin's copy; those of several studies stay apart."""
    return f"{place}-{name}"


def _together(parts: Sequence[Part]) -> Asked:
    """What the new study says of itself: the first one's file, with the models and seeds of all."""
    first = parts[0].asked
    names = " + ".join(dict.fromkeys(part.asked.file.get("study") or part.folder.name for part in parts))
    models = [model for part in parts for model in part.asked.file["models"]]
    file = {
        **first.file,
        "study": names,
        "models": list({repr(model): model for model in models}.values()),
        "datasets": [],
        "runs": None,
    }
    data = {name: digest for part in parts for name, digest in part.asked.data.items()}
    plugins = {
        _plugin_name(place, name): digest
        for place, part in enumerate(parts)
        for name, digest in part.asked.plugins.items()
    }
    folders = [str(part.folder) for part in parts]
    return first.model_copy(
        update={"file": file, "data": data, "plugins": plugins, "parts": folders, "command": "caelab study merge"}
    )
