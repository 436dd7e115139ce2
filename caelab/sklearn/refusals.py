"""caelab's errors as those that users of scikit-learn expect."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from caelab.errors import CaelabError, RefusedInput

SETTING = re.compile(r"--set (?:training|model)\.(\w+)=([\w-]+|\[[\d, ]+\])")
OPTION = re.compile(r"with --set ([\w-]+)\.(\w+)=VALUE")
KEY = re.compile(r"\b(?:training|model)\.(\w+)")


def in_parameters(sentence: str) -> str:
    """A sentence about a config, with settings of the command line as parameters of an estimator.

    >>> in_parameters("use --set model.activation=sigmoid, or lower training.learning_rate")
    "use activation='sigmoid', or lower learning_rate"
    """
    sentence = OPTION.sub(r"as regularizers={'\1': {'\2': VALUE}}", sentence)
    return KEY.sub(r"\1", SETTING.sub(_as_parameter, sentence))


def _as_parameter(found: re.Match[str]) -> str:
    value = found[2]
    return f"{found[1]}={value if value[0] in '[0123456789' else repr(value)}"


@contextmanager
def told_to_users_of_sklearn() -> Iterator[None]:
    """Within the block a ``CaelabError`` becomes a ``ValueError``.

    Raises:
        RefusedInput: what was refused, in the words of the estimator's parameters.
    """
    try:
        yield
    except CaelabError as error:
        if isinstance(error, ValueError):
            raise
        raise RefusedInput(in_parameters(str(error))) from error
