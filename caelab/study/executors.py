"""Executors, which compute the runs of a study; any ``concurrent.futures.Executor`` can be one."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from multiprocessing import get_context
from threading import Lock
from types import ModuleType
from typing import Any, TypeVar

from caelab.hookspecs import hookimpl
from caelab.process.limits import refuse_few_files
from caelab.registry.catalogue import catalogue
from caelab.registry.signatures import checked_options, option_fields
from caelab.study.workers import WorkerPool, refuse_unguarded, told

T = TypeVar("T")

PRELOADED = ["torch", "torch._dynamo", "scipy.linalg", "caelab.study.study"]  # imported once, not once per worker
FILES, FILES_OF_A_WORKER = 40, 10  # that are open at once, in this process and in each that it starts
THREAD_SETTINGS = ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"]  # read by a library when it loads


_main_is_needed: ContextVar[bool] = ContextVar("main is needed", default=True)


@contextmanager
def without_main() -> Iterator[None]:
    """Pools made within this block have workers that do not run the caller's script again; their jobs are plain data.

    Otherwise a script without ``if __name__ == "__main__":`` would start itself anew in every worker.
    """
    token = _main_is_needed.set(False)
    try:
        yield
    finally:
        _main_is_needed.reset(token)


def _context_without_main() -> Any:
    """Multiprocessing as it is, but a worker is not told which script its parent runs."""
    from multiprocessing import context

    class ProcessWithoutMain(context.ForkServerProcess):
        @staticmethod
        def _Popen(process_obj: Any) -> Any:
            with _hiding_main, _hidden_main():
                return context.ForkServerProcess._Popen(process_obj)

        def __reduce__(self) -> Any:  # a worker makes a plain process of it
            return _plain_process, (vars(self),)

    class WithoutMain(context.ForkServerContext):
        Process = ProcessWithoutMain

    return WithoutMain()


def _plain_process(state: dict[str, Any]) -> Any:
    from multiprocessing import context

    process = context.ForkServerProcess.__new__(context.ForkServerProcess)
    process.__dict__.update(state)
    return process


@contextmanager
def _hidden_main() -> Iterator[None]:
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


_hiding_main = Lock()


@hookimpl
def register_executors(register: Callable[[str, Any], None]) -> None:
    """Offer the built-in executors."""
    register("processes", processes)
    register("serial", serial)
    register("dask", "caelab.study.clusters.dask:dask")
    register("ray", "caelab.study.clusters.ray:ray")
    for system in ("slurm", "pbs", "lsf", "sge", "oar", "moab", "htcondor"):
        register(system, f"caelab.study.clusters.jobqueue:{system}")


def made_executor(name: str, options: Mapping[str, Any] | None = None) -> Callable[[int], Executor]:
    """The factory of an executor with its options: called with the number of workers it makes the executor.

    Args:
        name: of the executor.
        options: by name, as the parameters of the factory say; it may take others too, as ``**options``. ``resources``
            are left out where it has no such parameter.

    Raises:
        CaelabError: there is no such executor, or it has no such option, or not of that value.
    """
    factory: Callable[..., Executor] = catalogue().get("executor", name)
    known = option_fields(factory, skip=("workers",))
    given = {key: value for key, value in (options or {}).items() if key != "resources" or key in known}
    others = {key: value for key, value in given.items() if key not in known} if _takes_any(factory) else {}
    own = {key: value for key, value in given.items() if key not in others}
    found = checked_options(factory, own, f"the executor {name}", ["workers"])
    return partial(factory, **{key: found[key] for key in own}, **others)


def _takes_any(factory: Callable[..., Any]) -> bool:
    return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(factory).parameters.values())


def usable_cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processes(workers: int) -> Executor:
    """Worker processes on this machine, forked from a server that has torch in memory.

    Raises:
        CaelabError: this process may open too few files for so many.
    """
    return worker_pool(workers, max(1, usable_cores() // workers))


def worker_pool(workers: int, threads: int) -> WorkerPool:
    """Worker processes with so many threads each.

    Raises:
        CaelabError: this process may open too few files for so many.
    """
    refuse_unguarded()
    refuse_few_files(FILES + FILES_OF_A_WORKER * workers)
    context: Any = get_context("forkserver") if _main_is_needed.get() else _context_without_main()
    context.set_forkserver_preload(PRELOADED)
    return WorkerPool(workers, prepare_worker, threads, context=context)


def prepare_worker(threads: int) -> None:
    """Give the worker its share of the cores: two workers whose BLAS each takes all of them run at half the speed."""
    import torch
    from threadpoolctl import threadpool_limits

    os.environ.update(dict.fromkeys(THREAD_SETTINGS, str(threads)))
    threadpool_limits(threads)  # the libraries in memory already
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)


class SerialExecutor(Executor):
    """Everything in this process, one after the other."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run the call now; the future is done when it comes back."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            future.set_exception(told(error))
        return future


def serial(workers: int) -> Executor:
    """One run after the other in this process; the number of workers does not matter."""
    return SerialExecutor()
