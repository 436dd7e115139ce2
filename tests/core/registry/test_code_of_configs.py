"""What a config or a run's folder names by ``module:name`` is never imported unless the user said so."""

import json
import os
import pickle
from contextlib import suppress

import pandas as pd
import pytest
import yaml

import caelab
from caelab import CaelabError, recipe_config
from caelab.cli.main import main
from caelab.registry.importing import allow_code, load_named
from caelab.runs.config import make_config

DATA = {"kind": "digits", "splits": [100, 30, 30]}
NET = """
import pathlib
pathlib.Path({mark!r}).write_text("ran")
from torch import nn

class Net(nn.Module):
    def __init__(self, inputs: int, units: int = 3):
        super().__init__()
        self.encode, self.decode = nn.Linear(inputs, units), nn.Linear(units, inputs)

def shifts(x):
    return x[:, None]

class Inner:
    Net = Net
"""
TRAINING = {"reconstruction": "squared-error", "optimizer": "adam", "learning_rate": 1e-3, "epochs": 1}
BACK_DOORS = {
    "model": {"model": {"kind": "{place}:Net"}},
    "model, with a name inside a name": {"model": {"kind": "{place}:Inner.Net"}},
    "model, of the standard library": {"model": {"kind": "os:system", "command": "touch {mark}"}},
    "model, through a module of caelab": {"model": {"kind": "caelab.registry.importing:load_file", "path": "{file}"}},
    "model, by the path of a file": {"model": {"kind": "{file}:Net"}},
    "an option of a regularizer": {
        "regularizers": {"tangent-propagation": {"weight": 0.1, "tangents": "{place}:shifts"}}
    },
    "the same, by the path of a file": {
        "regularizers": {"tangent-propagation": {"weight": 0.1, "tangents": "{file}:shifts"}}
    },
    "an option inside an option": {
        "regularizers": {
            "twin": {"weight": 0.1, "of": {"kind": "tangent-propagation", "weight": 1, "tangents": "{file}:shifts"}}
        }
    },
    "kind of a data set": {"dataset": {"kind": "{place}:Net"}},
    "kind of a regularizer": {"regularizers": {"mine": {"kind": "{place}:shifts"}}},
}


@pytest.fixture(autouse=True)
def nothing_is_allowed(monkeypatch):
    monkeypatch.setattr("caelab.registry.importing._allowed", set())


@pytest.fixture
def hostile(tmp_path, monkeypatch):
    """A folder with a module that leaves a mark where it is imported; the marks are files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    name = f"net_{tmp_path.name.replace('-', '_')}"
    mark, file = tmp_path / "ran", tmp_path / f"{name}.py"
    file.write_text(NET.format(mark=str(mark)))
    return {"mark": str(mark), "file": str(file), "place": name}


def filled(value, names):
    if isinstance(value, dict):
        return {key: filled(each, names) for key, each in value.items()}
    return value.format(**names) if isinstance(value, str) else value


def received(door, names):
    base = {"label": "received", "seed": 0, "dataset": DATA, "model": {"kind": "autoencoder", "hidden": [3]}}
    return {**base, "regularizers": {}, "training": TRAINING, **filled(BACK_DOORS[door], names)}


def ended(capsys, *words):
    with pytest.raises(SystemExit) as stopped:
        main(words)
    return stopped.value.code, capsys.readouterr().err


@pytest.mark.parametrize("door", BACK_DOORS)
def test_a_config_that_was_received_runs_no_code(door, hostile, tmp_path, capsys):
    (tmp_path / "received.yaml").write_text(yaml.safe_dump(received(door, hostile)))
    for words in (
        ["train", "--config", "received.yaml"],
        ["compare", "received.yaml", "--seeds", "1", "--executor", "serial"],
    ):
        status, err = ended(capsys, *words, "--out", "out")
        assert status == 2
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert not os.path.exists(hostile["mark"])
        if "kind of a" not in door:
            assert "--allow-code" in err


@pytest.mark.parametrize("door", BACK_DOORS)
def test_a_mapping_and_a_run_that_were_received_run_no_code(door, hostile, tmp_path, capsys):
    raw = received(door, hostile)
    with pytest.raises(CaelabError):
        caelab.train(raw)
    run = caelab.train(recipe_config("ae", ["training.epochs=1", "model.hidden=[3]"], dataset=DATA), out="runs")
    facts = json.loads((run.path / "run.json").read_text())
    (run.path / "run.json").write_text(json.dumps({**facts, "config": raw}))
    if door.startswith(("model", "kind")):
        with pytest.raises(CaelabError):
            caelab.load_run(run.path)
        assert ended(capsys, "analyse", "filters", "--run", str(run.path))[0] == 2
    else:
        with suppress(CaelabError):  # the regularizers of a run are not made again
            caelab.load_run(run.path)
    assert not os.path.exists(hostile["mark"])


@pytest.mark.parametrize("what", ["{place}:Net", "{place}", "{file}", "{file}:Net"])
def test_what_the_user_allows_is_used(what, hostile, tmp_path, capsys):
    place = "file" if "file" in what else "place"
    raw = {**received("model", hostile), "model": {"kind": f"{hostile[place]}:Net"}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(raw))
    words = ["train", "--config", "mine.yaml", "--allow-code", what.format(**hostile), "--out", "runs"]
    assert ended(capsys, *words)[0] == 0
    assert os.path.exists(hostile["mark"])


def test_what_is_typed_as_a_setting_is_allowed_and_later_asked_for_again(hostile, monkeypatch, capsys):
    words = ["--dataset", "digits", "--set", "training.epochs=1", "--set", f"model.kind={hostile['place']}:Net"]
    words += ["--set", "training.reconstruction=squared-error"]
    assert ended(capsys, "train", "ae", *words, "--out", "runs")[0] == 0
    (run,) = os.listdir("runs")
    monkeypatch.setattr("caelab.registry.importing._allowed", set())
    status, err = ended(capsys, "analyse", "filters", "--run", f"runs/{run}")
    assert status == 2
    assert f"--allow-code {hostile['place']}:Net" in err
    allowed = ["--allow-code", f"{hostile['place']}:Net"]
    assert ended(capsys, "analyse", "filters", "--run", f"runs/{run}", *allowed)[0] == 0


def test_from_python_it_is_a_call(hostile):
    raw = received("model", hostile)
    with pytest.raises(CaelabError, match=r"never runs code.*caelab.allow_code\("):
        make_config(raw)
    caelab.allow_code(f"{hostile['place']}:Net")
    assert caelab.train(raw).model.encode.out_features == 3


def test_a_file_of_the_command_line_may_be_named_by_a_config(hostile, tmp_path):
    from caelab.registry.catalogue import Catalogue

    (tmp_path / "plugin.py").write_text(
        "from caelab import hookimpl\n@hookimpl\ndef register_models(register): register('mine', dict)\ndef f(): pass\n"
    )
    with pytest.raises(CaelabError, match="never runs code"):
        load_named("plugin.py:f", "model")
    Catalogue().add_file(tmp_path / "plugin.py")
    assert callable(load_named("plugin.py:f", "model"))


def test_allowing_one_name_allows_no_other(hostile):
    allow_code(f"{hostile['place']}:Net")
    for other in (f"{hostile['place']}:shifts", f"{hostile['place']}:Net.mro", "os:system"):
        with pytest.raises(CaelabError, match="never runs code"):
            load_named(other, "model")


PLUGIN = """
import os, subprocess, runpy
from functools import cache, partial, wraps
from os import system
from shutil import rmtree
from subprocess import Popen
from torch import nn
from neighbour_of_plugin import Others

bound = partial(os.system)
held = [os.system]

@wraps(os.system)
def wrapping(command):
    return os.system(command)

class Runner:
    tool = os
    run = staticmethod(os.system)
    call = staticmethod(subprocess.call)
    def __call__(self, command): return os.system(command)
    def bound(self, command): return os.system(command)

class Net(nn.Module):
    class Inner:
        def f(self): pass

runner = Runner()
wild = runner.bound
def f(): pass
"""
IMPORTED = [
    "os.system", "os._exit", "os.path.os.system", "system", "rmtree", "Popen", "subprocess.Popen", "subprocess.call",
    "runpy.run_path", "bound", "bound.func", "held.append", "held.__class__", "wrapping", "Runner.tool.system",
    "Runner.run", "Runner.call", "runner", "runner.bound", "wild", "wild.__func__", "partial", "cache", "nn.Module",
    "nn.Linear", "Net.load_state_dict", "Net.mro", "Net.__init__", "Net.__init__.__globals__.get", "Net.__subclasses__",
    "f.__globals__.get", "f.__call__", "f.__class__", "__builtins__", "__builtins__.get", "__loader__.load_module",
    "__spec__.loader.load_module", "Others",
]  # fmt: skip
OWN = ["f", "Net", "Net.Inner", "Net.Inner.f", "Runner"]


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A plugin file as people write them, which imports what could do harm, and a package with it inside."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "neighbour_of_plugin.py").write_text("class Others: pass")
    (tmp_path / "plug.py").write_text(PLUGIN)
    package = tmp_path / f"package_{tmp_path.name.replace('-', '_')}"
    package.mkdir()
    (package / "__init__.py").write_text(f"from . import inner\nfrom .inner import Inside\n{PLUGIN}")
    (package / "inner.py").write_text("import os\nclass Inside: pass\n")
    return {"plug.py": str(tmp_path / "plug.py"), package.name: package.name}


@pytest.mark.parametrize("name", IMPORTED)
def test_a_whole_file_or_package_is_no_way_to_what_it_imports(name, plugin):
    for place, whole in plugin.items():
        allow_code(whole)
        with pytest.raises(CaelabError, match=r"(is no class or function that is defined in|^unknown model of) "):
            load_named(f"{place}:{name}", "model")


def test_a_whole_file_or_package_is_what_it_defines(plugin):
    for place, whole in plugin.items():
        allow_code(whole)
        for name in OWN:
            assert callable(load_named(f"{place}:{name}", "model"))
    for name in ("Inside", "inner.Inside"):
        assert callable(load_named(f"{place}:{name}", "model"))
    for name in ("inner", "inner.os.system", "inner.os"):
        with pytest.raises(CaelabError, match=r"is no class or function|unknown model"):
            load_named(f"{place}:{name}", "model")


def test_what_a_file_imports_can_be_allowed_by_its_own_name(plugin):
    allow_code("plug.py", "plug.py:Others", "plug.py:runner")
    assert load_named("plug.py:Others", "model").__name__ == "Others"
    assert callable(load_named("plug.py:runner", "model"))


def test_a_config_reaches_nothing_through_a_plugin_of_the_command_line(plugin, tmp_path, capsys, monkeypatch):
    from caelab.registry.catalogue import catalogue

    monkeypatch.setattr(catalogue(), "offers", dict(catalogue().offers))
    monkeypatch.setattr(catalogue(), "files", [])
    registered = "\nfrom caelab import hookimpl\n@hookimpl\ndef register_models(register): register('mine', Net)\n"
    (tmp_path / "plug.py").write_text(PLUGIN + registered)
    doors = (
        {"model": {"kind": "plug.py:os.system", "command": f"touch {tmp_path}/ran"}},
        {"regularizers": {"tangent-propagation": {"weight": 0.1, "tangents": "plug.py:os.system"}}},
    )
    for door in doors:
        base = {"label": "received", "seed": 0, "dataset": DATA, "model": {"kind": "autoencoder", "hidden": [3]}}
        (tmp_path / "recv.yaml").write_text(yaml.safe_dump({**base, "training": TRAINING, **door}))
        for option in (["--plugin", "plug.py"], ["--allow-code", "plug.py"]):
            status, err = ended(capsys, "train", "recv.yaml", *option, "--out", "out")
            assert status == 2
            assert "is no class or function that is defined in plug.py" in err
            assert not (tmp_path / "ran").exists()


class Bomb:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (self.mark,)


def test_a_table_that_was_received_unpickles_nothing(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    mark = str(tmp_path / "ran")
    extension = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": pickle.dumps(Bomb(mark)),
    }
    schema = pa.schema([pa.field("value", pa.int64(), metadata=extension)], metadata={"pandas": "os:system"})
    pq.write_table(pa.table({"value": [1]}, schema=pa.schema([schema.field(0)])), tmp_path / "t.parquet")
    assert list(pd.read_parquet(tmp_path / "t.parquet").columns) == ["value"]
    assert not os.path.exists(mark)
