"""The engine of studies: jobs are carried out by an executor, whatever becomes of each, and none of them twice."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, as_completed
from functools import cache
from typing import Any

from caelab.registry.catalogue import catalogue
from caelab.runs.run import dataset_of
from caelab.study.jobs import Busy, Job, carry_out, recalled
from caelab.study.outcomes import Failure, Outcome
from caelab.study.workers import WorkerDied

log = logging.getLogger(__name__)

Told = Outcome | Failure


def performed(jobs: Sequence[Job], pool: Executor, done: Callable[[Told], None]) -> list[Told]:
    """What became of each job, in their order.

    What is recorded already is not given to the executor. A job that another process is at comes last, and is waited
    for: mostly that process has recorded it by then.

    Args:
        jobs: of one study.
        pool: carries them out.
        done: is told of each as it comes.

    Raises:
        CaelabError: a job found that all others would be wrong.
    """
    found: dict[int, Told] = {}
    for place, known in _recorded(jobs):
        found[place] = known
        done(known)
    missing = [place for place in range(len(jobs)) if place not in found]
    busy = list(_carried_out(jobs, missing, pool, found, done, wait=False))
    left = list(_carried_out(jobs, busy, pool, found, done, wait=True))
    assert not left
    return [found[place] for place in range(len(jobs))]


def run_names(jobs: Iterable[Job]) -> Iterator[str]:
    """The name of each job's run, by its label, its config, its data, and the code that matters."""
    data_hash = cache(lambda key: dataset_of(by_key[key]).content_hash)
    by_key: dict[str, Any] = {}
    for job in jobs:
        key = f"{job.config.dataset.kind} {job.config.dataset.options} {job.dataset}"
        by_key.setdefault(key, job.config)
        yield f"{job.config.label}-{job.config.content_hash(data_hash(key))}"


def _recorded(jobs: Sequence[Job]) -> Iterator[tuple[int, Told]]:
    """The jobs that are recorded, with what became of them."""
    if not jobs or jobs[0].folder is None:
        return
    for place, (job, run) in enumerate(zip(jobs, run_names(jobs), strict=True)):
        known = recalled(job, run)
        if known is not None:
            yield place, known


def _carried_out(
    jobs: Sequence[Job],
    places: Sequence[int],
    pool: Executor,
    found: dict[int, Told],
    done: Callable[[Told], None],
    *,
    wait: bool,
) -> Iterator[int]:
    """Carry out the jobs at those places; yield the places of those that another process is at."""
    futures: dict[Future[Any], int] = {}
    try:
        for future in _as_they_end(jobs, places, pool, futures, wait):
            place = futures[future]
            came = _result(future, jobs[place])
            if isinstance(came, Busy):
                yield place
                continue
            found[place] = came
            done(came)
            for text in came.tracebacks if isinstance(came, Outcome) else [came.traceback]:
                log.debug("%s: %s", jobs[place], text)
    except BaseException:
        for future in futures:
            future.cancel()
        raise


def _as_they_end(
    jobs: Sequence[Job], places: Sequence[int], pool: Executor, futures: dict[Future[Any], int], wait: bool
) -> Iterator[Future[Any]]:
    """Submit every job, and yield the futures as they end: of an executor that computes at once, each in its turn."""
    waiting = []
    for place in places:
        future = pool.submit(carry_out, jobs[place], wait)
        futures[future] = place
        if future.done():
            yield future
        else:
            waiting.append(future)
    yield from as_completed(waiting)


def _result(future: Future[Any], job: Job) -> Told | Busy:
    """What a job returned; of one whose workers died, the sentence that says so."""
    try:
        came: Told | Busy = future.result()
    except WorkerDied as error:
        told = f"a worker process {error.how}, as did {error.tries - 1} others that tried the same after it"
        return Failure(job.config, told + _others_of(job), False)
    return came


def _others_of(job: Job) -> str:
    used = [*job.config.in_use(), *(("analysis", name) for name in job.analyses)]
    found = [offer for each in used if (offer := catalogue().offers.get(each))]
    others = [f"the {each.kind} {each.name!r}" for each in found if not each.provider.startswith("caelab/")]
    return f"; not caelab's own: {', '.join(dict.fromkeys(others))}" if others else ""
