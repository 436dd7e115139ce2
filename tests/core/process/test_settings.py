"""Every setting of the process that someone else's code may change: named, and undone."""

import gc
import os
import random
import signal
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from caelab import CaelabError
from caelab.process.denormals import flushes_denormals
from caelab.process.settings import ALL, CHEAP, GENERATORS, OF_TABLES, OTHERS, Found, left_as_found


class FunctionMode(TorchFunctionMode):
    pass


class DispatchMode(TorchDispatchMode):
    pass


def number_of_threads():
    torch.set_num_threads(torch.get_num_threads() + 1)


KEPT = []


def inference_mode():
    KEPT.append(torch.inference_mode())  # collected, it would be left
    KEPT[-1].__enter__()


def warn_as_error():
    warnings.simplefilter("error", FutureWarning)


CHANGES = {
    "default dtype": lambda: torch.set_default_dtype(torch.float64),
    "default device": lambda: torch.set_default_device("meta"),
    "gradient mode": lambda: torch.set_grad_enabled(False),
    "inference mode": inference_mode,
    "number of threads": number_of_threads,
    "deterministic algorithms": lambda: torch.use_deterministic_algorithms(True),
    "anomaly detection": lambda: torch.autograd.set_detect_anomaly(True),
    "precision of float32": lambda: torch.set_float32_matmul_precision("medium"),
    "mode that was entered": lambda: FunctionMode().__enter__(),
    "dispatch mode that was": lambda: DispatchMode().__enter__(),
    "cudnn.benchmark": lambda: setattr(torch.backends.cudnn, "benchmark", True),
    "cudnn.deterministic": lambda: setattr(torch.backends.cudnn, "deterministic", True),
    "cudnn.enabled": lambda: setattr(torch.backends.cudnn, "enabled", False),
    "mkldnn.enabled": lambda: setattr(torch.backends.mkldnn, "enabled", False),
    "autocast on cpu": lambda: torch.set_autocast_enabled("cpu", True),
    "autocast on cuda": lambda: torch.set_autocast_dtype("cuda", torch.bfloat16),
    "hooks on every": lambda: torch.nn.modules.module.register_module_forward_hook(lambda *_: None),
    "hooks on every torch module or optimiser": lambda: register_optimizer_step_pre_hook(print),
    "denormal": lambda: torch.set_flush_denormal(not flushes_denormals()),
    "floating-point errors": lambda: np.seterr(divide="raise"),
    "working folder": lambda: os.chdir("/"),
    "which warnings raise": warn_as_error,
    "garbage": gc.disable,
    "recursion limit": lambda: sys.setrecursionlimit(sys.getrecursionlimit() + 1),
    "handler of SIGINT": lambda: signal.signal(signal.SIGINT, lambda *_: None),
    "handler of SIGTERM": lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN),
    "seed of torch's": lambda: torch.manual_seed(987),
    "numpy's global generator": lambda: np.random.seed(3),  # noqa: NPY002
    "numpy's global": lambda: np.random.rand(),  # noqa: NPY002
    "Python's random": lambda: random.seed(5),
    "of Python's random": random.random,
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_named_and_undone(name):
    before = [setting.read() for setting in ALL]
    state = torch.get_rng_state()
    with pytest.raises(CaelabError) as told, left_as_found("the analysis 'mine'"):
        CHANGES[name]()
    assert str(told.value).startswith("the analysis 'mine' ")
    assert name in str(told.value)
    assert "\n" not in str(told.value)
    assert [setting.read() for setting in ALL] == before
    assert torch.equal(torch.get_rng_state(), state)
    torch.ones(2, requires_grad=True).sum().backward()  # no inference mode is left behind


def change_and_fail(name):
    with left_as_found("the analysis 'mine'"):
        CHANGES[name]()
        raise KeyError("mine")


@pytest.mark.parametrize("name", CHANGES)
def test_an_error_in_the_block_stays_itself_and_the_change_is_undone_all_the_same(name):
    before = [setting.read() for setting in ALL]
    with pytest.raises(KeyError, match="mine"):
        change_and_fail(name)
    assert [setting.read() for setting in ALL] == before


def test_what_is_put_back_by_itself_is_not_told():
    with left_as_found("the analysis 'mine'"):
        with torch.no_grad(), np.errstate(all="ignore"), warnings.catch_warnings(), torch.device("meta"):
            warnings.simplefilter("error")
            torch.ones(2)
        with torch.random.fork_rng():
            torch.manual_seed(0)
        torch.rand(3)  # torch's global generator is the run's affair; only its seed must stay


def test_code_that_may_draw_is_watched_for_the_rest():
    rest = [setting for setting in ALL if setting not in GENERATORS]
    with left_as_found("the analysis 'mine'", rest):
        np.random.rand()  # noqa: NPY002
    with pytest.raises(CaelabError, match="number of threads from"), left_as_found("the analysis 'mine'", rest):
        number_of_threads()


def change_two():
    with left_as_found("mine"):
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)


def test_several_changes_are_told_together():
    with pytest.raises(CaelabError, match=r"default dtype.*gradient mode from True to False"):
        change_two()


def test_the_cheap_settings_are_found_by_themselves():
    found = Found(CHEAP)
    assert found.changes() == []
    torch.set_default_dtype(torch.float64)
    changes = found.changes()
    found.put_back(changes)
    assert [each.setting.name for each in changes] == ["torch's default dtype"]
    assert torch.get_default_dtype() is torch.float32


def insert_folder():
    sys.path.insert(0, "/nowhere")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda: os.environ.update(OMP_NUM_THREADS="7"), "environment variables (OMP_NUM_THREADS)"),
        (lambda: os.environ.pop("HOME"), "environment variables (HOME)"),
        (insert_folder, "the folders that Python finds modules in"),
        (lambda: torch.set_printoptions(precision=1), "how torch prints (precision)"),
        (lambda: np.set_printoptions(precision=1), "how numpy prints (precision)"),
        (lambda: pd.set_option("display.precision", 1), "options of pandas (display.precision)"),
    ],
)
def test_what_is_shown_and_where_things_are_found_is_named_and_undone(change, named, monkeypatch):
    monkeypatch.setenv("HOME", "/home")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = [each.read() for each in [*OTHERS, *OF_TABLES]]
    with pytest.raises(CaelabError) as told, left_as_found("the analysis 'mine'", [*OTHERS, *OF_TABLES]):
        change()
    assert f"the analysis 'mine' changes what all others share: {named}" in str(told.value)
    assert [each.read() for each in [*OTHERS, *OF_TABLES]] == before


def test_what_libraries_set_when_they_are_first_imported_is_no_matter(monkeypatch):
    monkeypatch.delenv("KMP_DUPLICATE_LIB_OK", raising=False)
    with left_as_found("the analysis 'mine'", OTHERS):
        monkeypatch.setenv("KMP_DUPLICATE_LIB_OK", "True")
