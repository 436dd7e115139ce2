"""A check that cannot fail is a defect: for each there is a plugin that fails it, and it alone or with its kin."""

import re
from functools import cache

import pytest
import torch

from caelab import CaelabError, hookimpl
from caelab.registry.catalogue import catalogue
from caelab.testing import CheckFailed, check_regularizer
from caelab.testing.penalty.hooks import check_metrics
from caelab.testing.penalty.subjects import Subject
from caelab.testing.regularizers import guarded
from tests.core.testing.broken import (
    CORRUPTIONS,
    PENALTIES,
    BoundsWeights,
    DoubleNoise,
    NoHook,
    NotMarked,
    OneTermDetached,
    OneTermFlat,
    ReturnsNothing,
    ScalesAfterwards,
    ScalesWeights,
    Sound,
    SoundNoise,
    SumOverBatch,
    Undifferentiable,
    UnseededNoise,
)

BROKEN = PENALTIES | CORRUPTIONS


@cache
def report_of(factory):
    return check_regularizer(factory, raises=False)


def failures(factory):
    return {check.name for check in report_of(factory).failures}


@pytest.mark.parametrize("factory", BROKEN, ids=lambda factory: factory.__name__)
def test_a_broken_plugin_fails_what_it_breaks_and_nothing_else(factory):
    assert failures(factory) == BROKEN[factory]


@pytest.mark.parametrize("factory", [Sound, SoundNoise])
def test_a_sound_plugin_fails_nothing(factory):
    assert check_regularizer(factory).passed


def test_every_check_has_something_that_fails_it():
    """Values are left to the known mistakes; the other rows of the built-in plugins are all among those failed here."""
    names = ("contractive", "gaussian")
    reports = [check_regularizer(catalogue().get("regularizer", name), name=name) for name in names]
    rows = {check.name for report in reports for check in report.checks if check.verdict == "passed"}
    assert {row for row in rows if not row.startswith("value")} == set().union(*BROKEN.values()) - {"interactions"}


def test_a_failure_is_raised_with_its_rows_and_remedies():
    with pytest.raises(CheckFailed, match=r"fails 2 of \d+ checks") as told:
        check_regularizer(SumOverBatch)
    assert "duplicates: expected the same when the batch holds every example twice, but found off by 1" in str(
        told.value
    )
    assert "use .mean() over the batch axis" in str(told.value)
    assert isinstance(told.value, AssertionError)


def remedies(factory):
    return " ".join(check.remedy for check in check_regularizer(factory, raises=False).failures)


def test_a_forgotten_marker_or_return_is_what_to_do_about_it():
    assert "write @hookimpl above def penalty_terms" in remedies(NotMarked)
    assert "answers at least one hook, under @hookimpl: before_training, " in remedies(NoHook)
    (row,) = check_regularizer(ReturnsNothing, raises=False).failures
    assert "return {" in row.remedy + row.found


def test_a_penalty_that_changes_weights_is_told_so_and_which():
    for factory in (ScalesWeights, BoundsWeights, ScalesAfterwards):
        (row,) = report_of(factory).failures
        assert row.found.startswith("changes the model's weights: encode.0.weight")
        assert row.remedy == "change weights in before_update or after_batch, or work on copy.deepcopy(model)"


def test_the_term_that_trains_nothing_is_named_beside_one_that_does():
    for factory, reason in ((OneTermDetached, "has no gradient"), (OneTermFlat, r"only through round\(\)")):
        (row,) = (row for row in report_of(factory).failures if row.name == "adds to the loss")
        assert row.found.endswith("which train nothing: b")
        assert re.search(f"the term 'b' .*{reason}", row.remedy)


def test_an_operator_without_a_derivative_is_the_reason_that_is_given():
    report = report_of(Undifferentiable)
    assert report.mistakes == []
    for row in report.failures:
        assert "derivative for aten::heaviside is not implemented" in row.remedy
        assert "detach" not in row.remedy


def test_chance_from_elsewhere_is_no_mixing_of_examples():
    row = {check.name: check for check in report_of(UnseededNoise).checks}
    assert row["no mixing of examples"].verdict == row["moments"].verdict == "skipped"
    assert "draws from elsewhere than streams" in row["moments"].found
    assert "draws numbers from elsewhere than streams" in row["the same when it is called again"].remedy


@pytest.mark.parametrize("metrics", [
    {"valid_reconstruction": 0.0}, {"epoch": 1}, {"train_mine": 1.0}, {"mine": "a"}, {"mine": torch.ones(2)}, [1.0],
], ids=str)  # fmt: skip
def test_metrics_are_numbers_under_names_of_their_own(metrics):
    class Measures(Sound):
        @hookimpl
        def extra_metrics(self, model):
            return metrics

    found = {check.name for check in check_metrics_of(Measures)}
    assert found == {"metrics"}


def test_a_number_of_its_own_is_a_metric():
    class Measures(Sound):
        @hookimpl
        def extra_metrics(self, inputs):
            return {"mine": float(inputs.mean())}

    assert check_metrics_of(Measures) == []


def check_metrics_of(factory):
    return [row for row in guarded(check_metrics, Subject("mine", factory, {"weight": 1.0})) if row.verdict == "failed"]


def test_a_claim_needs_a_penalty():
    with pytest.raises(CaelabError, match="expected a penalty to be 'weight decay', but 'SoundNoise' adds nothing"):
        check_regularizer(SoundNoise, claims="weight decay")


def test_mixing_tells_of_the_plugin_by_its_name():
    (row,) = (row for row in check_regularizer(DoubleNoise, raises=False).failures if row.name == "interactions")
    assert "'DoubleNoise'" in row.found


def test_a_penalty_over_the_batch_may_say_so():
    class SaysSo(SumOverBatch):
        over_batch = True

        def value(self, model, clean, code, norms, streams):
            return code.var(dim=0, unbiased=False).sum()

    report = check_regularizer(SaysSo)
    assert {check.name for check in report.checks if check.verdict == "reported"} >= {
        "batch size",
        "no mixing of examples",
    }


def test_an_unsupported_activation_is_not_looked_at():
    class OnlySigmoid(Sound):
        activations = ("sigmoid",)

    rows = {check.name for check in check_regularizer(OnlySigmoid).checks}
    assert "gradient: after training" in rows
    assert "gradient: tanh" not in rows
