"""Isolation of other people's code that measures or judges: what it changes for others is undone and told.

What an analysis is given to read stays as it was: data, model, config and history are compared, and put back.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from matplotlib import rc_context
from torch import Tensor, nn

from caelab.data import Dataset
from caelab.errors import CaelabError, reason
from caelab.process.code_in_place import code_left_as_found
from caelab.process.exits import ends, held_open, how
from caelab.process.settings import CHEAP, OF_TABLES, OTHERS, left_as_found
from caelab.runs.run import Run, dataset_of, forget_data
from caelab.storage.checked_files import HISTORY, RECORD, WEIGHTS
from caelab.streams import seeded, stream_seed

SETTINGS = [*CHEAP, *OTHERS, *OF_TABLES]  # the generators are its own
PARTS_OF_DATA = ("inputs", "labels", "train", "valid", "test")

_known: WeakKeyDictionary[Dataset, dict[str, int]] = WeakKeyDictionary()  # the checksums of data that were seen before


class SpoiledData(CaelabError):
    """The data that a process holds were changed and cannot be put back: it must not go on with them."""


@contextmanager
def run_left_as_found(run: Run, who: str) -> Iterator[None]:
    """Refuse code that changes the run that it was given to read, and put everything back, whatever happens.

    What a model only remembers (buffers, its mode, gradients, hooks) is put back without a word.

    Args:
        run: data, weights, config and history that may only be read.
        who: is named, as "the analysis 'mine'".

    Raises:
        CaelabError: something is different at the end of the block, which raised nothing itself.
        SpoiledData: the data are different, and cannot be put back.
    """
    states: list[DataState | ModelState | FactsState]
    states = [DataState(run.dataset), ModelState(run.model), FactsState(run)]
    files = FilesState(run.path)
    try:
        with code_left_as_found(who, {type(each) for owner in _owners(run.model) for each in owner.modules()}):
            yield
    finally:
        changed = [name for state in states for name in state.changes()]
        for state in states:
            state.put_back(run, who)
    if files.changes():
        raise CaelabError(
            f"{who} writes to the folder of the run that it was given to read: {', '.join(files.changes())} in "
            f"{run.path}; what it wrote stays there, so delete the folder and train the run again, and let the "
            "analysis return what it found"
        )
    if changed:
        raise CaelabError(
            f"{who} changes what it was given to read: {', '.join(changed)}; it is put back, and what the analysis "
            "returned is not kept; let it work on a copy, as run.dataset.inputs.clone() or copy.deepcopy(run.model)"
        )


class DataState:
    """The data of a run as they were; of large data no copy is kept, and they are loaded again if they are changed."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.attributes = dict(vars(dataset))
        self.tensors = _tensors_of(dataset)
        self.changed: list[str] = []
        self.places = {name: each.detach() for name, each in self.tensors.items()}
        if dataset not in _known:
            _known[dataset] = {name: checksum(each) for name, each in self.tensors.items()}

    def changes(self) -> list[str]:
        """The parts that are different now."""
        now = {name: checksum(each) for name, each in _tensors_of(self.dataset).items()}
        before = _known[self.dataset]
        self.changed = [f"run.dataset.{name}" for name in {**before, **now} if before.get(name) != now.get(name)]
        return self.changed

    def put_back(self, run: Run, who: str) -> None:
        """Put the data back, in the places where others hold them too."""
        vars(self.dataset).update(self.attributes)
        for name, each in self.tensors.items():
            each.data = self.places[name]
            each.requires_grad_(False).grad = None
        if self.changed and self.changes():
            self._load_again(run, who)

    def _load_again(self, run: Run, who: str) -> None:
        forget_data()
        fresh = self._fresh(run)
        if {name: checksum(each) for name, each in fresh.items()} != _known[self.dataset]:
            forget_data()
            raise SpoiledData(
                f"{who} changes the data {self.dataset.name!r} that it was given to read, and they cannot be loaded "
                "again in this process, so nothing more is measured; let it work on a copy, as "
                "run.dataset.inputs.clone(), and start again"
            )
        for name, each in self.places.items():
            each.copy_(fresh[name])

    def _fresh(self, run: Run) -> dict[str, Tensor]:
        try:
            return _tensors_of(dataset_of(run.config))
        except CaelabError:  # data that were given as an object have no loader
            return {}


def _tensors_of(dataset: Dataset) -> dict[str, Tensor]:
    """Everything that a data set holds as numbers, what is known of its law too."""
    truth = dataset.truth if is_dataclass(dataset.truth) else None
    parts = {name: getattr(dataset, name) for name in PARTS_OF_DATA}
    parts |= {f"truth.{each.name}": getattr(truth, each.name) for each in (fields(truth) if truth else ())}
    arrays = {name: torch.from_numpy(each) if isinstance(each, np.ndarray) else each for name, each in parts.items()}
    return {name: each for name, each in arrays.items() if isinstance(each, Tensor)}


def checksum(tensor: Tensor) -> int:
    """A checksum of a tensor's type, shape and every bit.

    >>> a = torch.zeros(3)
    >>> checksum(a) == checksum(torch.zeros(3)) != checksum(torch.zeros(3, 1))
    True
    """
    content = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
    return zlib.crc32(content, zlib.crc32(f"{tensor.dtype} {tuple(tensor.shape)}".encode()))


class ModelState:
    """The weights of a model, and everything else that its modules hold, to compare with and to put back."""

    def __init__(self, model: Any) -> None:
        self.modules = list(dict.fromkeys(module for each in _owners(model) for module in each.modules()))
        self.memories = [dict(vars(module)) for module in self.modules]
        self.tables = [{key: dict(value) for key, value in each.items() if _is_table(value)} for each in self.memories]
        self.parameters = self._named("named_parameters")
        self.tensors = {**self.parameters, **self._named("named_buffers")}
        self.places = {name: each.detach() for name, each in self.tensors.items()}
        self.copies = {name: each.clone() for name, each in self.places.items()}
        self.trained = {name: each.requires_grad for name, each in self.tensors.items()}
        self._forget_gradients()

    def _named(self, what: str) -> dict[str, Any]:
        found = {}
        for module in self.modules[:1]:
            found.update(getattr(module, what)())
        return found

    def _forget_gradients(self) -> None:
        for each in self.parameters.values():
            each.grad = None

    def changes(self) -> list[str]:
        """The weights that are different now."""
        now = self._named("named_parameters")
        return [f"the weights {name}" for name in {**self.parameters, **now} if self._differs(name, now)]

    def _differs(self, name: str, now: Mapping[str, Tensor]) -> bool:
        if name not in now or now[name] is not self.parameters.get(name):
            return True
        kept, copy = now[name], self.copies[name]
        return kept.dtype != copy.dtype or kept.shape != copy.shape or not _same(kept.detach(), copy)

    def put_back(self, run: Run, who: str) -> None:
        """Put everything back, in place."""
        for module, memory, tables in zip(self.modules, self.memories, self.tables, strict=True):
            vars(module).clear()
            vars(module).update(memory)
            for key, table in tables.items():
                memory[key].clear()
                memory[key].update(table)
        for name, each in self.tensors.items():
            each.data = self.places[name]
            self.places[name].copy_(self.copies[name])
            each.requires_grad_(self.trained[name])
        self._forget_gradients()


def _owners(model: Any) -> list[nn.Module]:
    """The model, and the module whose method its encoder is."""
    owner = getattr(getattr(model, "encode", None), "__self__", None)
    return [each for each in (model, owner) if isinstance(each, nn.Module)]


def _is_table(value: Any) -> bool:
    return isinstance(value, dict)


def _same(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are equal bit by bit; a NaN equals itself."""
    return torch.equal(a, b) or checksum(a) == checksum(b)


class FactsState:
    """The config, history and record of a run as they were, to compare with and to put back."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.attributes = dict(vars(run))
        self.copies = {name: deepcopy(self.attributes[name]) for name in ("config", "metrics", "record")}

    def changes(self) -> list[str]:
        """The parts that are different now."""
        now = vars(self.run)
        moved = [name for name in ("model", "dataset", "path") if now[name] is not self.attributes[name]]
        return [
            f"run.{name}" for name in [*moved, *(n for n, copy in self.copies.items() if repr(now[n]) != repr(copy))]
        ]

    def put_back(self, run: Run, who: str) -> None:
        """Put everything back; the config also where others hold it."""
        changed = self.changes()
        vars(run).update(self.attributes)
        if changed:
            vars(run).update({name: self.copies[name] for name in ("metrics", "record")})
            vars(run.config).update(vars(self.copies["config"]))


class FilesState:
    """The files of a run as they were, by size and time; a run in memory has none."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.before = self._now()

    def _now(self) -> dict[str, tuple[int, int, int] | None]:
        return {} if self.path is None else {name: _marks(self.path / name) for name in (WEIGHTS, HISTORY, RECORD)}

    def changes(self) -> list[str]:
        """The files that are different now."""
        return [name for name, marks in self._now().items() if marks != self.before[name]]


def _marks(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


@contextmanager
def _own_generators(seed: int, name: str) -> Iterator[None]:
    """Within the block the global generators of torch, numpy and Python start from that seed and name.

    Behind it they are as they were: who draws from them gets the same numbers, whoever drew before.
    """
    of_numpy, of_python = np.random.get_state(), random.getstate()  # noqa: NPY002
    with seeded(seed, name):
        np.random.seed(stream_seed(seed, name) % 2**32)  # noqa: NPY002
        random.seed(stream_seed(seed, name))
        try:
            yield
        finally:
            np.random.set_state(of_numpy)  # noqa: NPY002
            random.setstate(of_python)


@contextmanager
def undisturbed(who: str, stream: str, seed: int = 0) -> Iterator[None]:
    """Code within the block neither sees what other code did to this process, nor leaves anything behind.

    Args:
        who: is named, as "the analysis 'mine'".
        stream: names the random numbers that it draws where it asks for no generator.
        seed: of these.

    Raises:
        CaelabError: it changed a setting that all others share.
    """
    with left_as_found(who, SETTINGS), _own_generators(seed, stream), rc_context(), held_open():
        yield


@contextmanager
def failure_told(what: str) -> Iterator[None]:
    """What goes wrong within the block is told as one sentence; a ``CaelabError`` stays what it is.

    Args:
        what: begins the sentence, as "the analysis 'mine' failed on 'ae'".

    Raises:
        CaelabError: it raised, or tried to end the program; the original error is the cause.
    """
    try:
        yield
    except CaelabError:
        raise
    except Exception as error:  # code of others may fail in any way
        raise CaelabError(f"{what}: {reason(error)}") from error
    except BaseException as error:
        if not ends(error):
            raise
        called = f"calls {how(error)}" if isinstance(error, SystemExit) else f"raises {ends(error)}"
        raise CaelabError(f"{what}: it {called}, which ends programs; let it raise an error instead") from error
