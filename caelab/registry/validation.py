"""Validation of plugins against the hooks: misspelt hooks and arguments are refused in one sentence."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache
from typing import Any

import pluggy

from caelab.errors import CaelabError, unknown_name

Hooks = dict[str, tuple[str, ...]]  # the arguments of each hook


@cache
def hooks_of(specs: type) -> Hooks:
    """The hooks that a class specifies, with their arguments.

    >>> from caelab.hookspecs import TrainingHooks
    >>> hooks_of(TrainingHooks)["before_epoch"]
    ('model', 'epoch')
    """
    functions = {name: function for name, function in vars(specs).items() if not name.startswith("_")}
    return {name: tuple(inspect.signature(function).parameters)[1:] for name, function in functions.items()}


@dataclass
class _Empty:
    """What every class has, which is three in four of a plugin's names."""


NO_HOOKS = frozenset(dir(_Empty()))


class Manager(pluggy.PluginManager):
    """Does not look for hooks among the names that every class has: that was most of the time of a registration."""

    def parse_hookimpl_opts(self, plugin: object, name: str) -> Any:
        """The options of a hook's mark, where there is one."""
        return None if name in NO_HOOKS else super().parse_hookimpl_opts(plugin, name)


def manager_of(specs: type) -> pluggy.PluginManager:
    """A new manager of the hooks that a class specifies."""
    manager = Manager("caelab")
    manager.add_hookspecs(specs)
    return manager


def register(manager: pluggy.PluginManager, specs: type, name: str, plugin: object) -> None:
    """Register a plugin, an instance, a class or a module, under a name.

    Raises:
        CaelabError: a misspelt hook or argument, a hook without its mark, or a plugin that equals another.
    """
    hooks = hooks_of(specs)
    marked = [each for each in dir(plugin) if manager.parse_hookimpl_opts(plugin, each)]
    methods: dict[str, Callable[..., Any]] = {each: getattr(plugin, each) for each in marked}
    for method, function in methods.items():
        _refuse_misspelt(name, getattr(function, "caelab_impl", {}).get("specname") or method, function, hooks)
    for hook in hooks.keys() - methods.keys():
        if inspect.isroutine(getattr(plugin, hook, None)):
            raise CaelabError(
                f"plugin {name!r}: {hook} has no @hookimpl, so nobody would call it; put the mark above it "
                "(from caelab import hookimpl)"
            )
    try:
        manager.register(plugin, name=name)
    except (pluggy.PluginValidationError, ValueError) as error:
        raise CaelabError(_reason(manager, name, plugin, error)) from error


def _refuse_misspelt(name: str, hook: str, function: Callable[..., Any], hooks: Hooks) -> None:
    if hook not in hooks:
        raise CaelabError(f"plugin {name!r}: {unknown_name('hook', hook, hooks)}")
    parameters = [p for p in inspect.signature(function).parameters.values() if p.name not in ("self", "cls")]
    for parameter in parameters:
        _refuse_argument(name, hook, parameter, hooks[hook])


def _refuse_argument(name: str, hook: str, parameter: inspect.Parameter, known: Collection[str]) -> None:
    given = parameter.default is not parameter.empty
    if parameter.kind is parameter.POSITIONAL_OR_KEYWORD and parameter.name not in known and not given:
        raise CaelabError(f"plugin {name!r}: {unknown_name(f'argument of {hook}', parameter.name, known)}")
    if given and parameter.name in known:
        raise CaelabError(
            f"plugin {name!r}: the argument {parameter.name!r} of {hook} has a default, so pluggy would never pass it; "
            "take the default away"
        )


def _reason(manager: pluggy.PluginManager, name: str, plugin: object, error: Exception) -> str:
    twins = [other for other, each in manager.list_name_plugin() if each is not None and each == plugin]
    if twins:
        return (
            f"plugin {name!r} equals plugin {twins[0]!r}, and pluggy keeps equal plugins once; "
            "make the class a @dataclass(eq=False)"
        )
    return f"plugin {name!r} does not fit the hooks: {' '.join(str(error).split())}"
