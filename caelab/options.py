"""Types for the options of plugins; a run's config is checked against them before anything starts."""

from typing import Annotated

from pydantic import Field

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""The weight of a penalty: a finite number, at least 0."""

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
"""A finite number above 0: a noise level, a radius, a rate."""

Probability = Annotated[float, Field(ge=0, le=1)]
"""A number between 0 and 1."""

Count = Annotated[int, Field(ge=1)]
"""A whole number, at least 1."""
