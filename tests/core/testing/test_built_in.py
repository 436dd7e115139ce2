"""Every registered regularizer and analysis passes its own checks."""

import pytest

from caelab.registry.catalogue import catalogue
from caelab.testing import check_analysis, check_regularizer
from caelab.testing.penalty.quantities import CLAIMS

CLAIMED = {
    "contractive": "squared norm of the encoder's Jacobian",
    "reconstruction-contractive": "squared norm of the reconstruction's Jacobian",
    "decoder-jacobian": "squared norm of the decoder's Jacobian",
    "weight-decay": "weight decay",
    "higher-order-contractive": "stochastic Hessian norm",
    "sparse-l1": "L1 norm of the code",
    "sparse-kl": "divergence of the mean activation",
}


@pytest.mark.parametrize("name", catalogue().names("regularizer"))
def test_every_regularizer_passes(name):
    report = check_regularizer(catalogue().get("regularizer", name), name=name)
    compared = [check for check in report.checks if check.name.startswith("value: ") and check.verdict == "passed"]
    assert len(compared) >= 8 if name in CLAIMED else not compared


@pytest.mark.parametrize("name", catalogue().names("analysis"))
def test_every_analysis_passes(name):
    report = check_analysis(name)
    assert all(check.verdict != "skipped" for check in report.checks), "no trial run suits it"


@pytest.mark.parametrize(("name", "claim"), CLAIMED.items())
def test_known_quantities_are_claimed(name, claim):
    assert catalogue().get("regularizer", name).claims == claim
    assert claim in CLAIMS


def test_another_weight_is_divided_out():
    assert check_regularizer(catalogue().get("regularizer", "contractive"), {"weight": 0.3}).passed
