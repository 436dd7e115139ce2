"""The one kind of error a user sees: a sentence, never a traceback."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

MANY = 30  # names that can be read through
FEW = 10
LONGEST = 300  # letters of a value that is quoted


class CaelabError(Exception):
    """An error that a user can cause and mend; the command line prints it after ``error:`` and exits with status 2.

    The message says what was expected, what came, and what to do.
    """


class RefusedInput(CaelabError, ValueError):
    """The value of an argument does not fit; numpy, scikit-learn and matplotlib raise ``ValueError`` for that."""


class StorageError(CaelabError):
    """A file could not be written or read for a reason that lies outside caelab: the disk is full, a quota, a right.

    Attributes:
        errno: the system's number for the reason.
    """

    def __init__(self, message: str, errno: int | None = None) -> None:
        super().__init__(message, errno)
        self.errno = errno

    def __str__(self) -> str:
        return str(self.args[0])


class DamagedFile(CaelabError):
    """A file does not hold what caelab wrote into it."""


class ToldElsewhere(CaelabError):
    """An error that another process of the same run tells; the command line ends with status 2 and says nothing."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> CaelabError:
    """The error for a misspelt name, with the nearest known one, and all of them; of very many the nearest few.

    >>> print(unknown_name("recipe", "caee", ["cae", "rcae", "ae"]))
    unknown recipe 'caee'; did you mean 'cae'? Known: ae, cae, rcae
    >>> print(unknown_name("array", "x", ["X", "y"]))
    unknown array 'x'; did you mean 'X'? Known: X, y
    """
    known = sorted(known)
    near = [each for each in known if each.lower() == name.lower()] or get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    shown = known if len(known) <= MANY else get_close_matches(name, known, n=FEW, cutoff=0)
    others = f" and {len(known) - len(shown)} others" if len(shown) < len(known) else ""
    return CaelabError(f"unknown {kind} {name!r}{hint} Known: {', '.join(shown) or 'none'}{others}")


def shown(value: object) -> str:
    """A value as Python writes it, for a sentence: cut in the middle where it is very long.

    >>> shown([1, 2]), len(shown("x" * 10_000))
    ('[1, 2]', 305)
    """
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}"


ASKED = re.compile(
    r"(?:to allocate|alloc of size) ([\d.]+)\s?(bytes|[KMGTPE]iB)?", re.IGNORECASE
)  # torch, numpy, pyarrow


def reason(error: BaseException) -> str:
    """What an error says, on one line, with its kind; of memory that was refused, how much was asked for.

    >>> reason(KeyError("lost"))
    "KeyError: 'lost'"
    >>> reason(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 400000000000 bytes."))
    'not enough memory: 372.5 GiB were asked for at once'
    """
    words = " ".join(str(error).split())
    asked = ASKED.search(words)
    if not isinstance(error, MemoryError) and not (asked and isinstance(error, RuntimeError)):
        return f"{type(error).__name__}: {words}"
    if not asked:
        return "not enough memory (how much was asked for is not told)"
    amount = f"{int(asked[1]) / 2**30:.1f} GiB" if asked[2] in (None, "bytes") else f"{asked[1]} {asked[2]}"
    return f"not enough memory: {amount} were asked for at once"


class ContractError(CaelabError):
    """A plugin says something of itself that is not so; what it belongs to ends, since its author must mend it."""


class NotApplicable(CaelabError):
    """An analysis has no meaning for a run, or a claim for a comparison; others go on without it.

    An analysis raises it where a run has no labels, no images or no known truth, a claim where the models or numbers
    that it is about were not compared.
    """
