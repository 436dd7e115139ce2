"""Errors of a classifier with what chance makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from caelab.analysis.statistics import share_standard_error
from caelab.classifiers import Classifier

Part = Literal["valid", "test"]
PARTS: tuple[Part, ...] = ("valid", "test")


def rows_of(classifier: Classifier, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Its errors on validation and on test examples, a row each, between what else is to stand in the row."""
    return [{**before, "split": part, **_errors(classifier, part), **after} for part in PARTS]


def _errors(classifier: Classifier, part: Part) -> dict[str, float]:
    """Error and its binomial standard error √(p (1 - p) / n), in percent, and the number n of examples."""
    error = classifier.error(part)
    count = len(classifier.run.dataset.valid if part == "valid" else classifier.run.dataset.test)
    return {"error": error, "standard_error": 100 * share_standard_error(error / 100, count), "examples": count}
