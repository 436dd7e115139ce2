"""What the installed plugins offer, by kind and name, and who offers it."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

from caelab.errors import CaelabError, unknown_name
from caelab.hookspecs import CatalogueHooks
from caelab.process.exits import held_open, how
from caelab.registry.arguments import text_of
from caelab.registry.importing import allow_code, as_script, load_file, load_named
from caelab.registry.validation import manager_of, register

log = logging.getLogger(__name__)

SESSION = "this session"  # who offers what is registered in the running session alone

HOOKS = {
    "model": "register_models",
    "dataset": "register_datasets",
    "regularizer": "register_regularizers",
    "analysis": "register_analyses",
    "claim": "register_claims",
    "published": "register_published",
    "recipe": "register_recipes",
    "executor": "register_executors",
    "tracker": "register_trackers",
    "study": "register_studies",
    "estimator": "register_estimators",
    "command": "register_commands",
}


PLAIN = re.compile(r"\w(?:[\w.+-]*\w)?")
LONGEST = 100  # letters of a name, which becomes that of a file
TAKEN = {"analysis": ("runs", "files", "checksum")}  # what caelab's own files call something else


def checked_name(name: str, kind: str = "analysis") -> str:
    """The name, if it can stand for a file, in a page and in a config.

    Raises:
        ValueError: it cannot.
    """
    if not isinstance(name, str) or not PLAIN.fullmatch(name) or len(name) > LONGEST:
        raise ValueError(
            f"{name!r} is no name for a thing of the kind {kind}: letters, digits, '_', '-', '+' and '.' may be in it, "
            f"a letter or digit at both ends, and at most {LONGEST} in all"
        )
    if name in TAKEN.get(kind, ()):
        raise ValueError(f"{name!r} is taken by caelab itself; give the {kind} another name")
    return name


@dataclass(frozen=True)
class Offer:
    """One thing that one plugin offers.

    Attributes:
        kind: ``"regularizer"``, ``"analysis"``, ...
        name: by which configs name it.
        provider: who offers it.
        thing: it, or ``"module:attribute"``.
        digest: of its code and state, where no file holds them.
    """

    kind: str
    name: str
    provider: str
    thing: Any
    digest: str = ""

    def load(self) -> Any:
        """The thing itself; ``"module:attribute"`` and ``"module"`` are imported now.

        Raises:
            CaelabError: the module cannot be imported or lacks the attribute.
        """
        return _import(self.thing, self) if isinstance(self.thing, str) else self.thing


def _import(target: str, offer: Offer) -> Any:
    module, _, attribute = target.partition(":")
    whose = f"the {offer.kind} {offer.name!r} of plugin {offer.provider!r}"
    try:
        with as_script(module):
            found: Any = import_module(module)
        for part in filter(None, attribute.split(".")):
            found = getattr(found, part)
    except Exception as error:  # a plugin's module may fail in any way
        raise CaelabError(f"{whose} cannot be imported: {type(error).__name__}: {error}") from error
    return found


@dataclass
class Catalogue:
    """The table of offers. The core owns it, so that a clash can name both providers.

    Attributes:
        offers: by kind and name.
        failures: why an installed plugin is left out, by its provider.
        files: the plugins that are not installed.
        answers: by hook, the providers that answer it, in the order in which they were asked.
    """

    offers: dict[tuple[str, str], Offer] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    answers: dict[str, list[str]] = field(default_factory=dict)

    def add(self, provider: str, plugin: object) -> None:
        """Ask one plugin (a module, or any object with catalogue hooks) what it offers; take all of it, or nothing.

        Raises:
            CaelabError: it names a hook that does not exist, or a name that is taken, or it fails.
        """
        manager = manager_of(CatalogueHooks)
        register(manager, CatalogueHooks, provider, plugin)
        asked = {
            kind: implementation.function
            for kind, hook in HOOKS.items()
            for implementation in getattr(manager.hook, hook).get_hookimpls()
        }
        found: dict[tuple[str, str], Offer] = {}
        for kind, function in asked.items():
            self._ask(kind, provider, function, found)
        self.offers.update(found)
        for kind in asked:
            self.answers.setdefault(HOOKS[kind], []).append(provider)

    def _ask(self, kind: str, provider: str, function: Any, found: dict[tuple[str, str], Offer]) -> None:
        def take(name: str, thing: Any) -> None:
            try:
                checked_name(name, kind)
            except ValueError as error:
                raise CaelabError(f"plugin {provider!r} cannot be used: {error}") from error
            self._refuse_taken({**self.offers, **found}.get((kind, name)), provider)
            found[kind, name] = Offer(kind, name, provider, thing)

        try:
            with held_open():
                function(take)
        except CaelabError:
            raise
        except SystemExit as error:
            raise CaelabError(
                f"plugin {provider!r} failed in {HOOKS[kind]}: it calls {how(error)}, which ends programs"
            ) from error
        except Exception as error:  # a plugin may fail in any way
            raise CaelabError(
                f"plugin {provider!r} failed in {HOOKS[kind]}: {type(error).__name__}: {error}"
            ) from error

    def _refuse_taken(self, taken: Offer | None, provider: str) -> None:
        if taken and taken.provider == provider:
            raise CaelabError(
                f"plugin {provider!r} offers the {taken.kind} {taken.name!r} twice; give one another name"
            )
        if taken:
            raise CaelabError(
                f"the {taken.kind} {taken.name!r} is offered by both {taken.provider!r} and {provider!r}; "
                "uninstall one of them or ask its author for another name"
            )

    def add_file(self, path: Path) -> None:
        """Use a plugin that is not installed, once: a Python file with ``register_*`` hooks."""
        allow_code(str(path.resolve()))
        if path not in self.files:
            self.add(str(path), load_file(path))
            self.files.append(path)

    def get(self, kind: str, name: str) -> Any:
        """The thing of that kind and name; a model may be any ``package.module:NAME`` that the user allowed.

        Raises:
            CaelabError: there is none of that name (the nearest is offered), or it cannot be imported.
        """
        offer = self.offers.get((kind, text_of(name, f"the name of the {kind}")))
        if offer:
            return offer.load()
        if kind == "model" and ":" in name:
            return load_named(name, kind)
        raise self._unknown(kind, name)

    def _unknown(self, kind: str, name: str) -> CaelabError:
        error = unknown_name(kind, name, self.names(kind))
        return CaelabError("; left out: ".join([str(error), *self.failures.values()]))

    def names(self, kind: str) -> list[str]:
        """The names offered of one kind, sorted."""
        return sorted(name for offered, name in self.offers if offered == kind)

    def __iter__(self) -> Iterator[Offer]:
        return iter(sorted(self.offers.values(), key=lambda offer: (offer.kind, offer.name)))


def build_catalogue(entries: Iterable[Any]) -> Catalogue:
    """A catalogue of these entry points, caelab's own first; one that fails is named and left out, the rest works."""
    found = Catalogue()
    for entry in sorted(entries, key=lambda entry: (not _provider_name(entry).startswith("caelab/"), str(entry.name))):
        try:
            found.add(_provider_name(entry), _loaded(entry))
        except CaelabError as error:
            found.failures[_provider_name(entry)] = str(error)
            level = logging.DEBUG if parent_process() else logging.WARNING  # a worker's parent has said it
            log.log(level, "left out: %s (%s)", error, entry.value)
    return found


def _loaded(entry: Any) -> Any:
    try:
        with as_script(entry.value):
            return entry.load()
    except Exception as error:  # an installed plugin may fail in any way; the others must still work
        raise CaelabError(
            f"plugin {_provider_name(entry)!r} fails to import: {type(error).__name__}: {error}"
        ) from error


def _provider_name(entry: Any) -> str:
    """The distribution and the entry point that an offer comes from, as ``caelab/recipes``."""
    return f"{entry.dist.name}/{entry.name}" if getattr(entry, "dist", None) else str(entry.name)


def installed_providers() -> set[str]:
    """Who may offer something in any process: everything installed under the entry-point group ``caelab``."""
    return {_provider_name(entry) for entry in entry_points(group="caelab")}


@cache
def catalogue() -> Catalogue:
    """The catalogue of this process: everything installed under the entry-point group ``caelab``."""
    return build_catalogue(entry_points(group="caelab"))


def raise_if_from_file(error: CaelabError, of: tuple[str, str]) -> None:
    """Raise an error about a thing that a plugin file offers: the user named the file, so it is not left out.

    Args:
        error: why the thing cannot be used.
        of: its kind and its name.

    Raises:
        CaelabError: the one given, where the thing comes from a plugin file.
    """
    offer = catalogue().offers.get(of)
    if offer and offer.provider in map(str, catalogue().files):
        raise error
