"""Errors as a person in Python mends them: by a keyword, where the sentence names an option of the command line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from caelab.errors import CaelabError
from caelab.runs.settings import parse_value

SETTING = re.compile(r"--set ([\w-]+(?:\.[\w-]+)*)=(\[[^\]]*\]|[\w.-]*\w)")
BESIDE = re.compile(r"(?<==)(\S+) (?=--set )")  # between two settings of one sentence
ALONE = ("training", "model")  # blocks whose keys are found by their last word; a data set has a label, too


def keywords_in(sentence: str) -> str:
    """A sentence with the settings of the command line as keywords of ``caelab.recipe`` and ``caelab.compare``.

    >>> keywords_in("use --set training.reconstruction=squared-error --set model.output=identity")
    "use reconstruction='squared-error', output='identity'"
    >>> keywords_in("or none by --set dataset.label=false; give --set weight-decay.weight=VALUE")
    'or none by dataset__label=False; give weight_decay__weight=VALUE'
    """
    return SETTING.sub(_as_keyword, BESIDE.sub(r"\1, ", sentence))


def _as_keyword(found: re.Match[str]) -> str:
    key, value = found.groups()
    first, *rest = key.split(".")
    name = rest[0] if first in ALONE and len(rest) == 1 else key.replace(".", "__").replace("-", "_")
    return f"{name}={value if value == 'VALUE' else repr(parse_value(value))}"


@contextmanager
def in_keywords() -> Iterator[None]:
    """Within the block, or the function that it decorates, an error names keywords in place of ``--set``.

    Raises:
        CaelabError: the very error that was raised, in these words.
    """
    try:
        yield
    except CaelabError as error:
        error.args = (keywords_in(str(error)), *error.args[1:])
        raise
