"""Agreement between machines: the code that a study is made of, which every worker compares with its own."""

from __future__ import annotations

import hashlib
import platform
import socket
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from caelab.errors import CaelabError
from caelab.registry.code_fingerprints import OWN
from caelab.registry.fingerprints import fingerprints_of
from caelab.version import __version__

LIBRARIES = ("torch", "numpy")  # that decide the last digits of a run
DIGITS = 12  # of a digest
Code = Mapping[str, str]


def versions() -> dict[str, str]:
    """The versions of what every run needs, without importing any of it: Python, the libraries and caelab itself.

    Of torch the build (``+cpu``, ``+cu128``) does not count, so that a machine without a GPU may send runs to one.
    """
    libraries = {name: _version(name).partition("+")[0] for name in LIBRARIES}
    python = ".".join(platform.python_version_tuple()[:2])
    return {"Python": python, **libraries, "caelab": f"{__version__} (code {own_code()})"}


def expected_code(used: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Digests of the code of others that a study uses, by what it is: ``{"analysis mine": digest}``.

    Args:
        used: kind and name of everything that the study takes from the catalogue.
    """
    return {name: digest[:DIGITS] for name, digest in fingerprints_of(used).items()}


def difference(expected: Code, found: Code) -> str:
    """The first difference, for a sentence that begins with a machine's name; an empty text where nothing does.

    >>> difference({"Python": "3.12", "torch": "2.9"}, {"Python": "3.12", "torch": "2.8"})
    'has torch 2.8, but 2.9 is expected'
    """
    for name, value in expected.items():
        if found.get(name, "") != value:
            return f"has {name} {found[name]}, but {value} is expected" if found.get(name) else f"has no {name}"
    return ""


def refuse_other_code(expected: Code) -> None:
    """Refuse to go on with other plugins than the study was started with.

    Args:
        expected: what ``expected_code`` answered where the study was started; plugin files are in the catalogue by now.

    Raises:
        CaelabError: the code here is another, or is missing; it names this machine, what it has and what is expected.
    """
    used = [(kind, name) for kind, _, name in (each.partition(" ") for each in expected)]
    refuse_difference(expected, expected_code(used))


def refuse_other_versions(expected: Code) -> None:
    """Refuse to go on with another caelab, another Python or other libraries than the study was started with.

    Raises:
        CaelabError: as ``refuse_other_code``.
    """
    refuse_difference(expected, versions())


def refuse_difference(expected: Code, found: Code, who: str = "") -> None:
    """Refuse the first difference.

    Args:
        expected: where the study was started.
        found: on another machine.
        who: that machine; by default this one.

    Raises:
        CaelabError: there is a difference.
    """
    if other := difference(expected, found):
        raise CaelabError(
            f"{who or here()} {other}; install there what is installed where the study was started, and start its "
            "workers anew"
        )


def here() -> str:
    """This machine, as an error names it."""
    return f"the worker on {socket.gethostname()}"


def refuse_unshared(folder: Path, token: str, who: str = "") -> None:
    """Refuse to write runs into a folder that only this machine sees.

    Args:
        folder: of the runs.
        token: the name of a file that was put there where the study was started.
        who: this machine; by default its name.

    Raises:
        CaelabError: the file is not there.
    """
    if not (folder / token).is_file():
        raise CaelabError(
            f"{who or here()} does not see {folder} as the study does; give with --out a folder that all machines "
            "share under one path"
        )


@cache  # what counts is the code that this process has in memory
def own_code() -> str:
    """A digest of caelab's own files, so that two states of one version are told apart."""
    digest = hashlib.sha256()
    for package in OWN:
        found = find_spec(package)
        for folder in map(Path, found.submodule_search_locations or () if found else ()):
            for file in sorted(folder.rglob("*.py")):
                digest.update(f"{package}/{file.relative_to(folder).as_posix()}".encode() + file.read_bytes())
    return digest.hexdigest()[:DIGITS]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
