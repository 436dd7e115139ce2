"""The executor ``dask``: runs on the workers of a Dask cluster, one that is there already or one of this machine.

Dask distributed asks nobody who they are: whoever reaches its scheduler can run code on its workers.
"""

from __future__ import annotations

import logging
from asyncio import to_thread
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import CancelledError, Executor, Future, InvalidStateError
from concurrent.futures import wait as until_done
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from threading import Condition, Thread
from typing import Any, TypeVar
from uuid import uuid4

from caelab.errors import CaelabError
from caelab.study.clusters.calls import ClusterExecutor, Terms, carried_out, checked, ended, fail, packed, settle
from caelab.study.clusters.extras import needed
from caelab.study.clusters.local import PATIENCE, LocalWorkers
from caelab.study.clusters.needs import Needs, refuse_unmet
from caelab.study.executors import usable_cores
from caelab.study.workers import TRIES, WorkerDied

T = TypeVar("T")

ANSWERS_WITHIN = 10  # seconds, for a scheduler
LOOKS_EVERY = 0.5  # seconds, whether workers came or went
KEY = "caelab-run"
log = logging.getLogger(__name__)


def dask(
    workers: int, address: str | None = None, retries: int = TRIES - 1, resources: Mapping[str, Any] | None = None
) -> Executor:
    """Workers of a Dask cluster.

    Args:
        workers: how many processes are started on this machine; of a cluster that is there, all work.
        address: of its scheduler, as tcp://10.0.0.1:8786.
        retries: how often a run is tried again whose worker died.
        resources: of one run: ``cores``, ``gpus`` and ``memory`` in bytes; the workers must have been started with as
            many of ``--resources "CPU=... GPU=... MEMORY=..."``.

    Raises:
        CaelabError: Dask is not installed, the scheduler does not answer within 10 s, or no worker has the resources.
    """
    needs = Needs.of(resources)
    needed("distributed", "dask", "dask")
    if address is not None:
        return DaskExecutor(connected(address), retries, needs)
    local = LocalWorkers(workers, needs.shared_by(workers, usable_cores()))
    try:
        executor = DaskExecutor(connected(local.cluster.scheduler_address, PATIENCE), retries, needs, local.close)
        local.wait_for(executor.client)
    except BaseException:
        local.close()
        raise
    return executor


def connected(address: str, within: float = 0) -> Any:
    """A client of the scheduler at an address.

    Args:
        address: as tcp://10.0.0.1:8786.
        within: so many seconds it must answer; by default 10.

    Raises:
        CaelabError: it does not.
    """
    answer: Future[Any] = Future()
    within = within or ANSWERS_WITHIN
    Thread(target=_connect, args=(address, within, answer), daemon=True).start()  # Dask itself waits for ever
    try:
        return answer.result(within)
    except Exception as error:  # of many kinds, from names that are no address to ports at which nobody listens
        said = " ".join(f"{type(error).__name__}: {error}".split())[:200].rstrip(": ")
        raise CaelabError(
            f"no Dask scheduler answers at {address} within {within} s ({said}); start one with: dask "
            "scheduler, and give the address that it prints, as tcp://10.0.0.1:8786"
        ) from error


def _connect(address: str, within: float, answer: Future[Any]) -> None:
    try:
        needed("dask", "dask", "dask").config.set({"distributed.comm.timeouts.connect": f"{within}s"})
        client = needed("distributed", "dask", "dask").Client(address, timeout=within, set_as_default=False)
    except BaseException as error:
        fail(answer, error)
    else:
        try:
            answer.set_result(client)
        except InvalidStateError:  # too late
            client.close()


@dataclass(eq=False)
class Call:
    """A call that waits for a worker, or is with one.

    Attributes:
        future: gets its result.
        content: what travels.
        died: how many workers died of it.
    """

    future: Future[Any]
    content: bytes
    died: int = 0


class DaskExecutor(ClusterExecutor):
    """Calls on the workers of a Dask cluster, as many on each as it has threads.

    Dask itself would hand a worker the next calls while it is still busy, and blame all of them for its death. So each
    call is for one worker, which has no more of them than threads: what died is known, and no call that waits suffers.

    Args:
        client: of the cluster.
        retries: how often a call is tried again whose worker died.
        needs: what one call takes.
        close: ends the cluster, if it is ours.
    """

    def __init__(self, client: Any, retries: int, needs: Needs, close: Callable[[], None] = lambda: None) -> None:
        super().__init__(threads=needs.cores)
        self.client, self.retries, self.close = client, retries, close
        self.resources = needs.as_resources()
        self.queue: deque[Call] = deque()
        self.sent: dict[Call, tuple[str, Any]] = {}  # with the worker
        self.workers: dict[str, Mapping[str, Any]] = {}
        self.closed = False
        self.change = Condition()
        self.thread = Thread(target=self._attend, daemon=True)

    def begin(self, folder: Any, check: Callable[..., None], *arguments: Any) -> None:
        """As of any cluster; runs that no worker can take are refused first."""
        found = self._look()
        if found:
            refuse_unmet(self.resources, {worker: facts.get("resources", {}) for worker, facts in found.items()})
        else:
            log.warning("the Dask scheduler has no workers yet; the runs wait for some")
        super().begin(folder, check, *arguments)

    def on_every_worker(self, function: Callable[..., Any], *arguments: Any) -> Mapping[str, BaseException | None]:
        """By worker, the error that a call raises there."""
        found = self.client.run(_checked, self.terms, function, arguments, on_error="return")
        return {worker: each if isinstance(each, BaseException) else None for worker, each in found.items()}

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Carry out the call on a worker that is free and has the resources."""
        if self.closed:
            raise RuntimeError("this executor was shut down")
        future: Future[T] = Future()
        with self.change:
            self.queue.append(Call(future, packed(fn, args, kwargs)))
            if self.thread.ident is None:
                self.thread.start()
            self.change.notify()
        return future

    def _look(self) -> dict[str, Mapping[str, Any]]:
        """What is known of each worker; asked anew where workers came or went."""
        if self.client.nthreads().keys() != self.workers.keys():
            self.workers = dict(self.client.scheduler_info(n_workers=-1)["workers"])
        return self.workers

    def _attend(self) -> None:
        """Look after the workers and hand them calls, until all is done; in a thread of its own."""
        while not self.closed:
            try:
                there = self._look()
            except Exception as error:  # whatever it is, no call may wait for ever
                self._fail_all(error)
                return
            with self.change:
                self._bury(there)
                self._hand_out(there)
                self.change.wait(LOOKS_EVERY)

    def _bury(self, there: Collection[str]) -> None:
        for call, (worker, sent) in [*self.sent.items()]:
            if worker not in there:
                del self.sent[call]
                sent.cancel(force=True)
                self._died(call, worker)

    def _died(self, call: Call, worker: str) -> None:
        call.died += 1
        if call.died > self.retries:
            fail(call.future, WorkerDied(f"at {worker} died", call.died))
        else:
            self.queue.appendleft(call)

    def _hand_out(self, there: Mapping[str, Mapping[str, Any]]) -> None:
        busy = Counter(worker for worker, _ in self.sent.values())
        free = {worker: facts["nthreads"] - busy[worker] for worker, facts in there.items() if self._is_fit(facts)}
        while self.queue and any(places > 0 for places in free.values()):
            call = self.queue.popleft()
            if call.future.running() or call.future.set_running_or_notify_cancel():
                worker = max(free, key=free.__getitem__)
                free[worker] -= 1
                self._send(call, worker, there[worker]["nthreads"])

    def _is_fit(self, facts: Mapping[str, Any]) -> bool:
        has = facts.get("resources", {})
        return all(has.get(name, 0) >= amount for name, amount in self.resources.items())

    def _send(self, call: Call, worker: str, at_once: int) -> None:
        options: dict[str, Any] = {"resources": self.resources} if self.resources else {}
        options |= {"key": f"{KEY}-{uuid4().hex}", "workers": [worker]}
        sent = self.client.submit(carried_out, call.content, self.terms, at_once, **options)
        self.sent[call] = worker, sent
        sent.add_done_callback(partial(self._receive, call))

    def _receive(self, call: Call, sent: Any) -> None:
        """Pass on what became of a call; in a thread of Dask's."""
        with self.change:
            worker, current = self.sent.get(call, ("", None))
            if current is not sent:
                return  # its worker died, or all was called off
            del self.sent[call]
            try:
                settle(call.future, sent.result())
            except needed("distributed", "dask", "dask").KilledWorker:
                self._died(call, worker)
            except BaseException as error:
                fail(call.future, _as_sentence(error))
            self.change.notify()

    def _left(self) -> list[Call]:
        with self.change:
            return [*self.queue, *self.sent]

    def _fail_all(self, error: BaseException) -> None:
        with self.change:
            calls = self._left()
            self.queue.clear()
            self.sent.clear()
        for call in calls:
            fail(call.future, _as_sentence(error))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no further calls; leave the cluster when what was submitted is done."""
        if cancel_futures:
            self._cancel(self.queue)
        if wait:
            until_done([call.future for call in self._left()])
        if not self.closed:
            with self.change:
                self.closed = True
                self.change.notify()
            self._cancel(self._left())
            with suppress(Exception):  # a scheduler that is gone has nothing left to call off
                self.client.cancel([sent for _, sent in self.sent.values()])  # of these, what has not begun there
            self.unmark()
            self._leave()

    def _leave(self) -> None:
        with suppress(Exception):
            self.client.run(ended, self.terms.study, on_error="ignore", wait=False)
        self.client.close()
        self.close()

    def _cancel(self, calls: Collection[Call]) -> None:
        """Call off what waits; of what a worker carries out, nothing more is heard."""
        with self.change:
            for call in calls:
                fail(call.future, CancelledError()) if call.future.running() else call.future.cancel()

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self.shutdown(wait=kind is None)


async def _checked(terms: Terms, function: Callable[..., Any], arguments: tuple[Any, ...], dask_worker: Any) -> None:
    """Dask calls it where its worker answers the scheduler, so it waits elsewhere."""
    await to_thread(checked, terms, dask_worker.state.nthreads, function, arguments)


def _as_sentence(error: BaseException) -> CaelabError:
    """What Dask itself says, as a sentence."""
    said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    if isinstance(error, CancelledError | OSError | RuntimeError):
        return CaelabError(
            f"the Dask scheduler is gone, or called the run off ({said}); what is finished is stored, and the same "
            "command goes on from there with another scheduler"
        )
    return CaelabError(
        f"Dask could not hand the run to a worker ({said}); its scheduler and its workers need the same Python, Dask "
        "and caelab as this machine"
    )
