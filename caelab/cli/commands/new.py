"""The command ``caelab new``, which writes an installable package with a working plugin.

jinja2 fills six small files in. Project templating tools (copier, cookiecutter) would be a further dependency for
everyone, and ask questions where one command should do.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from unicodedata import normalize

import click

from caelab.errors import CaelabError, unknown_name
from caelab.registry.reserved import OWN_TERMS
from caelab.storage.files import publish

KINDS = ("analysis", "claim", "dataset", "model", "regularizer")
NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
LONGEST = 60  # letters; a file's name ends at 255 bytes, and nobody types more


class Package(NamedTuple):
    """The names of a new plugin, of its package and of its distribution."""

    kind: str
    name: str

    @property
    def distribution(self) -> str:
        """The name of the distribution, which pip installs.

        >>> Package("regularizer", "low_rank").distribution
        'caelab-low-rank'
        """
        return f"caelab-{self.name.replace('_', '-')}"

    @property
    def package(self) -> str:
        """The name of the package, which Python imports."""
        return self.distribution.replace("-", "_")

    @property
    def symbol(self) -> str:
        """The name of the plugin's class.

        >>> Package("regularizer", "low-rank").symbol
        'LowRank'
        """
        return "".join(part.capitalize() for part in re.split("[-_]", self.name))


@click.command()
@click.argument(
    "kind",
    metavar="|".join(KINDS),
    shell_complete=lambda _, __, begun: [each for each in KINDS if each.startswith(begun)],
)
@click.argument("name")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the package. [default: caelab-NAME]")
def new(kind: str, name: str, out: Path | None) -> None:
    """Write an installable package with a plugin of your own, its tests and what to do next.

    \b
    caelab new regularizer mine
    pip install --editable caelab-mine
    caelab compare mine ae --dataset digits
    """
    package = Package(kind, name)
    refuse_names(package)
    folder = out or Path(package.distribution)
    write(package, folder)
    click.echo(f"package: {folder}")
    click.echo(f"next: pip install --editable {folder}; its README.md says how to use and test it")


def refuse_names(package: Package) -> None:
    """Refuse an unknown kind, an impossible name and one that is taken.

    Raises:
        CaelabError: with the nearest name that would do.
    """
    if package.kind not in KINDS:
        raise unknown_name("kind of plugin", package.kind, KINDS)
    if len(package.name) > LONGEST:
        raise CaelabError(
            f"a name has at most {LONGEST} letters, but {len(package.name)} came; "
            f"{nearest_valid(package.name)!r} would do"
        )
    if not NAME.fullmatch(package.name):
        raise CaelabError(
            f"a name is made of lower-case letters, digits and single hyphens or underscores and starts with a letter, "
            f"but {package.name!r} came; {nearest_valid(package.name)!r} would do"
        )
    if package.kind == "regularizer":
        _refuse_reserved(package.name)
    _refuse_taken(package)


def nearest_valid(name: str) -> str:
    """The valid name that is nearest to one that is not.

    >>> nearest_valid("My Régularizer!"), nearest_valid("2nd"), nearest_valid("λ")
    ('my-regularizer', 'nd', 'mine')
    """
    plain = normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9_]+", "-", plain)
    return re.sub(r"[-_]{2,}", "-", words).lstrip("0123456789-_")[:LONGEST].rstrip("-_") or "mine"


def _refuse_reserved(name: str) -> None:
    """A regularizer's name starts its settings and names its term, so no word of the config or the loss can be it."""
    from caelab.runs.config import RunConfig

    if name in {*RunConfig.model_fields, *OWN_TERMS}:
        raise CaelabError(
            f"{name!r} already means a part of a run, so no regularizer can have that name; "
            f"'my-{name.replace('_', '-')}' would do"
        )


def _refuse_taken(package: Package) -> None:
    """Refuse a name that an installed plugin offers, or whose package would replace an installed one."""
    from caelab.registry.catalogue import catalogue

    kinds = ("regularizer", "recipe") if package.kind == "regularizer" else (package.kind,)
    for kind in kinds:
        offer = catalogue().offers.get((kind, package.name))
        if offer:
            raise CaelabError(
                f"the {kind} {package.name!r} is there already, offered by {offer.provider!r}; "
                f"'my-{package.name.replace('_', '-')}' would do"
            )
    if find_spec(package.package):
        raise CaelabError(
            f"a package {package.package} is installed already, and this one would replace it; "
            f"'my-{package.name.replace('_', '-')}' would do"
        )


def write(package: Package, folder: Path) -> None:
    """Write the package's files into a folder that does not exist yet; it appears when it is complete, or not at all.

    Raises:
        CaelabError: it exists, or cannot be written.
    """
    try:
        if folder.exists():
            raise CaelabError(f"{folder} exists already and is left as it is; give another folder with --out")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.parent, prefix=".partial-") as partial:
            write_files(package, Path(partial) / "package")
            publish(Path(partial) / "package", folder)
    except OSError as error:
        raise CaelabError(f"{folder} cannot be written ({error.strerror}); give another folder with --out") from error


def write_files(package: Package, folder: Path) -> None:
    """Write every file of a package."""
    for path, text in rendered(package).items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")


def rendered(package: Package) -> dict[str, str]:
    """The files of a package by their paths."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    templates = Environment(
        loader=PackageLoader("caelab.cli", "templates/new"), undefined=StrictUndefined, keep_trailing_newline=True
    )
    sources = {
        "pyproject.toml": "pyproject.toml.j2",
        "README.md": "README.md.j2",
        ".gitignore": "gitignore.j2",
        f"{package.package}/__init__.py": "init.py.j2",
        f"{package.package}/{package.kind}.py": f"{package.kind}.py.j2",
        f"tests/test_{package.package}.py": f"test_{package.kind}.py.j2",
    }
    return {path: templates.get_template(source).render(it=package) for path, source in sources.items()}
