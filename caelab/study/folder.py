"""The folder of a study: what was asked, frozen when it starts; which runs it consists of; and how far they are.

A study's folder is a bundle with everything to repeat it::

    study.json     what was asked, versions, conventions, hashes of the data, digests of the plugin files
    study.yaml     the study file, as it was when the study started
    plugins/       the plugin files of then
    plan.json      every run: the name of its folder, model, data, split and seed
    outcomes/      what became of each run, see ``caelab.study.records``
    runs/          the runs, unless several studies share a folder of runs
    results/       one table per analysis over all runs, see ``caelab.study.results``

``comparison.json``, figures, tables and the page lie beside them, or, for several data sets, in a folder for each.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from caelab.errors import CaelabError, DamagedFile
from caelab.registry.catalogue import catalogue
from caelab.registry.fingerprints import imported_beside
from caelab.storage.checksums import checksum, sealed
from caelab.storage.files import PARTIAL, remove_partial, told_as_storage, write_bytes, write_text
from caelab.storage.locks import is_being_written
from caelab.storage.transactions import read_record
from caelab.study.records import OUTCOMES, states_in, target_of
from caelab.study.specification import StudyFile, differences, read_study, study_file

STUDY = "study.json"
COPY = "study.yaml"
PLAN = "plan.json"
PLUGINS = "plugins"
RUNS = "runs"

CONVENTIONS: Mapping[str, str] = {
    "reconstruction": "sum over the inputs' entries, mean over examples",
    "penalties": "sum over the Jacobian's entries, mean over examples",
    "norms": "Frobenius norm of the Jacobian of one example",
    "saturation": "outer 5 % of an activation's range at either end",
    "precision": "float32 in training, float64 in spectra",
}
"""What numbers mean; stored with every study, so that studies of other conventions are never put together."""


class Asked(BaseModel):
    """The content of ``study.json``.

    Attributes:
        file: the study file's content.
        command: the words that began it.
        versions: of what numbers depend on.
        conventions: what numbers mean.
        data: by name of a data set, the hash of its content.
        plugins: by name of a plugin file, the hash of its content.
        started: when.
        parts: of a study that was put together, the folders of the others.
    """

    file: dict[str, Any]
    command: str
    versions: dict[str, str]
    conventions: dict[str, str] = {}
    data: dict[str, str] = {}
    plugins: dict[str, str] = {}
    started: str = ""
    parts: list[str] = []


@dataclass(frozen=True)
class PlannedRun:
    """One run of a plan: the name of its folder, and which run it is."""

    run: str
    model: str
    dataset: str
    split: int
    seed: int


@dataclass(frozen=True)
class Status:
    """How far a study is.

    Attributes:
        plan: every run.
        states: by run, what became of it; a run without a state is still to be carried out.
        running: runs that some process is at now.
    """

    plan: Sequence[PlannedRun]
    states: Mapping[str, str]
    running: Sequence[str] = field(default=())

    def count(self, state: str) -> int:
        """How many runs are in a state."""
        return Counter(self.states.get(each.run) for each in self.plan)[state]

    @property
    def missing(self) -> list[PlannedRun]:
        """The runs that are still to be carried out, those that are running among them."""
        return [each for each in self.plan if each.run not in self.states]

    @property
    def succeeded(self) -> bool:
        """Whether every run and every analysis of it succeeded."""
        return all(self.states.get(each.run) == "done" for each in self.plan)


def freeze(
    folder: Path,
    file: StudyFile,
    text: str,
    command: str,
    versions: Mapping[str, str],
    data: Mapping[str, str],
    plugins: Iterable[Path],
) -> None:
    """Write down what was asked when a study starts; without a text of its file, its content is written as YAML.

    Only who holds the lock of ``study.json`` may call this.

    Raises:
        StorageError: it cannot be written.
    """
    remove_partial(folder, f"-{STUDY}")
    remove_partial(folder, f"-{COPY}")
    copies = _copies(plugins)
    for name, path in copies.items():
        for each in (path, *_neighbours(path)):
            with told_as_storage(each, "read"):
                write_bytes((folder / PLUGINS / name).parent / each.relative_to(path.parent), each.read_bytes())
    write_text(folder / COPY, text or yaml.safe_dump(file.plain(), sort_keys=False))
    asked = Asked(
        file=file.plain(),
        command=command,
        versions=dict(versions),
        conventions=dict(CONVENTIONS),
        data=dict(data),
        plugins={name: checksum(path.read_bytes()) for name, path in copies.items()},
        started=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    write_asked(folder, asked)


def write_asked(folder: Path, asked: Asked) -> None:
    """Write ``study.json``.

    Raises:
        StorageError: it cannot be written.
    """
    write_text(folder / STUDY, sealed(asked.model_dump()))


def _neighbours(plugin: Path) -> list[Path]:
    """The files in the folder of a plugin file that it imports."""
    return [path for path in imported_beside(str(plugin)) if path.is_relative_to(plugin.parent)]


def is_started(folder: Path) -> bool:
    """Whether a study was begun in a folder."""
    path = folder / STUDY
    return path.is_file() and path.stat().st_size > len("{}\n")


def asked_in(folder: Path) -> Asked:
    """What was asked of the study in a folder.

    Raises:
        CaelabError: there is none, or its record was changed.
    """
    try:
        facts = read_record(folder, STUDY)
        return Asked.model_validate(facts)
    except FileNotFoundError as error:
        raise CaelabError(
            f"{folder} holds no study: expected a study file, or a folder in which caelab study run began one"
        ) from error
    except ValidationError as error:
        raise CaelabError(
            f"{folder} holds no study that was begun ({STUDY} is empty or of another kind); begin one with: caelab "
            "study run FILE"
        ) from error
    except DamagedFile as error:
        raise CaelabError(
            f"{folder / STUDY} is damaged ({error}); begin the study in another folder, with the same folder of runs, "
            "so that no run is lost"
        ) from error


def refuse_changed(folder: Path, file: StudyFile, path: Path, data: Mapping[str, str], plugins: Iterable[Path]) -> None:
    """Refuse a study whose file, data or plugin files are others than when it started.

    Args:
        folder: of the study.
        file: what its file says now.
        path: the file.
        data: by name of a data set, the hash of its content now.
        plugins: the plugin files as they are now.

    Raises:
        CaelabError: says what changed.
    """
    if not is_started(folder):
        return
    asked = asked_in(folder)
    changed = differences(study_file(asked.file).plain(), file.plain())
    changed += [f"the content of the data {name!r} is another" for name in _others(asked.data, data)]
    digests = {name: checksum(each.read_bytes()) for name, each in _copies(plugins).items()}
    changed += [f"the plugin file {name.partition('/')[2]} is another" for name in _others(asked.plugins, digests)]
    if changed:
        raise CaelabError(
            f"{path} changed after its study started in {folder}: {'; '.join(changed)}; go on with the study as it "
            f"started: caelab study run {folder}, or start a new one: caelab study run {path} --out ANOTHER_FOLDER "
            f"(with runs: {folder / RUNS} in the file it takes over the runs that are the same)"
        )


def _others(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    return [name for name in now if name in then and then[name] != now[name]]


def _copies(plugins: Iterable[Path]) -> dict[str, Path]:
    """Plugin files by the names of their copies; files of one name stay apart."""
    return {f"{place}/{path.name}": path for place, path in enumerate(plugins)}


def opened(place: Path) -> tuple[StudyFile, str, Path]:
    """A study from its file, or from its folder as it was when it started.

    Returns:
        What it says, its text, and where its plugin files are looked for.

    Raises:
        CaelabError: the place is neither.
    """
    if place.is_dir():
        asked = asked_in(place)
        refuse_merged(place, asked)
        file = study_file(asked.file, str(place / STUDY))
        plugins = [str((place / PLUGINS / name).resolve()) for name in asked.plugins]
        text = (place / COPY).read_text(encoding="utf-8") if (place / COPY).is_file() else ""
        return file.model_copy(update={"plugins": plugins}), text, place
    file, text = read_study(place)
    return file, text, place.parent


def refuse_merged(folder: Path, asked: Asked) -> None:
    """Refuse to carry out a study that was put together from others: its runs are theirs.

    Raises:
        CaelabError: it was.
    """
    if asked.parts:
        raise CaelabError(
            f"{folder} was put together from {' and '.join(asked.parts)}, and has no runs of its own to carry out; go "
            "on with those studies and put them together again: caelab study merge"
        )


def folder_of(place: Path, out: Path | None) -> Path:
    """The folder of a study, from its folder or its file; ``out`` stands for the file's own.

    Raises:
        CaelabError: there is no such file, or ``out`` is given beside a folder.
    """
    if place.is_dir():
        if out is not None and out.resolve() != place.resolve():
            raise CaelabError(f"{place} is the folder of a study already; leave --out out, or give a study file")
        return place
    return out if out is not None else Path(read_study(place)[0].out).expanduser()


def write_plan(folder: Path, plan: Sequence[PlannedRun], asked: str) -> None:
    """Write down every run of a study; only who holds the lock of ``study.json`` may call this.

    Args:
        folder: of the study.
        plan: its runs.
        asked: digest of the analyses, by which records of other ones are told apart.

    Raises:
        StorageError: it cannot be written.
    """
    remove_partial(folder, f"-{PLAN}")
    rows = [[each.run, each.model, each.dataset, each.split, each.seed] for each in plan]
    write_text(folder / PLAN, json.dumps({"asked": asked, "runs": rows}))


def read_plan(folder: Path) -> list[PlannedRun]:
    """Every run of a study; none where it did not come so far.

    Raises:
        CaelabError: the plan is damaged.
    """
    try:
        found = json.loads((folder / PLAN).read_text(encoding="utf-8"))
        return [PlannedRun(*row) for row in found["runs"]]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError) as error:
        raise CaelabError(f"{folder / PLAN} is damaged ({error}); caelab study run {folder} writes it anew") from error


def planned_analyses(folder: Path) -> str:
    """The digest of the analyses that a study's plan asks for; an empty text where there is no plan."""
    with suppress(OSError, ValueError):
        return str(json.loads((folder / PLAN).read_text(encoding="utf-8")).get("asked", ""))
    return ""


def status_of(folder: Path) -> Status:
    """How far a study is, from the names of its files alone.

    Raises:
        CaelabError: the folder holds no study.
    """
    asked_in(folder)
    plan, states = read_plan(folder), states_in(folder)
    return Status(plan, states, running_in(folder, [each.run for each in plan if each.run not in states]))


def running_in(folder: Path, runs: Iterable[str]) -> list[str]:
    """The runs whose job some process holds now."""
    waiting = {*runs}
    locked = (folder / OUTCOMES).glob(f"{PARTIAL}*.lock") if (folder / OUTCOMES).is_dir() else []
    names = [path.name.removeprefix(PARTIAL).removesuffix(".lock") for path in locked]
    return [name for name in names if name in waiting and is_being_written(target_of(folder, name))]


def use_plugins_of(folder: Path, asked: Asked) -> None:
    """Read the plugin files that lie with a study.

    Raises:
        CaelabError: one is missing, was changed, or cannot be used.
    """
    known = {checksum(path.read_bytes()) for path in catalogue().files if path.is_file()}
    for name, digest in asked.plugins.items():
        path = (folder / PLUGINS / name).resolve()
        if not path.is_file() or checksum(path.read_bytes()) != digest:
            raise CaelabError(
                f"the plugin file {path} is missing or was changed since the study started; restore it, or start the "
                "study anew with the plugin as it is now"
            )
        if digest not in known:  # the same file may be in use from where it came
            catalogue().add_file(path)
