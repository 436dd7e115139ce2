"""Errors of a classifier with what chance makes of them."""

from __future__ import annotations

import math
from typing import Literal

from caelab.classifiers import Classifier


def errors(classifier: Classifier, part: Literal["valid", "test"]) -> dict[str, float]:
    """Error and its binomial standard error √(p (1 - p) / n), in percent, and the number n of examples."""
    error = classifier.error(part)
    count = len(classifier.run.dataset.valid if part == "valid" else classifier.run.dataset.test)
    share = error / 100
    return {"error": error, "standard_error": 100 * math.sqrt(share * (1 - share) / count), "examples": count}
