"""The memory of plugins from one epoch to the next, which is saved with checkpoints where it can be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from caelab.errors import CaelabError
from caelab.registry.object_fingerprints import fingerprint
from caelab.streams import Streams
from caelab.training.outside import held_outside
from caelab.training.packing import Unpackable, packed, unpacked
from caelab.training.watching import merely_watches

PAIR = ("state_dict", "load_state_dict")
MODULES_OWN = frozenset({*vars(nn.Module()), "_compiled_call_impl"})  # what torch itself keeps in a module
THE_MODEL = "the model"

Digests = dict[str, dict[str, str]]


class Memory:
    """The memory of the plugins of a run and of its model.

    Args:
        plugins: by label.
        model: its parameters and buffers are saved with the model; here it is about its other attributes.
    """

    def __init__(self, plugins: Mapping[str, Any], model: nn.Module) -> None:
        self.saved = {label: each for label, each in plugins.items() if saves(label, each)}
        self.others = {
            label: each
            for label, each in plugins.items()
            if getattr(each, "stateful", None) is not False and not merely_watches(label, each)
        }
        self.model = model
        self.of_the_run = {id(each) for each in (*model.modules(), *model.parameters(), *model.buffers())}
        self.known: dict[int, tuple[Tensor, int, str]] = {}
        self.start: Digests = {}

    def begin(self) -> None:
        """Take what is there now as the start; it is made again when a run goes on."""
        self.start = self.digests()

    def digests(self) -> Digests:
        """A digest of every attribute that no ``state_dict`` holds."""
        found = {label: self._digests(attributes(each, label in self.saved)) for label, each in self.others.items()}
        within: dict[str, Any] = {}
        for name, module in self.model.named_modules():
            within |= {f"{name}.{key}".lstrip("."): value for key, value in attributes(module, True).items()}
        return {**found, THE_MODEL: self._digests(within)}

    def _digests(self, values: Mapping[str, Any]) -> dict[str, str]:
        return {name: self._digest(value, name) for name, value in values.items()}

    def _digest(self, value: Any, name: str) -> str:
        """What belongs to the model, or to the run, is saved with these: only which one it is counts."""
        if id(value) in self.of_the_run or isinstance(value, Streams):
            return str(id(value))
        if type(value) in (list, tuple):
            return repr([self._digest(each, name) for each in value])
        if type(value) is dict:
            return repr([(self._digest(key, name), self._digest(each, name)) for key, each in value.items()])
        if isinstance(value, Tensor) and not value.is_inference():
            return self._of_tensor(value, name)
        try:
            return fingerprint(value, name)
        except Exception:  # an open file, a lock: nothing that numbers depend on
            return type(value).__qualname__

    def _of_tensor(self, value: Tensor, name: str) -> str:
        """Not computed again as long as torch counts no change."""
        known = self.known.get(id(value))
        if known is None or known[0] is not value or known[1] != value._version:
            self.known[id(value)] = (value, value._version, fingerprint(value.detach(), name))
        return self.known[id(value)][2]

    def forgotten(self) -> dict[str, list[str]]:
        """The attributes that changed since the start and that no checkpoint holds, by plugin."""
        changed = {label: _different(self.start[label], parts) for label, parts in self.digests().items()}
        for label, each in self.others.items():
            if getattr(each, "stateful", False) and label not in self.saved:
                changed[label] = changed[label] or ["what it says by stateful = True"]
        return {label: names for label, names in changed.items() if names}

    def packed(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """The states of all plugins that have one, as JSON and tensors.

        Raises:
            CaelabError: a plugin's state cannot be had, or holds what a checkpoint cannot.
        """
        tensors: dict[str, Tensor] = {}
        return {label: self._packed(label, each, tensors) for label, each in self.saved.items()}, tensors

    def _packed(self, label: str, plugin: Any, tensors: dict[str, Tensor]) -> Any:
        try:
            return packed(plugin.state_dict(), tensors, label)
        except Unpackable as error:
            raise CaelabError(
                f"plugin {label!r} answers state_dict with what a checkpoint cannot hold: {error}; answer with "
                "tensors, arrays, numbers, texts, random generators, and lists and dictionaries of them"
            ) from error
        except Exception as error:  # a plugin may fail in any way
            raise CaelabError(f"plugin {label!r} failed in state_dict: {type(error).__name__}: {error}") from error

    def restore(self, states: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Give every plugin its state back.

        Raises:
            CaelabError: a plugin does not take it.
        """
        for label, plugin in self.saved.items():
            if label in states:
                try:
                    plugin.load_state_dict(unpacked(states[label], tensors))
                except Exception as error:  # a plugin may fail in any way
                    raise CaelabError(
                        f"plugin {label!r} failed in load_state_dict: {type(error).__name__}: {error}; delete the "
                        "checkpoint to train this run from its start"
                    ) from error


def saves(label: str, plugin: Any) -> bool:
    """Whether a plugin has both methods by which its state is saved.

    Raises:
        CaelabError: it has one of them only.
    """
    present = [name for name in PAIR if callable(getattr(plugin, name, None))]
    if len(present) == 1:
        missing = next(name for name in PAIR if name not in present)
        raise CaelabError(
            f"plugin {label!r} has {present[0]} but no {missing}, so a run that was interrupted could not go on; "
            "give it both or neither"
        )
    return bool(present)


def attributes(thing: Any, saved: bool) -> dict[str, Any]:
    """The attributes of an object, and what its code holds elsewhere, where its ``state_dict`` does not hold them."""
    if saved and getattr(type(thing), "state_dict", None) is not nn.Module.state_dict:
        return {}  # it says itself what there is to remember
    return _own(thing, saved) | held_outside(thing)


def _own(thing: Any, saved: bool) -> dict[str, Any]:
    own = {**vars(thing)} if hasattr(thing, "__dict__") else {}
    own |= {name: getattr(thing, name) for name in getattr(type(thing), "__slots__", ()) if hasattr(thing, name)}
    if not saved:
        return own
    unsaved = {name: thing._buffers[name] for name in thing._non_persistent_buffers_set if name in thing._buffers}
    return {key: value for key, value in own.items() if key not in MODULES_OWN} | unsaved


def _different(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    return sorted(key for key in {**before, **now} if before.get(key) != now.get(key))
