"""A right penalty is never failed, a wrong one never passed, and the reason given is the reason."""

import pytest

from caelab.testing import check_penalty, check_regularizer
from tests.core.testing import right_penalties
from tests.core.testing.right_penalties import RIGHT
from tests.core.testing.wrong_penalties import WRONG


def name_of(thing):
    return getattr(thing, "__name__", type(thing).__name__)


def some(things, often):
    """Every case, the most of them among the slow tests: one of each kind runs always."""
    slow = pytest.mark.slow
    return [pytest.param(each, id=name_of(each), marks=[] if name_of(each) in often else slow) for each in things]


def report_on(thing):
    is_plugin = any(hasattr(thing, hook) for hook in ("penalty_terms", "corrupt_input"))
    return (check_regularizer if is_plugin else check_penalty)(thing, raises=False)


RIGHT_OFTEN = {
    "of_leaky_relu", "kullback_leibler", "CountsSteps", "Grows", "largest_singular_value",
}  # fmt: skip
WRONG_OFTEN = {
    "cut_code", "of_a_copy", "never_reached", "warms_up_to_half", "over_the_batch", "KeepsTheGraph", "OwnGenerator",
    "by_an_iterator", "changes_clean", "ChangesCode", "SetsDefaultType", "EndsAtOnce", "asks", "Drifts",
}  # fmt: skip


@pytest.mark.parametrize("thing", some(RIGHT, RIGHT_OFTEN))
def test_a_right_one_passes(thing):
    report = report_on(thing)
    assert report.passed, report.told(report.failures)


@pytest.mark.parametrize("thing", some(WRONG, WRONG_OFTEN))
def test_a_wrong_one_fails_for_its_reason(thing):
    name, words = WRONG[thing]
    rows = {check.name: " ".join(check.row()) for check in report_on(thing).failures}
    assert name in rows, sorted(rows)
    assert [word for word in words if word not in rows[name]] == [], rows[name]


def test_there_are_enough_of_each():
    assert len(RIGHT) >= 40
    assert len(WRONG) >= 40


def rows_of(thing):
    report = report_on(thing)
    assert report.passed, report.told(report.failures)
    return {check.name: check for check in report.checks}


def test_what_is_taken_for_granted_is_reported():
    rows = rows_of(right_penalties.of_relu_in_float32)
    assert rows["constants"].verdict == "reported"
    assert "float32 beside a batch in float64, in matmul" in rows["constants"].found
    assert "looked at in epoch 5" in rows_of(right_penalties.WarmsUp)["epoch"].found
    assert rows_of(right_penalties.Mixup)["moments"].verdict == "skipped"
    assert "it keeps self.mean" in rows_of(right_penalties.MovingMean)["the same when it is called again"].found
    assert "the first: 'loss" in rows_of(right_penalties.printing)["prints"].found
