import random
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from scipy import stats

import caelab
from caelab import CaelabError, Contest, Finding, NotApplicable, Numbers, finding, hookimpl
from caelab.analysis.contract import columns_of
from caelab.cli.main import main
from caelab.registry.catalogue import Catalogue, Offer, catalogue
from caelab.report.claims import VERDICTS, judged, short, told, with_examples
from caelab.report.publish import publish_comparison
from caelab.report.verdicts import claims, verdicts
from tests.core.invented import analysis, dots, invented_comparison, invented_rows


def by_seed(*values):
    return pd.Series(values, name="cae")


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ([(1.0, 1.1, 0.9)], "supported"),
        ([(1.0, 1.1, 0.9), (1.0, -1.0, 0.1)], "inconclusive"),
        ([(1.0, 1.1, 0.9), (-1.0, -1.1, -0.9)], "contradicted"),
        ([(1.0, -1.0, 0.1)], "inconclusive"),
        ([(1.0,)], "inconclusive"),
        ([(-1.0,)], "inconclusive"),
    ],
)
def test_the_rule(differences, expected):
    assert judged([Contest(by_seed(*each), 0.0) for each in differences]) == expected


def test_one_of_many_must_hold_after_holm():
    lost = (-1.0, -1.3, -0.8)
    p = stats.ttest_1samp(lost, 0).pvalue
    assert 0.05 / 6 < p < 0.05
    open_ones = [Contest(by_seed(1.0, -1.0, 0.1 * k), 0.0) for k in range(5)]
    assert judged([Contest(by_seed(*lost), 0.0)]) == "contradicted"
    assert judged([Contest(by_seed(*lost), 0.0), *open_ones]) == "inconclusive"


class TestOfSplitsThatShareExamples:
    """Ten test examples for each one that trains: far from independent."""

    def numbers(self, spread=0.05, **others):
        means = {"ae": {"mean norm": 2.0}, "cae": {"mean norm": 1.9}}
        return Numbers.made_up(means, seeds=5, spread=spread, **others)

    def claim(self, numbers):
        return finding(
            "It is so.", "me", "Norm", [Contest(numbers.of("ae", "mean norm"), numbers.of("cae", "mean norm"))]
        )

    def test_the_interval_is_the_corrected_one(self):
        numbers = self.numbers(test_to_train={"ae": 0.5, "cae": 0.5})
        by_hand = [numbers.rows[numbers.rows["model"] == model]["mean norm"].to_numpy() for model in ("ae", "cae")]
        d = by_hand[0] - by_hand[1]
        half = stats.t.ppf(0.975, 4) * d.std(ddof=1) * np.sqrt(1 / 5 + 0.5)
        found = self.claim(numbers)
        assert f"[{short(d.mean() - half)}, {short(d.mean() + half)}]" in found.evidence
        assert "over 5 seeds, corrected for the examples that their splits share)" in found.evidence

    def test_what_looks_sure_for_independent_data_may_not_be_for_splits_of_one(self):
        sure = self.numbers(spread=0.01)
        assert self.claim(sure).verdict == "supported"
        shared = self.numbers(spread=0.01, test_to_train={"ae": 10.0, "cae": 10.0})
        assert self.claim(shared).verdict == "inconclusive"

    def test_seeds_of_one_split_are_averaged_first(self):
        rows = self.numbers().rows
        twice = pd.concat([rows.assign(split=rows["seed"], seed=0), rows.assign(split=rows["seed"], seed=1)])
        found = self.claim(Numbers(twice, test_to_train={"ae": 0.5, "cae": 0.5}))
        once = self.claim(self.numbers(test_to_train={"ae": 0.5, "cae": 0.5}))
        assert "over 5 splits, corrected for the examples that they share)" in found.evidence
        assert found.evidence.partition(" (95")[0] == once.evidence.partition(" (95")[0]

    @pytest.mark.parametrize("offer", claims(), ids=lambda offer: offer.name)
    def test_every_claim_keeps_it(self, offer):
        """What a claim computes from numbers must not forget that they come from splits."""
        for numbers in [everything(), *getattr(offer.load(), "examples", {}).values()]:
            ratios = dict.fromkeys(numbers.rows["model"], 10.0)
            try:
                found = offer.load()(replace(numbers, test_to_train=ratios))
            except NotApplicable:
                continue
            assert "corrected for" in found.evidence or "no interval" in found.evidence
            return
        pytest.fail("the claim was never asked")


def everything():
    """Numbers of every recipe and analysis, all made up."""
    columns = dict.fromkeys(column.name for column in columns_of(catalogue().names("analysis")))
    columns |= dict.fromkeys(f"test error with {count} labels" for count in ("100", "all"))
    rng = np.random.default_rng(0)
    means = {recipe: {name: rng.uniform(1, 9) for name in columns} for recipe in catalogue().names("recipe")}
    tested = pd.DataFrame({"test_examples": [1000], "split": ["test"], "examples": [1000]})
    return Numbers.made_up(means, tables={"fine_tuning": tested, "classification": tested}, dataset="mnist")


def test_long_evidence_stops_at_three():
    contests = [Contest(pd.Series([k, -k, 0.0], name=f"m{k}"), 0.0) for k in range(1, 7)]
    text = told("x", contests)
    assert text.count("against") == 3
    assert "3 more do not" in text


def test_no_contest_is_no_support():
    with pytest.raises(NotApplicable, match="a claim without contests cannot be judged"):
        finding("All of none.", "me", "x", [])


def test_sides_without_a_common_seed_decide_nothing_and_say_so():
    apart = Contest(pd.Series([1.0, 2.0], name="ae"), pd.Series([0.0, 0.0], index=[7, 8], name="cae"))
    found = finding("x", "me", "Norm", [apart])
    assert found.verdict == "inconclusive"
    assert "AE 1.50 against CAE 0, no seed in common" in found.evidence
    assert "nan" not in found.evidence


@pytest.mark.parametrize(
    ("splits", "seeds", "expected"),
    [
        (3, 1, "(95 % intervals over 3 splits)"),
        (2, 2, "(95 % intervals over 4 pairs of a split and a seed)"),
        (1, 3, "(95 % intervals over 3 seeds)"),
        (1, 1, "(one split: no interval)"),
    ],
)
def test_repeated_splits_are_not_called_seeds(splits, seeds, expected):
    rows = [
        {"model": model, "split": split, "seed": seed, "x": split + 0.1 * seed + place}
        for place, model in enumerate(("ae", "cae"))
        for split in range(splits)
        for seed in range(seeds)
    ]
    numbers = Numbers(pd.DataFrame(rows))
    evidence = finding("x", "me", "X", [Contest(numbers.of("cae", "x"), numbers.of("ae", "x"))]).evidence
    assert expected in evidence
    bound = finding("x", "me", "X", [Contest(numbers.of("cae", "x"), 0.5)]).evidence
    assert expected in bound


def test_a_bound_may_be_a_whole_number():
    assert (
        "against the bound 1, difference 1.00"
        in finding("x", "me", "Norm", [Contest(by_seed(2.0, 2.1, 1.9), 1)]).evidence
    )


def test_a_finding_of_contests_has_its_parts():
    found = finding("It is so.", "me", "Norm", [Contest(by_seed(1.0, 1.1, 0.9), 0.0)], more=" And more.")
    assert (found.statement, found.source, found.verdict) == ("It is so.", "me", "supported")
    low, high = stats.t.interval(0.95, 2, loc=1, scale=0.1 / np.sqrt(3))
    assert f"[{short(low)}, {short(high)}]" in found.evidence
    assert found.evidence.endswith(". And more.")


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (lambda n: n.of("top-k", "mean norm"), "no model of the recipe 'top-k' was compared"),
        (lambda n: n.of("cae", "mean nrom"), "no analysis measured 'mean nrom'"),
        (lambda n: n.of("ae", "bump radius"), "the model 'ae' has no number 'bump radius'"),
        (lambda n: n.by_label("cae weight=7", "mean norm"), "no model 'cae weight=7' was compared"),
        (lambda n: n.those(["top-k", "lars"], "mean norm"), "none of top-k, lars has a number 'mean norm'"),
    ],
)
def test_what_is_not_there_says_what(ask, sentence):
    with pytest.raises(NotApplicable, match=sentence):
        ask(Numbers(invented_rows()))


def test_numbers_of_a_model_are_those_of_its_rows_by_seed():
    rows = invented_rows().sample(frac=1, random_state=1)
    found = Numbers(rows).of("cae", "mean norm")
    expected = {row["seed"]: row["mean norm"] for _, row in rows.iterrows() if row["model"] == "cae"}
    assert dict(found) == expected
    assert list(found.index) == [0, 1, 2]
    assert found.name == "cae"


def test_infinite_numbers_are_none():
    rows = invented_rows()
    rows.loc[(rows["model"] == "cae") & (rows["seed"] == 1), "mean norm"] = np.inf
    assert list(Numbers(rows).of("cae", "mean norm").index) == [0, 2]


def test_of_a_grid_validation_selects_and_nothing_else_does():
    means = {"cae weight=1": {"error": 9.0, "x": 1.0}, "cae weight=2": {"error": 8.0, "x": 2.0}}
    assert Numbers.made_up(means, validation="error").label("cae") == "cae weight=2"
    assert Numbers.made_up(means, validation="error", larger_is_better=True).label("cae") == "cae weight=1"
    with pytest.raises(NotApplicable, match="nothing selects one of 2 models of the recipe 'cae'"):
        Numbers.made_up(means).label("cae")


def test_made_up_numbers_have_the_means_that_were_asked_for():
    numbers = Numbers.made_up({"ae": {"x": 8.0}, "cae": {"x": -2.0, "y": 1.0}}, seeds=4000, spread=0.1)
    assert numbers.of("ae", "x").mean() == pytest.approx(8, rel=0.01)
    assert numbers.of("cae", "x").std() == pytest.approx(0.2, rel=0.05)
    assert numbers.rows["y"].isna().sum() == 4000
    again = Numbers.made_up({"ae": {"x": 8.0}, "cae": {"x": -2.0, "y": 1.0}}, seeds=4000, spread=0.1)
    assert_frame_equal(numbers.rows, again.rows)


def test_examples_become_an_attribute():
    numbers = Numbers.made_up({"ae": {"x": 1.0}})

    @with_examples(supported=numbers)
    def claim(numbers):
        """Kept."""

    assert claim.examples == {"supported": numbers}
    assert claim.__doc__ == "Kept."


# ---- claims of plugins


def says(verdict="supported", evidence="as is seen", statement="It is so.", source="me"):
    return Finding(statement, source, verdict, evidence)


@pytest.fixture
def offered(monkeypatch):
    """``offered(name=claim, ...)``: these claims alone, of the plugin "theirs"."""

    def offer(**claims):
        others = {key: each for key, each in catalogue().offers.items() if key[0] != "claim"}
        own = {("claim", name): Offer("claim", name, "theirs", claim) for name, claim in claims.items()}
        monkeypatch.setattr(catalogue(), "offers", {**others, **own})

    return offer


@pytest.fixture
def ask(offered):
    """``ask(claim)``: what one claim finds in the invented comparison, and the sentences on failures."""

    def of(claim, numbers=None):
        offered(mine=claim)
        found, failed = verdicts(numbers or Numbers(invented_rows()))
        return found, [failure.message for failure in failed]

    return of


def test_a_claim_is_asked_and_may_be_named_by_its_place(ask):
    assert ask(lambda numbers: says())[0] == [says()]
    assert len(ask("caelab_analyses.rifai2011.claims:smallest_norm")[0]) == 1


def test_one_that_cannot_be_asked_is_left_out(ask):
    assert ask(lambda numbers: finding("x", "me", "x", [Contest(numbers.of("lars", "x"), 0)])) == ([], [])


def raises(error):
    def claim(numbers):
        raise error

    return claim


WRONG = {
    "raises": (raises(KeyError("no norm")), "the claim 'mine' of plugin 'theirs' failed: KeyError: 'no norm'"),
    "refuses": (raises(CaelabError("no norm")), "the claim 'mine' of plugin 'theirs' failed: no norm"),
    "exits": (
        raises(SystemExit(3)),
        "failed: it calls sys.exit(3), which ends programs; let it raise an error instead",
    ),
    "interrupts": (raises(GeneratorExit("x")), "failed: it raises GeneratorExit x, which ends programs"),
    "returns nothing": (
        lambda numbers: None,
        "'mine' of plugin 'theirs' returns None, but a caelab.Finding is expected",
    ),
    "returns a word": (lambda numbers: "supported", "returns 'supported', but a caelab.Finding is expected"),
    "unknown verdict": (
        lambda numbers: says("maybe"),
        "returns the verdict 'maybe', but one of supported, contradicted, inconclusive is expected",
    ),
    "no verdict": (lambda numbers: says(None), "returns the verdict None, but one of supported"),
    "evidence is a number": (
        lambda numbers: says(evidence=3.2),
        "returns a finding whose evidence is 3.2, but a text is expected",
    ),
    "statement is missing": (lambda numbers: says(statement=None), "whose statement is None, but a text is expected"),
    "takes nothing": (lambda: says(), "failed: TypeError: "),
    "no function": (says(), "but a function claim(numbers) -> caelab.Finding is expected"),
    "no such module": (
        "caelab_nowhere:claim",
        "the claim 'mine' of plugin 'theirs' cannot be imported: ModuleNotFound",
    ),
    "no such function": ("caelab_analyses.rifai2011.claims:lost", "cannot be imported: AttributeError"),
    "changes the process": (
        lambda numbers: np.seterr(all="raise") and says(),
        "the claim 'mine' of plugin 'theirs' changes what all others share: numpy's handling of floating-point errors",
    ),
}


@pytest.mark.parametrize(("claim", "sentence"), WRONG.values(), ids=WRONG)
def test_a_wrong_claim_is_one_sentence_and_the_others_go_on(claim, sentence, offered):
    offered(mine=claim, other=lambda numbers: says())
    before = np.geterr()
    found, (failure,) = verdicts(Numbers(invented_rows()))
    assert found == [says()]
    assert failure.claim == "mine"
    assert sentence in failure.message
    assert "'theirs'" in failure.message
    assert "\n" not in failure.message
    assert np.geterr() == before


def spoil(numbers):
    numbers.rows["mean norm"] = 0.0
    numbers.rows.loc[:, "seed"] = 9
    numbers.tables["t"].loc[0, "x"] = 7.0
    numbers.tables["t"]["cell"].iloc[0][0] = 7.0
    numbers.tables["t"]["list"].iloc[0].append(7.0)
    np.random.seed(3)  # noqa: NPY002
    return says(evidence=f"{random.random()} {np.random.rand()}")  # noqa: NPY002


def test_a_claim_changes_nothing_that_others_see(ask):
    table = {"x": [1.0, 2.0], "cell": [np.zeros(2), np.zeros(2)], "list": [[1.0], [2.0]], "words": ["a", "b"]}
    numbers = Numbers(invented_rows(), {"t": pd.DataFrame(table)})
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    expected = random.random(), np.random.rand()  # noqa: NPY002
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    found, failures = ask(spoil, numbers)
    assert (random.random(), np.random.rand()) == expected  # noqa: NPY002
    assert failures == []
    assert ask(spoil, numbers)[0] == found, "its random numbers are its own, and the same every time"
    assert_frame_equal(numbers.rows, invented_rows())
    kept = numbers.tables["t"]
    assert list(kept["x"]) == [1.0, 2.0]
    assert [each.tolist() for each in kept["cell"]] == [[0, 0], [0, 0]]
    assert list(kept["list"]) == [[1.0], [2.0]]
    assert list(numbers.tables["t"].dtypes) == list(pd.DataFrame(table).dtypes)


def test_tables_are_handed_over_as_a_mapping_by_analysis(ask):
    def claim(numbers):
        assert (list(numbers.tables), len(numbers.tables), "u" in numbers.tables) == (["t"], 1, False)
        assert numbers.tables.get("u") is None
        with pytest.raises(KeyError):
            numbers.tables["u"]
        assert numbers.tables["t"] is numbers.tables["t"]
        return says(evidence=str(numbers.tables["t"]["x"].sum()))

    found, failures = ask(claim, Numbers(invented_rows(), {"t": pd.DataFrame({"x": [1, 2]})}))
    assert failures == []
    assert found[0].evidence == "3"


def offering(*names):
    class Plugin:
        @hookimpl
        def register_claims(self, register):
            for name in names:
                register(name, lambda numbers: says())

    return Plugin()


def test_two_claims_of_one_name_are_refused_with_both_plugins():
    offers = Catalogue()
    offers.add("first", offering("mine"))
    with pytest.raises(CaelabError, match="the claim 'mine' is offered by both 'first' and 'second'"):
        offers.add("second", offering("mine"))
    with pytest.raises(CaelabError, match="plugin 'third' offers the claim 'twice' twice"):
        offers.add("third", offering("twice", "twice"))
    assert offers.names("claim") == ["mine"]


@pytest.fixture
def whole(offered, monkeypatch):
    """Publish the invented comparison with these claims: ``whole(folder, **claims) -> (lines, sentence)``."""

    def publish(folder, **claims):
        offered(**claims)
        catalogue().offers["analysis", "dots"] = Offer("analysis", "dots", "test", analysis("dots", dots))
        lines = []
        try:
            for line in publish_comparison(folder, invented_comparison()):
                lines.append(line)
        except CaelabError as error:
            return lines, str(error)
        return lines, ""

    return publish


def test_a_third_partys_claim_stands_on_the_page(whole, tmp_path):
    lines, error = whole(tmp_path, mine=lambda numbers: says(statement="Two & two.", evidence="counted"))
    assert error == ""
    assert "findings: 1 supported, 0 contradicted, 0 inconclusive" in lines
    html = (tmp_path / "report.html").read_text()
    for text in ("Two &amp; two.", "counted", "✓", 'class="finding yes"'):
        assert text in html


def test_a_claim_that_fails_leaves_the_comparison_whole_and_is_told_at_the_end(whole, tmp_path):
    lines, error = whole(tmp_path, bad=raises(KeyError("no norm")), good=lambda numbers: says())
    message = "the claim 'bad' of plugin 'theirs' failed: KeyError: 'no norm'"
    assert error == f"{message}; all else is published, so correct the claim or leave its plugin out"
    assert lines[0] == f"warning: bad (all): {message}"
    assert lines[-1] == f"report:   {tmp_path / 'report.html'}"
    assert {each.name for each in tmp_path.iterdir()} >= {"report.html", "summary.csv", "tables", "figures"}
    html = (tmp_path / "report.html").read_text()
    assert "<h3>Failed</h3>" in html
    assert "<strong>bad</strong>" in html
    assert "It is so." in html


def test_several_that_fail_are_counted_in_one_sentence(whole, tmp_path):
    _, error = whole(tmp_path, one=raises(KeyError("x")), two=lambda numbers: None)
    assert error.startswith("the claim 'one' of plugin 'theirs' failed: KeyError: 'x' (as did 1 more, see above); all")


PLUGIN = """
from caelab import Contest, Finding, finding, hookimpl

def norms(numbers):
    \"\"\"The CAE has a smaller norm.\"\"\"
    contests = [Contest(numbers.of("ae", "mean norm"), numbers.of("cae", "mean norm"))]
    return finding("The CAE has a smaller norm.", "me", "Norm", contests)

def broken(numbers):
    return Finding("It is so.", "me", "maybe", "")

@hookimpl
def register_claims(register):
    register("my-norms", norms)
    register("my-broken", broken)
"""


@pytest.fixture
def forget_files(monkeypatch):
    monkeypatch.setattr(catalogue(), "offers", dict(catalogue().offers))
    monkeypatch.setattr(catalogue(), "files", [*catalogue().files])


@pytest.mark.usefixtures("forget_files")
def test_the_command_ends_with_status_2_and_one_sentence(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(PLUGIN)
    catalogue().offers["analysis", "dots"] = Offer("analysis", "dots", "test", analysis("dots", dots))
    list(publish_comparison(tmp_path / "out", invented_comparison()))
    with pytest.raises(SystemExit) as stopped:
        main(["report", str(tmp_path / "out"), "--plugin", str(tmp_path / "mine.py")])
    out, err = capsys.readouterr()
    assert stopped.value.code == 2
    assert err.count("\n") == 1
    assert err.startswith(
        f"error: the claim 'my-broken' of plugin '{tmp_path / 'mine.py'}' returns the verdict 'maybe'"
    )
    assert f"report:   {tmp_path / 'out' / 'report.html'}" in out
    assert "The CAE has a smaller norm." in (tmp_path / "out" / "report.html").read_text()


def test_what_authors_need_is_importable():
    assert {"Contest", "Finding", "NotApplicable", "Numbers", "finding"} <= {*caelab.__all__}
    assert VERDICTS == ("supported", "contradicted", "inconclusive")
