"""The plugins of one run: instances made from its config, called in an order that does not depend on the config."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import pluggy
from torch import Tensor

from caelab.errors import CaelabError, NotApplicable
from caelab.hookspecs import TrainingHooks
from caelab.process.exits import EndsTheProgram, ends, held_open
from caelab.registry.catalogue import Catalogue
from caelab.registry.validation import hooks_of, manager_of, register
from caelab.runs.config import GIVEN, Block, RunConfig, of_any
from caelab.streams import Streams
from caelab.training.answers import PluginFailure, Watcher, WrongAnswer, checked_batch, name_failures, told


def make_regularizers(config: RunConfig, offers: Catalogue) -> dict[str, object]:
    """The instances that a config asks for, by label.

    Raises:
        CaelabError: an unknown regularizer, options that it refuses, or one that fails when it is made.
        NotApplicable: it was given as an object, which no config can make again.
    """
    return {label: _make(label, block, offers) for label, block in config.regularizers.items()}


def warmups_of(config: RunConfig, offers: Catalogue) -> dict[str, int]:
    """The epochs in which each penalty rises to its full weight, by label; those without are left out."""
    blocks = {label: block for label, block in config.regularizers.items() if block.kind != GIVEN}
    found = {
        label: of_any("regularizer", block, offers.get("regularizer", block.kind)) for label, block in blocks.items()
    }
    return {label: common["warmup"] for label, common in found.items() if "warmup" in common}


def _make(label: str, block: Block, offers: Catalogue) -> object:
    if block.kind == GIVEN:
        raise NotApplicable(
            f"the regularizer {label!r} ({block.options.get('name')}) was given as an object, so it cannot be made "
            "again here"
        )
    factory = offers.get("regularizer", block.kind)
    common = of_any("regularizer", block, factory)
    options = {name: value for name, value in block.options.items() if name not in common}
    try:
        with held_open():
            return factory(**options)
    except CaelabError:
        raise
    except ValueError as error:
        raise CaelabError(f"regularizer {label!r}: {error}") from error
    except Exception as error:  # a plugin may fail in any way
        raise CaelabError(
            f"regularizer {label!r} cannot be made with the options {dict(options)}: {type(error).__name__}: {error}"
        ) from error
    except BaseException as error:
        if not ends(error):
            raise
        raise CaelabError(
            f"regularizer {label!r} ends the whole program with {ends(error)} when it is made; raise an error instead"
        ) from EndsTheProgram(ends(error))


def ordered_manager(plugins: Mapping[str, object]) -> pluggy.PluginManager:
    """A manager of the training hooks that calls these plugins, instances or their classes, in a run's order.

    Raises:
        CaelabError: a plugin that does not fit the hooks, or answers none.
    """
    manager = manager_of(TrainingHooks)
    for label in sorted(plugins, key=lambda label: _rank(label, plugins[label]), reverse=True):
        register(manager, TrainingHooks, label, plugins[label])  # pluggy calls the last registered first
        if not manager.get_hookcallers(plugins[label]):
            raise CaelabError(
                f"plugin {label!r} ({_kind(plugins[label]).__name__}) answers no hook of a run, so it would do "
                "nothing; give it one, as penalty_terms, marked with @hookimpl"
            )
    return manager


class TrainingPlugins:
    """The training manager of one run."""

    def __init__(self, instances: Mapping[str, object], warmups: Mapping[str, int] | None = None) -> None:
        self.manager = ordered_manager(instances)
        self.instances = dict(instances)
        self.warmups = dict(warmups or {})
        self.watch: Watcher | None = None  # during a run of training
        name_failures(self.manager, hooks_of(TrainingHooks), lambda: self.watch)
        self.corrupter = self._only_corrupter()
        self.wanted = self._arguments_named("penalty_terms")
        self.hook = self.manager.hook
        self.epoch = 1
        self._warm_up(self.warmups)

    def _warm_up(self, warmups: Mapping[str, int]) -> None:
        """Let penalties rise to their full weight in the first epochs.

        Raises:
            CaelabError: a plugin adds no penalty whose weight could rise.
        """
        penalties: dict[str, Any] = {
            str(each.plugin_name): each for each in self.manager.hook.penalty_terms.get_hookimpls()
        }
        for label, epochs in warmups.items():
            if label not in penalties:
                raise CaelabError(
                    f"{label}.warmup: the weight of a penalty rises in the first {epochs} epochs, but {label!r} adds "
                    "no penalty; leave warmup out"
                )
            penalties[label].function = self._rising(penalties[label].function, epochs)

    def _rising(self, function: Callable[..., Any], epochs: int) -> Callable[..., Any]:
        def answer(*arguments: Any) -> Any:
            terms, share = function(*arguments), min(1.0, self.epoch / (epochs + 1))
            return terms if share == 1 or terms is None else {name: share * term for name, term in terms.items()}

        return answer

    def _only_corrupter(self) -> str | None:
        corrupters = [str(impl.plugin_name) for impl in self.manager.hook.corrupt_input.get_hookimpls()]
        if len(corrupters) > 1:
            raise CaelabError(
                f"only one plugin may corrupt the input, but {sorted(corrupters)} all do; "
                "use one that composes them (caelab plugins lists the regularizers with their options)"
            )
        return corrupters[0] if corrupters else None

    def _arguments_named(self, hook: str) -> frozenset[str]:
        implementations = getattr(self.manager.hook, hook).get_hookimpls()
        return frozenset(name for impl in implementations for name in impl.argnames)

    def asks(self, hook: str, argument: str) -> bool:
        """Whether any plugin of this run names that argument of a hook."""
        return argument in self._arguments_named(hook)

    def implements(self, hook: str) -> bool:
        """Whether any plugin of this run answers that hook."""
        return bool(getattr(self.manager.hook, hook).get_hookimpls())

    def call(self, hook: str, epoch: int | None = None, **arguments: Any) -> Any:
        """Call a hook; what goes wrong inside a plugin is told with the plugin's name, the hook and the epoch.

        Raises:
            CaelabError: the plugin raised, or answered what the hook does not allow; the original error is its cause.
        """
        if epoch is not None:
            arguments["epoch"] = self.epoch = epoch
        try:
            return getattr(self.hook, hook)(**arguments)
        except CaelabError:
            raise
        except PluginFailure as failure:
            cause = failure.__cause__
            assert cause is not None
            raise told(failure.plugin, hook, epoch, cause) from cause
        except Exception as error:  # only what wraps a hook has no name yet
            every = getattr(self.manager.hook, hook).get_hookimpls()
            wrapping = ", ".join(str(each.plugin_name) for each in every if each.wrapper or each.hookwrapper)
            raise told(wrapping, hook, epoch, error) from error

    def corrupted(self, clean: Tensor, epoch: int, streams: Streams) -> Tensor:
        """The batch that the encoder sees: what the corrupter makes of it, or itself.

        Raises:
            CaelabError: the corrupter raised, or answered something else than a batch of that shape and type.
        """
        if self.corrupter is None:
            return clean
        answer = self.call("corrupt_input", epoch, clean=clean, streams=streams)
        try:
            return checked_batch(answer, clean)
        except WrongAnswer as error:
            raise told(self.corrupter, "corrupt_input", epoch, error) from error


def _kind(plugin: object) -> type:
    return plugin if inspect.isclass(plugin) else type(plugin)


def _rank(label: str, plugin: object) -> tuple[str, str]:
    """By class, then by label: gradients are added up in the order of the calls, and a new label must not change it."""
    return _kind(plugin).__qualname__, label


def merged_terms(answers: list[Mapping[str, Any]], hook: str) -> dict[str, Any]:
    """All plugins' dictionaries as one, sorted by name, so that a sum over it never depends on their order.

    Raises:
        CaelabError: two plugins use one name.
    """
    merged: dict[str, Any] = {}
    for answer in answers:
        clash = merged.keys() & answer.keys()
        if clash:
            raise CaelabError(f"two plugins of this run return the {hook} name {sorted(clash)[0]!r}; rename one")
        merged |= answer
    return dict(sorted(merged.items()))
