import math
import re

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from caelab import NotApplicable, Numbers
from caelab.registry.catalogue import catalogue
from caelab.report.claims import short
from caelab.report.verdicts import verdicts
from caelab.testing import check_claim
from caelab_analyses import CLAIMS, FEATURES
from caelab_analyses.rifai2011 import chance, claims
from caelab_analyses.rifai2011.printed import NORMS
from tests.core.invented import MODELS, invented_rows

NAMES = [f"rifai2011.{name}" for name in (*CLAIMS, *FEATURES)]


def tables(test_examples=1500, distance=10.2):
    """What the claims read beside the rows."""
    tests = pd.DataFrame({"model": "ae", "seed": [0, 0], "split": ["valid", "test"], "examples": [500, test_examples]})
    curve = pd.DataFrame({"model": "ae", "seed": [0, 1], "mean distance": [distance - 0.5, distance + 0.5]})
    return {"classification": tests, "contraction_curve": curve}


def numbers_of(rows, dataset="mnist5k", **about):
    return Numbers(rows, tables(**about), dataset, "fine-tuned validation error")


def found_in(rows, **about):
    """The findings by their statements."""
    findings, failed = verdicts(numbers_of(rows, **about))
    assert not failed
    return {finding.statement: finding for finding in findings}


def the(found, words):
    """The one finding whose claim has these words."""
    matching = [finding for claim, finding in found.items() if words in claim]
    assert len(matching) == 1, list(found)
    return matching[0]


def test_they_are_offered_in_the_order_in_which_the_report_tells_them():
    offered = [offer.name for offer in catalogue().offers.values() if offer.kind == "claim"]
    assert [name for name in offered if name.startswith("rifai2011.")] == NAMES
    statements = list(found_in(invented_rows()))
    assert "smallest Jacobian norm of all" in statements[0]
    assert ["spares the directions" in statements[-3], "go together" in statements[-1]] == [True, True]


@pytest.mark.parametrize("name", NAMES)
def test_every_claim_can_come_out_each_way(name):
    report = check_claim(name)
    for verdict in ("supported", "contradicted", "inconclusive"):
        assert [row.verdict for row in report.checks if row.name == f"can be {verdict}"] == ["passed"]


def test_invented_numbers_give_what_they_were_invented_for():
    found = found_in(invented_rows())
    expected = {
        "smallest Jacobian norm of all": "supported",
        "After the CAE": "contradicted",  # weight decay and the DAE-g stand the other way round
        "Denoising contracts": "supported",
        "at the weights used": "supported",
        "in the order of the paper": "contradicted",  # the RBM has the largest norm
        "saturates": "contradicted",  # the sparse auto-encoder saturates more
        "classify best": "inconclusive",
        "smallest effective rank": "supported",
        "fewest large singular values": "supported",
        "rises from radius 0": "supported",
        "DAE with Gaussian noise only falls": "supported",
        "Without the contractive penalty": "supported",
        "spares the directions": "supported",
        "lowest mean squared entry": "supported",
        "go together": "inconclusive",
    }
    assert {words: the(found, words).verdict for words in expected} == expected
    assert len(found) == len(expected)
    assert all(finding.source.startswith("Rifai et al. (2011)") for finding in found.values())


def test_the_other_way_round_every_verdict_turns():
    models = dict(MODELS) | {"cae": (20.0, 0.01, 94, 1.0, 90, 1.5, 30.0), "dae-g": (16.0, 0.3, 76, 1.2, 45, 2.5, 9.0)}
    found = found_in(invented_rows(models))
    for words in ("smallest Jacobian norm of all", "Denoising contracts", "at the weights used", "classify best"):
        assert the(found, words).verdict == "contradicted"
    for words in ("smallest effective rank", "rises from radius 0", "DAE with Gaussian noise only", "spares"):
        assert the(found, words).verdict == "contradicted"


def test_one_seed_is_inconclusive():
    found = found_in(invented_rows(seeds=1))
    assert {finding.verdict for finding in found.values()} == {"inconclusive"}
    assert all("no interval" in finding.evidence for finding in found.values())


def test_evidence_has_the_numbers():
    rows = invented_rows()
    norms = rows.pivot(index="seed", columns="model", values="mean norm")
    interval = stats.ttest_rel(norms["sparse-ae"], norms["cae"]).confidence_interval()
    evidence = the(found_in(rows), "smallest Jacobian norm of all").evidence
    assert f"Sparse AE {short(norms['sparse-ae'].mean())} against CAE {short(norms['cae'].mean())}" in evidence
    assert f"[{short(interval.low)}, {short(interval.high)}]" in evidence
    assert "3 seeds" in evidence
    bump = the(found_in(rows), "rises from radius 0").evidence
    assert "radius 20.0" in bump
    assert "10.2 apart" in bump


def test_no_number_is_missing_from_any_sentence():
    for finding in found_in(invented_rows()).values():
        assert not re.search(r"nan|inf|None", finding.evidence), finding.evidence


def test_what_a_comparison_lacks_is_left_out():
    rows = invented_rows()
    assert found_in(rows[["model", "seed", "run"]]) == {}
    assert found_in(rows[rows["model"].isin(["ae", "rbm"])].assign(**{"bump height": np.nan})) == {}
    assert not any("classify" in claim for claim in found_in(rows, test_examples=0))
    for other in ("digits", "mnist-rot"):
        assert not any("order of the paper" in claim for claim in found_in(rows, dataset=other))
    assert not any("saturates" in claim for claim in found_in(rows.assign(**{"saturated share": np.nan})))
    # a model without the number is no rival, and its rivals still are
    rows.loc[rows["model"] == "sparse-ae", "saturated share"] = np.nan
    assert the(found_in(rows), "saturates").verdict == "supported"


def test_classification_needs_more_than_the_seeds():
    models = {"ae": (1, 1, 1, 1, 1, 1, 10.0), "cae": (1, 1, 1, 1, 1, 1, 9.0)}
    rows = invented_rows(models)
    rows["fine-tuned error"] = [10.0, 10.01, 10.02, 9.0, 9.01, 9.02]  # a point apart, in every seed
    noise = 1.96 * 100 * math.sqrt(0.1001 * 0.8999 / 500 + 0.0901 * 0.9099 / 500)
    assert chance.chance_width(10.01, 9.01, 500) == pytest.approx(noise)
    assert noise > 1
    assert the(found_in(rows, test_examples=500), "classify best").verdict == "inconclusive"
    assert the(found_in(rows, test_examples=50_000), "classify best").verdict == "supported"


def test_of_a_grid_the_best_validated_stands_for_the_recipe():
    models = {
        "ae": MODELS["ae"],
        "cae contractive.weight=0.3": MODELS["cae"],
        "cae contractive.weight=3": MODELS["rbm"],
    }
    rows = invented_rows(models)
    assert numbers_of(rows).label("cae") == "cae contractive.weight=0.3"
    assert "CAE λ=0.3" in the(found_in(rows), "smallest Jacobian norm of all").evidence
    with pytest.raises(NotApplicable, match="no analysis measured 'fine-tuned validation error'"):
        numbers_of(rows.drop(columns="fine-tuned validation error")).label("cae")


def test_equal_reconstruction_is_read_off_the_frontier():
    weights = {"cae contractive.weight=0.3": (8.0, 60.0), "cae contractive.weight=1": (4.0, 80.0)}
    rows = pd.DataFrame(
        [
            {"model": model, "seed": seed, "mean norm": norm, "reconstruction error": error + seed}
            for model, (norm, error) in {**weights, "ae-wd": (7.5, 70.0)}.items()
            for seed in range(3)
        ]
    )
    # halfway between the two weights in each seed
    found = claims.frontier_norms(Numbers(rows), Numbers(rows).by_label("ae-wd", "reconstruction error"))
    assert list(found) == pytest.approx([6.0, 6.0, 6.0])
    assert the(found_in(rows), "at equal reconstruction").verdict == "supported"
    rows.loc[rows["model"] == "ae-wd", "mean norm"] = 5.0
    assert the(found_in(rows), "at equal reconstruction").verdict == "contradicted"
    rows.loc[rows["model"] == "ae-wd", "reconstruction error"] = 90.0  # beyond every weight of the CAE
    assert not any("at equal" in claim for claim in found_in(rows))


def test_order_is_compared_by_rank():
    rows = invented_rows()
    means = rows.groupby("model")["mean norm"].mean()
    printed = NORMS["mnist"]
    rho = stats.spearmanr([printed[m] for m in printed], [means[m] for m in printed]).statistic
    half = stats.norm.ppf(0.975) * np.sqrt((1 + rho**2 / 2) / 3)  # Bonett and Wright's, of 6 models
    interval = ", ".join(short(np.tanh(np.arctanh(rho) + sign * half)) for sign in (-1, 1))
    said = f"ρ with the printed norms: {short(rho)} [{interval}] over 6 models"
    assert said in the(found_in(rows), "order of").evidence
    ordered = {m: (norm * 1e5, *MODELS[m][1:]) for m, norm in printed.items()}
    assert the(found_in(invented_rows(ordered)), "order of").verdict == "supported"


def test_test_examples_and_distances_are_read_from_the_tables():
    rows = invented_rows()
    assert chance.examples_tested(numbers_of(rows)) == 1500
    assert "10.2 apart" in the(found_in(rows), "rises from radius 0").evidence
    without = Numbers(rows, {}, "mnist5k", "fine-tuned validation error")
    assert "apart" not in claims.curve_of_cae_rises(without).evidence
    with pytest.raises(NotApplicable, match="the number of test examples is not known"):
        claims.lowest_error(without)


@pytest.mark.parametrize("value", [1.0, "high", None])
def test_tables_of_other_analyses_of_that_name_are_not_understood(value):
    other = pd.DataFrame({"model": ["ae"], "seed": [0], "value": [value]})
    named = pd.DataFrame({"split": ["test"], "examples": [value if value != 1.0 else None], "mean distance": [value]})
    for table in (other, named.assign(**{"mean distance": "far"})):
        found = Numbers(invented_rows(), {"classification": table, "contraction_curve": table})
        assert "apart" not in claims.curve_of_cae_rises(found).evidence
        with pytest.raises(NotApplicable):
            claims.lowest_error(found)
