"""One manager per run: the instances made from its config, called in an order that does not depend on the config."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from traceback import walk_tb
from typing import Any

import pluggy

from caelab.catalogue import Catalogue
from caelab.config import RunConfig
from caelab.errors import CaelabError
from caelab.hookspecs import TrainingHooks


def make_regularizers(config: RunConfig, offers: Catalogue) -> dict[str, object]:
    """The instances that a config asks for, by label.

    Raises:
        CaelabError: an unknown regularizer, or options that its own ``__post_init__`` refuses.
    """
    return {label: _make(label, block.kind, block.options, offers) for label, block in config.regularizers.items()}


def _make(label: str, kind: str, options: Mapping[str, Any], offers: Catalogue) -> object:
    try:
        return offers.get("regularizer", kind)(**options)
    except ValueError as error:
        raise CaelabError(f"regularizer {label!r}: {error}") from error


def ordered_manager(plugins: Mapping[str, object]) -> pluggy.PluginManager:
    """A manager of the training hooks that calls these plugins, instances or their classes, in a run's order.

    Raises:
        CaelabError: a plugin that does not fit the hooks.
    """
    manager = pluggy.PluginManager("caelab")
    manager.add_hookspecs(TrainingHooks)
    for label in sorted(plugins, key=lambda label: _rank(label, plugins[label]), reverse=True):
        try:
            manager.register(plugins[label], name=label)  # pluggy calls the last registered first
            manager.check_pending()
        except (pluggy.PluginValidationError, ValueError) as error:
            raise CaelabError(f"plugin {label!r} does not fit the training hooks: {error}") from error
    return manager


class TrainingPlugins:
    """The training manager of one run."""

    def __init__(self, instances: Mapping[str, object]) -> None:
        self.manager = ordered_manager(instances)
        self._refuse_second_corrupter()
        self.wanted = self._arguments_named("penalty_terms")
        self.hook = self.manager.hook

    def _refuse_second_corrupter(self) -> None:
        corrupters = [impl.plugin_name for impl in self.manager.hook.corrupt_input.get_hookimpls()]
        if len(corrupters) > 1:
            raise CaelabError(
                f"only one plugin may corrupt the input, but {sorted(corrupters)} all do; "
                "compose them in one: corruption-chain with steps: [{kind: gaussian, sigma: 0.1}, ...]"
            )

    def _arguments_named(self, hook: str) -> frozenset[str]:
        implementations = getattr(self.manager.hook, hook).get_hookimpls()
        return frozenset(name for impl in implementations for name in impl.argnames)

    def implements(self, hook: str) -> bool:
        """Whether any plugin of this run answers that hook."""
        return bool(getattr(self.manager.hook, hook).get_hookimpls())

    def call(self, hook: str, epoch: int | None = None, **arguments: Any) -> Any:
        """Call a hook; an error inside a plugin is told with the plugin's name, the hook and the epoch.

        Raises:
            CaelabError: the plugin raised; the original error is its cause.
        """
        if epoch is not None:
            arguments["epoch"] = epoch
        try:
            return getattr(self.hook, hook)(**arguments)
        except CaelabError:
            raise
        except Exception as error:  # a plugin may fail in any way
            raise self._failure(hook, epoch, error) from error

    def _failure(self, hook: str, epoch: int | None, error: Exception) -> CaelabError:
        where = f" at epoch {epoch}" if epoch is not None else ""
        return CaelabError(
            f"plugin {self._culprit(hook, error)!r} failed in {hook}{where}: {type(error).__name__}: {error}"
        )

    def _culprit(self, hook: str, error: Exception) -> str:
        """The plugin whose function the error came through; two instances of one class are told apart by ``self``."""
        implementations = getattr(self.hook, hook).get_hookimpls()
        for frame, _ in walk_tb(error.__traceback__):
            for each in implementations:
                mine = frame.f_code is getattr(each.function, "__code__", None)
                if mine and frame.f_locals.get("self", each.plugin) is each.plugin:
                    return str(each.plugin_name)
        return str(implementations[0].plugin_name) if len(implementations) == 1 else "unknown"


def _rank(label: str, instance: Any) -> tuple[str, str]:
    """By class, then by label: gradients are added up in the order of the calls, and a new label must not change it."""
    kind = instance if inspect.isclass(instance) else type(instance)
    return kind.__qualname__, label


def merged_terms(answers: list[Mapping[str, Any]], hook: str) -> dict[str, Any]:
    """All plugins' dictionaries as one, sorted by name, so that a sum over it never depends on their order.

    Raises:
        CaelabError: two plugins use one name, or one did not return a dictionary.
    """
    merged: dict[str, Any] = {}
    for answer in answers:
        if not isinstance(answer, Mapping):
            raise CaelabError(f"{hook} must return a dictionary {{name: number}}, but {type(answer).__name__} came")
        clash = merged.keys() & answer.keys()
        if clash:
            raise CaelabError(f"two plugins of this run return the {hook} name {sorted(clash)[0]!r}; rename one")
        merged |= answer
    return dict(sorted(merged.items()))
