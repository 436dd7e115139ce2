"""Calls on other machines: what travels there and back, and what is checked there before anything else."""

from __future__ import annotations

import os
import pickle
from abc import abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing import current_process
from pathlib import Path
from secrets import token_hex
from threading import Lock
from typing import Any, TypeVar

from caelab.errors import CaelabError
from caelab.storage.files import PARTIAL, told_as_storage
from caelab.study.agreement import refuse_difference, refuse_other_versions, refuse_unshared, versions
from caelab.study.executors import without_main, worker_pool
from caelab.study.workers import RemoteTraceback, WorkerPool, answered

T = TypeVar("T")

_pools: dict[str, WorkerPool] = {}  # of this process, where it is a cluster's worker, by the study
_making = Lock()


@dataclass(frozen=True)
class Terms:
    """What a worker must agree to, in the call itself, since workers may join at any time.

    Attributes:
        versions: of caelab and of what it needs, where the study was started.
        here: the folder where it was started, which relative paths begin at.
        folder: of the runs, if there is one.
        token: a file in it, by which a machine is known to see it.
        threads: of one call.
        study: a word that no other study has.
    """

    versions: Mapping[str, str] = field(default_factory=versions)
    here: str = field(default_factory=os.getcwd)
    folder: Path | None = None
    token: str = ""
    threads: int = 1
    study: str = field(default_factory=lambda: token_hex(8))


def terms_of(threads: int) -> Terms:
    """The terms of a study that starts here."""
    return Terms(threads=threads)


def carried_out(content: bytes, terms: Terms, at_once: int) -> bytes:
    """The pickled answer to a pickled call; what a cluster's worker does.

    A process of its own carries out the call, as on one machine: the cluster's library draws random numbers in threads
    of its own, and answers its scheduler while a run keeps the interpreter busy. A call that kills its process is tried
    again, and told, without harm to the worker.

    Args:
        content: the call.
        terms: what must be agreed to.
        at_once: how many calls this worker may be given at once.
    """
    try:
        return _pool(terms, at_once).submit(_once_agreed, content, terms).result()
    except CaelabError as error:
        return pickle.dumps(("failed", error, ""))


def checked(terms: Terms, at_once: int, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """Agree to the terms and check something of a study; what a cluster's worker does before any run.

    Raises:
        CaelabError: this worker does not agree.
    """
    _pool(terms, at_once).submit(_check, terms, function, arguments).result()


def ended(study: str) -> None:
    """Let the processes for a study end when they are done; what a cluster's worker does after it."""
    with _making:
        if study in _pools:
            _pools.pop(study).shutdown(wait=False)


def _pool(terms: Terms, at_once: int) -> WorkerPool:
    """The processes for a study; those of another one end when they are done, and with them the code that they know."""
    with _making:
        if terms.study not in _pools:
            for other in [*_pools]:
                _pools.pop(other).shutdown(wait=False)
            current_process().daemon = False  # a daemon may not start processes
            with without_main():
                _pools[terms.study] = worker_pool(at_once, terms.threads)
        return _pools[terms.study]


def _once_agreed(content: bytes, terms: Terms) -> bytes:
    agree(terms)
    return answered(content)


def _check(terms: Terms, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    agree(terms)
    function(*arguments)


def agree(terms: Terms) -> None:
    """Refuse to work here on other terms.

    Raises:
        CaelabError: another version, or the folder of the runs is not the one of the study.
    """
    refuse_other_versions(terms.versions)
    if Path(terms.here).is_dir():
        os.chdir(terms.here)
    if terms.folder:
        refuse_unshared(terms.folder, terms.token)


class ClusterExecutor(Executor):
    """An executor whose workers may be other machines.

    Args:
        threads: of one call.
    """

    def __init__(self, threads: int = 1) -> None:
        self.terms = terms_of(threads)
        self.made: list[Path] = []

    def begin(self, folder: Path, check: Callable[..., None], *arguments: Any) -> None:
        """Refuse, before anything runs, a worker that does not agree with this process; those that come later, too.

        Args:
            folder: of the runs, which every worker must see.
            check: is called in every worker with the arguments; it raises a ``CaelabError`` that begins with
                ``here()``, the worker's name.

        Raises:
            CaelabError: the first worker that does not agree.
            StorageError: the folder cannot be written.
        """
        self._mark(folder.absolute())
        for worker, error in self.on_every_worker(check, *arguments).items():
            if error is not None:
                raise self._refusal(worker, error)

    def _mark(self, folder: Path) -> None:
        """Put a file into the folder, by which others see that theirs is the same."""
        token = f"{PARTIAL}shared-{token_hex(8)}"
        missing = [each for each in (folder, *folder.parents) if not each.exists()]
        with told_as_storage(folder):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / token).touch()
        self.made = [folder / token, *missing]
        self.terms = replace(self.terms, folder=folder, token=token)

    def unmark(self) -> None:
        """Remove that file, and the folders that were made for it alone."""
        with suppress(OSError):
            for path in self.made:
                path.rmdir() if path.is_dir() else path.unlink()
        self.made = []

    def _refusal(self, worker: str, error: BaseException) -> CaelabError:
        if isinstance(error, CaelabError):
            return error
        if isinstance(error, ModuleNotFoundError | AttributeError):
            refused = {"caelab": self.terms.versions["caelab"]}
            try:
                refuse_difference(refused, {}, f"the worker {worker}")
            except CaelabError as refusal:
                return CaelabError(f"{refusal} ({type(error).__name__}: {error})")
        return CaelabError(f"the worker {worker} does not answer ({type(error).__name__}: {error}); look at its log")

    @abstractmethod
    def on_every_worker(self, function: Callable[..., Any], *arguments: Any) -> Mapping[str, BaseException | None]:
        """By worker, the error that ``checked`` raises there for a function and its arguments."""

    @abstractmethod
    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Carry out the call on some worker."""


def packed(function: Callable[..., Any], arguments: Any, keywords: Any) -> bytes:
    """A call as bytes, which a worker reads only once it has agreed to the terms."""
    return pickle.dumps((function, arguments, keywords))


def settle(future: Future[Any], content: bytes) -> None:
    """Give a future the result, or the error, that a worker answered with."""
    kind, value, trace = pickle.loads(content)
    if kind == "failed":
        value.__cause__ = RemoteTraceback(trace) if trace else None
        fail(future, value)
    else:
        with suppress(InvalidStateError):  # it was cancelled meanwhile
            future.set_result(value)


def fail(future: Future[Any], error: BaseException) -> None:
    """Give a future its error, unless it has a result or was cancelled."""
    with suppress(InvalidStateError):
        future.set_exception(error)
