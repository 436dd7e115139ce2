"""The optimiser goes on with the parameters it was made for, so a plugin gives others before or not at all."""

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from caelab import CaelabError, hookimpl, train

ANSWERS = {"penalty_terms": {}, "extra_metrics": {}}


def doing(hook, act):
    """A plugin that does something to the model in one hook, and answers as if it had not."""

    def call(self, model):
        act(model)
        return ANSWERS.get(hook)

    return type("Doing", (), {hook: hookimpl(call)})()


ANY_TIME = ["before_epoch", "before_update", "after_batch", "after_epoch", "extra_metrics", "penalty_terms"]


def another_parameter(model):
    model.encode[0].weight = nn.Parameter(model.encode[0].weight.detach().clone())


def another_module(model):
    model.encode = nn.Sequential(nn.Linear(20, 12), nn.Sigmoid())


def one_more(model):
    model.extra = nn.Linear(2, 2)


def one_less(model):
    del model.decode


def other_shape(model):
    model.encode[0].weight.data = torch.zeros(3, 20)


WRONG = {
    another_parameter: r"gives the model parameters that {} \(encode\.0\.weight\); ",
    another_module: r"gives the model parameters that {} \(encode\.0\.weight, encode\.0\.bias\); ",
    one_more: r"gives the model parameters that {} \(extra\.weight, extra\.bias\); ",
    one_less: r"takes parameters from the model \(decode\.0\.bias\); ",
    other_shape: r"makes the parameter encode\.0\.weight one of shape \(3, 20\) while it is trained; convert a copy",
    nn.Module.double: r"makes the parameter encode\.0\.weight float64 on cpu, unlike the data; ",
    nn.Module.half: r"makes the parameter encode\.0\.weight float16 on cpu, unlike the data; ",
}


@pytest.mark.parametrize("act", WRONG, ids=lambda act: act.__name__)
@pytest.mark.parametrize("hook", ANY_TIME)
def test_a_model_of_other_parameters_than_the_optimisers_is_refused(hook, act, small):
    told = WRONG[act].format("the optimiser does not change")
    with pytest.raises(CaelabError, match=rf"^plugin 'mine' in {hook} at epoch 1 {told}"):
        train(small("ae"), observers={"mine": doing(hook, act)})


@pytest.mark.parametrize("act", WRONG, ids=lambda act: act.__name__)
def test_after_training_too_and_nothing_is_stored(act, small, tmp_path):
    with pytest.raises(CaelabError, match=r"^plugin 'mine' in after_training " + WRONG[act].format("were not trained")):
        train(small("ae"), observers={"mine": doing("after_training", act)}, out=tmp_path)
    assert not [path for path in tmp_path.iterdir() if not path.name.startswith(".partial")]


@pytest.mark.parametrize("act", [nn.Module.double, lambda model: setattr(model, "encode", nn.Linear(20, 12).double())])
def test_before_training_the_type_stays_that_of_the_data(act, small):
    with pytest.raises(CaelabError, match=r"^plugin 'mine' in before_training makes the parameter .* float64 on cpu"):
        train(small("ae"), observers={"mine": doing("before_training", act)})


@pytest.mark.parametrize("act", [another_parameter, another_module, one_more])
def test_before_training_other_parameters_are_given_and_trained(act, small):
    given = {}

    class Giving:
        @hookimpl
        def before_training(self, model):
            act(model)
            given.update({name: (p, p.detach().clone()) for name, p in model.named_parameters()})

    run = train(small("ae"), observers={"mine": Giving()})
    assert all(given[name][0] is p for name, p in run.model.named_parameters())
    assert not torch.equal(*[each.detach() for each in given["encode.0.weight"]])


@pytest.mark.parametrize("late", [1, 2, 20])
def test_a_change_at_any_step_is_named(late, small):
    steps = []

    class Late:
        @hookimpl
        def before_update(self, model):
            steps.append(model)
            if len(steps) == late:
                another_parameter(model)

    with pytest.raises(CaelabError, match="plugin 'late' in before_update at epoch 1 gives the model parameters"):
        train(small("ae", "training.batch_size=2"), observers={"late": Late()})
    assert len(steps) == late


def test_a_parameter_that_is_let_go_too_late_is_named(small):
    class Freezing:
        @hookimpl
        def before_training(self, model):
            model.encode.requires_grad_(False)
            model.extra = nn.Linear(2, 2)  # so the optimiser is made anew, without the frozen ones

        @hookimpl
        def after_epoch(self, epoch, model):
            model.encode.requires_grad_(epoch == 2)

    with pytest.raises(CaelabError, match=r"after_epoch at epoch 2 gives the model parameters that the optimiser does"):
        train(small("ae"), observers={"late": Freezing()})


def test_parameters_may_be_frozen_and_let_go_again(small):
    class Thawing:
        @hookimpl
        def before_epoch(self, epoch, model):
            model.encode.requires_grad_(epoch == 2)

    assert len(train(small("ae"), observers={"late": Thawing()}).metrics) == 3


def test_parts_that_hold_the_same_parameters_in_another_way_are_no_matter(small):
    class Pruning:
        @hookimpl
        def after_epoch(self, epoch, model):
            if epoch == 1:
                prune.l1_unstructured(model.encode[0], "weight", 0.5)

    run = train(small("ae", "training.batch_size=2"), observers={"pruning": Pruning()})
    assert int((run.model.encode[0].weight == 0).sum()) == 120


def test_the_reconstruction_is_that_of_the_parts_given_before_training(small):
    seen = []

    class Giving:
        @hookimpl
        def before_training(self, model):
            model.encode = nn.Sequential(nn.Linear(20, 12), nn.Tanh())

        @hookimpl
        def penalty_terms(self, model, clean, reconstruction_jacobian):
            whole = torch.func.vmap(torch.func.jacrev(lambda x: model.decode(model.encode(x))))(clean)
            seen.append(torch.allclose(reconstruction_jacobian.dense(), whole, atol=1e-5))
            return {}

    train(small("ae"), regularizers={"giving": Giving()})
    assert seen
    assert all(seen)
