"""Each check of an analysis has one that fails it."""

from functools import cache

import matplotlib
import pytest
from matplotlib import pyplot

import caelab
from caelab import CaelabError
from caelab.errors import NotApplicable
from caelab.runs.recipes import recipe_config
from caelab.testing import CheckFailed, check_analysis
from tests.core.testing.broken_analyses import ANALYSES, GlobalRandom, Sound


@pytest.fixture(autouse=True)
def clean_matplotlib():
    with matplotlib.rc_context():
        yield
    pyplot.close("all")


@pytest.mark.parametrize("analysis", ANALYSES, ids=lambda analysis: analysis.__name__)
def test_a_broken_analysis_fails_what_it_breaks_and_nothing_else(analysis, fresh_runs):
    report = check_analysis(analysis(), raises=False)
    assert {check.name for check in report.failures} == ANALYSES[analysis]


@pytest.fixture
def fresh_runs():
    """An analysis that changes weights must not reach the runs of the next test."""
    from caelab.testing.analyses import trial_runs

    yield
    trial_runs.cache_clear()


def test_a_sound_analysis_fails_nothing_and_every_row_can_fail():
    report = check_analysis(Sound())
    assert {check.name for check in report.checks} == set().union(*ANALYSES.values()) - {"runs"}


def test_a_failure_is_raised():
    with pytest.raises(CheckFailed, match="global random state: expected untouched, but found torch drawn from"):
        check_analysis(GlobalRandom())


def test_an_analysis_of_no_trial_run_is_skipped_and_told_why():
    class Particular(Sound):
        def measure(self, run, streams):
            raise NotApplicable("needs a rare kind of data")

    report = check_analysis(Particular())
    assert [check.verdict for check in report.checks] == ["passed", "passed", "reported", "skipped"]
    assert "check_analysis(analysis, run=...)" in report.checks[-1].remedy


@cache
def given_run():
    small = ["model.hidden=[5]", "training.epochs=1"]
    return caelab.train(recipe_config("ae", small, dataset={"kind": "digits", "splits": [60, 20, 20]}))


def test_a_given_run_is_measured():
    seen = []

    class Looks(Sound):
        def measure(self, run, streams):
            seen.append(run)
            return super().measure(run, streams)

    assert check_analysis(Looks(), run=given_run()).passed
    assert set(seen) == {given_run()}


def test_unknown_names_and_options_are_refused():
    with pytest.raises(CaelabError, match="did you mean 'jacobian_norm'"):
        check_analysis("jacobian_nrom")
    with pytest.raises(CaelabError, match="unknown option 'exmaples'; did you mean 'examples'"):
        check_analysis("jacobian_norm", {"exmaples": 3})
