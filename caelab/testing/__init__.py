"""Checks that tell whether a plugin is what it says; ``caelab check`` and an author's own tests run them."""

from caelab.testing.analyses import check_analysis
from caelab.testing.claims import check_claim
from caelab.testing.outcome import Check, CheckFailed, Report
from caelab.testing.regularizers import check_penalty, check_regularizer

__all__ = ["Check", "CheckFailed", "Report", "check_analysis", "check_claim", "check_penalty", "check_regularizer"]


def __dir__() -> list[str]:
    return sorted(__all__)
