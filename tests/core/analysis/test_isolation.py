"""An analysis changes nothing that another analysis, or another run, sees."""

import os
import random
import re
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from caelab import CaelabError, Study, hookimpl, load_dataset, recipe_config
from caelab.analysis.base import analyse, drawn, summarise
from caelab.analysis.isolation import SpoiledData, checksum, run_left_as_found
from caelab.data import Samples
from caelab.registry.catalogue import Catalogue, Offer, catalogue
from caelab.runs.run import build_model, dataset_of, forget_data

SMALL = ["training.epochs=1", "model.hidden=[6]", "training.reconstruction=squared-error"]
DATA = {"kind": "digits", "splits": [100, 30, 30]}


def probe(run, streams):
    """What the run looks like, and what the global generators give."""
    return pd.DataFrame(
        {
            "error": [run.reconstruction_error(run.dataset.valid_inputs).double().mean().item()],
            "labels": [run.dataset.labels.double().mean().item()],
            "first": [int(run.dataset.train[0])],
            "torch": [torch.rand(()).item()],
            "numpy": [np.random.random()],  # noqa: NPY002
            "python": [random.random()],
            "dtype": [str(torch.zeros(1).dtype)],
            "gradient": [str(torch.is_grad_enabled())],
        }
    )


def through_numpy(run):
    run.dataset.inputs.numpy()[:] = 0


def through_data(run):
    run.dataset.inputs.data.add_(1)


def shuffled(run):
    run.dataset.inputs.copy_(run.dataset.inputs.flip(0))


def trained(run):
    optimizer = torch.optim.SGD(run.model.parameters(), lr=0.1)
    run.model.decode(run.model.encode(run.dataset.inputs)).sum().backward()
    optimizer.step()


def replaced_layer(run):
    next(run.model.children()).__dict__["_parameters"]["bias"] = torch.nn.Parameter(torch.ones(6))


CHANGES = {
    "inputs": lambda run: run.dataset.inputs.zero_(),
    "inputs, through numpy": through_numpy,
    "inputs, behind autograd's back": through_data,
    "inputs, in another order": shuffled,
    "inputs, one bit": lambda run: run.dataset.inputs.view(torch.int32)[0, 0].bitwise_xor_(1),
    "labels": lambda run: run.dataset.labels.fill_(1),
    "split": lambda run: run.dataset.train.copy_(run.dataset.train.flip(0)),
    "another tensor as inputs": lambda run: object.__setattr__(run.dataset, "inputs", torch.ones(1797, 64)),
    "weights": lambda run: [each.data.mul_(2) for each in run.model.parameters()],
    "weights, by training": trained,
    "precision of the weights": lambda run: run.model.double(),
    "a layer": replaced_layer,
    "another model": lambda run: object.__setattr__(run, "model", torch.nn.Identity()),
    "config": lambda run: run.config.regularizers.update(mine=None),
    "metrics": lambda run: run.metrics.clear(),
    "default dtype": lambda run: torch.set_default_dtype(torch.float64),
    "default device": lambda run: torch.set_default_device("meta"),
    "gradient mode": lambda run: torch.set_grad_enabled(False),
    "threads": lambda run: torch.set_num_threads(torch.get_num_threads() + 1),
    "determinism": lambda run: torch.use_deterministic_algorithms(True),
    "numpy's errors": lambda run: np.seterr(all="raise"),
}
QUIET = {
    "seeds": lambda run: (torch.manual_seed(0), np.random.seed(0), random.seed(0)),  # noqa: NPY002
    "draws": lambda run: (torch.rand(5), np.random.random(3), random.random()),  # noqa: NPY002
    "mode": lambda run: run.model.train(),
    "frozen": lambda run: run.model.requires_grad_(False),
    "gradients": lambda run: run.model.encode(run.dataset.inputs).sum().backward(),
    "hook": lambda run: run.model.register_forward_hook(lambda *_: None),
    "inputs that want a gradient": lambda run: run.dataset.inputs.requires_grad_(),
}


def analysis(measure, draw=None):
    return SimpleNamespace(measure=measure, draw=draw or (lambda table: None))


def offer(thing):
    return Offer("analysis", "again", "test", thing)


def changing(change):
    def measure(run, streams):
        change(run)
        return pd.DataFrame({"value": [1.0]})

    return analysis(measure)


class Offering:
    @hookimpl
    def register_analyses(self, register):
        register("probe", analysis(probe))
        register("again", analysis(lambda run, streams: probe(run, streams)))
        for place, change in enumerate({**CHANGES, **QUIET}.values()):
            register(f"change-{place}", changing(change))


@pytest.fixture(autouse=True)
def offers(monkeypatch):
    more = Catalogue()
    more.add("test", Offering())
    monkeypatch.setattr(catalogue(), "offers", {**catalogue().offers, **more.offers})
    forget_data()
    yield
    forget_data()


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    """What two runs and an analysis give where nobody changes anything."""
    with pytest.MonkeyPatch.context() as patch:
        more = Catalogue()
        more.add("test", Offering())
        patch.setattr(catalogue(), "offers", {**catalogue().offers, **more.offers})
        return outcome_of(tmp_path_factory.mktemp("honest"), ["probe"])


def outcome_of(folder, names):
    configs = [recipe_config(recipe, SMALL, dataset=DATA) for recipe in ("ae", "cae")]
    result = Study(configs, (0,), {name: {} for name in names}, folder).run(executor="serial")
    return result, [outcome.tables["probe"] for outcome in result.outcomes]


@pytest.mark.parametrize("what", CHANGES)
def test_what_an_analysis_changes_is_named_and_put_back(what, honest, tmp_path):
    name = f"change-{list(CHANGES).index(what)}"
    result, tables = outcome_of(tmp_path, [name, "probe"])
    for mine, clean in zip(tables, honest[1], strict=True):
        pd.testing.assert_frame_equal(mine, clean, check_exact=True)
    assert name not in result.tables()
    assert {problem.model for problem in result.problems} == {"ae", "cae"}
    for problem in result.problems:
        assert f"the analysis {name!r} changes what " in problem.message
    for path, clean in zip((o.path for o in result.outcomes), (o.path for o in honest[0].outcomes), strict=True):
        assert (path / "weights.safetensors").read_bytes() == (clean / "weights.safetensors").read_bytes()
        assert not list((path / "tables").glob(f"{name}*.parquet"))


@pytest.mark.parametrize("what", QUIET)
def test_what_is_only_remembered_is_put_back_without_a_word(what, honest, tmp_path):
    name = f"change-{len(CHANGES) + list(QUIET).index(what)}"
    result, tables = outcome_of(tmp_path, [name, "probe"])
    assert result.problems == []
    for mine, clean in zip(tables, honest[1], strict=True):
        pd.testing.assert_frame_equal(mine, clean, check_exact=True)


def test_the_global_generators_do_not_depend_on_who_drew_before(tmp_path):
    _, tables = outcome_of(tmp_path, ["probe"])
    random.seed(5), torch.rand(3), np.random.seed(7)  # noqa: NPY002
    _, others = outcome_of(tmp_path / "other", ["probe"])
    for mine, other in zip(tables, others, strict=True):
        pd.testing.assert_frame_equal(mine, other, check_exact=True)


def test_one_that_changes_and_then_fails_is_told_why_and_leaves_nothing(tmp_path, monkeypatch):
    def measure(run, streams):
        run.dataset.inputs.zero_()
        raise KeyError("lost")

    monkeypatch.setitem(catalogue().offers, ("analysis", "again"), offer(analysis(measure)))
    before = checksum(dataset_of(recipe_config("ae", SMALL, dataset=DATA)).inputs)
    result, _ = outcome_of(tmp_path, ["again", "probe"])
    assert "KeyError: 'lost'" in result.problems[0].message
    assert checksum(dataset_of(recipe_config("ae", SMALL, dataset=DATA)).inputs) == before


def test_data_that_cannot_be_put_back_stop_the_process(monkeypatch):
    shared = np.random.default_rng(0).random((40, 5), dtype=np.float32)

    class Caching:
        @hookimpl
        def register_datasets(self, register):
            register("cached-by-its-loader", lambda: Samples(shared))

    more = Catalogue()
    more.add("caching", Caching())
    monkeypatch.setattr(catalogue(), "offers", {**catalogue().offers, **more.offers})
    config = recipe_config("ae", SMALL, dataset={"kind": "cached-by-its-loader", "splits": None})
    run = SimpleNamespace(config=config, dataset=dataset_of(config), model=None, metrics=[], record={}, path=None)
    with (
        pytest.raises(SpoiledData, match="'bad' changes the data 'cached-by-its-loader'"),
        run_left_as_found(run, "'bad'"),
    ):
        run.dataset.inputs.zero_()


class Meddling:
    """A loader and a model that set what all others share, and one of each that ends the program."""

    @hookimpl
    def register_datasets(self, register):
        register("meddling", lambda: (torch.set_default_dtype(torch.float64), Samples(np.eye(20)))[1])
        register("seeding", lambda: (np.random.seed(1), random.seed(1), Samples(np.eye(20)))[2])  # noqa: NPY002
        register("ending", lambda: exit(3))

    @hookimpl
    def register_models(self, register):
        register("meddling", lambda inputs: torch.set_num_threads(3))
        register("ending", lambda inputs: exit(3))


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ({"dataset": {"kind": "meddling"}}, "the loader of data set 'meddling' changes what all others share: torch's"),
        ({"dataset": {"kind": "ending"}}, "the loader of data set 'ending' failed: SystemExit: 3"),
        ({"model": {"kind": "meddling"}}, "the model 'meddling' changes what all others share: torch's number"),
        ({"model": {"kind": "ending"}}, "the model 'ending' cannot be made with .*: SystemExit: 3"),
    ],
)
def test_loaders_and_models_leave_the_process_as_they_found_it(what, sentence, monkeypatch):
    more = Catalogue()
    more.add("meddling", Meddling())
    monkeypatch.setattr(catalogue(), "offers", {**catalogue().offers, **more.offers})
    settings = torch.get_default_dtype(), torch.get_num_threads()
    config = recipe_config("ae", [], **{"dataset": DATA, **what})
    with pytest.raises(CaelabError, match=sentence):
        build_model(config, dataset_of(config))
    assert (torch.get_default_dtype(), torch.get_num_threads()) == settings
    before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    load_dataset("seeding")
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # noqa: NPY002


def test_a_table_is_not_changed_by_drawing_it_or_summing_it_up(monkeypatch):
    def spoils(table):
        table["value"] = -1.0
        return {"value": 1.0}

    spoiling = SimpleNamespace(measure=probe, draw=spoils, summarise=spoils)
    monkeypatch.setitem(catalogue().offers, ("analysis", "again"), offer(spoiling))
    table = pd.DataFrame({"value": [1.0, 2.0]})
    assert summarise("again", table) == {"value": 1.0}
    with pytest.raises(CaelabError, match="but a matplotlib Figure is expected"):
        drawn("again", table)
    assert list(table["value"]) == [1.0, 2.0]


def test_a_style_that_one_figure_sets_is_not_that_of_the_next(monkeypatch):
    import matplotlib as mpl

    before = mpl.rcParams["lines.linewidth"]
    styled = analysis(probe, draw=lambda table: mpl.rcParams.update({"lines.linewidth": 40}))
    monkeypatch.setitem(catalogue().offers, ("analysis", "again"), offer(styled))
    with pytest.raises(CaelabError):
        drawn("again", pd.DataFrame())
    assert mpl.rcParams["lines.linewidth"] == before


def test_settings_of_matplotlib_in_the_folder_have_no_say(monkeypatch):
    """They could have LaTeX run."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    from caelab.analysis.plotting import svg_of

    def draw(table):
        assert not mpl.rcParams["text.usetex"]
        figure = Figure()
        figure.subplots().set_title("$x$")
        return figure

    monkeypatch.setitem(catalogue().offers, ("analysis", "again"), offer(analysis(probe, draw)))
    plain = svg_of(drawn("again", pd.DataFrame()))
    with mpl.rc_context({"text.usetex": True, "lines.linewidth": 30, "axes.linewidth": 9}):
        assert svg_of(drawn("again", pd.DataFrame())) == plain


ENDINGS = {
    "sys.exit(3)": lambda: sys.exit(3),
    "sys.exit()": lambda: sys.exit(),
    "os._exit(3)": lambda: os._exit(3),
    "os.abort()": lambda: os.abort(),
    "KeyError": lambda: {}["x"],
}


@pytest.mark.parametrize("end", ENDINGS)
@pytest.mark.parametrize("part", ["measure", "draw", "summarise"])
def test_an_analysis_that_ends_the_program_is_named(part, end, monkeypatch):
    def ends(*_):
        ENDINGS[end]()

    parts = {"measure": probe, "draw": ends, "summarise": lambda table: {}} | {part: ends}
    monkeypatch.setitem(catalogue().offers, ("analysis", "again"), offer(SimpleNamespace(**parts)))
    run = SimpleNamespace(config=None, dataset=dataset_of(recipe_config("ae", SMALL, dataset=DATA)), seed=0)
    vars(run).update(model=None, metrics=[], record={}, path=None, label="ae")
    calls = {
        "measure": lambda: analyse(run, "again"),
        "draw": lambda: drawn("again", pd.DataFrame()),
        "summarise": lambda: summarise("again", pd.DataFrame()),
    }
    with pytest.raises(CaelabError, match=f"the analysis 'again' .*{re.escape(end)}"):
        calls[part]()


def test_two_analyses_that_sum_up_under_one_name_are_told(tmp_path, monkeypatch):
    for name in ("probe", "again"):
        summing = SimpleNamespace(measure=probe, draw=probe, summarise=lambda table, name=name: {"mean": len(name)})
        monkeypatch.setitem(catalogue().offers, ("analysis", name), offer(summing))
    result, _ = outcome_of(tmp_path, ["probe", "again"])
    assert result.outcomes[0].numbers == {"mean": 5.0}
    assert "'again' both summarise 'mean'" in result.problems[0].message
