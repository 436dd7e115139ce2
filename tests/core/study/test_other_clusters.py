"""Batch systems, whose jobs are Dask workers, and Ray: the same results as in this process."""

import os
import sys
from importlib.util import find_spec

import pytest

from caelab import CaelabError, Study
from caelab.study.clusters.jobqueue import SYSTEMS, cluster_of
from caelab.study.executors import made_executor
from tests.core.study.small import STUDY, weights

pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"
)
LOCAL = {"scheduler_options": {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}}
SBATCH = """#!/bin/sh
setsid sh "$1" >/dev/null 2>&1 </dev/null &
echo "Submitted batch job $!"
"""
SCANCEL = """#!/bin/sh
kill -9 -"$1" 2>/dev/null || kill -9 "$1"
"""


def skip_without(library):
    """Skip a test without importing the library: it would change how this process handles interrupts."""
    if find_spec(library) is None:
        pytest.skip(f"{library} is not installed")


def test_a_job_of_slurm_asks_for_what_a_run_takes():
    skip_without("dask_jobqueue")
    asked = {"cores": 2, "gpus": 1, "memory": 4_000_000_000}
    with cluster_of("slurm", resources=asked, queue="short", walltime="01:00:00", **LOCAL) as cluster:
        script = cluster.job_script()
    for line in ("#SBATCH -p short", "#SBATCH --cpus-per-task=2", "#SBATCH --mem=4G", "#SBATCH -t 01:00:00"):
        assert line in script
    assert '--nthreads 1 --resources "CPU=2 GPU=1 MEMORY=4e+09"' in script


def test_what_is_missing_is_told_in_one_sentence(monkeypatch):
    assert set(SYSTEMS) == {"slurm", "pbs", "lsf", "sge", "oar", "moab", "htcondor"}
    with pytest.raises(CaelabError, match="how much memory may a job of slurm take"):
        made_executor("slurm", {})(1)
    with pytest.raises(CaelabError, match="dask-jobqueue refuses these options of slurm"):
        made_executor("slurm", {"memory": "1GB", "nonsense": 3, **LOCAL})(1)
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    with pytest.raises(CaelabError, match=r"pip install 'caelab\[jobqueue\]'"):
        made_executor("slurm", {"memory": "1GB"})(1)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(CaelabError, match=r"pip install 'caelab\[ray\]'"):
        made_executor("ray", {})(1)


def test_a_study_on_slurm_has_the_weights_of_one_in_this_process(tmp_path, monkeypatch):
    """Slurm is played by two scripts, of which one runs what is submitted in the background."""
    skip_without("dask_jobqueue")
    for name, text in {"sbatch": SBATCH, "scancel": SCANCEL}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    options = {"memory": "1GB", "walltime": "00:10:00", "local_directory": str(tmp_path), **LOCAL}
    Study(**STUDY, out=tmp_path / "spread").run(executor="slurm", workers=2, **options)
    Study(**STUDY, out=tmp_path / "alone").run(executor="serial")
    assert weights(tmp_path / "spread") == weights(tmp_path / "alone")


@pytest.mark.slow
def test_a_study_on_ray_has_the_weights_of_one_in_this_process(tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed (caelab[ray]); its wheel alone has more than 70 MB")
    Study(**STUDY, out=tmp_path / "spread").run(executor="ray", workers=2)
    Study(**STUDY, out=tmp_path / "alone").run(executor="serial")
    assert weights(tmp_path / "spread") == weights(tmp_path / "alone")
    with pytest.raises(CaelabError, match="a run takes GPU 64, but no worker has more than"):
        made_executor("ray", {"resources": {"gpus": 64}})(1).__enter__().begin(tmp_path, print)
    import ray

    ray.shutdown()
