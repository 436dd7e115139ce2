"""What values the parameters of an estimator can have, in scikit-learn's own terms."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any, get_args

from sklearn.utils._param_validation import HasMethods, Interval, InvalidParameterError, StrOptions

from caelab.models.layers import Activation
from caelab.runs.config import RunConfig
from caelab.runs.optimisation import Optimisation

OPTIMIZERS = {*get_args(Optimisation.model_fields["optimizer"].annotation)}


def positive(kind: type = Real) -> Interval:
    """A number above 0; a whole one is at least 1."""
    return Interval(kind, 1, None, closed="left") if kind is Integral else Interval(Real, 0, None, closed="neither")


def weight() -> Interval:
    """A finite number, at least 0."""
    return Interval(Real, 0, None, closed="left")


CONSTRAINTS: dict[str, list[Any]] = {
    "hidden": [None, positive(Integral), list, tuple],
    "regularizers": [None, str, list, tuple, Mapping],
    "model": [None, HasMethods(["encode", "decode"])],
    "recipe": [None, str, Path, Mapping, RunConfig],
    "activation": [None, StrOptions({*get_args(Activation)})],
    "tied": [None, "boolean"],
    "reconstruction": [None, StrOptions({"squared-error", "cross-entropy"})],
    "epochs": [None, positive(Integral)],
    "batch_size": [None, positive(Integral)],
    "learning_rate": [None, positive()],
    "optimizer": [None, StrOptions(OPTIMIZERS)],
    "early_stopping": ["boolean"],
    "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
    "n_iter_no_change": [positive(Integral)],
    "image_shape": [None, list, tuple],
    "warm_start": ["boolean"],
    "random_state": ["random_state"],
    "verbose": ["verbose"],
}


def widths(hidden: Any, name: str) -> list[int] | None:
    """The widths of the layers as a list of whole numbers; a number stands for one layer.

    Raises:
        InvalidParameterError: a width is none.
    """
    if hidden is None:
        return None
    sizes = [*hidden] if isinstance(hidden, list | tuple) else [hidden]
    if not sizes or any(isinstance(each, bool) or not isinstance(each, Integral) or each < 1 for each in sizes):
        raise InvalidParameterError(
            f"The 'hidden' parameter of {name} must be an int in the range [1, inf) or a list of them. "
            f"Got {hidden!r} instead."
        )
    return [int(each) for each in sizes]
