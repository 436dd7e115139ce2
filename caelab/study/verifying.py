"""Verifying a study: files against their checksums, and a sample of its runs trained again and compared."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import Tensor

from caelab.errors import CaelabError
from caelab.runs.run import read_record, versions
from caelab.storage.checked_files import read_files
from caelab.study.folder import PlannedRun, asked_in, read_plan, use_plugins_of
from caelab.study.jobs import Job, carry_out
from caelab.study.outcomes import Failure, Outcome
from caelab.study.records import Entry, entries_in
from caelab.study.results import runs_of

SAME = 1e-5  # relative; of weights that another machine, or another number of threads, trains again


@dataclass(frozen=True)
class Verified:
    """What became of one run of the sample.

    Attributes:
        planned: which run it is.
        weights: largest difference of a weight from the stored one, relative to the largest weight.
        numbers: largest relative difference of a number that sums the run up.
        trouble: why it could not be compared; an empty text where it could.
    """

    planned: PlannedRun
    weights: float = 0.0
    numbers: float = 0.0
    trouble: str = ""

    @property
    def same(self) -> bool:
        """Whether the run is what its record says, up to rounding."""
        return not self.trouble and self.weights <= SAME and self.numbers <= SAME

    def __str__(self) -> str:
        """A line for the terminal."""
        run = self.planned
        which = f"{run.model} on {run.dataset}, seed {run.seed}, split {run.split}"
        if self.trouble:
            return f"{which}: NOT VERIFIED: {self.trouble}"
        exact = "equal in every bit" if self.weights == 0 else f"largest difference {self.weights:.1e} of the largest"
        verdict = "the same" if self.same else "DIFFERENT"
        return f"{which}: {verdict}: weights {exact}; numbers differ by {self.numbers:.1e} at most"


def damaged_runs(folder: Path) -> Iterator[tuple[PlannedRun, str]]:
    """The finished runs of a study whose files are not what was written, with the reason.

    Raises:
        CaelabError: the folder holds no study.
    """
    runs, plan = runs_of(folder, asked_in(folder)), read_plan(folder)
    found = entries_in(folder, [each.run for each in plan])
    for each in plan:
        entry = found.get(each.run)
        if entry is not None and entry.state != "failed":
            try:
                read_record(runs / entry.folder)
                read_files(runs / entry.folder)
            except CaelabError as error:
                yield each, str(error)


def sample_of(folder: Path, count: int, seed: int = 0) -> list[tuple[PlannedRun, Entry]]:
    """Finished runs of a study, drawn at random.

    Raises:
        CaelabError: none is finished.
    """
    plan = read_plan(folder)
    found = entries_in(folder, [each.run for each in plan])
    finished = [(each, found[each.run]) for each in plan if each.run in found and found[each.run].state != "failed"]
    if not finished:
        raise CaelabError(f"no run of the study in {folder} is finished; carry it out with: caelab study run {folder}")
    return random.Random(seed).sample(finished, min(count, len(finished)))


def verified(folder: Path, count: int, seed: int, done: Callable[[Verified], None]) -> list[Verified]:
    """Train a sample of a study's runs again, elsewhere, and compare weights and numbers with what is stored.

    Args:
        folder: of the study.
        count: how many runs at most.
        seed: of the sample.
        done: is told of each.

    Raises:
        CaelabError: the folder holds no study, or none of its runs is finished.
    """
    asked = asked_in(folder)
    use_plugins_of(folder, asked)
    found = []
    for planned, entry in sample_of(folder, count, seed):
        found.append(_verified(folder, runs_of(folder, asked), planned, entry, asked.file.get("analyses") or {}))
        done(found[-1])
    return found


def _verified(folder: Path, runs: Path, planned: PlannedRun, entry: Entry, analyses: Mapping[str, Any]) -> Verified:
    try:
        config, record = read_record(runs / entry.folder)
        weights, _ = read_files(runs / entry.folder)
        with TemporaryDirectory() as place:
            options = {name: dict(analyses.get(name, {})) for name in entry.tables}
            again = carry_out(Job(config.with_label(planned.model), Path(place), options, dataset=planned.dataset))
            if not isinstance(again, Outcome):
                return Verified(planned, trouble=again.message if isinstance(again, Failure) else "it is busy")
            trained, _ = read_files(again.path)
            _refuse_other_data(record, read_record(again.path)[1])
            numbers = {name: value for name, value in again.numbers.items() if name in entry.numbers}
    except CaelabError as error:
        return Verified(planned, trouble=f"{error}{_versions_told(folder)}")
    return Verified(planned, weights_apart(weights, trained), numbers_apart(entry.numbers, numbers))


def _refuse_other_data(stored: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    for key, what in (("data_hash", "data"), ("split_hash", "split")):
        if stored.get(key) != new.get(key):
            raise CaelabError(
                f"the {what} are others now ({str(stored.get(key))[:12]} then, {str(new.get(key))[:12]} now)"
            )


def _versions_told(folder: Path) -> str:
    """The versions that changed since, for a sentence."""
    then, now = asked_in(folder).versions, versions()
    changed = [f"{name} {then[name]} then, {now[name]} now" for name in now if then.get(name, now[name]) != now[name]]
    return f" ({', '.join(changed)})" if changed else ""


def weights_apart(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> float:
    """The largest difference of two models' weights, relative to the largest weight; infinity for other shapes."""
    if {name: each.shape for name, each in first.items()} != {name: each.shape for name, each in second.items()}:
        return float("inf")
    largest = max((float(each.abs().max()) for each in first.values() if each.numel()), default=0.0) or 1.0
    return max(
        (float((first[n].double() - second[n].double()).abs().max()) / largest for n in first if first[n].numel()),
        default=0.0,
    )


def numbers_apart(first: Mapping[str, float], second: Mapping[str, float]) -> float:
    """The largest relative difference of numbers of one name; NaN on both sides is no difference."""
    apart = 0.0
    for name, number in second.items():
        stored = first[name]
        if number != stored and not (number != number and stored != stored):
            apart = max(apart, abs(number - stored) / max(abs(number), abs(stored)))
    return apart
