"""What the paper says, and whether the numbers at hand bear it out; ``caelab.report.claims`` has the rule.

A claim whose models or numbers a comparison lacks is left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from caelab.analysis.statistics import rank_correlation, share_standard_error
from caelab.report.claims import AbsentError, Contest, Numbers, Verdict, judged, short, side, told

PAPER = "Rifai et al. (2011)"
# The average norm as Table 1 of the paper prints it: good for ranks, not for absolute values.
PAPER_NORMS: Mapping[str, Mapping[str, float]] = {
    "mnist": {"cae": 0.73e-4, "dae-g": 0.86e-4, "rbm": 2.50e-4, "ae-wd": 5.00e-4, "dae-b": 7.87e-4, "ae": 17.5e-4},
    "cifar10-bw": {"cae": 2.40e-5, "dae-b": 4.85e-5, "dae-g": 4.94e-5, "ae-wd": 34.9e-5, "ae": 44.9e-5},
}
IN_TABLE_1 = ("ae", "ae-wd", "dae-g", "dae-b", "rbm")
OTHERS = (*IN_TABLE_1, "sparse-ae")
NORM, RECONSTRUCTION, ERROR, BUMP = "mean norm", "reconstruction error", "fine-tuned error", "bump height"
HEIGHT = "Highest ratio over that at r → 0"
RISES = 1.01  # times the value at radius 0: a curve that never gets so high only falls
TWO_SIDED = 1.96  # standard errors of a 95 % interval


@dataclass(frozen=True)
class Finding:
    """One claim, what this comparison says of it, the numbers, and who made the claim."""

    claim: str
    verdict: Verdict
    evidence: str
    source: str


def findings(numbers: Numbers) -> list[Finding]:
    """Every claim that this comparison can speak to."""
    found = []
    for check in CLAIMS:
        try:
            found.append(check(numbers))
        except AbsentError:
            continue
    return found


def finding(claim: str, quantity: str, contests: Sequence[Contest], where: str, more: str = "") -> Finding:
    """The finding of a claim that holds where every contest is won."""
    return Finding(claim, judged(contests), told(quantity, contests) + more, f"{PAPER}, {where}")


def smallest_norm(numbers: Numbers) -> Finding:
    """The CAE against every other model of the paper, and the sparse auto-encoder."""
    cae = numbers.of("cae", NORM)
    contests = [Contest(other, cae) for other in numbers.those(OTHERS, NORM)]
    return finding("The CAE has the smallest Jacobian norm of all.", "Mean ‖J‖", contests, "Table 1")


def second_smallest_norm(numbers: Numbers) -> Finding:
    """DAE-g against the models of Table 1 but the CAE."""
    dae = numbers.of("dae-g", NORM)
    rest = [recipe for recipe in IN_TABLE_1 if recipe != "dae-g"]
    contests = [Contest(other, dae) for other in numbers.those(rest, NORM)]
    claim = "After the CAE, the DAE with Gaussian noise has the smallest Jacobian norm."
    return finding(claim, "Mean ‖J‖", contests, "Table 1")


def denoising_contracts(numbers: Numbers) -> Finding:
    """Both denoising auto-encoders against the plain one."""
    plain = numbers.of("ae", NORM)
    contests = [Contest(plain, dae) for dae in numbers.those(("dae-g", "dae-b"), NORM)]
    claim = "Denoising contracts, though nothing in its objective names the Jacobian: DAEs have a smaller norm than AE."
    return finding(claim, "Mean ‖J‖", contests, "Table 1")


def weight_decay_contracts_less(numbers: Numbers) -> Finding:
    """AE+wd against the CAE at the weights used, whatever they reconstruct."""
    contests = [Contest(numbers.of("ae-wd", NORM), numbers.of("cae", NORM))]
    try:
        errors = [side(numbers.of(recipe, RECONSTRUCTION)) for recipe in ("ae-wd", "cae")]
        more = f" Reconstruction error: {', '.join(errors)}."
    except AbsentError:
        more = ""
    claim = "Weight decay contracts less than the contractive penalty, at the weights used."
    return finding(claim, "Mean ‖J‖", contests, "Table 1", more)


def weight_decay_at_equal_reconstruction(numbers: Numbers) -> Finding:
    """Each AE+wd against the CAE's frontier at the same reconstruction error, where the frontier reaches there."""
    contests = []
    for label in numbers.labels("ae-wd"):
        rivals = frontier_norms(numbers, numbers.by_label(label, RECONSTRUCTION)).rename("cae there")
        if rivals.notna().all():
            contests.append(Contest(numbers.by_label(label, NORM), rivals))
    if not contests:
        raise AbsentError("a frontier of the CAE that reaches the reconstruction errors of weight decay")
    claim = "Weight decay contracts less than the contractive penalty, at equal reconstruction error."
    return finding(claim, "Mean ‖J‖, between the CAE's weights by interpolation", contests, "section 5")


def frontier_norms(numbers: Numbers, errors: pd.Series) -> pd.Series:
    """The CAE's norm at given reconstruction errors, by seed, linear between its weights; NaN beyond them.

    Raises:
        AbsentError: fewer than two weights of the CAE.
    """
    labels = numbers.labels("cae")
    if len(labels) < 2:
        raise AbsentError("a grid of the CAE")
    known = pd.concat([numbers.by_label(label, RECONSTRUCTION) for label in labels], axis=1, join="inner")
    norms = pd.concat([numbers.by_label(label, NORM) for label in labels], axis=1, join="inner")
    seeds = errors.index.intersection(known.index).intersection(norms.index)
    of_seed = zip(errors[seeds], known.loc[seeds].to_numpy(), norms.loc[seeds].to_numpy(), strict=True)
    return pd.Series([_interpolated(*each) for each in of_seed], index=seeds)


def _interpolated(at: float, known: np.ndarray, values: np.ndarray) -> float:
    order = known.argsort()
    return float(np.interp(at, known[order], values[order], left=np.nan, right=np.nan))


def highest_saturation(numbers: Numbers) -> Finding:
    """The CAE's share of saturated units against all others'."""
    cae = 100 * numbers.of("cae", "saturated share")
    contests = [Contest(cae, 100 * other) for other in numbers.those(OTHERS, "saturated share")]
    return finding("The CAE saturates most of its units, more than any other.", "Saturated %", contests, "Table 1")


def lowest_error(numbers: Numbers) -> Finding:
    """The CAE's fine-tuned test error against all others'; chance in the test examples counts beside the seeds.

    The interval of a difference reaches at least 1.96 √(p₁(1 - p₁)/n + p₂(1 - p₂)/n) to either side, n the examples
    of one test set: the seeds' test sets overlap, so that more seeds do not make them more.
    """
    if not numbers.test_examples:
        raise AbsentError("the number of test examples")
    cae, count = numbers.of("cae", ERROR), numbers.test_examples
    others = numbers.those(OTHERS, ERROR)
    contests = [Contest(other, cae, chance_width(other.mean(), cae.mean(), count)) for other in others]
    more = f" The intervals hold the chance in {count} test examples too."
    claim = "The CAE's features classify best after fine-tuning."
    return finding(claim, "Test error %", contests, "Table 1", more)


def chance_width(first: float, second: float, count: int) -> float:
    """Half-width of the 95 % interval of the difference of two error rates, in percent, on ``count`` examples each."""
    errors = [100 * share_standard_error(percent / 100, count) for percent in (first, second)]
    return TWO_SIDED * math.hypot(*errors)


def norms_in_the_papers_order(numbers: Numbers) -> Finding:
    """Every pair of models that the paper's Table 1 has, in its order; the printed values say no more than that."""
    name = "mnist" if numbers.dataset.startswith("mnist") else numbers.dataset
    printed = sorted(PAPER_NORMS.get(name, {}).items(), key=lambda item: item[1])
    here = [(norm, numbers.of(recipe, NORM)) for recipe, norm in printed if numbers.labels(recipe)]
    if len(here) < 3:
        raise AbsentError("three models of the paper's Table 1 on its data")
    contests = [Contest(larger, smaller) for (_, smaller), (_, larger) in combinations(here, 2)]
    rho = rank_correlation([norm for norm, _ in here], [found.mean() for _, found in here])
    more = f" Spearman's ρ with the printed norms: {short(rho)} over {len(here)} models."
    return finding("The models' norms stand in the order of the paper.", "Mean ‖J‖", contests, "Table 1", more)


def sharpest_spectrum(numbers: Numbers) -> Finding:
    """The CAE's effective rank against all others'."""
    claim = "The CAE's spectrum decreases most sharply: its Jacobian has the smallest effective rank."
    return _smallest_of_cae(numbers, "effective rank", claim)


def fewest_large_singular_values(numbers: Numbers) -> Finding:
    """The CAE's number of large singular values against all others'."""
    claim = "The CAE's Jacobian has the fewest large singular values."
    return _smallest_of_cae(numbers, "singular values above threshold", claim)


def _smallest_of_cae(numbers: Numbers, column: str, claim: str) -> Finding:
    cae = numbers.of("cae", column)
    contests = [Contest(other, cae) for other in numbers.those(OTHERS, column)]
    return finding(claim, column.capitalize(), contests, "spectrum of the Jacobian")


def curve_of_cae_rises(numbers: Numbers) -> Finding:
    """The height of the CAE's contraction curve over its value at radius 0."""
    contests = [Contest(numbers.of("cae", BUMP), RISES)]
    claim = "The CAE's contraction curve rises from radius 0 to a bump before it falls."
    return finding(claim, HEIGHT, contests, "contraction curve", _where(numbers))


def _where(numbers: Numbers) -> str:
    try:
        radius = numbers.of("cae", "bump radius")
    except AbsentError:
        return ""
    apart = f"; examples are {short(numbers.distance)} apart on average" if numbers.distance else ""
    return f" The bump lies at radius {short(radius.mean())}{apart}."


def curve_of_dae_falls(numbers: Numbers) -> Finding:
    """The height of DAE-g's contraction curve over its value at radius 0."""
    contests = [Contest(RISES, numbers.of("dae-g", BUMP))]
    claim = "The contraction curve of the DAE with Gaussian noise only falls."
    return finding(claim, HEIGHT, contests, "contraction curve")


def other_curves_fall(numbers: Numbers) -> Finding:
    """The height of the curves of AE, AE+wd, DAE-b and RBM."""
    rest = [recipe for recipe in IN_TABLE_1 if recipe != "dae-g"]
    contests = [Contest(RISES, heights) for heights in numbers.those(rest, BUMP)]
    return finding("Without the contractive penalty, the curve only falls.", HEIGHT, contests, "contraction curve")


def keeps_directions_of_the_data(numbers: Numbers) -> Finding:
    """Response toward the nearest example over that in random directions: what contraction leaves alone."""
    column = "nearest-to-random ratio"
    contests = [Contest(numbers.of("cae", column), numbers.of("ae", column))]
    claim = "Contraction spares the directions of the data: toward a neighbour the CAE yields more than AE does."
    return finding(claim, "Ratio toward the nearest example over random directions", contests, "section 3")


CLAIMS = (
    smallest_norm,
    second_smallest_norm,
    denoising_contracts,
    weight_decay_contracts_less,
    weight_decay_at_equal_reconstruction,
    norms_in_the_papers_order,
    highest_saturation,
    lowest_error,
    sharpest_spectrum,
    fewest_large_singular_values,
    curve_of_cae_rises,
    curve_of_dae_falls,
    other_curves_fall,
    keeps_directions_of_the_data,
)
