"""Worker processes: each carries out one call at a time, never outlives its parent, and is replaced when it dies."""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import sys
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from multiprocessing import current_process, get_context, parent_process
from multiprocessing.connection import Connection, wait
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from time import sleep
from traceback import format_exc
from typing import Any, NamedTuple, NoReturn, TypeVar

from caelab.errors import CaelabError

T = TypeVar("T")

TRIES = 3  # of a call whose worker dies
PAUSES = [0.1, 0.3, 1]  # in seconds, between the starts of a worker that ends before it begins
DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl
NO_GUARD = 78  # the status of a worker that would start workers while it imports the script

_starting = Lock()  # multiprocessing keeps its processes in tables without locks
_tell: Callable[[str], None] = lambda what: None  # noqa: E731


class WorkerDied(CaelabError):
    """The process that carried out a call died, each time that the call was tried.

    Attributes:
        how: what became of it, as "was killed by SIGSEGV during training".
        tries: how many died of it.
    """

    def __init__(self, how: str, tries: int = TRIES) -> None:
        super().__init__(how, tries)
        self.how, self.tries = how, tries

    def __str__(self) -> str:
        others = f", as did {self.tries - 1} others that tried the same after it" if self.tries > 1 else ""
        return f"a worker process {self.how}{others}; executor='serial' shows more"


class RemoteTraceback(Exception):
    """Where an error was raised in a worker."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def doing(what: str) -> None:
    """Tell the parent process which run this worker begins, for the message if the worker dies."""
    _tell(what)


def refuse_unguarded() -> None:
    """End a worker that imports its parent's script and is about to start workers, as the script did: it never ends."""
    if getattr(current_process(), "_inheriting", False):
        os._exit(NO_GUARD)


class Call(NamedTuple):
    """A call to carry out, as bytes, and the future that gets its result."""

    future: Future[Any]
    content: bytes


class Worker:
    """A worker process as its parent sees it.

    Args:
        context: multiprocessing's, by which it is started.
        prepare: is called in it first, with the arguments that follow.

    Raises:
        CaelabError: it cannot be started.
        WorkerDied: it ended before it began.
    """

    def __init__(self, context: Any, prepare: Callable[..., None], *arguments: Any) -> None:
        self.last = ""
        try:
            with _starting, _safe_path():
                self.connection, theirs = context.Pipe()
                self.process = context.Process(target=_serve, args=(theirs, prepare, arguments), daemon=True)
                self.process.start()
        except (EOFError, ConnectionError) as error:  # killed before it said its number, or the server was
            raise WorkerDied("ended before it began") from error
        except OSError as error:
            raise CaelabError(
                f"no worker process can be started ({type(error).__name__}: {error}); give fewer --workers, or "
                "--executor serial"
            ) from error
        theirs.close()
        self._receive_ready()

    def _receive_ready(self) -> None:
        try:
            self._receive()
        except WorkerDied as error:
            if (self.process.exitcode or 0) < 0:  # killed from outside: another one may live
                raise
            raise CaelabError(self._why_not_begun(error)) from error

    def _why_not_begun(self, error: WorkerDied) -> str:
        script = getattr(sys.modules["__main__"], "__file__", None)
        if self.process.exitcode == NO_GUARD:
            return (
                f"worker processes import the script {script} anew, and it would start workers again each time; put "
                "what it runs under: if __name__ == '__main__', or run with executor='serial'"
            )
        again = f", which imports {script} anew," if script else ""
        return f"a worker process{again} {error.how} before it began; look there, or run with executor='serial'"

    def carry_out(self, content: bytes) -> Any:
        """The result of a pickled call.

        Raises:
            WorkerDied: the process died.
            BaseException: what the call raised.
        """
        self.last = ""
        with suppress(OSError):  # of a dead one, which is told below
            self.connection.send_bytes(content)
        kind, value, trace = self._receive()
        if kind == "failed":
            raise value from RemoteTraceback(trace)
        return value

    def _receive(self) -> tuple[str, Any, str]:
        while True:
            wait([self.connection, self.process.sentinel])
            try:
                message: tuple[str, Any, str] = self.connection.recv() if self.connection.poll() else self._died()
            except (EOFError, OSError):
                self._died()
            if message[0] != "doing":
                return message
            self.last = message[1]

    def _died(self) -> NoReturn:
        with _starting:
            self.process.join()
            status = self.process.exitcode
        raise WorkerDied(f"{_ending(status)}{f' during {self.last}' if self.last else ''}")

    def kill(self) -> None:
        """Kill the process now, whatever it does."""
        with suppress(OSError, ValueError, AttributeError):
            self.process.kill()

    def close(self) -> None:
        """Let the process end; it must be waiting for its next call."""
        self.connection.close()
        with _starting:
            self.process.join()


def _ending(status: int | None) -> str:
    if status is None or status >= 0:
        return f"ended with status {status}"
    name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
    return f"was killed by {name}{' (as when the memory runs out)' if name == 'SIGKILL' else ''}"


@contextmanager
def _safe_path() -> Iterator[None]:
    """The server that workers are forked from imports nothing from the working folder, where anything may lie."""
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = before or "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONSAFEPATH"]


def _serve(connection: Connection, prepare: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """What a worker does: one call after the other, until its parent closes the connection, or dies."""
    global _tell
    _end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it too, and ends its workers
    current_process().daemon = False  # what it carries out may start processes of its own
    prepare(*arguments)
    _tell = lambda what: connection.send(("doing", what, ""))  # noqa: E731
    connection.send(("ready", None, ""))
    with suppress(EOFError, OSError):
        while True:
            connection.send_bytes(answered(connection.recv_bytes()))


def _end_with_parent() -> None:
    """Have this process killed when its parent ends, however that ends."""
    parent = parent_process()
    if parent is not None:
        if sys.platform == "linux":
            _killed_by_the_system(parent.sentinel)
            ctypes.CDLL(None).prctl(DEATH_SIGNAL, signal.SIGKILL)  # with the server, too: else it would be forgotten
        Thread(target=_end_after, args=(parent.sentinel,), daemon=True).start()


def _killed_by_the_system(sentinel: int) -> None:
    """Be killed when the parent's end of a pipe closes, even while code holds the interpreter's lock."""
    import fcntl

    fcntl.fcntl(sentinel, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(sentinel, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(sentinel, fcntl.F_SETFL, fcntl.fcntl(sentinel, fcntl.F_GETFL) | fcntl.FASYNC)


def _end_after(sentinel: int) -> None:
    wait([sentinel])
    os.kill(os.getpid(), signal.SIGKILL)


def answered(content: bytes) -> bytes:
    """The pickled answer to a pickled call: what it returns, or what it raises with its traceback."""
    try:
        function, arguments, keywords = pickle.loads(content)
        return pickle.dumps(("done", function(*arguments, **keywords), ""))
    except BaseException as error:  # whatever it is, the parent hears of it
        return pickle.dumps(("failed", _portable(told(error)), format_exc()))


def told(error: BaseException) -> BaseException:
    """An error that ends the program, as one that ends a call."""
    if isinstance(error, SystemExit):
        return CaelabError(
            f"a plugin calls sys.exit({error.code!r}) in a run, which ends programs; let it raise instead"
        )
    if isinstance(error, KeyboardInterrupt):
        return CaelabError(
            "a plugin raises KeyboardInterrupt in a run, which ends programs; let it raise another error"
        )
    return error


def _portable(error: BaseException) -> BaseException:
    """The error, if it can be sent to another process, or else its words."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


class WorkerPool(Executor):
    """Carries out calls in worker processes; a call whose worker dies is tried again in a new one, and then told.

    Each worker has one call at a time, so what died is known, and no other call suffers from it.

    Args:
        workers: how many at most.
        prepare: is called in each worker first, with the arguments that follow; it can be imported by name.
        context: multiprocessing's, by which they are started; by default a server that is forked.
    """

    def __init__(self, workers: int, prepare: Callable[..., None], *arguments: Any, context: Any = None) -> None:
        self.most = workers
        self.preparation = (context or get_context("forkserver"), prepare, *arguments)
        self.calls: SimpleQueue[Call | None] = SimpleQueue()
        self.threads: list[Thread] = []
        self.workers: list[Worker] = []
        self.closed = self.stopped = False
        weakref.finalize(self, _kill_all, self.workers)  # when the program ends, too

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Carry out the call as soon as a worker is free."""
        if self.closed:
            raise RuntimeError("this executor was shut down")
        future: Future[T] = Future()
        self.calls.put(Call(future, pickle.dumps((fn, args, kwargs))))
        if len(self.threads) < self.most:
            self.threads.append(Thread(target=self._attend, daemon=True))
            self.threads[-1].start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no further calls; end the workers when what was submitted is done."""
        self.closed = True
        if cancel_futures:
            self._cancel()
        for _ in self.threads:
            self.calls.put(None)
        if wait:
            for thread in self.threads:
                thread.join()

    def stop(self) -> None:
        """End everything now: what was not begun is called off, and what runs is killed."""
        self.closed = self.stopped = True
        self._cancel()
        _kill_all(self.workers)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is not None:
            self.stop()
        self.shutdown(wait=True)

    def _cancel(self) -> None:
        with suppress(Empty):
            while True:
                call = self.calls.get_nowait()
                if call:
                    call.future.cancel()

    def _attend(self) -> None:
        """One thread for each worker hands it calls, and gets a new one where it died."""
        worker: Worker | None = None
        while (call := self.calls.get()) is not None:
            if call.future.set_running_or_notify_cancel():
                worker = self._fulfil(call, worker)
        if worker:
            worker.close()

    def _fulfil(self, call: Call, worker: Worker | None) -> Worker | None:
        for attempt in range(1, TRIES + 1):
            try:
                worker = worker or self._hired()
                call.future.set_result(worker.carry_out(call.content))
            except WorkerDied as error:
                self.workers.remove(worker) if worker else None
                worker = None
                if attempt < TRIES and not self.stopped:
                    continue
                call.future.set_exception(error)
            except BaseException as error:
                call.future.set_exception(error)
            return worker
        return worker

    def _started(self) -> Worker:
        """A new worker, after some pauses if need be: a server that was killed takes a moment to end."""
        for pause in PAUSES:
            with suppress(WorkerDied):
                return Worker(*self.preparation)
            sleep(pause)
        return Worker(*self.preparation)

    def _hired(self) -> Worker:
        if self.stopped:
            raise CaelabError("the executor was stopped")
        worker = self._started()
        self.workers.append(worker)
        if self.stopped:
            worker.kill()
        return worker


def _kill_all(workers: list[Worker]) -> None:
    for worker in list(workers):
        worker.kill()
