"""Executors for batch systems: their jobs are Dask workers, which Dask's ``dask-jobqueue`` submits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any

from caelab.errors import CaelabError
from caelab.study.clusters.dask import DaskExecutor, connected
from caelab.study.clusters.extras import needed
from caelab.study.clusters.local import PATIENCE
from caelab.study.clusters.needs import Needs
from caelab.study.workers import TRIES

SYSTEMS = {
    "slurm": "SLURMCluster",
    "pbs": "PBSCluster",
    "lsf": "LSFCluster",
    "sge": "SGECluster",
    "oar": "OARCluster",
    "moab": "MoabCluster",
    "htcondor": "HTCondorCluster",
}


def cluster_of(
    system: str, cores: int | None = None, memory: str | None = None, resources: Any = None, **options: Any
) -> Any:
    """A cluster of a batch system, of which no job is submitted yet; ``job_script()`` shows what one would be.

    Args:
        system: a key of ``SYSTEMS``.
        cores: of one job, which carries out one run; by default those that a run takes.
        memory: of one job, as 4GB; by default that which a run takes.
        resources: of one run.
        options: further ones of ``dask-jobqueue``, as queue, account and walltime.

    Raises:
        CaelabError: the extra is not installed, the memory is not given, or an option is wrong.
    """
    needs = Needs.of(resources)
    memory = memory or (f"{needs.memory}B" if needs.memory else None)
    if memory is None:
        raise CaelabError(
            f"how much memory may a job of {system} take? Give it, as in: --executor-option memory=4GB, and what your "
            "system asks for beside it, as --executor-option queue=NAME or walltime=02:00:00"
        )
    kind = getattr(needed("dask_jobqueue", system, "jobqueue"), SYSTEMS[system])
    more = ["--nthreads", "1"]  # one run at a time, whatever it takes
    if needs.as_resources():
        each = " ".join(f"{name}={amount:g}" for name, amount in needs.as_resources().items())
        more += ["--resources", f'"{each}"']
    options["worker_extra_args"] = [*options.get("worker_extra_args", []), *more]
    try:
        return kind(processes=1, memory=memory, cores=cores or needs.cores, **options)
    except Exception as error:  # of many kinds, by the option that is wrong
        said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise CaelabError(f"dask-jobqueue refuses these options of {system} ({said}); see its documentation") from error


def batch(system: str) -> Callable[..., Executor]:
    """The executor of a batch system."""

    def executor(
        workers: int,
        retries: int = TRIES - 1,
        cores: int | None = None,
        memory: str | None = None,
        resources: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Executor:
        """As many jobs as there are workers, each a Dask worker that carries out one run at a time.

        Raises:
            CaelabError: as ``cluster_of``; or the scheduler cannot be started, or no job can be submitted.
        """
        cluster = cluster_of(system, cores, memory, resources, **options)
        try:
            cluster.scale(jobs=workers)
            client = connected(cluster.scheduler_address, PATIENCE)
            return DaskExecutor(client, retries, Needs.of(resources), cluster.close)
        except BaseException:
            cluster.close()
            raise

    return executor


slurm, pbs, lsf, sge, oar, moab, htcondor = map(batch, SYSTEMS)
