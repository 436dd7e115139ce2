"""An analysis replaces no function that others call, and writes nothing over the run that it reads."""

import pytest
import torch
from torch import nn

from caelab import CaelabError, recipe_config, train
from caelab.analysis.isolation import run_left_as_found
from caelab.models import reconstruction
from caelab.process.code_in_place import Functions, code_left_as_found, owners


class Own(nn.Module):
    def forward(self, x):
        return x


class Derived(Own):
    pass


PATCHES = {
    "torch.nn.modules.activation.Sigmoid.forward": (nn.Sigmoid, "forward"),
    "torch.nn.modules.module.Module.__call__": (nn.Module, "__call__"),
    "torch.nn.modules.linear.Linear.__call__": (nn.Linear, "__call__"),
    "torch.nn.functional.softplus": (nn.functional, "softplus"),
    "torch.sigmoid": (torch, "sigmoid"),
    "torch.Tensor.sum": (torch.Tensor, "sum"),
    "caelab.models.reconstruction.reconstruction_error": (reconstruction, "reconstruction_error"),
    f"{__name__}.Own.forward": (Own, "forward"),
    f"{__name__}.Derived.forward": (Derived, "forward"),
}


def replace(owner, attribute, fails):
    setattr(owner, attribute, lambda *_: None)
    if fails:
        raise KeyError("lost")


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("name", PATCHES)
def test_a_replaced_function_is_named_and_put_back(name, fails):
    owner, attribute = PATCHES[name]
    before = getattr(owner, attribute), attribute in vars(owner)
    with (
        pytest.raises(KeyError if fails else CaelabError) as told,
        code_left_as_found("the analysis 'mine'", [Derived]),
    ):
        replace(owner, attribute, fails)
    assert (getattr(owner, attribute), attribute in vars(owner)) == before
    assert fails or f"the analysis 'mine' replaces functions that all others call: {name};" in str(told.value)


def test_code_that_is_left_alone_is_found_unchanged():
    functions = Functions(owners([Derived]))
    nn.Sequential(nn.Linear(3, 2), nn.Sigmoid())(torch.zeros(1, 3))
    assert functions.changes() == []


def test_what_torch_puts_around_its_functions_itself_is_no_change(monkeypatch):
    """Torch's compiler does so to ``manual_seed`` when it is loaded, which may be within an analysis."""
    with code_left_as_found("the analysis 'mine'"):
        monkeypatch.setattr(torch, "manual_seed", torch._disable_dynamo(torch.manual_seed))


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    settings = ["training.epochs=1", "model.hidden=[6]", "training.reconstruction=squared-error"]
    config = recipe_config("ae", settings, dataset={"kind": "digits", "splits": [100, 30, 30]})
    return train(config, out=tmp_path_factory.mktemp("runs"))


@pytest.mark.parametrize("name", ["weights.safetensors", "history.parquet", "run.json"])
def test_a_file_of_the_run_that_an_analysis_writes_is_named(name, stored):
    content = (stored.path / name).read_bytes()
    for act in (
        lambda file: file.write_bytes(b"x"),
        lambda file: file.unlink(),
        lambda file: file.write_bytes(content),
    ):
        with (
            pytest.raises(CaelabError, match=f"the analysis 'mine' writes to the folder of the run .* {name} in"),
            run_left_as_found(stored, "the analysis 'mine'"),
        ):
            act(stored.path / name)
    (stored.path / name).write_bytes(content)


def test_a_class_of_the_model_is_left_as_it_is(stored):
    layer = type(stored.model.encode[0])
    before = layer.forward
    with (
        pytest.raises(CaelabError, match=rf"replaces functions that all others call: {layer.__module__}.*forward"),
        run_left_as_found(stored, "the analysis 'mine'"),
    ):
        layer.forward = lambda self, code: code
    assert layer.forward is before


def test_what_is_only_read_or_written_beside_the_run_is_no_matter(stored):
    with run_left_as_found(stored, "the analysis 'mine'"):
        (stored.path / "weights.safetensors").read_bytes()
        (stored.path / "tables").mkdir(exist_ok=True)
