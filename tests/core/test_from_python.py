"""From Python, as in a notebook: data in memory, plugins from a cell, studies by name; errors of one sentence."""

import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_matrix
from torch.utils.data import TensorDataset

import caelab
import caelab.data
import caelab.testing
from caelab import CaelabError, Study, hookimpl, load_run, recipe_config, train
from caelab.data import Dataset, make_dataset
from caelab.data.given import as_dataset
from caelab.data.samples import Samples
from caelab.registry.catalogue import Catalogue, catalogue

QUICK = recipe_config("cae", ["training.epochs=1", "model.hidden=[3]", "training.batch_size=10"])
RNG = np.random.default_rng(0)
X, Y = RNG.random((30, 4)).astype("float32"), np.arange(30) % 3
TABLE = pd.DataFrame(X, columns=list("abcd"))
EXPECTED = make_dataset("arrays", Samples(X, Y), seed=0)

SAME = {
    "arrays": (X, Y),
    "tensors": (torch.from_numpy(X), torch.from_numpy(Y)),
    "lists": (X.tolist(), Y.tolist()),
    "float64": (X.astype("float64"), Y),
    "Fortran order": (np.asfortranarray(X), Y),
    "a view": (np.concatenate([X, X], axis=1)[:, :4], Y),
    "labels as a column": (X, Y[:, None]),
    "labels as floats": (X, Y.astype(float)),
    "a table and a series": (TABLE, pd.Series(Y, index=range(100, 130))),
    "a table with a column of labels": (TABLE.assign(kind=Y), "kind"),
    "a table with numbers that may be missing": (TABLE.astype("Float64"), pd.Series(Y, dtype="Int64")),
    "a sparse matrix": (csr_matrix(X), Y),
    "a sparse tensor": (torch.from_numpy(X).to_sparse(), Y),
    "with a gradient": (torch.from_numpy(X.copy()).requires_grad_(), Y),
    "a torch data set": TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)),
    "samples": Samples(X, Y),
}


@pytest.mark.parametrize("kind", SAME)
def test_data_in_memory_are_the_same_data_whatever_they_come_as(kind):
    found = as_dataset(SAME[kind])
    assert found.content_hash == EXPECTED.content_hash
    assert torch.equal(found.train, EXPECTED.train)


def test_a_run_is_trained_on_arrays_split_and_found_again(tmp_path):
    run = train(QUICK, dataset=(X, Y), splits=(20, 4, 6), seed=5, out=tmp_path)
    assert [len(part) for part in (run.dataset.train, run.dataset.valid, run.dataset.test)] == [20, 4, 6]
    by_hand = make_dataset("arrays", Samples(X, Y), splits=(20, 4, 6), seed=5)
    assert torch.equal(run.dataset.train_inputs, by_hand.train_inputs)
    assert run.seed == 5
    again = train(QUICK, dataset=(torch.from_numpy(X), list(Y)), splits=(20, 4, 6), seed=5, out=tmp_path)
    assert again.path == run.path == load_run(run.path, dataset=(X, Y)).path
    others = [train(QUICK, dataset=(X, Y), out=tmp_path, **how).path for how in ({"seed": 5}, {"splits": (20, 4, 6)})]
    assert len({run.path, *others}) == 3


def test_by_default_arrays_are_split_as_every_other_data_set():
    run = train(QUICK, dataset=X)
    assert [len(part) for part in (run.dataset.train, run.dataset.valid, run.dataset.test)] == [18, 3, 9]
    assert run.dataset.labels is None


def test_labels_may_be_texts():
    words = np.array(["cat", "ant", "bee"])[Y]
    for labels in (words, words.tolist(), pd.Series(words), pd.Series(words, dtype="category")):
        found = as_dataset((X, labels))
        assert found.label_names == ("ant", "bee", "cat")
        assert [found.label_names[each] for each in found.labels] == list(words)


def test_images_keep_their_shape_and_only_bytes_are_scaled():
    pixels = RNG.integers(0, 256, (10, 2, 3, 3), dtype=np.uint8)
    found = as_dataset(pixels)
    assert found.image_shape == (2, 3, 3)
    np.testing.assert_allclose(found.inputs, pixels.reshape(10, 18) / 255, rtol=1e-6)
    assert as_dataset(pixels[..., :1]).image_shape == (2, 3)
    assert as_dataset(pixels.astype("int64")).value_range[1] > 1


def test_the_arrays_of_the_user_stay_theirs():
    given = X.copy()
    found = as_dataset(given)
    found.inputs.zero_()
    assert np.array_equal(given, X)
    given[:] = 7
    assert not found.inputs.any()


@pytest.mark.parametrize("name", ["digits", {"kind": "digits", "splits": [100, 20, 20]}])
def test_a_data_set_is_named(name):
    run = train(QUICK, dataset=name)
    assert run.config.dataset.kind == "digits"
    assert len(run.dataset.inputs) == 1797


def test_the_data_set_that_the_config_names_is_no_other_when_it_is_given():
    config = recipe_config("ae", ["training.epochs=1", "model.hidden=[3]"], dataset="digits")
    assert train(config, dataset=caelab.load_dataset("digits")).config == config
    other = train(config, dataset=caelab.load_dataset("digits", seed=1))
    assert other.config.dataset.kind == "given"


WRONG = {
    "a dictionary": ({"x": X}, r"dataset\.kind is missing"),
    "a number": (3, r"expected inputs of shape \(n, d\)"),
    "a triple": ((X, Y, Y), "but a tuple of 3 came"),
    "an empty name": ("", "expected the name of a dataset, but an empty text came"),
    "an unknown name": ("digts", "unknown dataset 'digts'; did you mean 'digits'"),
    "a path": ("x.npz", "no file at x.npz; give the path of a .npz file"),
    "words": (np.array([["a", "b"]] * 30), "of real numbers, but ndarray of <U1"),
    "complex numbers": (X + 1j, "of real numbers, but ndarray of complex64"),
    "ragged lists": ([[1.0], [1.0, 2.0]], "expected a data set, its name"),
    "a function": (len, "but builtin_function_or_method came"),
    "words in a table": (TABLE.assign(a="x"), "expected numbers in every column, but a holds others"),
    "a hole in a table": (TABLE.mask(TABLE.max().max() == TABLE), "1 of 120 values are NaN or infinite"),
    "too many labels": ((X, Y[:-1]), "expected 30 labels that are whole numbers"),
    "labels that are no classes": ((X, RNG.random(30)), "expected labels that are whole numbers, or texts"),
    "a missing label": ((X, np.where(Y == 0, np.nan, Y)), "leave out examples without a label"),
    "no such column": ((TABLE, "kind"), "expected a table with the column 'kind' for the labels, but a, b, c, d came"),
    "five axes": (np.zeros((2, 2, 2, 2, 2)), r"\(2, 2, 2, 2, 2\) came; reshape them"),
    "one axis": (X[0], r"but \(4,\) came; reshape"),
    "nothing": (X[:0], "expected inputs of shape"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_data_set_is_one_sentence(kind):
    given, sentence = WRONG[kind]
    with pytest.raises(CaelabError, match=sentence) as told:
        train(QUICK, dataset=given)
    assert "\n" not in str(told.value)


def test_a_data_set_that_is_split_is_not_split_again():
    with pytest.raises(CaelabError, match="'arrays' is split already; leave splits out"):
        train(QUICK, dataset=EXPECTED, splits=(20, 5, 5))


# ---- regularizers from a cell

CELL = """
from dataclasses import dataclass
import torch
from caelab import hookimpl

SCALE = {scale}

@dataclass(eq=False)
class Mine:
    weight: float = 1.0

    @hookimpl
    def penalty_terms(self, code):
        return {{"mine": SCALE * self.weight * code.square().mean()}}

@dataclass(eq=False)
class Needs:
    weight: float

    @hookimpl
    def penalty_terms(self, code):
        return {{}}
"""


def cell(scale=1.0):
    """What a notebook's cell defines: there is no file, and the module is called __main__."""
    scope = {"__name__": "__main__"}
    exec(CELL.format(scale=scale), scope)
    return scope


def test_a_plugin_from_a_cell_is_an_instance_a_class_or_options(tmp_path):
    mine = cell()["Mine"]
    runs = [
        train(QUICK, dataset=EXPECTED, regularizers={"mine": given}, out=tmp_path)
        for given in (mine(weight=1.0), mine, cell()["Mine"](), mine(weight=2.0), cell(scale=3.0)["Mine"]())
    ]
    assert len({run.path for run in runs[:3]}) == 1  # the cell that is run again is the same code
    assert len({run.path for run in runs}) == 3  # another weight, and another constant in the cell, are others
    block = load_run(runs[3].path, dataset=EXPECTED).config.regularizers["mine"]
    assert (block.kind, block.options["name"], block.options["weight"]) == ("given", "Mine", 2.0)
    plain = train(QUICK, dataset=EXPECTED)
    mixed = train(QUICK, dataset=EXPECTED, regularizers={"gaussian": {"sigma": 0.5}})
    assert mixed.config.regularizers["gaussian"].options == {"sigma": 0.5}
    assert plain.metrics[0].keys() | {"train_mine"} == runs[0].metrics[0].keys()


def test_the_penalty_of_a_cell_is_that_of_the_installed_plugin_to_the_bit():
    @dataclass(eq=False)
    class Contractive:
        weight: float

        @hookimpl
        def penalty_terms(self, encoder_jacobian):
            return {"contractive": self.weight * encoder_jacobian.squared_norm().mean()}

    config = recipe_config("ae", ["training.epochs=2", "model.hidden=[3]"])
    mine = train(config, dataset=EXPECTED, regularizers={"mine": Contractive(weight=0.5)})
    named = train(config, dataset=EXPECTED, regularizers={"contractive": {"weight": 0.5}})
    assert torch.equal(mine.model.encode[0].weight, named.model.encode[0].weight)


def test_a_class_that_needs_options_asks_for_an_instance():
    with pytest.raises(
        CaelabError, match=r"'mine' cannot be made from the class Needs alone .* as Needs\(weight=1.0\)"
    ):
        train(QUICK, dataset=EXPECTED, regularizers={"mine": cell()["Needs"]})


def test_something_that_is_no_plugin_is_refused():
    with pytest.raises(CaelabError, match=r"plugin 'mine' \(float\) answers no hook of a run"):
        train(QUICK, dataset=EXPECTED, regularizers={"mine": 3.0})


def test_an_analysis_that_needs_a_plugin_again_says_that_it_is_gone(tmp_path):
    from caelab.analysis.base import analyse

    run = train(QUICK, dataset=EXPECTED, regularizers={"mine": cell()["Mine"]}, out=tmp_path)
    with pytest.raises(CaelabError, match=r"'mine' \(Mine\) was given as an object, so it cannot be made again here"):
        analyse(run, "reconstructions")
    assert len(analyse(run, "jacobian_norm")) > 0


def test_a_config_may_be_a_file(tmp_path):
    (tmp_path / "mine.yaml").write_text(QUICK.to_yaml())
    for path in (tmp_path / "mine.yaml", str(tmp_path / "mine.yaml")):
        assert train(path, dataset=EXPECTED).config.training == QUICK.training


# ---- studies


def small(name, **top):
    return recipe_config(name, ["training.epochs=1", "model.hidden=[3]"], dataset="digits", **top)


UNKNOWN_DATA = small("ae").model_copy(update={"dataset": small("ae").dataset.model_copy(update={"kind": "x"})})


def test_a_study_takes_names_a_number_of_seeds_and_a_path_as_text(tmp_path):
    study = Study(["ae", small("cae"), small("rbm").as_dict()], 2, ["jacobian_norm"], f"{tmp_path}/runs")
    assert [config.label for config in study.configs] == ["ae", "cae", "rbm"]
    assert study.seeds == [0, 1]
    assert study.analyses == {"jacobian_norm": {}}
    assert study.out == tmp_path / "runs"
    assert [job.config.seed for job in study.jobs()] == [0, 1, 0, 1, 0, 1]
    assert Study("ae", [3], {}, tmp_path).jobs()[0].config == recipe_config("ae", seed=3)


@pytest.mark.parametrize("seeds", [0, [], [1, 1], [-1], 2.5, "3", True, None])
def test_impossible_seeds_are_refused(seeds, tmp_path):
    with pytest.raises(CaelabError, match="expected how many seeds, at least 1, or different seeds"):
        Study(["ae"], seeds, {}, tmp_path)


def test_seeds_of_numpy_are_seeds(tmp_path):
    assert Study(["ae"], np.arange(2, 4), {}, tmp_path).seeds == [2, 3]
    assert Study(["ae"], np.int64(2), {}, tmp_path).seeds == [0, 1]
    assert type(Study(["ae"], np.int64(2), {}, tmp_path).seeds[0]) is int


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"configs": [small("ae"), small("ae", seed=1)]}, "two models are called 'ae'; name each model once"),
        ({"configs": []}, "a study has at least one model, but none came"),
        ({"analyses": ["jacobian_nrom"]}, "did you mean 'jacobian_norm'"),
        ({"configs": [UNKNOWN_DATA]}, "unknown dataset 'x'"),
    ],
)  # fmt: skip
def test_a_study_is_checked_before_anything_is_written(given, sentence, tmp_path):
    study = {"configs": [small("ae")], "seeds": 1, "analyses": [], "out": tmp_path / "runs", **given}
    with pytest.raises(CaelabError, match=sentence):
        Study(**study).run(executor="serial")
    assert not (tmp_path / "runs").exists()


def test_a_study_of_an_unknown_recipe_says_so_at_once(tmp_path):
    with pytest.raises(CaelabError, match="unknown recipe 'caee'; did you mean 'cae'"):
        Study(["caee"], 1, {}, tmp_path)


SCRIPT = """
import sys
import caelab
print("script starts")
config = caelab.recipe_config("ae", ["training.epochs=1", "model.hidden=[3]"], dataset="digits")
result = caelab.Study([config], 2, ["jacobian_norm"], sys.argv[1]).run(workers=2)
print(len(result.outcomes), "runs")
"""


def test_a_script_without_a_main_guard_is_run_once(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py", tmp_path / "runs"], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["script starts", "2 runs"]
    assert "Traceback" not in done.stderr


PLUGIN = """
from caelab import hookimpl

class Mine:
    @hookimpl
    def penalty_terms(self, code):
        return {"mine": code.square().sum()}

@hookimpl
def register_regularizers(register):
    register("mine-in-a-file", Mine)
"""


@pytest.fixture
def offers(monkeypatch):
    for table in ("offers", "answers"):
        monkeypatch.setattr(catalogue(), table, dict(getattr(catalogue(), table)))
    monkeypatch.setattr(catalogue(), "files", [])


@pytest.mark.usefixtures("offers")
def test_a_plugin_file_that_was_read_is_read_by_the_workers_too(tmp_path):
    (tmp_path / "mine.py").write_text(PLUGIN)
    catalogue().add_file(tmp_path / "mine.py")
    study = Study([recipe_config("ae", ["mine-in-a-file={}"]), "cae"], 1, {}, tmp_path)
    assert study.jobs()[0].plugin_files == (tmp_path / "mine.py",)
    assert Study(["cae"], 1, {}, tmp_path).jobs()[0].plugin_files == ()


@pytest.mark.usefixtures("offers")
def test_what_only_this_process_knows_is_refused_where_other_processes_work(tmp_path):
    more = Catalogue()
    scope = {"__name__": "__main__"}
    exec(PLUGIN, scope)
    more.add("cell", type("Offering", (), {"register_regularizers": staticmethod(scope["register_regularizers"])}))
    catalogue().offers.update(more.offers)
    config = recipe_config("ae", ["mine-in-a-file={}", "training.epochs=1", "model.hidden=[3]"], dataset="digits")
    study = Study([config], 1, {}, tmp_path)
    with pytest.raises(CaelabError, match="'mine-in-a-file' is offered by 'cell', which only this process knows"):
        study.run()
    assert len(study.run(executor="serial").outcomes) == 1


# ---- what is promised is listed


@pytest.mark.parametrize(
    ("module", "names"),
    [
        (caelab, {"train", "Study", "load_run", "jacobian", "Dataset", "hookimpl", "data", "testing", "__version__"}),
        (caelab.data, {"load_dataset", "make_dataset", "Samples", "Dataset"}),
        (caelab.testing, {"check_regularizer", "check_penalty", "check_analysis"}),
    ],
)
def test_dir_lists_what_is_promised_and_nothing_else(module, names):
    listed = set(dir(module))
    assert names <= listed
    assert listed >= set(module.__all__)
    assert "import_module" not in listed
    assert not listed & {"sys", "Any", "TYPE_CHECKING", "Path"}
    for name in listed:
        assert getattr(module, name) is not None


@pytest.mark.parametrize("labels", [np.full(len(Y), 1e19), np.full(len(Y), np.nan), np.full(len(Y), 2.0**63)])
def test_labels_that_int64_does_not_hold_are_refused(labels):
    with pytest.raises(CaelabError, match="labels that are whole numbers"):
        as_dataset((X, labels))


@pytest.mark.parametrize(
    "labels", [torch.full((20,), torch.nan), torch.arange(20) / 2, torch.arange(19), torch.ones(20, dtype=torch.uint64)]
)
def test_a_data_set_made_by_hand_has_a_whole_number_as_label_of_each_example(labels):
    places = torch.arange(20)
    mine = Dataset("mine", torch.rand(20, 3), labels, None, places[:10], places[10:15], places[15:])
    with pytest.raises(CaelabError, match=r"expected labels that are whole numbers, shape \(20,\), int64"):
        as_dataset(mine)
