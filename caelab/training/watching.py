"""Observers: plugins that only watch; a check holds them to leaving the run and its name as they are."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pluggy
import torch

from caelab.hookspecs import TrainingHooks
from caelab.registry.validation import hooks_of
from caelab.training.plugins import ordered_manager

HARMLESS = {
    "before_training": {"config", "name"},
    "before_epoch": {"epoch"},
    "before_update": {"epoch", "step"},
    "after_batch": {"clean", "epoch", "step", "terms"},
    "after_epoch": {"epoch", "metrics"},
    "after_training": {"history"},
}
"""Hooks, and arguments of theirs, through which a run cannot be changed: of each the observer gets a copy."""


def merely_watches(label: str, plugin: object) -> bool:
    """Whether an observer can do nothing to a run: it answers no hook whose answer counts, and asks for no model.

    Raises:
        CaelabError: it does not fit the hooks.
    """
    answers = implementations(ordered_manager({label: plugin}), label)
    return all(
        set(each.argnames) <= HARMLESS.get(hook, set()) and hook in HARMLESS and not (each.wrapper or each.hookwrapper)
        for hook, each in answers
    )


def implementations(manager: pluggy.PluginManager, label: str) -> list[tuple[str, Any]]:
    """The hooks that one plugin answers, and how."""
    every = [(hook, each) for hook in hooks_of(TrainingHooks) for each in getattr(manager.hook, hook).get_hookimpls()]
    return [(hook, each) for hook, each in every if each.plugin_name == label]


def hold_to_watching(manager: pluggy.PluginManager, label: str) -> None:
    """Give the observer copies, and random numbers of its own, from now on."""
    for _, implementation in implementations(manager, label):
        implementation.function = _apart(implementation.function)


def _apart(function: Callable[..., Any]) -> Callable[..., Any]:
    def watch(*arguments: Any) -> Any:
        with torch.random.fork_rng(devices=[]):
            return function(*map(deepcopy, arguments))

    return watch
