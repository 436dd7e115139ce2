"""A model that its copy would not be trained like is refused: memory shared by two tensors, hooks on gradients."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from caelab import CaelabError, recipe_config, train
from caelab.models.shared import refuse_lost_by_copying

X = np.random.default_rng(0).random((30, 6)).astype("float32")
QUICK = recipe_config("ae", ["training.epochs=2", "training.batch_size=10", "training.reconstruction=squared-error"])


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.e, self.d = nn.Linear(6, 3), nn.Linear(3, 6, bias=False)

    def encode(self, inputs):
        return self.e(inputs).tanh()

    def decode(self, code):
        return self.d(code)


class Tied(Plain):
    def decode(self, code):
        return F.linear(code, self.e.weight.t())


def tied_by_memory(model):
    model.d.weight = nn.Parameter(model.e.weight.data.t())


def tied_in_a_row(model):
    model.d.weight = nn.Parameter(model.e.weight.data.flatten()[:18].reshape(6, 3))


def an_attribute(model):
    model.transposed = model.e.weight.data.t()


def in_a_list(model):
    model.kept = {"of": [model.e.weight.data[1:]]}


def a_buffer(model):
    model.register_buffer("first", model.e.weight.data[0])


def from_numpy(model):
    memory = np.zeros((4, 6), "float32")
    model.e.weight, model.d.weight = (nn.Parameter(torch.from_numpy(each)) for each in (memory[:3], memory[1:].T))


def one_frozen(model):
    tied_by_memory(model)
    model.d.weight.requires_grad_(False)


@pytest.mark.parametrize(
    "tie", [tied_by_memory, tied_in_a_row, an_attribute, in_a_list, a_buffer, from_numpy, one_frozen]
)
def test_memory_that_a_copy_would_part_is_refused(tie):
    model = Plain()
    tie(model)
    with pytest.raises(
        CaelabError,
        match=r"(e.weight and .*|d.weight and e.weight) of the model Plain are two tensors that share .*F\.linear",
    ):
        train(QUICK, model=model, dataset=X)


def test_a_tie_by_one_parameter_is_trained():
    model = Tied()
    model.d = None
    run = train(QUICK, model=model, dataset=X)
    assert not torch.equal(run.model.e.weight, model.e.weight)


def parts_of_one_memory(model):
    flat = torch.rand(3, 12)
    model.e.weight, model.d.weight = nn.Parameter(flat[:, ::2]), nn.Parameter(flat[:, 1::2].t())


def constant_buffers(model):
    model.register_buffer("all", torch.arange(6.0))
    model.register_buffer("some", model.all[:3])


def both_frozen(model):
    tied_by_memory(model)
    model.requires_grad_(False)


def one_parameter_twice(model):
    model.same = model.e


@pytest.mark.parametrize("make", [parts_of_one_memory, constant_buffers, both_frozen, one_parameter_twice])
def test_what_a_copy_keeps_is_not_refused(make):
    model = Plain()
    make(model)
    refuse_lost_by_copying(model)


HOOKS = {
    "on the gradient": lambda weight: weight.register_hook(lambda gradient: gradient * 0),
    "behind the gradient": lambda weight: weight.register_post_accumulate_grad_hook(lambda p: p.grad.zero_()),
}


@pytest.mark.parametrize("kind", HOOKS)
def test_a_hook_on_a_parameter_is_refused_until_it_is_removed(kind):
    model = Plain()
    hook = HOOKS[kind](model.e.weight)
    with pytest.raises(CaelabError, match=r"the parameter e\.weight of the model Plain has a hook .*requires_grad_"):
        train(QUICK, model=model, dataset=X)
    hook.remove()
    train(QUICK, model=model, dataset=X)


@pytest.mark.parametrize("pre", [False, True])
def test_a_backward_hook_of_a_module_is_kept_and_named(pre, tmp_path):
    plain, hooked = Plain(), Plain()
    if pre:
        hooked.d.register_full_backward_pre_hook(lambda module, outputs: (outputs[0] * 0,))
    else:
        hooked.d.register_full_backward_hook(lambda module, inputs, outputs: (inputs[0] * 0,))
    runs = [train(QUICK, model=model, dataset=X, out=tmp_path) for model in (plain, hooked)]
    assert runs[0].path != runs[1].path
    assert not torch.equal(runs[0].model.e.weight, runs[1].model.e.weight)
    assert torch.equal(runs[1].model.e.weight, hooked.e.weight)  # no gradient comes through
