"""A penalty that trains nothing is refused at the first step, and one that may count for nothing yet is not."""

import copy
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from caelab import CaelabError, hookimpl, jacobian, train


def penalty(function, name="mine"):
    """A plugin whose only term is a function of everything it may be handed."""

    class Penalty:
        @hookimpl
        def penalty_terms(self, model, clean, code, reconstruction, encoder_jacobian, epoch):
            given = {"model": model, "clean": clean, "code": code, "jac": encoder_jacobian, "epoch": epoch}
            return {name: function({**given, "reconstruction": reconstruction})}

    return Penalty()


def frozen(function):
    """The same with the encoder's parameters held fixed."""
    plugin = penalty(function)

    class Freezing(type(plugin)):
        @hookimpl
        def before_training(self, model):
            for parameter in model.encode.parameters():
                parameter.requires_grad_(False)

    return Freezing()


other = nn.Linear(20, 12)


def no_grad(given):
    with torch.no_grad():
        return given["model"].encode(given["clean"]).square().mean()


def by_the_input(given):
    x = given["clean"].detach().clone().requires_grad_()
    return (x.square().sum(dim=1)).mean()


def of_a_copy(given):
    return copy.deepcopy(given["model"]).encode(given["clean"]).square().mean()


def gradient_without_graph(given):
    x = given["clean"].detach().clone().requires_grad_()
    code = given["model"].encode(x)
    return torch.autograd.grad(code.sum(), x)[0].square().sum(dim=1).mean()


def by_numpy(given):
    return torch.as_tensor(given["code"].detach().numpy()).square().mean()


def under_vmap(given):
    return torch.func.vmap(given["model"].encode)(given["clean"]).detach().square().mean()


NO_GRADIENT = {
    "detach": lambda g: g["code"].detach().mean(),
    "no_grad": no_grad,
    "data": lambda g: g["code"].data.abs().mean(),
    "item": lambda g: torch.tensor(g["code"].square().mean().item()),
    "numpy": by_numpy,
    "of the inputs": lambda g: g["clean"].mean(),
    "a count": lambda g: (g["code"] > 0.5).float().mean(),
    "an index": lambda g: g["code"].argmax(dim=1).float().mean() + 1,
    "gradient without a graph": gradient_without_graph,
    "weights detached": lambda g: g["model"].encode[0].weight.detach().square().sum(),
    "vmap": under_vmap,
    "a constant": lambda g: torch.tensor(0.3),
    "NaN": lambda g: torch.tensor(float("nan")),
    "norm of a detached Jacobian": lambda g: g["jac"].squared_norm().detach().mean(),
    "svdvals": lambda g: torch.linalg.svdvals(g["jac"].dense().detach())[:, 0].mean(),
}
NO_PARAMETER = {
    "by the input": by_the_input,
    "of a copy": of_a_copy,
    "of another model": lambda g: other(g["clean"]).square().mean(),
    "of its own parameter": lambda g: nn.Parameter(torch.ones(())) * g["clean"].mean(),
}
FLAT = {
    "round": lambda g: g["code"].round().mean(),
    "floor": lambda g: (g["code"] * 10).floor().mean(),
    "ceil": lambda g: g["code"].ceil().mean(),
    "trunc": lambda g: (g["code"] * 10).trunc().mean(),
    "sign": lambda g: g["code"].sign().mean(),
    "bernoulli": lambda g: torch.bernoulli(g["code"]).mean() + 1e-9,
}


@pytest.mark.parametrize("name", NO_GRADIENT)
def test_a_term_without_a_gradient_is_refused(name, small):
    with pytest.raises(CaelabError) as told:
        train(small("ae"), observers={"idle": penalty(NO_GRADIENT[name])})
    assert str(told.value).startswith(
        "plugin 'idle' answers penalty_terms at epoch 1 with the term 'mine', which has no"
    )
    assert "encoder_jacobian's squared_norm()" in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", NO_PARAMETER)
def test_a_term_that_reaches_no_parameter_of_the_model_is_refused(name, small):
    with pytest.raises(CaelabError, match="the term 'mine', which depends on no trainable parameter of the model"):
        train(small("ae"), observers={"idle": penalty(NO_PARAMETER[name])})


@pytest.mark.parametrize("name", FLAT)
def test_a_term_that_is_flat_everywhere_is_refused_with_its_operator(name, small):
    with pytest.raises(CaelabError, match=rf"depends on the model only through {name}\(\), whose derivative is zero"):
        train(small("ae"), observers={"idle": penalty(FLAT[name])})


def test_a_penalty_on_frozen_parameters_is_refused(small):
    config = small("ae", "model.tied=false")
    with pytest.raises(CaelabError, match="the term 'mine', which has no gradient"):
        train(config, observers={"idle": frozen(lambda g: g["code"].square().mean())})
    train(config, observers={"busy": frozen(lambda g: g["reconstruction"].square().mean())})


def reentrant(given):
    inputs = given["clean"].detach().clone().requires_grad_()
    return checkpoint(given["model"].encode, inputs, use_reentrant=True).square().mean()


def shared_by_hand(given):
    x = given["clean"].detach().clone().requires_grad_()
    code = given["model"].encode(x)
    return torch.autograd.grad(code.sum(), x, create_graph=True)[0].square().sum(dim=1).mean()


RIGHT = {
    "code": lambda g: g["code"].abs().mean(),
    "of the copy of the code": lambda g: g["code"].clone().reshape(-1).mean(),
    "squared norm": lambda g: g["jac"].squared_norm().mean(),
    "estimate": lambda g: g["jac"].squared_norm(samples=2).mean(),
    "dense": lambda g: g["jac"].dense().square().sum(dim=(1, 2)).mean(),
    "jvp": lambda g: g["jac"].jvp(torch.ones_like(g["clean"])).square().mean(),
    "by a gradient of one's own": shared_by_hand,
    "reconstruction": lambda g: g["reconstruction"].square().mean(),
    "weights": lambda g: g["model"].encode[0].weight.square().sum(),
    "one parameter": lambda g: g["model"].encode[0].bias[0],
    "straight through": lambda g: (g["code"] + (g["code"].round() - g["code"]).detach()).mean(),
    "floor beside something smooth": lambda g: (g["code"].floor() + g["code"]).mean(),
    "weight zero": lambda g: 0.0 * g["code"].square().mean(),
    "warm-up by a factor": lambda g: (g["epoch"] - 1) * g["code"].square().mean(),
    "warm-up by a constant zero": lambda g: torch.zeros(()) if g["epoch"] < 2 else g["code"].square().mean(),
    "a hinge that nobody meets": lambda g: torch.relu(g["code"] - 2).sum(),
    "a clamp": lambda g: g["code"].square().sum().clamp(min=1e9) * 1e-9,
    "reentrant checkpoint": reentrant,
    "checkpoint": lambda g: checkpoint(g["model"].encode, g["clean"], use_reentrant=False).square().mean(),
    "functional": lambda g: torch.func.functional_call(
        g["model"].encode, dict(g["model"].encode.named_parameters()), (g["clean"],)
    ).mean(),
    "vmap": lambda g: torch.func.vmap(g["model"].encode)(g["clean"]).mean(),
    "jacrev": lambda g: torch.func.vmap(torch.func.jacrev(g["model"].encode))(g["clean"]).square().sum((1, 2)).mean(),
    "another Jacobian": lambda g: jacobian(g["model"].decode, g["code"]).squared_norm().mean(),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_penalty_is_not_refused(name, small):
    run = train(small("ae", "training.epochs=2"), observers={"mine": penalty(RIGHT[name])})
    assert len(run.metrics) == 2


def test_no_term_yet_is_no_mistake(small):
    class Late:
        @hookimpl
        def penalty_terms(self, code, epoch):
            return {} if epoch < 3 else {"late": code.square().mean()}

    run = train(small("ae"), observers={"late": Late()})
    assert "train_late" not in run.metrics[0]
    assert run.metrics[2]["train_late"] > 0


@pytest.mark.parametrize("late", [NO_GRADIENT["detach"], NO_PARAMETER["of a copy"], FLAT["round"]])
def test_a_term_that_loses_its_gradient_later_is_refused_then(late, small):
    @dataclass(eq=False)
    class Losing:
        late: Any

        @hookimpl
        def penalty_terms(self, model, clean, code, epoch):
            if epoch < 2:
                return {"mine": code.square().mean()}
            return {"mine": self.late({"model": model, "clean": clean, "code": code})}

    with pytest.raises(CaelabError, match=r"^plugin 'losing' answers penalty_terms at epoch 2 with the term 'mine'"):
        train(small("ae"), observers={"losing": Losing(late)})


def test_a_term_that_has_no_gradient_in_some_batch_is_refused_in_that_batch(small):
    class Sometimes:
        count = 0

        @hookimpl
        def penalty_terms(self, code):
            self.count += 1
            return {"mine": code.detach().mean() if self.count == 9 else code.mean()}

    plugin = Sometimes()
    with pytest.raises(CaelabError, match=r"plugin .sometimes. answers penalty_terms at epoch 3"):
        train(small("ae", "training.batch_size=10"), observers={"sometimes": plugin})
    assert plugin.count == 9
