"""What determines a run is in its name and in its record, or the run is not stored: two things never share a name."""

import enum
import functools
import sys
import threading
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from caelab import CaelabError, hookimpl, load_run, train
from caelab.data import Dataset, make_dataset
from caelab.data.samples import Samples
from caelab.runs.recipes import recipe_config
from caelab.training import run_folder
from caelab.training.asked import asked_for

CONFIG = recipe_config("ae", ["training.epochs=1", "model.hidden=[3]", "training.batch_size=10"])
INPUTS = np.random.default_rng(0).random((30, 4)).astype("float32")
DATA = make_dataset("mine", Samples(INPUTS, np.arange(30) % 3), splits=(20, 5, 5))


def name_of(**given):
    asked = asked_for(CONFIG, **{"dataset": DATA, **given}, stored=True)
    return run_folder(Path(), asked.config, asked.dataset).name


class Net(nn.Module):
    """A model that holds what neither its ``repr`` nor its ``state_dict`` shows."""

    def __init__(self, **attributes):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layer, self.back = nn.Linear(4, 3), nn.Linear(3, 4)
        self.__dict__.update(attributes)

    def encode(self, inputs):
        return torch.sigmoid(self.layer(inputs))

    def logits(self, code):
        return self.back(code)

    def decode(self, code):
        return torch.sigmoid(self.back(code))


class Sine(Net):
    def encode(self, inputs):
        return torch.sin(self.layer(inputs))


class Cosine(Net):
    def encode(self, inputs):
        return torch.cos(self.layer(inputs))


class Deep(Sine):
    pass


class DeepOther(Cosine):
    pass


DeepOther.__name__, DeepOther.__qualname__ = Deep.__name__, Deep.__qualname__
Cosine.__name__, Cosine.__qualname__ = Sine.__name__, Sine.__qualname__


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


def changed(model, change):
    change(model)
    return model


def wider(model):
    model.layer, model.back = nn.Linear(4, 5), nn.Linear(5, 4)


def closing_over(value):
    return lambda x: x * value


def with_default(value):
    def scaled(x, by=value):
        return x * by

    return scaled


def looking_up(value):
    """A function that reads a global, in a module where that global has this value."""
    scope = {"SLOPE": value}
    exec("def scaled(x):\n    return x * SLOPE", scope)
    return scope["scaled"]


def calling(body):
    """A function that calls another one of its module."""
    scope = {}
    exec(f"def helper(x):\n    return {body}\ndef outer(x):\n    return helper(x)", scope)
    return scope["outer"]


def class_with(value):
    return type("Kind", (), {"value": value})()


def class_computing(body):
    scope = {}
    exec(f"class Kind:\n    @property\n    def v(self):\n        return {body}", scope)
    return scope["Kind"]()


class Slotted:
    __slots__ = ("value",)

    def __init__(self, value):
        self.value = value


class Words(dict):
    pass


ATTRIBUTES = {
    "lambda": (lambda x: x.tanh(), lambda x: x.sin()),
    "lambda of constants": (lambda: "a", lambda: "b"),
    "number": (0.1, 0.2),
    "number and truth": (1, True),
    "negative zero": (0.0, -0.0),
    "text": ("relu", "tanh"),
    "closure": (closing_over(1.0), closing_over(2.0)),
    "default of an argument": (with_default(1.0), with_default(2.0)),
    "global of a function": (looking_up(1.0), looking_up(2.0)),
    "function that is called": (calling("x"), calling("-x")),
    "partial": (functools.partial(torch.add, 1), functools.partial(torch.add, 2)),
    "built-in function": (torch.relu, torch.tanh),
    "bound method": ([1].append, [2].append),
    "array": (np.zeros(2), np.ones(2)),
    "array of objects": (np.array(["a"], object), np.array(["b"], object)),
    "type of an array": (np.zeros(2, "int32"), np.zeros(1, "int64")),
    "tensor": (torch.zeros(2), torch.ones(2)),
    "bfloat16": (torch.zeros(2, dtype=torch.bfloat16), torch.ones(2, dtype=torch.bfloat16)),
    "shape of a tensor": (torch.zeros(2, 3), torch.zeros(3, 2)),
    "sparse tensor": (torch.eye(2).to_sparse(), (2 * torch.eye(2)).to_sparse()),
    "module in a list": ([nn.Linear(2, 2, bias=False)], [nn.Linear(2, 2)]),
    "list": ([1, [2]], [[1], 2]),
    "dictionary": ({"a": 1}, {"b": 1}),
    "set": ({1, 2}, {1, 3}),
    "enumeration": (Colour.RED, Colour.BLUE),
    "class": (Sine, Cosine),
    "class attribute": (class_with(1), class_with(2)),
    "property": (class_computing("1"), class_computing("2")),
    "slot": (Slotted(1), Slotted(2)),
    "subclass of dict": (Words(a=1), {"a": 1}),
    "numpy generator": (np.random.default_rng(0), np.random.default_rng(1)),
    "torch generator": (torch.Generator().manual_seed(0), torch.Generator().manual_seed(1)),
    "path": (Path("a"), Path("b")),
    "type": (torch.float32, torch.float64),
}
MODELS = {
    "weights": lambda m: nn.init.ones_(m.layer.weight),
    "encode replaced on the instance": lambda m: setattr(m, "encode", lambda x: torch.sin(m.layer(x))),
    "forward hook": lambda m: m.layer.register_forward_hook(lambda module, given, out: 2 * out),
    "another forward hook": lambda m: m.layer.register_forward_hook(lambda module, given, out: 3 * out),
    "frozen layer": lambda m: m.layer.requires_grad_(False),
    "buffer outside the state": lambda m: m.register_buffer("b", torch.ones(1), persistent=False),
    "weight norm": lambda m: nn.utils.parametrizations.weight_norm(m.layer),
    "type": lambda m: m.double(),
    "unused layer": lambda m: m.add_module("more", nn.Tanh()),
    "one parameter, used twice": lambda m: setattr(m.back, "bias2", m.back.bias),
    "equal parameters": lambda m: setattr(m.back, "bias2", nn.Parameter(m.back.bias.detach().clone())),
}


@pytest.mark.parametrize("kind", ATTRIBUTES)
def test_a_model_or_plugin_that_holds_something_else_is_another_run(kind):
    first, second = ATTRIBUTES[kind]
    held = [name_of(model=Net(held=value)) for value in (first, second, deepcopy(first))]
    assert held[0] == held[2] != held[1]
    carried = [name_of(regularizers={"mine": Holding(value)}) for value in (first, second, first)]
    assert carried[0] == carried[2] != carried[1]


def test_every_change_of_a_model_is_another_run_and_the_same_change_is_not():
    names = [name_of(model=changed(Net(), change)) for change in MODELS.values()]
    classes = [name_of(model=kind()) for kind in (Net, Sine, Cosine, Deep, DeepOther)]
    assert len({*names, *classes}) == len(names) + len(classes)
    assert names == [name_of(model=changed(Net(), change)) for change in MODELS.values()]


@dataclass(eq=False)
class Holding:
    held: object = None

    @hookimpl
    def penalty_terms(self, code):
        return {"held": 0.3 * code.square().mean()}


def test_what_decides_nothing_does_not_change_the_name():
    model = Net()
    before = name_of(model=model)
    model.eval()
    model.layer.weight.grad = torch.ones(3, 4)
    assert name_of(model=model) == before == name_of(model=deepcopy(model))


DATASETS = {
    "values": {"inputs": DATA.inputs + 1, "content_hash": ""},
    "labels": {"labels": DATA.labels + 1, "content_hash": ""},
    "no labels": {"labels": None, "content_hash": ""},
    "shape of an image": {"image_shape": (2, 2), "content_hash": ""},
    "split": {"train": DATA.valid, "valid": DATA.train},
    "order of the training examples": {"train": DATA.train.flip(0)},
    "fewer training examples": {"train": DATA.train[:-1]},
    "other test examples": {"test": DATA.test[:1]},
    "name": {"name": "other"},
    "truth": {"truth": (1, 2)},
}


def test_other_data_or_another_split_are_another_run():
    names = [name_of(dataset=replace(DATA, **fields)) for fields in DATASETS.values()]
    assert len({name_of(), *names}) == 1 + len(DATASETS)
    assert name_of() == name_of(dataset=replace(DATA))


def test_a_content_hash_that_is_not_that_of_the_content_is_refused(tmp_path):
    forged = replace(DATA, inputs=1 - DATA.inputs)
    with pytest.raises(CaelabError, match=r"states the content hash \w{12}, but its content has \w{12}; leave"):
        train(CONFIG, dataset=forged, out=tmp_path)
    run = train(CONFIG, dataset=DATA, out=tmp_path)
    with pytest.raises(CaelabError, match="states the content hash"):
        load_run(run.path, dataset=forged)
    spoiled = replace(DATA, inputs=DATA.inputs.clone())
    spoiled.inputs.zero_()
    with pytest.raises(CaelabError, match="states the content hash"):
        train(CONFIG, dataset=spoiled)


def test_a_hash_that_is_left_out_is_computed():
    fields = {key: getattr(DATA, key) for key in ("inputs", "labels", "image_shape", "train", "valid", "test")}
    assert Dataset("mine", **fields).content_hash == DATA.content_hash


@pytest.mark.parametrize("indices", [torch.tensor([30]), torch.tensor([-1]), torch.tensor([0.5]), [1, 2]])
def test_splits_that_name_no_examples_are_refused(indices):
    with pytest.raises(CaelabError, match=r"expected test as indices of its 30 examples"):
        train(CONFIG, dataset=replace(DATA, test=indices))


def test_a_run_is_not_read_back_with_another_split(tmp_path):
    run = train(CONFIG, dataset=DATA, out=tmp_path)
    with pytest.raises(CaelabError, match="are split otherwise now"):
        load_run(run.path, dataset=replace(DATA, train=DATA.test, test=DATA.train))
    assert load_run(run.path, dataset=DATA).metrics == run.metrics


def test_a_file_that_changes_in_the_same_process_is_read_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    named = {"dataset": "npz:x.npz", "splits": (20, 5, 5)}
    hashes = []
    for values in (INPUTS, 1 - INPUTS):
        np.savez("x.npz", x=values)
        hashes.append(train(CONFIG, **named).dataset.content_hash)
    (tmp_path / "other").mkdir()
    monkeypatch.chdir("other")  # a relative path means another file now
    np.savez("x.npz", x=INPUTS / 2)
    hashes.append(train(CONFIG, **named).dataset.content_hash)
    assert len(set(hashes)) == 3


# ---- observers


def answering(hook, *arguments):
    """A plugin that answers one hook, asking for these arguments."""
    scope = {"hookimpl": hookimpl}
    answer = "{}" if hook in ("penalty_terms", "extra_metrics") else "clean" if hook == "corrupt_input" else "None"
    exec(f"class Mine:\n    @hookimpl\n    def {hook}(self, {', '.join(arguments)}):\n        return {answer}", scope)
    return scope["Mine"]()


CHANGES = [
    ("penalty_terms", "code"), ("penalty_terms",), ("corrupt_input", "clean"), ("extra_metrics", "inputs"),
    ("extra_metrics",), ("before_training", "model"), ("before_epoch", "model"), ("before_update", "model", "step"),
    ("after_batch", "model"), ("after_epoch", "model", "metrics"), ("after_training", "model"),
]  # fmt: skip
WATCHES = [
    ("before_training",), ("before_training", "config"), ("before_epoch", "epoch"), ("before_update", "step"),
    ("after_batch", "terms", "step"), ("after_epoch", "epoch", "metrics"), ("after_training", "history"),
]  # fmt: skip


@pytest.mark.parametrize("hook", CHANGES, ids=" ".join)
def test_an_observer_that_can_change_a_run_is_part_of_it(hook):
    assert name_of(observers={"mine": answering(*hook)}) != name_of()


@pytest.mark.parametrize("hook", WATCHES, ids=" ".join)
def test_an_observer_that_only_watches_is_not(hook):
    assert name_of(observers={"mine": answering(*hook)}) == name_of()


def test_a_wrapper_around_a_hook_can_change_what_the_hook_gives():
    class Wrapping:
        @hookimpl(wrapper=True)
        def after_epoch(self, metrics):
            return (yield)

    assert name_of(observers={"mine": Wrapping()}) != name_of()


def test_an_observed_run_is_stored_apart_and_recorded(tmp_path):
    observed = train(CONFIG, dataset=DATA, out=tmp_path, observers={"mine": Holding(0.5)})
    plain = train(CONFIG, dataset=DATA, out=tmp_path)
    again = train(CONFIG, dataset=DATA, out=tmp_path, observers={"mine": Holding(0.5)})
    alone = train(CONFIG, dataset=DATA)
    assert observed.path == again.path != plain.path
    assert torch.equal(plain.model.encode[0].weight, alone.model.encode[0].weight)
    assert not torch.equal(plain.model.encode[0].weight, observed.model.encode[0].weight)
    block = load_run(observed.path, dataset=DATA).config.regularizers["mine"]
    assert (block.kind, block.options["name"], block.options["held"]) == ("given", "Holding", 0.5)


def test_what_a_watcher_does_to_its_arguments_and_to_the_random_state_stays_with_it():
    class Meddling:
        seen = 0

        @hookimpl
        def after_batch(self, step):
            torch.rand(7)
            Meddling.seen += 1

    model = Net()
    model.encode = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5), nn.Sigmoid())
    plain, watched = (train(CONFIG, dataset=DATA, model=model, observers=o) for o in ({}, {"mine": Meddling()}))
    assert Meddling.seen == 2
    assert torch.equal(plain.model.back.weight, watched.model.back.weight)


@pytest.mark.parametrize("how", ["observers", "regularizers"])
def test_a_label_that_is_taken_is_refused(how):
    with pytest.raises(CaelabError, match="two plugins of this run are called 'contractive'"):
        train("cae", dataset=DATA, **{how: {"contractive": Holding()}})


HELD = {"lock": threading.Lock(), "generator": (i for i in "ab"), "file": sys.stdout, "frame": sys._getframe()}


@pytest.mark.parametrize("held", HELD)
def test_what_cannot_be_told_from_another_is_trained_but_not_stored(held, tmp_path):
    sentence = r"mine\.inner\.0 is \w+, which cannot be told from another one, .* train without a folder"
    plugin = Holding()
    plugin.inner = [HELD[held]]
    with pytest.raises(CaelabError, match=sentence):
        train(CONFIG, dataset=DATA, out=tmp_path, observers={"mine": plugin})
    assert list(tmp_path.iterdir()) == []
    run = train(CONFIG, dataset=DATA, observers={"mine": plugin})
    assert run.config.regularizers["mine"].options["digest"] == "unknown"


# ---- models


def test_the_model_that_was_given_stays_as_it_is_and_a_second_call_is_the_same_run(tmp_path):
    model = Net()
    before = deepcopy(model.state_dict())
    first, second = train(CONFIG, dataset=DATA, model=model), train(CONFIG, dataset=DATA, model=model)
    stored = [train(CONFIG, dataset=DATA, model=model, out=tmp_path) for _ in range(3)]
    loaded = load_run(stored[0].path, dataset=DATA, model=model)
    assert len({run.path for run in stored}) == 1
    for name, value in before.items():
        assert torch.equal(model.state_dict()[name], value)
        for run in (second, *stored, loaded):
            assert torch.equal(run.model.state_dict()[name], first.model.state_dict()[name])
    assert not torch.equal(first.model.layer.weight, before["layer.weight"])


def test_a_regularizer_that_was_given_stays_as_it_is():
    @dataclass(eq=False)
    class Remembering:
        seen: list = field(default_factory=list)

        @hookimpl
        def penalty_terms(self, code):
            self.seen.append(len(code))
            return {"mine": len(self.seen) * code.square().mean()}

    mine = Remembering()
    first, second = (train(CONFIG, dataset=DATA, regularizers={"mine": mine}) for _ in range(2))
    assert mine.seen == []
    assert first.config == second.config
    assert first.metrics == second.metrics


def test_the_record_says_what_truly_ran(tmp_path):
    run = train(CONFIG, dataset=DATA, model=Net(), out=tmp_path)
    loaded = load_run(run.path, dataset=DATA, model=Net())
    assert loaded.config.model.kind == loaded.config.dataset.kind == "given"
    assert loaded.config.model.options["name"] == "Net"
    assert loaded.config.dataset.options["name"] == "mine"
    assert loaded.record["data"] == {"name": "mine", "shape": [30, 4]}
    assert loaded.record["model"] == {"class": "Net", "repr": repr(Net())}
    assert "hidden" not in (run.path / "run.json").read_text(encoding="utf-8")
    assert "mnist5k" not in (run.path / "run.json").read_text(encoding="utf-8")


def test_a_run_of_objects_asks_for_them(tmp_path):
    run = train(CONFIG, dataset=DATA, model=Net(), out=tmp_path)
    with pytest.raises(CaelabError, match=r"the data of 'ae' \(mine\) were given as an object; give them again"):
        load_run(run.path)
    with pytest.raises(CaelabError, match=r"the model of 'ae' \(Net\) was given as an object; give it again"):
        load_run(run.path, dataset=DATA)


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        (lambda: Sine(), r"with the run's weights its code of the first 4 examples is off by 0\.\d+, where"),
        (lambda: Net(decode=lambda code: code @ torch.ones(3, 4)), r".*its reconstruction of the first 4"),
        (lambda: Net(encode=lambda inputs: inputs[:, :3]), "its code of the first 4 examples is off by"),
        (lambda: changed(Net(), lambda m: m.add_module("more", nn.Dropout(0.5))), "shows '\\(more\\): Dropout"),
        (lambda: changed(Net(), lambda m: m.add_module("more", nn.Linear(1, 1))), r"more.weight is missing there"),
        (lambda: changed(Net(), wider), r"layer.weight is \(3, 4\) there, but"),
    ],
)
def test_a_run_is_not_read_into_another_model(other, sentence, tmp_path):
    run = train(CONFIG, dataset=DATA, model=Net(), out=tmp_path)
    with pytest.raises(CaelabError, match="this is not the model of run .*" + sentence):
        load_run(run.path, dataset=DATA, model=other())


def test_a_kind_whose_code_changed_is_not_loaded_as_the_model_that_it_was(tmp_path, monkeypatch):
    from caelab.models.layers import ACTIVATIONS

    run = train(CONFIG, dataset=DATA, out=tmp_path)
    monkeypatch.setitem(ACTIVATIONS, "sigmoid", nn.Tanh)
    with pytest.raises(CaelabError, match="this is not the model of run"):
        load_run(run.path, dataset=DATA)


def test_a_run_of_before_is_still_read(tmp_path):
    import json

    run = train(CONFIG, dataset="digits", out=tmp_path)
    found = json.loads((run.path / "run.json").read_text(encoding="utf-8"))
    record = {key: found["record"][key] for key in ("data_hash", "versions", "seconds")}
    (run.path / "run.json").write_text(json.dumps({"config": found["config"], "record": record}), encoding="utf-8")
    assert torch.equal(load_run(run.path).model.encode[0].weight, run.model.encode[0].weight)


def test_a_folder_under_the_name_of_another_run_is_not_taken_for_it(tmp_path):
    first = train(CONFIG, dataset=DATA, out=tmp_path)
    name = name_of(seed=1)
    first.path.rename(tmp_path / name)
    with pytest.raises(CaelabError, match="bears the name of this run but holds another one"):
        train(CONFIG, dataset=DATA, seed=1, out=tmp_path)


def test_a_run_found_under_another_label_bears_the_label_that_was_asked_for(tmp_path):
    """As on a disk where the folders AE-... and ae-... are one."""
    first = train(CONFIG, dataset=DATA, out=tmp_path)
    first.path.rename(first.path.with_name(first.path.name.replace("ae-", "AE-")))
    assert train(CONFIG.with_label("AE"), dataset=DATA, out=tmp_path).label == "AE"


# ---- settings of the caller


@pytest.fixture
def plain():
    return train(CONFIG, dataset=DATA).model.encode[0].weight


def test_torchs_global_settings_do_not_change_a_run(plain):
    runs = []
    torch.set_default_dtype(torch.float64)
    try:
        runs.append(train(CONFIG, dataset=DATA))
    finally:
        torch.set_default_dtype(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        runs.append(train(CONFIG, dataset=DATA))
    with torch.no_grad():
        runs.append(train(CONFIG, dataset=DATA))
    with torch.inference_mode():
        runs.append(train(CONFIG, dataset=(INPUTS, np.arange(30) % 3), splits=(20, 5, 5)))
    with torch.device("meta"):
        runs.append(train(CONFIG, dataset=DATA))
    torch.set_float32_matmul_precision("medium")
    try:
        runs.append(train(CONFIG, dataset=DATA))
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    for run in runs:
        assert torch.equal(run.model.encode[0].weight, plain)


def test_lazy_layers_draw_their_weights_from_the_runs_seed(plain):
    def lazy():
        model = Net()
        model.layer, model.back = nn.LazyLinear(3), nn.LazyLinear(4)
        return model

    torch.manual_seed(5)
    first = train(CONFIG, dataset=DATA, model=lazy())
    torch.manual_seed(6)
    second = train(CONFIG, dataset=DATA, model=lazy())
    assert first.config == second.config
    assert torch.equal(first.model.layer.weight, second.model.layer.weight)
    assert train(CONFIG, dataset=DATA, model=lazy(), seed=1).config.model != first.config.model


def test_the_names_of_ordinary_runs_stay_as_they_were():
    """Folders of earlier versions are found again."""
    assert recipe_config("ae").content_hash("data") == EARLIER["ae"]
    assert recipe_config("cae-h", seed=3).content_hash("data") == EARLIER["cae-h"]


EARLIER = {"ae": "b7ed649c45d3", "cae-h": "7dbb779d3a5c"}
