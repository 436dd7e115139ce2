"""Types for the options of plugins; a run's config is checked against them before anything starts."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""The weight of a penalty: a finite number, at least 0."""

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
"""A finite number above 0: a noise level, a radius, a rate."""

Probability = Annotated[float, Field(ge=0, le=1)]
"""A number between 0 and 1."""

MANY = 10**9

Count = Annotated[int, Field(ge=1, le=MANY)]
"""A whole number, at least 1; at most a thousand millions, which no run of these models needs."""


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, int | float) else value


def _only_one(value: Any) -> Any:
    return value[0] if isinstance(value, list | tuple) and len(value) == 1 else value


Widths = Annotated[list[Count], BeforeValidator(_as_list), Field(min_length=1)]
"""Widths of layers, at least one; a number stands for a single layer."""

Width = Annotated[int, BeforeValidator(_only_one), Field(ge=1, le=MANY)]
"""The width of the only layer; a list of one number stands for it."""
