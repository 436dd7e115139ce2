"""Statistics of a few runs: paired differences of models with intervals, tests, effect sizes, and what can be seen.

Every number of one model is paired with that of another from the same seed, or from the same split and seed. Each
formula, its source and what it assumes stand in ``docs/theory/statistics.md``.
"""

from caelab.analysis.statistics.best import not_told_from_best
from caelab.analysis.statistics.bootstrap import Interval, bootstrap_interval
from caelab.analysis.statistics.comparisons import comparisons
from caelab.analysis.statistics.correlations import RankCorrelation, rank_correlation, rank_correlation_interval
from caelab.analysis.statistics.effects import EffectSize, effect_size, share_won
from caelab.analysis.statistics.paired import (
    PairedDifference,
    by_seed,
    mean_and_half_width,
    paired_difference,
    share_standard_error,
)
from caelab.analysis.statistics.permutations import holm, sign_flip_p_value
from caelab.analysis.statistics.power import power_note, smallest_difference
from caelab.analysis.statistics.resampling import corrected_difference

__all__ = [
    "EffectSize",
    "Interval",
    "PairedDifference",
    "RankCorrelation",
    "bootstrap_interval",
    "by_seed",
    "comparisons",
    "corrected_difference",
    "effect_size",
    "holm",
    "mean_and_half_width",
    "not_told_from_best",
    "paired_difference",
    "power_note",
    "rank_correlation",
    "rank_correlation_interval",
    "share_standard_error",
    "share_won",
    "sign_flip_p_value",
    "smallest_difference",
]
