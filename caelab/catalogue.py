"""What the installed plugins offer, by kind and name, and who offers it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pluggy

from caelab.errors import CaelabError, unknown_name
from caelab.hookspecs import CatalogueHooks
from caelab.loading import load_file

log = logging.getLogger(__name__)

HOOKS = {
    "model": "register_models",
    "dataset": "register_datasets",
    "regularizer": "register_regularizers",
    "analysis": "register_analyses",
    "recipe": "register_recipes",
    "executor": "register_executors",
    "command": "register_commands",
}


@dataclass(frozen=True)
class Offer:
    """One thing that one plugin offers."""

    kind: str
    name: str
    provider: str
    thing: Any

    def load(self) -> Any:
        """The thing itself; ``"module:attribute"`` and ``"module"`` are imported now.

        Raises:
            CaelabError: the module cannot be imported or lacks the attribute.
        """
        return _import(self.thing, self) if isinstance(self.thing, str) else self.thing


def _import(target: str, offer: Offer | None = None) -> Any:
    module, _, attribute = target.partition(":")
    whose = f"the {offer.kind} {offer.name!r} of plugin {offer.provider!r}" if offer else repr(target)
    try:
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
        failures: why a plugin could not be imported, by its provider.
        files: the plugins that are not installed.
        answers: by hook, the providers that answer it, in the order in which they were asked.
    """

    offers: dict[tuple[str, str], Offer] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    answers: dict[str, list[str]] = field(default_factory=dict)

    def add(self, provider: str, plugin: object) -> None:
        """Ask one plugin (a module, or any object with catalogue hooks) what it offers.

        Raises:
            CaelabError: it names a hook that does not exist, or a name that is taken.
        """
        manager = pluggy.PluginManager("caelab")
        manager.add_hookspecs(CatalogueHooks)
        try:
            manager.register(plugin, name=provider)
            manager.check_pending()
        except pluggy.PluginValidationError as error:
            raise CaelabError(f"plugin {provider!r} does not fit the hooks: {error}") from error
        for kind, hook in HOOKS.items():
            for implementation in getattr(manager.hook, hook).get_hookimpls():
                self.answers.setdefault(hook, []).append(provider)
                implementation.function(partial(self._register, kind, provider))

    def add_file(self, path: Path) -> None:
        """Use a plugin that is not installed: a Python file with ``register_*`` hooks."""
        self.add(str(path), load_file(path))
        self.files.append(path)

    def _register(self, kind: str, provider: str, name: str, thing: Any) -> None:
        taken = self.offers.get((kind, name))
        if taken:
            raise CaelabError(
                f"the {kind} {name!r} is offered by both {taken.provider!r} and {provider!r}; "
                "uninstall one of them or ask its author for another name"
            )
        self.offers[kind, name] = Offer(kind, name, provider, thing)

    def get(self, kind: str, name: str) -> Any:
        """The thing of that kind and name; ``package:attribute`` stands for itself.

        Raises:
            CaelabError: there is none of that name (the nearest is offered), or it cannot be imported.
        """
        offer = self.offers.get((kind, name))
        if offer:
            return offer.load()
        if kind == "model" and ":" in name:
            return _import(name)
        raise self._unknown(kind, name)

    def _unknown(self, kind: str, name: str) -> CaelabError:
        error = unknown_name(kind, name, self.names(kind))
        broken = "".join(f"; plugin {provider!r} failed to import ({why})" for provider, why in self.failures.items())
        return CaelabError(f"{error}{broken}")

    def names(self, kind: str) -> list[str]:
        """The names offered of one kind, sorted."""
        return sorted(name for offered, name in self.offers if offered == kind)

    def __iter__(self) -> Iterator[Offer]:
        return iter(sorted(self.offers.values(), key=lambda offer: (offer.kind, offer.name)))


def build_catalogue(entries: Iterable[Any]) -> Catalogue:
    """A catalogue of these entry points; one that fails to import is named, and the rest works."""
    found = Catalogue()
    for entry in sorted(entries, key=lambda entry: str(entry.name)):
        try:
            module = entry.load()
        except Exception as error:  # an installed plugin may fail in any way; the others must still work
            found.failures[entry.name] = f"{type(error).__name__}: {error}"
            log.warning("plugin %r (%s) fails to import and is left out: %s", entry.name, entry.value, error)
            continue
        found.add(provider_name(entry), module)
    return found


def provider_name(entry: Any) -> str:
    """The distribution and the entry point that an offer comes from, as ``caelab/recipes``."""
    return f"{entry.dist.name}/{entry.name}" if getattr(entry, "dist", None) else str(entry.name)


@cache
def catalogue() -> Catalogue:
    """The catalogue of this process: everything installed under the entry-point group ``caelab``."""
    return build_catalogue(entry_points(group="caelab"))
