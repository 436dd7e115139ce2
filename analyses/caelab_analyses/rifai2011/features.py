"""What the paper's features are worth: its sentences on classifiers, stacks and few labels, as claims.

A claim whose models or numbers a comparison lacks is left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from caelab import Contest, Finding, NotApplicable, Numbers, finding
from caelab.report.claims import with_examples

PAPER = "Rifai et al. (2011)"
TANGENTS = "Rifai et al. (2011, NIPS), the manifold tangent classifier"
NORM, ENTRY, RADIUS = "mean norm", "mean squared entry", "bump radius"
AFTER, OF_1000 = "test error after fine-tuning", "fine-tuned error"  # of two analyses, the first comes first
SINGLE = ("ae", "ae-wd", "dae-g", "dae-b", "rbm", "sparse-ae", "cae")
THREE_LAYERS = ("sae-3", "rbm-3", "dae-b-3")
FEW, ALL = "test error with 100 labels", "test error with all labels"


def error_column(numbers: Numbers) -> str:
    """The column of the classification error: after fine-tuning on all labels, or else on the first 1 000.

    Raises:
        NotApplicable: neither was measured.
    """
    found = [column for column in (AFTER, OF_1000) if column in numbers.rows]
    if not found:
        raise NotApplicable("no classifier was fine-tuned")
    return found[0]


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
    found = [r for r in SINGLE if numbers.labels(r)]
    if len(found) < 5:
        raise NotApplicable("a rank correlation of norm and error needs five of the paper's models")
    norms, errors = ({r: numbers.of(r, each) for r in found} for each in (NORM, column))
    ranks = [pd.DataFrame(each).dropna().rank(axis=1) for each in (norms, errors)]
    rho = ranks[0].corrwith(ranks[1], axis=1).dropna().rename("rank correlation over the models")
    rho.attrs = norms[found[0]].attrs
    claim = "The smaller a model's Jacobian norm, the smaller its test error: the two go together."
    return says(claim, "Table 1", f"Spearman's ρ of norm and error over {len(found)} models", [Contest(rho, 0.0)])


def pretraining_beats_random(numbers: Numbers) -> Finding:
    """A classifier that starts from any of the pretrained encoders has a lower error than from random weights."""
    column = error_column(numbers)
    start = numbers.of("random", column)
    contests = [Contest(start, each) for each in numbers.those(SINGLE, column)]
    return says("Pretraining beats a random start.", "Table 1", "Test error %", contests)


def two_layers_beat_one(numbers: Numbers) -> Finding:
    """Two stacked contractive layers have a lower error than one."""
    column = error_column(numbers)
    contests = [Contest(numbers.of("cae", column), numbers.of("cae-2", column))]
    return says("Two contractive layers classify better than one.", "Table 2", "Test error %", contests)


def two_beat_three(numbers: Numbers) -> Finding:
    """Two stacked contractive layers have a lower error than three layers of the others."""
    column = error_column(numbers)
    cae = numbers.of("cae-2", column)
    contests = [Contest(other, cae) for other in numbers.those(THREE_LAYERS, column)]
    claim = "Two contractive layers classify better than three layers of the others."
    return says(claim, "Table 2", "Test error %", contests)


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
    claim = "The fewer labels there are, the more the CAE's features save over a random start."
    return says(claim, "section 5", "Test error of the random start less that of the CAE", [Contest(few, many)])


def tangents_help(numbers: Numbers) -> Finding:
    """The tangent-propagation penalty on the leading tangents of the encoder lowers the error of its classifier."""
    with_them, without = "test error of the tangent classifier", "test error without tangents"
    contests = [
        Contest(numbers.by_label(label, without).rename("without"), numbers.by_label(label, with_them).rename("with"))
        for label in _labels(numbers, with_them)
    ]
    claim = "Fine-tuning along the encoder's tangents lowers the test error."
    return finding(claim, TANGENTS, "Test error %", contests)


def tangent_distance_helps(numbers: Numbers) -> Finding:
    """Nearest neighbours by the distance of the encoder's tangent planes have a lower error than by Euclidean."""
    by_planes, euclidean = "test error of neighbours by tangents", "test error of neighbours"
    contests = [
        Contest(
            numbers.by_label(label, euclidean).rename("Euclidean"), numbers.by_label(label, by_planes).rename("tangent")
        )
        for label in _labels(numbers, by_planes)
    ]
    claim = "Nearest neighbours by tangent distance classify better than by Euclidean distance."
    return finding(claim, TANGENTS, "Test error %", contests)


def _labels(numbers: Numbers, column: str) -> list[str]:
    """The contractive models for which a number was measured.

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
    return found[:1]
