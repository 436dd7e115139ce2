"""Where the runs of a study are computed. An executor is any ``concurrent.futures.Executor``."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, TypeVar

from caelab.hookspecs import hookimpl

T = TypeVar("T")

PRELOADED = ["torch", "torch._dynamo", "scipy.linalg", "caelab.study"]  # imported once, not once per worker
THREAD_SETTINGS = ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"]  # read by a library when it loads


@hookimpl
def register_executors(register: Callable[[str, Any], None]) -> None:
    """Offer the built-in executors."""
    register("processes", processes)
    register("serial", serial)


def usable_cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processes(workers: int) -> Executor:
    """Worker processes on this machine, forked from a server that has torch in memory."""
    context = get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    threads = max(1, usable_cores() // workers)
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_prepare_worker, initargs=(threads,))


def _prepare_worker(threads: int) -> None:
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
        except Exception as error:
            future.set_exception(error)
        return future


def serial(workers: int) -> Executor:
    """One run after the other in this process; the number of workers does not matter."""
    return SerialExecutor()
