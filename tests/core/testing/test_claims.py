"""Each check of a claim has one that fails it; what is right passes."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from caelab import CaelabError, Column, Contest, Finding, NotApplicable, Numbers, finding
from caelab.registry.catalogue import Offer, catalogue
from caelab.testing import CheckFailed, check_claim
from caelab.testing.made_up import columns, first_seed, made_up, poorer, recipes, shuffled
from tests.core.testing.wrong_claims import NORM, WRONG, misspelt, sound, sound_on_a_table, without_examples


def name_of(claim):
    return claim.__name__


@pytest.mark.parametrize("claim", WRONG, ids=name_of)
def test_a_wrong_claim_fails_what_is_wrong_and_nothing_else(claim):
    before = np.geterr()
    report = check_claim(claim, raises=False)
    assert {check.name for check in report.failures} == WRONG[claim]
    assert all(check.remedy for check in report.failures)
    assert np.geterr() == before


@pytest.mark.parametrize("claim", [Finding("It is so.", "me", "supported", "x"), 3, None])
def test_what_is_no_function_is_told(claim):
    (row,) = check_claim(claim, raises=False).failures
    assert (row.name, row.found) == ("function", type(claim).__name__)


@pytest.mark.parametrize("claim", [sound, sound_on_a_table], ids=name_of)
def test_a_sound_claim_fails_nothing(claim):
    report = check_claim(claim)
    assert report.subject == claim.__name__
    assert all(check.verdict == "passed" for check in report.checks)


def test_every_row_can_fail():
    rows = {check.name for claim in (sound, sound_on_a_table) for check in check_claim(claim).checks}
    assert rows - set().union(*WRONG.values()) == {"function", "without any number in the rows"}


def judged_by_a_test(numbers):
    ae, cae = numbers.of("ae", NORM), numbers.of("cae", NORM)
    if len(ae) < 2:
        raise NotApplicable("one seed")
    p = stats.ttest_rel(ae, cae).pvalue
    larger = "supported" if ae.mean() > cae.mean() else "contradicted"
    return Finding("It is so.", "me", larger if p < 0.05 else "inconclusive", f"p = {p:.3g}")


def about_a_bound(numbers):
    return finding("The norm is below 1.", "me", "Norm", [Contest(1, numbers.of("cae", NORM))])


def in_the_order_of_the_models(numbers):
    models = numbers.rows["model"].drop_duplicates()
    told = ", ".join(f"{model} {numbers.by_label(model, NORM).mean():.3g}" for model in models)
    return finding("It is so.", "me", f"Of {told}", [Contest(numbers.of("ae", NORM), numbers.of("cae", NORM))])


class Called:
    """An object that is called."""

    def __call__(self, numbers):
        return sound(numbers)


@pytest.mark.parametrize(
    "claim", [judged_by_a_test, about_a_bound, in_the_order_of_the_models, Called(), lambda numbers: sound(numbers)]
)
def test_other_right_claims_pass(claim):
    assert check_claim(claim).passed


def test_a_failure_is_raised():
    words = "speaks to made-up numbers: expected a finding, but found it leaves itself out of all"
    with pytest.raises(CheckFailed, match=words):
        check_claim(misspelt)


def test_one_that_leaves_itself_out_is_told_why_and_what_to_give():
    (row,) = check_claim(without_examples, raises=False).failures
    assert row.found == "it leaves itself out of all: no curve was measured"
    assert "claim.examples = {'supported': caelab.Numbers(...), ...}" in row.remedy
    (row,) = check_claim(misspelt, raises=False).failures
    assert row.found == "it leaves itself out of all: no analysis measured 'mean nrom'"


def test_the_numbers_that_are_made_up_are_the_same_every_time():
    assert check_claim(sound).rows() == check_claim(sound).rows()


def test_an_unknown_name_is_refused():
    with pytest.raises(CaelabError, match=r"unknown claim 'rifai2011.smallest_nrom'; did you mean"):
        check_claim("rifai2011.smallest_nrom")


def test_made_up_comparisons_have_every_recipe_and_every_column(monkeypatch):
    class Declares:
        measure = draw = summarise = staticmethod(lambda table: {})
        columns = (Column(name="declared by someone"), Column(name="height of *"))

    monkeypatch.setattr(catalogue(), "offers", dict(catalogue().offers))
    catalogue().offers["analysis", "mine"] = Offer("analysis", "mine", "theirs", Declares)
    catalogue().offers["analysis", "gone"] = Offer("analysis", "gone", "theirs", "nowhere:at_all")
    rows = made_up(0).rows
    assert list(rows["model"].drop_duplicates()) == recipes() == catalogue().names("recipe")
    assert list(rows.columns) == ["model", "seed", *columns()]
    assert {"declared by someone", "mean norm"} <= {*columns()}
    assert "height of *" not in columns()
    assert rows.notna().all(axis=None)
    means = rows.groupby("model")["mean norm"].mean()
    assert means.max() > 10 * means.min()
    assert (rows.groupby("model")["mean norm"].std() < 0.05 * means).all()
    assert not made_up(1).rows.equals(rows)


def test_other_orders_hold_the_same_rows_and_poorer_ones_fewer():
    table = pd.DataFrame({"model": ["ae", "cae"], "seed": 0, "x": [1.0, 2.0]})
    numbers = Numbers(made_up(0).rows, {"t": table})
    by = {"by": ["model", "seed"], "ignore_index": True}
    for order in range(3):
        found = shuffled(numbers, order)
        assert not found.rows.equals(numbers.rows)
        assert found.rows.sort_values(**by).equals(numbers.rows.sort_values(**by))
    assert list(shuffled(numbers, 0).tables["t"]["x"]) == [2.0, 1.0]
    assert set(first_seed(numbers).rows["seed"]) == {0}
    lacks = dict(poorer(numbers))
    assert list(lacks["columns"].rows.columns) == ["model", "seed"]
    assert lacks["all models but one"].rows["model"].nunique() == 1
    assert lacks["any number in the rows"].rows[NORM].isna().all()
    assert (len(lacks["tables"].tables), len(lacks["columns of tables"].tables["t"])) == (0, 0)
