"""The paper's sentences as claims; ``caelab.report.claims`` has the rule that judges them.

A claim whose models or numbers a comparison lacks is left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from caelab import Contest, Finding, NotApplicable, Numbers, finding
from caelab.analysis.statistics import rank_correlation_interval
from caelab.report.claims import short, side, with_examples
from caelab_analyses.rifai2011.chance import (
    chance_told,
    error_column,
    error_contest,
    examples_tested,
    read_from,
)
from caelab_analyses.rifai2011.printed import LIKE_MNIST, NORMS

PAPER = "Rifai et al. (2011)"
IN_TABLE_1 = ("ae", "ae-wd", "dae-g", "dae-b", "rbm")
OTHERS = (*IN_TABLE_1, "sparse-ae")
NORM, RECONSTRUCTION, ERROR, BUMP = "mean norm", "reconstruction error", "fine-tuned error", "bump height"
HEIGHT = "Highest ratio over that at r → 0"
RISES = 1.01  # times the value at radius 0: a curve that never gets so high only falls


def says(statement: str, where: str, quantity: str, contests: Sequence[Contest], more: str = "") -> Finding:
    """The finding of a claim of the paper; ``where`` is the place in it."""
    return finding(statement, f"{PAPER}, {where}", quantity, contests, more)


def smallest_norm(numbers: Numbers) -> Finding:
    """The CAE has the smallest Jacobian norm: of all models of the paper, and the sparse auto-encoder."""
    cae = numbers.of("cae", NORM)
    contests = [Contest(other, cae) for other in numbers.those(OTHERS, NORM)]
    return says("The CAE has the smallest Jacobian norm of all.", "Table 1", "Mean ‖J‖", contests)


def second_smallest_norm(numbers: Numbers) -> Finding:
    """After the CAE, DAE-g has the smallest Jacobian norm of the models of Table 1."""
    dae = numbers.of("dae-g", NORM)
    rest = [recipe for recipe in IN_TABLE_1 if recipe != "dae-g"]
    contests = [Contest(other, dae) for other in numbers.those(rest, NORM)]
    claim = "After the CAE, the DAE with Gaussian noise has the smallest Jacobian norm."
    return says(claim, "Table 1", "Mean ‖J‖", contests)


def denoising_contracts(numbers: Numbers) -> Finding:
    """Denoising contracts: DAE-g and DAE-b have a smaller norm than AE."""
    plain = numbers.of("ae", NORM)
    contests = [Contest(plain, dae) for dae in numbers.those(("dae-g", "dae-b"), NORM)]
    claim = "Denoising contracts, though nothing in its objective names the Jacobian: DAEs have a smaller norm than AE."
    return says(claim, "Table 1", "Mean ‖J‖", contests)


def weight_decay_contracts_less(numbers: Numbers) -> Finding:
    """Weight decay contracts less than the contractive penalty at the weights used, whatever they reconstruct."""
    contests = [Contest(numbers.of("ae-wd", NORM), numbers.of("cae", NORM))]
    try:
        errors = [side(numbers.of(recipe, RECONSTRUCTION)) for recipe in ("ae-wd", "cae")]
        more = f" Reconstruction error: {', '.join(errors)}."
    except NotApplicable:
        more = ""
    claim = "Weight decay contracts less than the contractive penalty, at the weights used."
    return says(claim, "Table 1", "Mean ‖J‖", contests, more)


def _frontier(norm: float, seeds: int = 3) -> Numbers:
    """Made up: two weights of the CAE, and weight decay of that norm halfway between them, where the CAE has 6."""
    models = {"cae weight=1": (8.0, 60.0), "cae weight=2": (4.0, 80.0), "ae-wd": (norm, 70.0)}
    return Numbers.made_up({model: {NORM: n, RECONSTRUCTION: error} for model, (n, error) in models.items()}, seeds)


@with_examples(supported=_frontier(8.0), contradicted=_frontier(4.0), inconclusive=_frontier(8.0, seeds=1))
def weight_decay_at_equal_reconstruction(numbers: Numbers) -> Finding:
    """Weight decay contracts less than the contractive penalty, where a grid of the CAE reaches its reconstruction."""
    contests = []
    for label in numbers.labels("ae-wd"):
        rivals = frontier_norms(numbers, numbers.by_label(label, RECONSTRUCTION)).rename("cae there")
        if len(rivals) and rivals.notna().all():
            contests.append(Contest(numbers.by_label(label, NORM), rivals))
    if not contests:
        raise NotApplicable("there is no frontier of the CAE that reaches the reconstruction errors of weight decay")
    claim = "Weight decay contracts less than the contractive penalty, at equal reconstruction error."
    return says(claim, "section 5", "Mean ‖J‖, between the CAE's weights by interpolation", contests)


def frontier_norms(numbers: Numbers, errors: pd.Series) -> pd.Series:
    """The CAE's norm at given reconstruction errors, by seed, linear between its weights; NaN beyond them.

    Raises:
        NotApplicable: fewer than two weights of the CAE.
    """
    labels = numbers.labels("cae")
    if len(labels) < 2:
        raise NotApplicable("there is no grid of the CAE")
    known = pd.concat([numbers.by_label(label, RECONSTRUCTION) for label in labels], axis=1, join="inner")
    norms = pd.concat([numbers.by_label(label, NORM) for label in labels], axis=1, join="inner")
    seeds = errors.index.intersection(known.index).intersection(norms.index)
    of_seed = zip(errors[seeds], known.loc[seeds].to_numpy(), norms.loc[seeds].to_numpy(), strict=True)
    found = pd.Series([_interpolated(*each) for each in of_seed], index=seeds)
    found.attrs = errors.attrs
    return found


def _interpolated(at: float, known: np.ndarray, values: np.ndarray) -> float:
    order = known.argsort()
    return float(np.interp(at, known[order], values[order], left=np.nan, right=np.nan))


def highest_saturation(numbers: Numbers) -> Finding:
    """The CAE has a larger share of saturated units than any other."""
    cae = 100 * numbers.of("cae", "saturated share")
    contests = [Contest(cae, 100 * other) for other in numbers.those(OTHERS, "saturated share")]
    return says("The CAE saturates most of its units, more than any other.", "Table 1", "Saturated %", contests)


def _errors(ae: float, cae: float, seeds: int = 3) -> Numbers:
    """Made up: test errors of two models in percent, on many examples."""
    tests = pd.DataFrame({"split": ["test"], "examples": [50_000]})
    return Numbers.made_up({"ae": {ERROR: ae}, "cae": {ERROR: cae}}, seeds, tables={"classification": tests})


@with_examples(supported=_errors(10.0, 8.0), contradicted=_errors(8.0, 10.0), inconclusive=_errors(10.0, 8.0, seeds=1))
def lowest_error(numbers: Numbers) -> Finding:
    """The CAE has the smallest test error after fine-tuning; chance in the test examples counts."""
    column, count = error_column(numbers), examples_tested(numbers)
    cae = numbers.of("cae", column)
    contests = [error_contest(other, cae, count) for other in numbers.those(OTHERS, column)]
    claim = "The CAE's features classify best after fine-tuning."
    return says(claim, "Table 1", "Test error %", contests, chance_told(contests, count))


def _norms(power: int, seeds: int = 3) -> Numbers:
    """Made up: powers of the norms that the paper prints."""
    means = {recipe: {NORM: norm**power} for recipe, norm in NORMS["mnist"].items()}
    return Numbers.made_up(means, seeds, dataset="mnist")


@with_examples(supported=_norms(1), contradicted=_norms(-1), inconclusive=_norms(1, seeds=1))
def norms_in_the_papers_order(numbers: Numbers) -> Finding:
    """The norms stand in the order of the paper's Table 1, pair by pair; the printed values say no more than that."""
    name = "mnist" if numbers.dataset in LIKE_MNIST else numbers.dataset
    printed = sorted(NORMS.get(name, {}).items(), key=lambda item: item[1])
    here = [(norm, numbers.of(recipe, NORM)) for recipe, norm in printed if numbers.labels(recipe)]
    if len(here) < 3:
        raise NotApplicable("fewer than three models of the paper's Table 1 were compared on its data")
    contests = [Contest(larger, smaller) for (_, smaller), (_, larger) in combinations(here, 2)]
    rho = rank_correlation_interval([norm for norm, _ in here], [found.mean() for _, found in here])
    interval = f" [{short(rho.low)}, {short(rho.high)}]" if math.isfinite(rho.low) else ""
    more = f" Spearman's ρ with the printed norms: {short(rho.value)}{interval} over {len(here)} models."
    return says("The models' norms stand in the order of the paper.", "Table 1", "Mean ‖J‖", contests, more)


def sharpest_spectrum(numbers: Numbers) -> Finding:
    """The CAE's Jacobian has the smallest effective rank: its spectrum decreases most sharply."""
    claim = "The CAE's spectrum decreases most sharply: its Jacobian has the smallest effective rank."
    return _smallest_of_cae(numbers, "effective rank", claim)


def fewest_large_singular_values(numbers: Numbers) -> Finding:
    """The CAE's Jacobian has the fewest large singular values."""
    claim = "The CAE's Jacobian has the fewest large singular values."
    return _smallest_of_cae(numbers, "singular values above threshold", claim)


def _smallest_of_cae(numbers: Numbers, column: str, claim: str) -> Finding:
    cae = numbers.of("cae", column)
    contests = [Contest(other, cae) for other in numbers.those(OTHERS, column)]
    return says(claim, "spectrum of the Jacobian", column.capitalize(), contests)


def curve_of_cae_rises(numbers: Numbers) -> Finding:
    """The CAE's contraction curve rises above its value at radius 0, to a bump, before it falls."""
    contests = [Contest(numbers.of("cae", BUMP), RISES)]
    claim = "The CAE's contraction curve rises from radius 0 to a bump before it falls."
    return says(claim, "contraction curve", HEIGHT, contests, _where(numbers))


def _where(numbers: Numbers) -> str:
    try:
        radius = numbers.of("cae", "bump radius")
    except NotApplicable:
        return ""
    distance = read_from(numbers, "contraction_curve", "mean distance").mean()
    apart = f"; examples are {short(distance)} apart on average" if distance > 0 else ""
    return f" The bump lies at radius {short(radius.mean())}{apart}."


def curve_of_dae_falls(numbers: Numbers) -> Finding:
    """The contraction curve of DAE-g never rises above its value at radius 0."""
    contests = [Contest(RISES, numbers.of("dae-g", BUMP))]
    claim = "The contraction curve of the DAE with Gaussian noise only falls."
    return says(claim, "contraction curve", HEIGHT, contests)


def other_curves_fall(numbers: Numbers) -> Finding:
    """The contraction curves of AE, AE+wd, DAE-b and RBM never rise above their values at radius 0."""
    rest = [recipe for recipe in IN_TABLE_1 if recipe != "dae-g"]
    contests = [Contest(RISES, heights) for heights in numbers.those(rest, BUMP)]
    return says("Without the contractive penalty, the curve only falls.", "contraction curve", HEIGHT, contests)


def keeps_directions_of_the_data(numbers: Numbers) -> Finding:
    """Contraction spares the directions of the data: toward a neighbour the CAE yields more than AE does."""
    column = "nearest-to-random ratio"
    contests = [Contest(numbers.of("cae", column), numbers.of("ae", column))]
    claim = "Contraction spares the directions of the data: toward a neighbour the CAE yields more than AE does."
    return says(claim, "section 3", "Ratio toward the nearest example over random directions", contests)
