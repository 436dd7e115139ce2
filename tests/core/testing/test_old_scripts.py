"""Mistakes are named whoever wrote them, in whatever style; right penalties pass in all of theirs."""

from functools import partial
from inspect import signature

import pytest
import torch

from caelab import CaelabError
from caelab.testing import check_penalty
from caelab.testing.mistakes.known import KNOWN_MISTAKES
from caelab.testing.penalty.conduct import check_conduct
from caelab.testing.penalty.observing import drawn, observe, relative_error
from caelab.testing.penalty.quantities import ENCODER
from caelab.testing.penalty.settings import one_thread
from caelab.testing.penalty.subjects import Trial
from caelab.testing.regularizers import certified, penalty_subject
from tests.core.testing import old_scripts
from tests.core.testing.old_scripts import RIGHT, WRONG, closed_form, jacobians, projected, refuses_shared_batches


def rows_of(function, claim, **further):
    """The rows on value and gradient alone, and the mistakes."""
    options = {"weight": 0.5} if "weight" in signature(function).parameters else {}
    with one_thread():
        return certified(penalty_subject(function, claim, options=options, **further))


def failed(rows):
    return {row.name: row for row in rows if row.verdict == "failed"}


@pytest.mark.parametrize(("function", "claim", "names"), WRONG, ids=lambda x: getattr(x, "__name__", ""))
def test_a_mistake_is_named_in_anyones_style(function, claim, names):
    old_scripts.kept.clear()
    rows, mistakes = rows_of(function, claim)
    assert mistakes == names
    (row,) = (row for row in rows if row.name == "known mistake")
    assert row.found == ", and ".join(names)
    assert all(mistake.explanation in row.remedy for mistake in KNOWN_MISTAKES if mistake.name in names)


def test_every_known_mistake_is_written_in_another_style():
    assert {name for _, _, names in WRONG for name in names} == {mistake.name for mistake in KNOWN_MISTAKES}


@pytest.mark.parametrize(("function", "claim", "activations"), RIGHT, ids=lambda x: getattr(x, "__name__", ""))
def test_a_right_penalty_passes_in_anyones_style(function, claim, activations):
    rows, mistakes = rows_of(function, claim, activations=activations)
    assert failed(rows) == {}
    assert mistakes == []


def test_a_function_for_one_activation_passes_everything_and_may_say_so_itself():
    assert check_penalty(closed_form, ENCODER, activations=["sigmoid"]).passed

    def says_so(W, h):
        return closed_form(W, h)

    says_so.activations = ("sigmoid",)
    assert {row.name for row in check_penalty(says_so, ENCODER).checks}.isdisjoint({"value: tanh", "value: relu"})


def test_beyond_one_layer_a_function_for_one_activation_is_told_but_not_failed():
    rows, _ = rows_of(old_scripts.closed_form_of_the_module, ENCODER, activations=["sigmoid"])
    told = {row.name: row.verdict for row in rows if row.name.startswith("value")}
    assert told["value: BatchNorm in training mode"] == "reported"
    assert told["value: two layers"] in ("reported", "skipped")
    assert told["value: untied weights"] == "passed"


def test_one_setting_that_crashes_hides_neither_the_others_nor_the_name():
    rows, mistakes = rows_of(old_scripts.weights_of_the_state, ENCODER)
    assert "RuntimeError" in failed(rows)["value: two layers"].found
    assert mistakes == ["detached weights"]


def test_a_factor_that_only_looks_like_the_batch_size_is_no_sum():
    rows, mistakes = rows_of(lambda encode, x: 6 * jacobians(encode, x).square().sum((1, 2)).mean(), ENCODER)
    assert "value: tanh" in failed(rows)
    assert mistakes == []


@pytest.mark.parametrize(("factor", "names"), [(1.2, []), (0.9, []), (0.5, ["the factor ½"]), (0.55, [])])
def test_a_factor_on_random_values_is_seen_and_named_only_where_it_is_sure(factor, names):
    def scaled(model, x, streams):
        return factor * projected(model, x, streams)

    rows, mistakes = rows_of(scaled, ENCODER, activations=["sigmoid", "tanh"])
    assert "value: all settings together" in failed(rows)
    assert mistakes == names


def lucky(model, x, streams, share=0.5):
    """The right value on average: that many times too large, and else zero."""
    refuses_shared_batches(model)
    luck = torch.rand((), generator=streams["mine"], dtype=x.dtype)
    right = closed_form(old_scripts.first_weight(model), model.encode(x))
    return right * ((luck < share) / share + 1e-9 * luck)


def test_random_values_are_drawn_until_their_mean_is_known():
    subject = penalty_subject(lucky)
    values = drawn(Trial(subject, subject.home))
    assert len(values) > 300
    assert relative_error(values) < 0.06


def test_what_is_too_noisy_cannot_be_told_and_fails():
    rows, _ = rows_of(partial(lucky, share=0.05), ENCODER, activations=["sigmoid"])
    assert "cannot tell" in failed(rows)["value: all settings together"].found


def test_an_unbiased_estimate_on_the_global_state_has_that_fault_alone():
    def global_noise(model, x):
        refuses_shared_batches(model)
        x = x.clone().requires_grad_()
        code = model.encode(x)
        noise = torch.randn_like(code).sign()
        return torch.autograd.grad((code * noise).sum(), x, create_graph=True)[0].pow(2).sum(1).mean()

    subject = penalty_subject(global_noise, ENCODER, activations=["sigmoid"])
    with one_thread():
        rows, mistakes = certified(subject)
    assert failed(rows) == {}
    assert mistakes == []
    assert failed(check_conduct(subject)).keys() >= {"global random state", "same stream, same value"}


def test_a_look_in_training_mode_leaves_the_next_one_alone():
    """Running statistics of batch normalisation would drift from call to call."""
    subject = penalty_subject(old_scripts.in_evaluation_mode, ENCODER)
    (setting,) = (setting for setting in subject.settings if setting.layer == "BatchNorm")
    trial = Trial(subject, setting)
    assert trial.number() == trial.number()
    assert len(observe(subject, setting).values) == 1


def test_a_weight_is_a_factor_of_what_is_claimed():
    def weighted(encode, x, lam):
        return lam * jacobians(encode, x).square().sum((1, 2)).mean()

    halved = partial(penalty_subject, weighted, ENCODER)
    assert certified(halved(options={"lam": 0.5}))[1] == []
    assert halved(options={"lam": 0.5}).weight == 0.5
    with pytest.raises(CaelabError, match="a penalty times 0 cannot be told from any other"):
        check_penalty(weighted, ENCODER, options={"lam": 0.0})
    with pytest.raises(CaelabError, match=r"unknown option 'foo'\. Known: encode, lam, x"):
        check_penalty(weighted, ENCODER, options={"foo": 3})


@pytest.mark.parametrize(("returned", "told"), [
    (None, "returns None"), ((1, 2), "returns a tuple"), ("a", "returns a str"), ({}, "returns a dict"),
    (float("nan"), "nan"),
])  # fmt: skip
def test_what_is_no_scalar_is_told_in_one_sentence(returned, told):
    (row,) = check_penalty(lambda h: returned, raises=False).failures
    assert row.name == "runs"
    assert told in row.found
    assert "TypeError" not in row.found


def test_a_scalar_with_an_axis_is_taken_with_a_note():
    (row,) = (
        row for row in check_penalty(lambda h: h.abs().sum(1).mean(0, keepdim=True)).checks if row.name == "shape"
    )
    assert row.verdict == "reported"
    assert "(1,)" in row.found


def test_a_function_that_ends_the_program_is_a_row():
    def exits(h):
        raise SystemExit(3)

    (row,) = check_penalty(exits, raises=False).failures
    assert "ends the program, with sys.exit(3)" in row.found


def test_parameters_by_place_and_further_ones_are_handed_over():
    def by_place(W, h, /, *_, scale=1.0, **__):
        return scale * closed_form(W, h)

    rows, _ = rows_of(by_place, ENCODER, activations=["sigmoid"])
    assert failed(rows) == {}
