"""Trackers against the real local stores: read back with TensorBoard's reader and with MLflow's client."""

import logging
import math
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch

from caelab import CaelabError, Study, hookimpl, train
from caelab.cli.main import main
from caelab.registry.catalogue import Offer, catalogue
from caelab.runs.recipes import recipe_config
from caelab.training.tracking import settled, trackers_in_worker, trackers_of
from caelab_trackers import MLflow, TensorBoard
from caelab_trackers.tracker import Tracker

SMALL = ["model.hidden=[12]", "training.epochs=4", "training.batch_size=16"]
KINDS = ["tensorboard", "mlflow"]
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def config(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).random((60, 20)).astype("float32"))
    dataset = {"kind": f"npz:{tmp_path / 'x.npz'}", "splits": [40, 10, 10]}
    return recipe_config("cae", SMALL, dataset=dataset, seed=3)


class Store:
    """One kind of store, and what is in it."""

    def __init__(self, kind, folder):
        self.kind, self.target = kind, str(folder / ("logs" if kind == "tensorboard" else "runs.db"))

    def tracker(self):
        return (TensorBoard if self.kind == "tensorboard" else MLflow)(self.target)

    def logged(self):
        """``{run: {metric: [(epoch, value), ...]}}``, each time that it was logged."""
        with warnings.catch_warnings(action="ignore"):
            return self._events() if self.kind == "tensorboard" else self._metrics()

    def _events(self):
        from pathlib import Path

        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        found = {}
        for folder in Path(self.target).iterdir():
            events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
            found[folder.name] = {tag: pairs(events.Scalars(tag)) for tag in events.Tags()["scalars"]}
        return found

    def runs(self):
        client = self.client()
        (experiment,) = (each for each in client.search_experiments() if each.name == "caelab")
        return client.search_runs([experiment.experiment_id])

    def client(self):
        from mlflow.tracking import MlflowClient

        return MlflowClient(tracking_uri=f"sqlite:///{self.target}")

    def _metrics(self):
        return {
            run.info.run_name: {
                name: pairs(self.client().get_metric_history(run.info.run_id, name)) for name in run.data.metrics
            }
            for run in self.runs()
        }


def pairs(events):
    return sorted((event.step, event.value) for event in events)


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """An MLflow file without runs; to make its tables takes seconds."""
    store = Store("mlflow", tmp_path_factory.mktemp("empty"))
    with warnings.catch_warnings(action="ignore"):
        store.client().create_experiment("caelab")
    return store.target


@pytest.fixture
def store(kind, tmp_path, empty):
    if kind == "mlflow":
        shutil.copy(empty, tmp_path / "runs.db")
    return Store(kind, tmp_path)


def expected(run):
    names = run.metrics[0].keys() - {"epoch"}
    return {name: [(int(each["epoch"]), each[name]) for each in run.metrics] for name in names}


def assert_logged(found, run):
    """Each metric of each epoch once; TensorBoard stores float32."""
    assert found.keys() == expected(run).keys()
    for name, values in expected(run).items():
        assert [step for step, _ in found[name]] == [step for step, _ in values], name
        assert [value for _, value in found[name]] == pytest.approx([value for _, value in values], rel=1e-6), name


@every_kind
def test_a_run_is_in_the_store_and_is_the_run_that_it_is_without(kind, store, config, tmp_path):
    plain = train(config, out=tmp_path / "plain")
    run = train(config, out=tmp_path / "runs", observers={"mine": store.tracker()})
    assert run.path.name == plain.path.name
    assert run.metrics == plain.metrics
    assert run.record["data_hash"] == plain.record["data_hash"]
    for name, value in plain.model.state_dict().items():
        assert torch.equal(value, run.model.state_dict()[name]), name
    ((name, found),) = store.logged().items()
    assert name == run.path.name
    assert_logged(found, run)


@pytest.mark.parametrize("kind", ["mlflow"])
def test_mlflow_has_the_config_as_parameters_and_says_which_run_it_is(kind, store, config, tmp_path):
    run = train(config, out=tmp_path / "runs", observers={"mine": store.tracker()})
    (found,) = store.runs()
    tags = found.data.tags
    assert (tags["caelab_run"], tags["caelab_label"], tags["caelab_seed"]) == (run.path.name, "cae", "3")
    assert found.data.params["regularizers.contractive.weight"] == "2.0"
    assert found.data.params["training.epochs"] == "4"
    assert found.data.params["dataset.splits"] == "[40, 10, 10]"
    assert found.info.status == "FINISHED"


def test_tensorboard_has_the_config_as_text_and_as_hyperparameters(config, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    run = train(config, out=tmp_path / "runs", observers={"mine": TensorBoard(tmp_path / "logs")})
    events = EventAccumulator(str(tmp_path / "logs" / run.path.name)).Reload()
    (text,) = events.Tensors("config/text_summary")
    assert b"weight: 2.0" in text.tensor_proto.string_val[0]
    assert run.path.name.encode() in text.tensor_proto.string_val[0]
    start = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    given = HParamsPluginData.FromString(start).session_start_info.hparams
    assert given["regularizers.contractive.weight"].number_value == 2.0
    assert given["seed"].number_value == 3


class Stops:
    """Ends training once an epoch is logged but not yet saved; its name stands behind those of the trackers."""

    @hookimpl
    def after_epoch(self, epoch):
        if epoch == 2:
            raise KeyboardInterrupt


class ZStops(Stops):
    pass


@every_kind
def test_a_run_that_goes_on_logs_no_epoch_twice(kind, store, config, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(config, out=tmp_path / "runs", observers={"mine": store.tracker(), "stop": ZStops()})
    ((name, found),) = store.logged().items()
    assert [step for step, _ in found["valid_reconstruction"]] == [1, 2]  # the second is in no checkpoint
    run = train(config, out=tmp_path / "runs", observers={"mine": store.tracker()})
    assert run.path.name == name
    assert_logged(store.logged()[name], run)
    assert len(store.logged()) == 1


@every_kind
def test_a_tracker_that_comes_later_logs_the_earlier_epochs_too(kind, store, config, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(config, out=tmp_path / "runs", observers={"stop": ZStops()})
    run = train(config, out=tmp_path / "runs", observers={"mine": store.tracker()})
    assert_logged(store.logged()[run.path.name], run)


@every_kind
def test_one_tracker_follows_several_runs(kind, store, config):
    tracker = store.tracker()
    first = train(config, observers={"mine": tracker})
    second = train(config.with_seed(4), observers={"mine": tracker})
    found = [*store.logged().values()]
    assert len(found) == 2
    losses = sorted(each["valid_reconstruction"][-1][1] for each in found)
    assert losses == pytest.approx(sorted(run.metrics[-1]["valid_reconstruction"] for run in (first, second)))


@every_kind
def test_a_store_that_cannot_be_written_is_told_once_and_the_run_goes_on(kind, store, config, tmp_path, caplog):
    plain = train(config)
    target = tmp_path / "logs" if kind == "tensorboard" else tmp_path / "runs.db"
    target.write_bytes(b"this is neither a folder nor a database" * 100)
    with caplog.at_level(logging.WARNING, "caelab_trackers"):
        run = train(config, observers={"mine": store.tracker()})
    assert run.metrics == plain.metrics
    (said,) = [record.getMessage() for record in caplog.records if "tracker" in record.name]
    assert f"cannot write to {store.tracker().target}" in said
    assert said.endswith("the rest of this run is not tracked; the run goes on")


@every_kind
def test_a_store_that_fails_midway_keeps_what_it_has(kind, store, config, monkeypatch, caplog):
    tracker = store.tracker()
    write = type(tracker).write

    def full(self, epoch, metrics):
        if epoch > 2:
            raise OSError(28, "No space left on device")
        write(self, epoch, metrics)

    monkeypatch.setattr(type(tracker), "write", full)
    run = train(config, observers={"mine": tracker})
    assert len(run.metrics) == 4
    assert sum("No space left" in record.getMessage() for record in caplog.records) == 1
    (found,) = store.logged().values()
    assert [step for step, _ in found["valid_reconstruction"]] == [1, 2]


def test_what_a_store_changes_in_the_process_is_put_back(config):
    class Rude(Tracker):
        def start(self, name, config):
            np.random.seed(1)  # noqa: NPY002
            torch.manual_seed(1)
            torch.set_default_dtype(torch.float64)
            return set()

        def write(self, epoch, metrics):
            np.random.rand(3)  # noqa: NPY002

        def finish(self):
            raise SyntaxError

    state = np.random.get_state()[1].copy()  # noqa: NPY002
    assert train(config, observers={"rude": Rude("nowhere")}).metrics == train(config).metrics
    assert torch.get_default_dtype() == torch.float32
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002


def test_the_name_is_that_of_the_folder_in_memory_too(config, tmp_path):
    class Names:
        seen = ()

        @hookimpl
        def before_training(self, config, name):
            Names.seen = (*Names.seen, name)

    in_memory = train(config, observers={"names": Names()})
    stored = train(config, out=tmp_path / "runs", observers={"names": Names()})
    assert in_memory.path is None
    assert Names.seen == (stored.path.name,) * 2


class Changes:
    def __init__(self, target):
        pass

    @hookimpl
    def after_epoch(self, model):
        pass


class Fails:
    def __init__(self, target):
        raise ValueError(target)


@pytest.fixture
def others(monkeypatch):
    monkeypatch.setattr(catalogue(), "offers", dict(catalogue().offers))
    for name, kind in (("changes", Changes), ("fails", Fails)):
        catalogue().offers["tracker", name] = Offer("tracker", name, "test", kind)
    for name, kind in (("tensorboard", TensorBoard), ("mlflow", MLflow)):
        catalogue().offers["tracker", name] = Offer("tracker", name, "caelab/trackers", kind)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("tensorboard", "expected a tracker as NAME:TARGET, such as tensorboard:logs, but 'tensorboard' came"),
        ("tensorboard:", "but 'tensorboard:' came"),
        ("tensorbord:logs", "unknown tracker 'tensorbord'; did you mean 'tensorboard'?"),
        ("changes:x", "'changes' asks for the model, or answers a hook whose answer counts"),
        ("fails:x", "'fails' cannot be made for 'x': ValueError: x"),
        (3, "expected each of trackers as a text, but 3 came"),
    ],
)
def test_wrong_trackers_are_refused(asked, message, others):
    with pytest.raises(CaelabError, match=message.replace("?", r"\?")):
        trackers_of([asked])


def test_a_wrong_tracker_on_the_command_line_ends_before_anything_is_written(tmp_path, capsys):
    for command in ("train", "compare"):
        with pytest.raises(SystemExit) as ended:
            main([command, "ae", "--track", "nowhere:x", "--out", str(tmp_path / "out")])
        assert ended.value.code == 2
        assert capsys.readouterr().err.startswith("error: unknown tracker 'nowhere'")
    assert not (tmp_path / "out").exists()


@every_kind
def test_a_missing_library_says_which_extra_to_install(kind, others, monkeypatch, caplog):
    gone = {"tensorboard": "torch.utils.tensorboard", "mlflow": "mlflow.entities"}[kind]
    monkeypatch.setitem(sys.modules, gone, None)
    with pytest.raises(CaelabError, match=rf"install it with: pip install caelab\[{kind}\]$"):
        trackers_of([f"{kind}:here"])
    assert trackers_in_worker([f"{kind}:here"]) == {}  # in a worker it ends no run
    assert "not tracked there" in caplog.text


def test_paths_hold_in_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert settled("tensorboard:logs") == f"tensorboard:{tmp_path}/logs"
    assert settled("mlflow:sqlite:///a.db") == f"mlflow:sqlite:///{tmp_path}/a.db"
    assert settled("mlflow:sqlite:////b/a.db") == "mlflow:sqlite:////b/a.db"
    assert settled("mlflow:https://example.org") == "mlflow:https://example.org"
    assert MLflow("sqlite:///a.db").target == MLflow("a.db").target == f"sqlite:///{tmp_path}/a.db"
    assert settled("mlflow") == "mlflow"


def test_neither_library_is_imported_unless_asked_for():
    code = (
        "import sys, caelab_trackers\nfrom caelab.registry.catalogue import catalogue\ncatalogue().names('tracker')\n"
        "import caelab.training, caelab.training.tracking\n"
        "print([name for name in ('mlflow', 'tensorboard', 'torch.utils.tensorboard') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_two_workers_log_to_one_new_store(config, tmp_path):
    """Both set up the file at once, and write to it at once."""
    store = Store("mlflow", tmp_path)
    logs = Store("tensorboard", tmp_path)
    study = Study([config], 4, [], tmp_path / "runs", track=[f"mlflow:{store.target}", f"tensorboard:{logs.target}"])
    result = study.run(workers=2)
    for found in (store.logged(), logs.logged()):
        assert found.keys() == {outcome.path.name for outcome in result.outcomes}
        for metrics in found.values():
            assert [step for step, _ in metrics["valid_reconstruction"]] == [1, 2, 3, 4]
            assert all(math.isfinite(value) for _, value in metrics["train_contractive"])
    assert {run.info.status for run in store.runs()} == {"FINISHED"}
    assert {run.data.tags["caelab_seed"] for run in store.runs()} == {"0", "1", "2", "3"}
