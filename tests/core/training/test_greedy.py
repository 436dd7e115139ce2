"""Stacks that are trained layer by layer, against their layers trained one after the other by hand."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

from caelab import (
    CaelabError,
    hookimpl,
    jacobian,
    load_dataset,
    load_run,
    read_results,
    recipe_config,
    run_study,
    train,
)
from caelab.data import make_dataset
from caelab.data.samples import Samples
from caelab.runs.config import make_config
from caelab.runs.layers import layer_configs
from caelab.runs.run import build_model, dataset_of, forget_data

STACK = ["model.hidden=[12, 8]", "pretraining=greedy", "training.epochs=2"]


def stack_of(small, recipe="cae", *settings):
    return small(recipe, *STACK, *settings)


def folders(out):
    return sorted(path.name.rpartition("-")[0] for path in out.iterdir())


def as_data(run):
    """The codes of a run as a data set of a user's, with the run's parts, made without the code that is tested."""
    data, code = run.dataset, run.encode(run.dataset.inputs)
    return make_dataset("codes", Samples(code, parts=(data.train, data.valid, data.test)))


def test_every_layer_is_the_run_that_it_would_be_by_itself(small, tmp_path):
    config = stack_of(small, "cae", "contractive.weight=0.5")
    stack = train(config, out=tmp_path)
    first = train(small("cae", "contractive.weight=0.5", "training.epochs=2"))
    upper = recipe_config("cae", ["model.hidden=[8]", "contractive.weight=0.5", *map(str, ["training.epochs=2"])])
    upper = make_config({**upper.as_dict(), "seed": 2**32, "training": config.training.model_dump(mode="json")})
    second = train(upper, dataset=as_data(first))
    parts = [first.model.encode[0].weight, second.model.encode[0].weight]
    assert all(torch.equal(stack.model.encode[2 * k].weight, part) for k, part in enumerate(parts))
    inputs = stack.dataset.test_inputs
    assert torch.equal(stack.encode(inputs), second.encode(first.encode(inputs)))
    back = first.model.decode(second.model.decode(stack.encode(inputs)))
    assert torch.equal(stack.reconstruct(inputs), back)
    assert [row["layer"] for row in stack.metrics] == [1, 1, 2, 2]
    assert [row["epoch"] for row in stack.metrics] == [1, 2, 3, 4]
    assert [row["valid_reconstruction"] for row in stack.metrics] == [
        row["valid_reconstruction"] for row in [*first.metrics, *second.metrics]
    ]


def test_the_jacobian_of_a_stack_is_the_product_of_its_layers(small):
    stack = train(stack_of(small))
    inputs = stack.dataset.test_inputs.double()
    first, second = stack.model.encode[:2].double(), stack.model.encode[2:].double()
    product = jacobian(second, first(inputs)).dense() @ jacobian(first, inputs).dense()
    found = jacobian(stack.model.encode, inputs)
    torch.testing.assert_close(found.dense(), product, rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(found.squared_norm(), product.square().sum(dim=(1, 2)), rtol=1e-10, atol=0)


def test_a_stack_and_its_layers_are_read_back(small, tmp_path):
    stack = train(stack_of(small), out=tmp_path)
    assert folders(tmp_path) == ["cae", "cae layer 1", "cae layer 2"]
    again = load_run(stack.path)
    assert torch.equal(again.encode(again.dataset.inputs), stack.encode(stack.dataset.inputs))
    upper = load_run(next(tmp_path.glob("cae layer 2-*")))
    assert torch.equal(upper.dataset.inputs, train(small("cae", "training.epochs=2")).encode(stack.dataset.inputs))
    assert [torch.equal(getattr(upper.dataset, part), getattr(stack.dataset, part)) for part in ("train", "test")]
    assert stack.record["layers"] == [path.name for path in sorted(tmp_path.glob("cae layer*"))]


def test_codes_of_data_in_a_file_stay_in_a_file(small, tmp_path):
    """Codes of data that are larger than memory may be larger, too; the bits are those of data in memory."""
    inputs = np.random.default_rng(0).random((60, 20)).astype("float32")
    np.save(tmp_path / "x.npy", inputs)
    stacks = [
        train(stack_of(small), dataset={"kind": f"{kind}:{tmp_path / 'x.npy'}", "splits": [40, 10, 10]}, out=tmp_path)
        for kind in ("memmap", "npy")
    ]
    uppers = [load_run(tmp_path / stack.record["layers"][1]) for stack in stacks]
    assert [upper.dataset.mapped for upper in uppers] == [True, False]
    assert torch.equal(uppers[0].dataset.inputs, uppers[1].dataset.inputs)
    assert torch.equal(*(stack.encode(torch.from_numpy(inputs)) for stack in stacks))


class Epochs:
    """Counts the epochs of every run by its name, and interrupts one."""

    def __init__(self, stop=None):
        self.counted, self.stop, self.name = Counter(), stop, ""

    @hookimpl
    def before_training(self, name):
        self.name = name.rpartition("-")[0]

    @hookimpl
    def before_epoch(self, epoch):
        self.counted[self.name] += 1
        if (self.name, epoch) == self.stop:
            raise KeyboardInterrupt


def test_layers_are_shared(small, tmp_path):
    first, second, third = Epochs(), Epochs(), Epochs()
    train(small("cae", "training.epochs=2"), out=tmp_path, observers={"epochs": first})
    train(stack_of(small), out=tmp_path, observers={"epochs": second})
    train(stack_of(small, "cae", "model.hidden=[12, 8, 5]"), out=tmp_path, observers={"epochs": third})
    assert first.counted == {"cae": 2}
    assert second.counted == {"cae layer 2": 2}
    assert third.counted == {"cae layer 3": 2}


@pytest.mark.parametrize("stop", [("dae-b layer 1", 2), ("dae-b layer 2", 1), ("dae-b layer 2", 2)])
def test_an_interrupted_stack_goes_on_to_the_same_bits(stop, small, tmp_path):
    config = stack_of(small, "dae-b")
    unbroken, stopped, rest = train(config), Epochs(stop), Epochs()
    with pytest.raises(KeyboardInterrupt):
        train(config, out=tmp_path, observers={"epochs": stopped})
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("dae-b-")]
    resumed = train(config, out=tmp_path, observers={"epochs": rest})
    assert sum(rest.counted.values()) == 4 - (sum(stopped.counted.values()) - 1)
    assert resumed.metrics == unbroken.metrics
    for name, value in unbroken.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


def test_regularizers_as_a_list_are_those_of_the_layers(small, tmp_path):
    raw = {**stack_of(small).as_dict(), "regularizers": [{"contractive": {"weight": 0.5}}, {"masking": {"p": 0.2}}]}
    first, second = layer_configs(make_config(raw))
    assert {label: block.options for label, block in first.regularizers.items()} == {"contractive": {"weight": 0.5}}
    assert {label: block.options for label, block in second.regularizers.items()} == {"masking": {"p": 0.2}}
    run = train(raw)
    assert "train_contractive" in run.metrics[0]
    assert "train_contractive" not in run.metrics[-1]
    assert make_config(run.config.as_dict()) == run.config
    stored = train(raw, out=tmp_path)
    assert stored.metrics == run.metrics  # a table has a column for every metric, NaN where a layer has none


def test_layers_may_be_trained_otherwise(small):
    layers = [{}, {"training": {"epochs": 1, "learning_rate": 0.1}, "model": {"activation": "tanh"}}]
    _, second = layer_configs(make_config({**stack_of(small).as_dict(), "layers": layers}))
    assert (second.training.epochs, second.training.learning_rate) == (1, 0.1)
    assert second.model.options["activation"] == "tanh"


def test_a_layer_may_be_of_another_kind(small):
    """Its options begin afresh, as those of every new kind do; its width stays."""
    config = stack_of(small, "ae", "layers=[{model: {kind: rbm, steps: 2}, training: {optimizer: sgd}}, {}]")
    first, second = layer_configs(config)
    assert (first.model.kind, first.model.options) == ("rbm", {"hidden": 12, "steps": 2})
    assert (second.model.kind, second.model.options["hidden"]) == ("autoencoder", [8])
    assert [row["layer"] for row in train(config).metrics] == [1, 1, 2, 2]


@pytest.mark.parametrize("setting", ["layers.1.training.epochs=1", "regularizers.1.gaussian.sigma=0.1"])
def test_a_setting_names_a_layer_by_its_place(setting, small):
    each = ["regularizers=[{contractive: {weight: 0.5}}, {gaussian: {sigma: 0.3}}]"]
    each = ["layers=[{}, {training: {epochs: 5}}]"] if "layers" in setting else each
    _, second = layer_configs(stack_of(small, "ae", *each, setting))
    assert second.training.epochs == (1 if "layers" in setting else 2)
    assert second.regularizers.get("gaussian") is None or second.regularizers["gaussian"].options == {"sigma": 0.1}


@pytest.mark.parametrize("how", [{"without": ["contractive"]}, {"settings": ["contractive.weight=1"]}])
def test_a_name_alone_does_not_say_in_which_layer(how):
    settings = [*STACK, "regularizers=[{contractive: {weight: 0.5}}, {}]", *how.get("settings", [])]
    with pytest.raises(
        CaelabError, match=r"a list here, .* name its place, counted from 0, as in --set regularizers\.0\."
    ):
        recipe_config("cae", settings, without=how.get("without", []))


def test_a_layer_reconstructs_by_the_activation_of_the_one_below(small):
    config = stack_of(small, "ae", "model.hidden=[12, 8, 6]", "layers=[{}, {model: {activation: tanh}}, {}]")
    assert [each.model.options["output"] for each in layer_configs(config)] == ["sigmoid", "sigmoid", "tanh"]
    kinds = [each.training.reconstruction for each in layer_configs(config)]
    assert kinds == ["cross-entropy", "cross-entropy", "squared-error"]
    run = train(config)
    assert [type(step) for step in run.model.decode][1::2] == [nn.Tanh, nn.Sigmoid, nn.Sigmoid]


def test_codes_outside_the_unit_interval_are_reconstructed_by_the_activation(small):
    run = train(stack_of(small, "ae", "model.activation=tanh"))
    assert [type(step) for step in run.model.decode][1::2] == [nn.Tanh, nn.Sigmoid]
    _, second = layer_configs(run.config)
    assert second.training.reconstruction == "squared-error"


def test_layers_of_one_width_start_from_different_weights(small):
    config = stack_of(small, "ae", "model.hidden=[20, 20, 20]")
    first, second, third = build_model(config, dataset_of(config)).encode[::2]
    assert not torch.allclose(first.weight, second.weight)
    assert not torch.allclose(second.weight, third.weight)


class Squeeze:
    """A penalty that was given as an object, and that remembers."""

    def __init__(self):
        self.seen = 0

    @hookimpl
    def penalty_terms(self, code):
        self.seen += 1
        return {"squeeze": 0.01 * code.square().sum(dim=1).mean()}


def test_objects_that_were_given_reach_every_layer(small, digits_file, tmp_path):
    squeeze = Squeeze()
    with np.load(digits_file) as file:
        data = (file["x"], file["y"])
    run = train(stack_of(small), regularizers={"squeeze": squeeze}, dataset=data, splits=[40, 10, 10], out=tmp_path)
    assert [row["train_squeeze"] > 0 for row in run.metrics] == [True] * 4
    assert squeeze.seen == 0
    given = load_dataset("npz", path=str(digits_file), splits=(40, 10, 10))
    assert load_run(run.path, dataset=data).config.dataset.kind == "given"
    assert torch.equal(run.dataset.inputs, given.inputs)


@pytest.mark.parametrize("recipe", ["cae-2", "cae-h-2", "sae-3", "dae-b-3", "rbm-3"])
def test_recipes_of_stacks(recipe, small):
    layers = int(recipe[-1])
    run = train(small(recipe, f"model.hidden={[12, 8, 6][:layers]}", "training.epochs=1"))
    assert run.encode(run.dataset.inputs).shape == (60, [8, 6][layers - 2])
    assert len(run.metrics) == layers


def test_principal_components(small):
    run = train(small("pca", "model.hidden=7"))
    inputs = run.dataset.train_inputs.double().numpy()
    centred = inputs - inputs.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    best = centred @ directions[:7].T @ directions[:7]
    found = run.reconstruct(run.dataset.train_inputs).numpy() - inputs.mean(axis=0)
    np.testing.assert_allclose(found, best, atol=1e-5)
    weight = run.model.encode[0].weight.detach()
    torch.testing.assert_close(weight @ weight.T, torch.eye(7), atol=1e-5, rtol=0)


def test_random_weights_are_those_that_others_start_from(small):
    floor, start = train(small("random")), small("ae")
    assert torch.equal(floor.model.encode[0].weight, build_model(start, dataset_of(start)).encode[0].weight)


def test_a_study_of_a_stack_and_its_first_layer(digits_file, tmp_path):
    settings = {"model.hidden": [12], "training.epochs": 2}
    study = {
        "models": [
            {"recipe": "cae", "set": settings},
            {"recipe": "cae-2", "set": {**settings, "model.hidden": [12, 8]}},
        ],
        "datasets": [{"kind": "npz", "path": str(digits_file), "splits": [40, 10, 10]}],
        "seeds": 2,
        "analyses": ["jacobian_norm"],
        "out": str(tmp_path / "out"),
    }
    table = read_results(run_study(study), "jacobian_norm")
    assert set(zip(table["model"], table["seed"], strict=True)) == {(m, s) for m in ("cae", "cae-2") for s in (0, 1)}


@pytest.mark.parametrize("how", ["keys", "setting"])
def test_a_recipe_takes_a_list_of_regularizers(how, small):
    """As a key in Python, and as a setting of a command."""
    each = [{"contractive": {"weight": 0.5}}, {"masking": {"p": 0.2}}]
    settings = ["regularizers=[{contractive: {weight: 0.5}}, {masking: {p: 0.2}}]"] if how == "setting" else []
    config = recipe_config("cae", [*STACK, *settings], **({"regularizers": each} if how == "keys" else {}))
    assert [{*layer.regularizers} for layer in layer_configs(config)] == [{"contractive"}, {"masking"}]
    assert config.regularizers == {}


WRONG = [
    ({"pretraining": "end-to-end", "layers": [{}, {}]}, "layers, or regularizers as a list, are for a model that is"),
    ({"layers": [{}]}, "layers: expected one entry for each of the 2 layers [12, 8] of the model, but 1 came"),
    ({"layers": [{}, {"training": {"epochs": -1}}]}, "layer 2 of 'cae': training.epochs: input should be greater than"),
    ({"layers": [{}, {"regularizers": {"contractiv": {}}}]}, "unknown regularizer 'contractiv'; did you mean"),
    ({"layers": [{}, {"model": {"hiden": 3}}]}, "layer 2 of 'cae': model: unknown option 'hiden'; did you mean"),
    ({"layers": [{}, {"epochs": 3}]}, "layers.1: unknown option 'epochs'"),
    (
        {"layers": [{"model": {"hidden": [3]}}, {}]},
        "layers.0.model.hidden: the widths of all layers stand in model.hid",
    ),
    (
        {"layers": [{}, {"regularizers": {"contractive": {}}}]},
        "layers.1.regularizers.contractive.weight is missing: it",
    ),
    ({"layers": 5, "regularizers": [{}, {}]}, "expected either regularizers as a list with one mapping per layer"),
    ({"layers": [1, 2], "regularizers": [{}, {}]}, "expected either regularizers as a list with one mapping per layer"),
    (
        {"layers": [{}, None], "regularizers": [{}, {}]},
        "expected either regularizers as a list with one mapping per la",
    ),
    ({"layers": [{}, {"model": {"kind": "convolutional"}}]}, "layer 2 of 'cae': "),
    ({"regularizers": []}, "expected either regularizers as a list with one mapping per layer"),
    ({"regularizers": [{}, {}, {}]}, "layers: expected one entry for each of the 2 layers [12, 8] of the model, but 3"),
    ({"regularizers": [{}, {}], "layers": [{}]}, "expected either regularizers as a list with one mapping per layer"),
    ({"model": {"kind": "pca", "hidden": 30}, "training": {"reconstruction": "squared-error"}}, "has at most 20"),
    ({"pretraining": "greedily"}, "pretraining: input should be 'end-to-end', 'greedy' or 'none', but 'greedily' came"),
    (
        {"model": {"kind": "rbm", "hidden": [3, 2]}, "pretraining": "end-to-end"},
        "RBMs are stacked one by one",
    ),
]


@pytest.mark.parametrize(("changes", "told"), WRONG)
def test_wrong_stacks_are_told(changes, told, small, tmp_path):
    raw = stack_of(small).as_dict()
    training = {**raw["training"], **changes.get("training", {})}
    with pytest.raises(CaelabError) as error:
        train({**raw, **changes, "training": training}, out=tmp_path / "runs")
    assert told in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "runs").exists()


def test_a_layer_that_does_not_fit_the_codes_below_is_told_by_its_place(small):
    layers = "layers=[{model: {activation: tanh}}, {model: {kind: rbm}}]"
    with pytest.raises(CaelabError, match=r"^layer 2 of 'ae': RBM has binary units and expects inputs in \[0, 1\]"):
        train(stack_of(small, "ae", layers))


def test_a_model_that_was_given_has_no_layers(small):
    config = stack_of(small)
    with pytest.raises(CaelabError, match="makes the layers itself, but a model, Autoencoder, was given; leave it out"):
        train(config, model=build_model(small("ae"), dataset_of(config)))


def test_a_layer_without_the_run_below_is_told(small, tmp_path):
    train(stack_of(small), out=tmp_path)
    (below,) = tmp_path.glob("cae layer 1-*")
    below.rename(tmp_path.parent / below.name)
    forget_data()
    with pytest.raises(CaelabError, match=r"^the run on whose codes this one is trained is not in .*; put it beside"):
        load_run(next(tmp_path.glob("cae layer 2-*")))


def test_any_run_gives_codes_to_train_on(small, tmp_path):
    below = train(small("cae", "training.epochs=2"), out=tmp_path)
    run = train(recipe_config("ae", ["model.hidden=[5]", "training.epochs=1"], dataset={"kind": f"codes:{below.path}"}))
    assert torch.equal(run.dataset.inputs, below.encode(below.dataset.inputs))
    with pytest.raises(CaelabError, match="name its folder, as in codes:runs/cae-0123abc"):
        load_dataset("codes")
