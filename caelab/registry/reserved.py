"""Names that are caelab's own, each list once: arguments, terms of a loss, metrics, and columns of tables."""

from __future__ import annotations

GIVEN_BY_CORE: dict[str, tuple[str, ...]] = {
    "analysis": ("run", "runs", "streams"),
    "claim": ("numbers",),
    "executor": ("workers",),
    "model": ("inputs", "image_shape"),
    "tracker": ("target",),
}
"""By kind, the arguments that caelab hands over; all others are options of the user's."""

OWN_TERMS = ("reconstruction", "training_loss")
"""Terms of a loss that no plugin may return."""

VALIDATION = "valid_reconstruction"  # the mean reconstruction error of the validation examples
OWN_METRICS = ("epoch", VALIDATION, "learning_rate")
OF_TRAINING = "train_"  # in front of the mean of a term over an epoch

ABOUT_A_RUN = ("model", "seed")
"""The columns that say which run a row of a table is about."""

SPLIT = "split"  # the column that tells repeated splits of one data set apart
ABOUT_A_ROW = (*ABOUT_A_RUN, SPLIT, "run")
"""The columns of the summary beside its numbers."""


def is_own_metric(name: str) -> bool:
    """Whether a metric of this name is caelab's own.

    >>> is_own_metric("train_contractive"), is_own_metric("norm")
    (True, False)
    """
    return name in OWN_METRICS or name.startswith(OF_TRAINING)
