"""The workers of a study share the cores among them."""

import os
import subprocess
import sys

WIDEST_POOL = """
from caelab.study.executors import processes
from threadpoolctl import threadpool_info

def widest():
    import scipy.linalg, sklearn.linear_model, torch
    return max(torch.get_num_threads(), *(pool["num_threads"] for pool in threadpool_info()))

if __name__ == "__main__":
    with processes(64) as executor:
        print(executor.submit(widest).result())
"""


def test_no_library_in_a_worker_takes_more_threads_than_its_share(tmp_path):
    script = tmp_path / "widest.py"
    script.write_text(WIDEST_POOL)
    greedy = os.environ | {"OPENBLAS_NUM_THREADS": "3", "OMP_NUM_THREADS": "3"}
    done = subprocess.run([sys.executable, script], env=greedy, capture_output=True, text=True, check=True)
    assert int(done.stdout) == max(1, (os.cpu_count() or 1) // 64)
