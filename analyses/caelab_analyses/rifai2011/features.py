"""What the paper's features are worth: its sentences on classifiers, stacks and few labels, as claims.

A claim whose models or numbers a comparison lacks is left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

import pandas as pd

from caelab import Contest, Finding, NotApplicable, Numbers, finding
from caelab.report.claims import with_examples
from caelab_analyses.rifai2011.chance import (
    AFTER,
    chance_told,
    chance_width,
    count_of,
    error_column,
    error_contest,
    tested_or_none,
    tests_in,
)

PAPER = "Rifai et al. (2011)"
TANGENTS = "Rifai et al. (2011, NIPS), the manifold tangent classifier"
NORM, ENTRY, RADIUS = "mean norm", "mean squared entry", "bump radius"
SINGLE = ("ae", "ae-wd", "dae-g", "dae-b", "rbm", "sparse-ae", "cae")
THREE_LAYERS = ("sae-3", "rbm-3", "dae-b-3")
FEW, ALL = "test error with 100 labels", "test error with all labels"


def says(statement: str, where: str, quantity: str, contests: Sequence[Contest], more: str = "") -> Finding:
    """The finding of a claim of the paper."""
    return finding(statement, f"{PAPER}, {where}", quantity, contests, more)


def smallest_squared_entry(numbers: Numbers) -> Finding:
    """The CAE has the lowest mean squared entry of the Jacobian, the quantity that Table 1 seems to print."""
    cae = numbers.of("cae", ENTRY)
    contests = [Contest(other, cae) for other in numbers.those([r for r in SINGLE if r != "cae"], ENTRY)]
    return says("The CAE has the lowest mean squared entry of the Jacobian.", "Table 1", "Mean J²", contests)


def _made_up(ranks: Sequence[float], seeds: int = 3) -> Numbers:
    """Made up: five models whose norms are 1 to 5, and whose errors are these."""
    models = {recipe: {NORM: 1.0 + i, AFTER: ranks[i]} for i, recipe in enumerate(SINGLE[:5])}
    return Numbers.made_up(models, seeds)


@with_examples(
    supported=_made_up([1, 2, 3, 4, 5]),
    contradicted=_made_up([5, 4, 3, 2, 1]),
    inconclusive=_made_up([1, 2, 3, 4, 5], seeds=1),
)
def norm_goes_with_error(numbers: Numbers) -> Finding:
    """Models with a smaller Jacobian norm classify better: their rank correlation over the models is positive."""
    column = error_column(numbers)
    found = {}
    for recipe in SINGLE:
        with suppress(NotApplicable):  # a model without one of the two numbers is left out
            found[recipe] = numbers.of(recipe, NORM), numbers.of(recipe, column)
    if len(found) < 5:
        raise NotApplicable("a rank correlation of norm and error needs five of the paper's models")
    norms, errors = ({recipe: both[side] for recipe, both in found.items()} for side in (0, 1))
    ranks = [pd.DataFrame(each).dropna().rank(axis=1) for each in (norms, errors)]
    rho = ranks[0].corrwith(ranks[1], axis=1).dropna().rename("rank correlation over the models")
    rho.attrs = next(iter(norms.values())).attrs
    claim = "The smaller a model's Jacobian norm, the smaller its test error: the two go together."
    return says(claim, "Table 1", f"Spearman's ρ of norm and error over {len(found)} models", [Contest(rho, 0.0)])


def pretraining_beats_random(numbers: Numbers) -> Finding:
    """A classifier that starts from any of the pretrained encoders has a lower error than from random weights."""
    column = error_column(numbers)
    start = numbers.of("random", column)
    pairs = [(start, each) for each in numbers.those(SINGLE, column)]
    return _lower_error("Pretraining beats a random start.", "Table 1", numbers, pairs)


def two_layers_beat_one(numbers: Numbers) -> Finding:
    """Two stacked contractive layers have a lower error than one."""
    column = error_column(numbers)
    pair = numbers.of("cae", column), numbers.of("cae-2", column)
    return _lower_error("Two contractive layers classify better than one.", "Table 2", numbers, [pair])


def two_beat_three(numbers: Numbers) -> Finding:
    """Two stacked contractive layers have a lower error than three layers of the others."""
    column = error_column(numbers)
    cae = numbers.of("cae-2", column)
    pairs = [(other, cae) for other in numbers.those(THREE_LAYERS, column)]
    claim = "Two contractive layers classify better than three layers of the others."
    return _lower_error(claim, "Table 2", numbers, pairs)


def _lower_error(claim: str, where: str, numbers: Numbers, pairs: Sequence[tuple[pd.Series, pd.Series]]) -> Finding:
    """The finding of a claim that of each pair the first has the larger test error."""
    count = tested_or_none(numbers)
    contests = [error_contest(*pair, count) for pair in pairs]
    return says(claim, where, "Test error %", contests, chance_told(contests, count))


def second_layer_contracts_more(numbers: Numbers) -> Finding:
    """The encoder of two contractive layers has a smaller Jacobian norm than the first alone."""
    contests = [Contest(numbers.of("cae", NORM), numbers.of("cae-2", NORM))]
    return says("A second contractive layer contracts more.", "contraction curve", "Mean ‖J‖", contests)


def second_layer_bumps_later(numbers: Numbers) -> Finding:
    """The contraction curve of two contractive layers has its bump at a larger radius than that of the first alone."""
    contests = [Contest(numbers.of("cae-2", RADIUS), numbers.of("cae", RADIUS))]
    return says("With a second contractive layer the bump comes later.", "contraction curve", "Bump radius", contests)


def _gaps(few: float, many: float, seeds: int = 3) -> Numbers:
    """Made up: how much higher the error of a random start is with few labels, and with all."""
    models = {"random": {FEW: 10 + few, ALL: 5 + many}, "cae": {FEW: 10.0, ALL: 5.0}}
    return Numbers.made_up(models, seeds)


@with_examples(supported=_gaps(8, 1), contradicted=_gaps(1, 8), inconclusive=_gaps(8, 1, seeds=1))
def fewer_labels_larger_gap(numbers: Numbers) -> Finding:
    """What pretraining saves is larger with 100 labels than with all of them."""
    gaps = [numbers.of("random", each) - numbers.of("cae", each) for each in (FEW, ALL)]
    few, many = (gap.dropna().rename(name) for gap, name in zip(gaps, ("with 100 labels", "with all"), strict=True))
    contest, count = Contest(few, many), count_of(numbers, "few_labels", "examples", split="test")
    if count is not None:
        errors = [[numbers.of(recipe, each).mean() for recipe in ("random", "cae")] for each in (FEW, ALL)]
        tests = count * tests_in(contest)
        contest = replace(contest, noise=math.hypot(*(chance_width(a, b, tests) for a, b in errors)))
    claim = "The fewer labels there are, the more the CAE's features save over a random start."
    quantity = "Test error of the random start less that of the CAE"
    return says(claim, "section 5", quantity, [contest], chance_told([contest], count))


def tangents_help(numbers: Numbers) -> Finding:
    """The tangent-propagation penalty on the leading tangents of the encoder lowers the error of its classifier."""
    with_them, without = "test error of the tangent classifier", "test error without tangents"
    sides = {without: "without tangents", with_them: "with tangents"}
    return _of_tangents("Fine-tuning along the encoder's tangents lowers the test error.", numbers, sides)


def tangent_distance_helps(numbers: Numbers) -> Finding:
    """Nearest neighbours by the distance of the encoder's tangent planes have a lower error than by Euclidean."""
    by_planes, euclidean = "test error of neighbours by tangents", "test error of neighbours"
    sides = {euclidean: "by Euclidean distance", by_planes: "by tangent distance"}
    claim = "Nearest neighbours by tangent distance classify better than by Euclidean distance."
    return _of_tangents(claim, numbers, sides)


def _of_tangents(claim: str, numbers: Numbers, sides: Mapping[str, str]) -> Finding:
    """The finding of a claim that the first of two numbers of a contractive model is the larger one.

    Args:
        claim: in a sentence.
        numbers: of the comparison.
        sides: the two numbers, and what each is called behind the model.
    """
    label = _label(numbers, [*sides][1])
    count = count_of(numbers, "tangent_classifier", "examples", split="test")
    larger, smaller = (numbers.by_label(label, each).rename(f"{label} {called}") for each, called in sides.items())
    contests = [error_contest(larger, smaller, count)]
    return finding(claim, TANGENTS, "Test error %", contests, chance_told(contests, count))


def _label(numbers: Numbers, column: str) -> str:
    """The contractive model for which a number was measured, with the higher-order penalty and stacked if there is one.

    Raises:
        NotApplicable: there is none.
    """
    if column not in numbers.rows:
        raise NotApplicable(f"no analysis measured {column!r}")
    labels = [each for recipe in ("cae-h-2", "cae-h", "cae-2", "cae") for each in numbers.labels(recipe)]
    measured = numbers.rows.loc[numbers.rows[column].notna(), "model"].unique()
    found = [label for label in labels if label in measured]
    if not found:
        raise NotApplicable(f"no contractive model has a number {column!r}")
    return found[0]
