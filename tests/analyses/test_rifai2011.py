import math
import re

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from caelab.report import findings as claims
from caelab.report.claims import AbsentError, Contest, Numbers, judged, short, told
from caelab.report.findings import findings, frontier_norms
from tests.core.invented import MODELS, invented_rows


def verdicts(rows, **about):
    about = {"dataset": "mnist5k", "test_examples": 1500, "distance": 10.2} | about
    return {finding.claim: finding for finding in findings(Numbers(rows, **about))}


def the(found, words):
    """The one finding whose claim has these words."""
    matching = [finding for claim, finding in found.items() if words in claim]
    assert len(matching) == 1, list(found)
    return matching[0]


def by_seed(*values):
    return pd.Series(values, name="cae")


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ([(1.0, 1.1, 0.9)], "borne out"),
        ([(1.0, 1.1, 0.9), (1.0, -1.0, 0.1)], "cannot tell"),
        ([(1.0, 1.1, 0.9), (-1.0, -1.1, -0.9)], "contradicted"),
        ([(1.0, -1.0, 0.1)], "cannot tell"),
        ([(1.0,)], "cannot tell"),
        ([(-1.0,)], "cannot tell"),
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
    assert judged([Contest(by_seed(*lost), 0.0), *open_ones]) == "cannot tell"


def test_invented_numbers_give_what_they_were_invented_for():
    found = verdicts(invented_rows())
    expected = {
        "smallest Jacobian norm of all": "borne out",
        "After the CAE": "contradicted",  # weight decay and the DAE-g stand the other way round
        "Denoising contracts": "borne out",
        "at the weights used": "borne out",
        "in the order of the paper": "contradicted",  # the RBM has the largest norm
        "saturates": "contradicted",  # the sparse auto-encoder saturates more
        "classify best": "cannot tell",
        "smallest effective rank": "borne out",
        "fewest large singular values": "borne out",
        "rises from radius 0": "borne out",
        "DAE with Gaussian noise only falls": "borne out",
        "Without the contractive penalty": "borne out",
        "spares the directions": "borne out",
    }
    assert {words: the(found, words).verdict for words in expected} == expected
    assert len(found) == len(expected)
    assert all(finding.source.startswith("Rifai et al. (2011)") for finding in found.values())


def test_the_other_way_round_every_verdict_turns():
    models = dict(MODELS) | {"cae": (20.0, 0.01, 94, 1.0, 90, 1.5, 30.0), "dae-g": (16.0, 0.3, 76, 1.2, 45, 2.5, 9.0)}
    found = verdicts(invented_rows(models))
    for words in ("smallest Jacobian norm of all", "Denoising contracts", "at the weights used", "classify best"):
        assert the(found, words).verdict == "contradicted"
    for words in ("smallest effective rank", "rises from radius 0", "DAE with Gaussian noise only", "spares"):
        assert the(found, words).verdict == "contradicted"


def test_one_seed_cannot_tell():
    found = verdicts(invented_rows(seeds=1))
    assert {finding.verdict for finding in found.values()} == {"cannot tell"}
    assert all("no interval" in finding.evidence for finding in found.values())


def test_evidence_has_the_numbers():
    rows = invented_rows()
    norms = rows.pivot(index="seed", columns="model", values="mean norm")
    interval = stats.ttest_rel(norms["sparse-ae"], norms["cae"]).confidence_interval()
    evidence = the(verdicts(rows), "smallest Jacobian norm of all").evidence
    assert f"Sparse AE {short(norms['sparse-ae'].mean())} against CAE {short(norms['cae'].mean())}" in evidence
    assert f"[{short(interval.low)}, {short(interval.high)}]" in evidence
    assert "3 seeds" in evidence
    bump = the(verdicts(rows), "rises from radius 0").evidence
    assert "radius 20.0" in bump
    assert "10.2 apart" in bump


def test_no_number_is_missing_from_any_sentence():
    for finding in verdicts(invented_rows()).values():
        assert not re.search(r"nan|inf|None", finding.evidence), finding.evidence


def test_what_a_comparison_lacks_is_left_out():
    rows = invented_rows()
    assert verdicts(rows[["model", "seed", "run"]]) == {}
    assert verdicts(rows[rows["model"].isin(["ae", "rbm"])].assign(**{"bump height": np.nan})) == {}
    assert not any("classify" in claim for claim in verdicts(rows, test_examples=None))
    assert not any("order of the paper" in claim for claim in verdicts(rows, dataset="digits"))
    assert not any("saturates" in claim for claim in verdicts(rows.assign(**{"saturated share": np.nan})))
    # a model without the number is no rival, and its rivals still are
    rows.loc[rows["model"] == "sparse-ae", "saturated share"] = np.nan
    assert the(verdicts(rows), "saturates").verdict == "borne out"


def test_classification_needs_more_than_the_seeds():
    models = {"ae": (1, 1, 1, 1, 1, 1, 10.0), "cae": (1, 1, 1, 1, 1, 1, 9.0)}
    rows = invented_rows(models)
    rows["fine-tuned error"] = [10.0, 10.01, 10.02, 9.0, 9.01, 9.02]  # a point apart, in every seed
    noise = 1.96 * 100 * math.sqrt(0.1001 * 0.8999 / 500 + 0.0901 * 0.9099 / 500)
    assert claims.chance_width(10.01, 9.01, 500) == pytest.approx(noise)
    assert noise > 1
    assert the(verdicts(rows, test_examples=500), "classify best").verdict == "cannot tell"
    assert the(verdicts(rows, test_examples=50_000), "classify best").verdict == "borne out"


def test_of_a_grid_the_best_validated_stands_for_the_recipe():
    models = {
        "ae": MODELS["ae"],
        "cae contractive.weight=0.3": MODELS["cae"],
        "cae contractive.weight=3": MODELS["rbm"],
    }
    rows = invented_rows(models)
    assert Numbers(rows).label("cae") == "cae contractive.weight=0.3"
    assert "CAE λ=0.3" in the(verdicts(rows), "smallest Jacobian norm of all").evidence
    with pytest.raises(AbsentError):
        Numbers(rows.drop(columns="fine-tuned validation error")).label("cae")


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
    found = frontier_norms(Numbers(rows), Numbers(rows).by_label("ae-wd", "reconstruction error"))
    assert list(found) == pytest.approx([6.0, 6.0, 6.0])
    assert the(verdicts(rows), "at equal reconstruction").verdict == "borne out"
    rows.loc[rows["model"] == "ae-wd", "mean norm"] = 5.0
    assert the(verdicts(rows), "at equal reconstruction").verdict == "contradicted"
    rows.loc[rows["model"] == "ae-wd", "reconstruction error"] = 90.0  # beyond every weight of the CAE
    assert not any("at equal" in claim for claim in verdicts(rows))


def test_order_is_compared_by_rank():
    rows = invented_rows()
    means = rows.groupby("model")["mean norm"].mean()
    printed = claims.PAPER_NORMS["mnist"]
    rho = stats.spearmanr([printed[m] for m in printed], [means[m] for m in printed]).statistic
    assert f"ρ with the printed norms: {short(rho)} over 6 models" in the(verdicts(rows), "order of").evidence
    ordered = {m: (norm * 1e5, *MODELS[m][1:]) for m, norm in printed.items()}
    assert the(verdicts(invented_rows(ordered)), "order of").verdict == "borne out"


def test_long_evidence_stops_at_three():
    contests = [Contest(pd.Series([k, -k, 0.0], name=f"m{k}"), 0.0) for k in range(1, 7)]
    text = told("x", contests)
    assert text.count("against") == 3
    assert "3 more do not" in text
