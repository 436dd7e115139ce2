"""The options of every data set that say how its inputs are scaled; without torch, to be quick."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from caelab.errors import shown, unknown_name
from caelab.registry.signatures import SENTENCE, option_fields, readable

ALMOST = 0.8  # the likeness from which another word is taken for a misspelt option, as standardize


def _one_of(expected: str, fits: Callable[[Any], bool]) -> BeforeValidator:
    """A check of a value, of which false is the same as none at all."""

    def check(value: Any) -> Any:
        if value is None or value is False:
            return None
        if not fits(value):
            raise PydanticCustomError(SENTENCE, "expected {expected}, but {came} came", _words(expected, value))
        return value

    return BeforeValidator(check)


def _words(expected: str, came: Any) -> dict[str, Any]:
    return {"expected": expected, "came": shown(came)}


def _is_threshold(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return value == "median" if not number else math.isfinite(value)


YES = _one_of("true or false", lambda value: value is True)
YES_OR_CLIP = _one_of("true, false or clip", lambda value: value is True or value == "clip")
THRESHOLD = _one_of("a number, above which an input becomes 1, or median", _is_threshold)


class ScalingOptions(BaseModel):
    """How the inputs of a data set are scaled, by parameters of its training examples alone.

    Attributes:
        standardise: each input to mean 0 and standard deviation 1.
        minmax: each input to the range from 0 to 1; ``clip`` sets values of other examples that lie outside to 0 or 1.
        binarise: 1 where an input is above this number, or above the input's ``median``, else 0.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    standardise: Annotated[bool | None, YES] = None
    minmax: Annotated[bool | str | None, YES_OR_CLIP] = None
    binarise: Annotated[float | str | None, THRESHOLD] = None

    @model_validator(mode="after")
    def _only_one(self) -> ScalingOptions:
        asked = list(self.asked)
        if len(asked) > 1:
            raise PydanticCustomError(
                SENTENCE,
                "expected at most one of standardise, minmax and binarise, since the order of two would matter, but "
                "{asked} came; ask for one",
                {"asked": " and ".join(asked)},
            )
        return self

    @property
    def asked(self) -> dict[str, Any]:
        """The option that is set, with its value; empty where the inputs stay as they are."""
        return self.model_dump(mode="json", exclude_none=True)


NAMES = tuple(ScalingOptions.model_fields)


def take_scaling(
    loader: Callable[..., Any], options: Mapping[str, Any], where: str
) -> tuple[dict[str, Any], ScalingOptions]:
    """The options that are the loader's, and those of every data set; one of both is the loader's.

    Raises:
        CaelabError: an option of every data set is misspelt, or has an impossible value.
    """
    own = option_fields(loader)
    _refuse_misspelt(options, own, where)
    given = {name: value for name, value in options.items() if name in NAMES and name not in own}
    return {name: value for name, value in options.items() if name not in given}, scaling_of(given, where)


def scaling_of(given: Mapping[str, Any], where: str) -> ScalingOptions:
    """Checked options of every data set.

    Raises:
        CaelabError: an unknown option, or an impossible value.
    """
    try:
        return ScalingOptions.model_validate(dict(given))
    except ValidationError as error:
        raise readable(error, where, ScalingOptions) from error


def scaling_in(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those options of a data set that say how it is scaled."""
    return {name: options[name] for name in NAMES if name in options}


def _refuse_misspelt(options: Mapping[str, Any], own: Collection[str], where: str) -> None:
    known = [*own, *NAMES]
    for name in options:
        if name not in known and get_close_matches(name, known, n=1, cutoff=ALMOST):
            error = unknown_name("option", name, known)
            raise type(error)(f"{where}: {error}")
