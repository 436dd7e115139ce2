"""The executor ``ray``: runs on the machines of a Ray cluster, or on processes of this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from functools import partial
from threading import Thread
from typing import Any, TypeVar

from caelab.errors import CaelabError
from caelab.process.signals import handlers_kept
from caelab.study.clusters.calls import ClusterExecutor, carried_out, checked, fail, packed, settle
from caelab.study.clusters.extras import needed
from caelab.study.clusters.needs import Needs, refuse_unmet
from caelab.study.workers import TRIES, WorkerDied

T = TypeVar("T")

ANSWERS_WITHIN = 10  # seconds, for a cluster


def ray(
    workers: int, address: str | None = None, retries: int = TRIES - 1, resources: Mapping[str, Any] | None = None
) -> Executor:
    """Workers of a Ray cluster.

    Args:
        workers: how many runs at once, on this machine; of a cluster that is there, as many as it has cores for.
        address: of its head, as 10.0.0.1:6379, or auto for one that runs on this machine.
        retries: how often a run is tried again whose worker died.
        resources: of one run: ``cores``, ``gpus`` and ``memory`` in bytes.

    Raises:
        CaelabError: Ray is not installed, no cluster answers within 10 s, or none of its machines has the resources.
    """
    needs = Needs.of(resources)
    library = needed("ray", "ray", "ray")
    options: dict[str, Any] = {"logging_level": "critical", "log_to_driver": False, "configure_logging": False}
    if address is None:
        options |= {"num_cpus": workers * needs.cores, "include_dashboard": False}
    answer: Future[Any] = Future()
    begin = partial(_start, library, address, options, answer)
    if address is None:
        begin()  # the processes that are started would end with a thread
    else:
        Thread(target=begin, daemon=True).start()
    try:
        answer.result(ANSWERS_WITHIN)
    except Exception as error:  # of many kinds, from names that are no address to ports at which nobody listens
        said = " ".join(f"{type(error).__name__}: {error}".split())[:200].rstrip(": ")
        raise CaelabError(
            f"no Ray cluster answers at {address or 'this machine'} within {ANSWERS_WITHIN} s ({said}); start one "
            "with: ray start --head, and give the address that it prints, as 10.0.0.1:6379"
        ) from error
    return RayExecutor(library, retries, needs)


def _start(library: Any, address: str | None, options: Mapping[str, Any], answer: Future[Any]) -> None:
    try:
        with handlers_kept():  # Ray installs one for terminations
            answer.set_result(library.init(address=address or "local", **options))
    except BaseException as error:
        fail(answer, error)


class RayExecutor(ClusterExecutor):
    """Calls on the machines of a Ray cluster.

    Args:
        library: the module ``ray``, which is connected.
        retries: how often a call is tried again whose worker died.
        needs: what one call takes.
    """

    def __init__(self, library: Any, retries: int, needs: Needs) -> None:
        super().__init__(threads=needs.cores)
        self.ray, self.retries, self.closed = library, retries, False
        given = {"num_cpus": needs.cores, "num_gpus": needs.gpus, "max_retries": retries}
        if needs.memory:
            given["memory"] = needs.memory
        self.needs = {"CPU": needs.cores, **needs.as_resources()}
        self.task = library.remote(carried_out).options(**given)
        self.sent: dict[Future[Any], Any] = {}

    def begin(self, folder: Any, check: Callable[..., None], *arguments: Any) -> None:
        """As of any cluster; runs that no machine can take are refused first."""
        refuse_unmet(self.needs, {each["NodeID"]: _has(each) for each in self._nodes()})
        super().begin(folder, check, *arguments)

    def _nodes(self) -> list[Any]:
        return [each for each in self.ray.nodes() if each["Alive"]]

    def on_every_worker(self, function: Callable[..., Any], *arguments: Any) -> Mapping[str, BaseException | None]:
        """By machine, the error that a call raises there."""
        return {
            each["NodeManagerAddress"]: self._error(each["NodeID"], checked, self.terms, 1, function, arguments)
            for each in self._nodes()
        }

    def _error(self, node: str, function: Callable[..., Any], *arguments: Any) -> BaseException | None:
        there = needed("ray.util.scheduling_strategies", "ray", "ray").NodeAffinitySchedulingStrategy(node, soft=False)
        call = self.ray.remote(function).options(num_cpus=0, scheduling_strategy=there).remote(*arguments)
        try:
            self.ray.get(call)
        except self.ray.exceptions.RayTaskError as error:
            return error.cause if isinstance(error.cause, BaseException) else error
        except Exception as error:
            return error
        return None

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Carry out the call where there is room for it."""
        if self.closed:
            raise RuntimeError("this executor was shut down")
        future: Future[T] = Future()
        call = self.task.remote(packed(fn, args, kwargs), self.terms, 1)
        self.sent[future] = call
        call.future().add_done_callback(partial(self._receive, future))
        future.add_done_callback(self._forget)
        return future

    def _forget(self, future: Future[Any]) -> None:
        call = self.sent.pop(future, None)
        if call is not None and future.cancelled() and not self.closed:
            self.ray.cancel(call)

    def _receive(self, future: Future[Any], answer: Future[Any]) -> None:
        errors = self.ray.exceptions
        try:
            settle(future, answer.result())
        except (errors.WorkerCrashedError, errors.NodeDiedError, errors.OutOfMemoryError) as error:
            fail(future, WorkerDied(f"of Ray died ({type(error).__name__})", self.retries + 1))
        except BaseException as error:
            said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            fail(future, CaelabError(f"Ray could not carry out the run ({said}); look at its log"))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no further calls; leave the cluster when what was submitted is done."""
        if cancel_futures or not wait:
            for future in [*self.sent]:
                future.cancel()
        if wait:
            from concurrent.futures import wait as until_done

            until_done([*self.sent])
        if not self.closed:
            self.closed = True
            self.unmark()
            self.ray.shutdown()

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self.shutdown(wait=kind is None)


def _has(node: Mapping[str, Any]) -> dict[str, float]:
    found = node["Resources"]
    return {"CPU": found.get("CPU", 0), "GPU": found.get("GPU", 0), "MEMORY": found.get("memory", 0)}
