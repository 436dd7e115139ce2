"""Settings of the whole process: read before other people's code runs, compared and put back afterwards.

A default type, a thread number or a seed that one plugin sets changes the numbers of all others. ``left_as_found``
names who did it, and undoes it.
"""

from __future__ import annotations

import ctypes
import gc
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.modules import module as modules
from torch.optim import optimizer as optimizers
from torch.utils._python_dispatch import _pop_mode

from caelab.errors import CaelabError
from caelab.process.denormals import flushes_denormals

MERSENNE_BYTES = 624 * 4 + 4  # of numpy's MT19937: the key and the position


@dataclass(frozen=True, eq=False)
class Setting:
    """One setting of the process: what it is called, how it is read, and how it is put back."""

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], Any]


@dataclass(frozen=True)
class Change:
    """A setting that was found changed."""

    setting: Setting
    before: Any
    after: Any

    def __str__(self) -> str:
        """``torch's default dtype from torch.float32 to torch.float64``; a generator is only named."""
        if all(isinstance(value, dict) for value in self.values):
            named = [key for key in {**self.before, **self.after} if self.before.get(key) != self.after.get(key)]
            return f"{self.setting.name} ({', '.join(map(os.fsdecode, named[:3]))}{', ...' if len(named) > 3 else ''})"
        short = all(isinstance(value, bool | int | float | str | torch.dtype | torch.device) for value in self.values)
        return f"{self.setting.name} from {self.before} to {self.after}" if short else self.setting.name

    @property
    def values(self) -> tuple[Any, Any]:
        """The values before and after the change, as text."""
        return self.before, self.after


CPU = torch.device("cpu")


def _global_device() -> Any:
    """The mode by which ``torch.set_default_device`` works, if there is one."""
    return torch._C._len_torch_function_stack() and getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)


def _default_device() -> torch.device:
    mode = _global_device()
    return mode.device if mode else CPU


def _set_device(device: torch.device) -> None:
    torch.set_default_device(None if device.type == "cpu" else device)


def _function_modes() -> int:
    return torch._C._len_torch_function_stack() - bool(_global_device())


def _leave_function_modes(count: int) -> None:
    while _function_modes() > count:
        torch._C._pop_torch_function_stack()


def _leave_dispatch_modes(count: int) -> None:
    while torch._C._len_torch_dispatch_stack() > count:
        _pop_mode()


_entered: list[Any] = []  # torch leaves an inference mode when its object is collected, so they are kept


def _set_inference(enabled: bool) -> None:
    mode = torch.inference_mode(enabled)
    mode.__enter__()
    _entered.append(mode)


MODES = [
    Setting("a torch mode that was entered and not left", _function_modes, _leave_function_modes),
    Setting(
        "a torch dispatch mode that was entered and not left", torch._C._len_torch_dispatch_stack, _leave_dispatch_modes
    ),
]
"""Modes change what every call of torch does, that of reading a setting too, so they are left first."""

CHEAP = [
    *MODES,
    Setting("torch's default device", _default_device, _set_device),
    Setting("torch's default dtype", torch.get_default_dtype, torch.set_default_dtype),
    Setting("torch's gradient mode", torch.is_grad_enabled, torch.set_grad_enabled),
    Setting("torch's inference mode", torch.is_inference_mode_enabled, _set_inference),
    Setting("torch's number of threads", torch.get_num_threads, torch.set_num_threads),
    Setting("torch's deterministic algorithms", torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
    Setting("torch's anomaly detection", torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    Setting(
        "torch's precision of float32 products",
        torch._C._get_float32_matmul_precision,
        torch.set_float32_matmul_precision,
    ),
]
"""Settings that a few tenths of a microsecond read."""


def _flag(name: str, place: Any, attribute: str) -> Setting:
    return Setting(name, lambda: getattr(place, attribute), lambda value: setattr(place, attribute, value))


def _autocast(device: str) -> Setting:
    def read() -> tuple[bool, torch.dtype]:
        return torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)

    def write(flags: tuple[bool, torch.dtype]) -> None:
        torch.set_autocast_enabled(device, flags[0])
        torch.set_autocast_dtype(device, flags[1])

    return Setting(f"torch's autocast on {device}", read, write)


def _folder() -> str | None:
    with suppress(OSError):
        return os.getcwd()
    return None


def _change_folder(path: str | None) -> None:
    if path is not None:
        with suppress(OSError):
            os.chdir(path)


GLOBAL_HOOKS = [
    (modules, "_global_forward_hooks"),
    (modules, "_global_forward_pre_hooks"),
    (modules, "_global_backward_hooks"),
    (modules, "_global_backward_pre_hooks"),
    (optimizers, "_global_optimizer_pre_hooks"),
    (optimizers, "_global_optimizer_post_hooks"),
]


def _hooks() -> list[dict[int, Any]]:
    return [dict(getattr(place, name, {})) for place, name in GLOBAL_HOOKS]


def _put_hooks_back(saved: Sequence[dict[int, Any]]) -> None:
    for (place, name), hooks in zip(GLOBAL_HOOKS, saved, strict=True):
        if hasattr(place, name):
            getattr(place, name).clear()
            getattr(place, name).update(hooks)


def _raising_filters() -> list[Any]:
    return [each for each in warnings.filters if each[0] == "error"]


def _put_filters_back(raising: list[Any]) -> None:
    kept = [each for each in warnings.filters if each[0] != "error" or each in raising]
    warnings.resetwarnings()  # this also forgets which warnings were shown
    warnings.filters[:] = kept  # type: ignore[index]


def _handler(number: signal.Signals) -> Setting:
    def write(handler: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    return Setting(f"the handler of {number.name}", lambda: signal.getsignal(number), write)


def _numpy_state() -> Any:
    generator: Any = np.random.get_bit_generator()  # type: ignore[attr-defined]
    if type(generator) is np.random.MT19937:
        return ctypes.string_at(generator.ctypes.state_address, MERSENNE_BYTES)  # a hundred times faster than get_state
    return repr(generator.state)


def _put_numpy_state_back(state: Any) -> None:
    generator: Any = np.random.get_bit_generator()  # type: ignore[attr-defined]
    if isinstance(state, bytes) and type(generator) is np.random.MT19937:
        ctypes.memmove(generator.ctypes.state_address, state, MERSENNE_BYTES)


SET_BY_LIBRARIES = tuple(
    map(os.fsencode, ("KMP_", "QT_", "TF_", "TORCHINDUCTOR_", "TRITON_", "MPLCONFIGDIR", "PYTEST_"))
)


def _environment() -> dict[bytes, bytes]:
    """The environment variables, without those that libraries set by themselves when they are first used."""
    stored: dict[bytes, bytes] = os.environ._data  # type: ignore[attr-defined]  # decoded, it takes ten times as long
    return {name: value for name, value in stored.items() if not name.startswith(SET_BY_LIBRARIES)}


def _put_environment_back(before: dict[bytes, bytes]) -> None:
    for name in _environment().keys() - before.keys():
        del os.environb[name]
    os.environb.update(before)


def _folders_of_modules() -> list[str]:
    """Where Python looks for modules, without the folder that setuptools adds when it is first imported."""
    return [each for each in sys.path if not each.endswith("_vendor")]


def _put_folders_back(before: list[str]) -> None:
    sys.path[:] = [*before, *(each for each in sys.path if each.endswith("_vendor"))]


def _torch_prints() -> dict[str, Any]:
    return dict(vars(torch._tensor_str.PRINT_OPTS))


def _put_torch_prints_back(before: dict[str, Any]) -> None:
    vars(torch._tensor_str.PRINT_OPTS).update(before)


def _pandas_options() -> dict[str, Any]:
    """Those options of pandas that are not as it sets them itself; none where nobody has imported it."""
    config = sys.modules.get("pandas._config.config")
    if config is None:
        return {}
    found = {}
    for key, option in config._registered_options.items():
        root, name = config._get_root(key)
        if root[name] != option.defval:
            found[key] = root[name]
    return found


def _put_pandas_options_back(before: dict[str, Any]) -> None:
    config = sys.modules["pandas._config.config"]
    for key in {**_pandas_options(), **before}:
        config.set_option(key, before.get(key, config._registered_options[key].defval))


OTHERS = [
    Setting("environment variables", _environment, _put_environment_back),
    Setting("the folders that Python finds modules in", _folders_of_modules, _put_folders_back),
    Setting("how torch prints", _torch_prints, _put_torch_prints_back),
    Setting("how numpy prints", np.get_printoptions, lambda options: np.set_printoptions(**options)),
    _flag("torch.backends.cudnn.benchmark", torch.backends.cudnn, "benchmark"),
    _flag("torch.backends.cudnn.deterministic", torch.backends.cudnn, "deterministic"),
    _flag("torch.backends.cudnn.enabled", torch.backends.cudnn, "enabled"),
    _flag("torch.backends.mkldnn.enabled", torch.backends.mkldnn, "enabled"),
    _autocast("cpu"),
    _autocast("cuda"),
    Setting("hooks on every torch module or optimiser", _hooks, _put_hooks_back),
    Setting("whether denormal numbers count as zero", flushes_denormals, torch.set_flush_denormal),
    Setting("numpy's handling of floating-point errors", np.geterr, lambda flags: np.seterr(**flags)),
    Setting("the working folder", _folder, _change_folder),
    Setting("which warnings raise", _raising_filters, _put_filters_back),
    Setting("Python's collection of garbage", gc.isenabled, lambda on: gc.enable() if on else gc.disable()),
    Setting("the recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
    _handler(signal.SIGINT),
    _handler(signal.SIGTERM),
]
"""Settings that take longer to read, some hundred microseconds together."""

OF_TABLES = [Setting("options of pandas", _pandas_options, _put_pandas_options_back)]
"""Settings of what makes tables, which training does not."""

GENERATORS = [
    Setting("the seed of torch's global generator", torch.initial_seed, lambda seed: None),
    Setting("numpy's global generator", _numpy_state, _put_numpy_state_back),
    Setting("the global generator of Python's random", random.getstate, random.setstate),
]
"""Random generators that everyone draws from who asks for none. Who draws from numpy's or Python's has no seed of the
run; torch's own is seeded by the run, so only its seed must stay."""

ALL = [*CHEAP, *OTHERS, *GENERATORS]


class Found:
    """The settings of the process at the time when this was made.

    Args:
        settings: which; by default all, random generators among them.
        torch_state: whether torch's global generator is put back where its seed was changed.
        values: what was read before, where somebody has read the settings already.
    """

    def __init__(
        self, settings: Sequence[Setting] = ALL, torch_state: bool = True, values: list[Any] | None = None
    ) -> None:
        self.settings = settings
        self.reads = [setting.read for setting in settings]
        self.values = [read() for read in self.reads] if values is None else values
        self.torch_state = torch.get_rng_state() if torch_state else None

    def changes(self) -> list[Change]:
        """The settings that are different now; modes that were entered are left at once, the rest by ``put_back``."""
        if [read() for read in self.reads] == self.values:
            return []
        modes = [each for each in self._different(MODES) if each.after > each.before]
        self.put_back(modes)
        return [*modes, *self._different(self.settings)]

    def _different(self, settings: Sequence[Setting]) -> list[Change]:
        known = zip(self.settings, self.values, strict=True)
        found = ((setting, old, setting.read()) for setting, old in known if setting in settings)
        return [Change(setting, old, new) for setting, old, new in found if old != new]

    def put_back(self, changes: Sequence[Change]) -> None:
        """Undo changes, the latest setting first."""
        for change in reversed(changes):
            if change.setting is GENERATORS[0] and self.torch_state is not None:
                torch.set_rng_state(self.torch_state)
            change.setting.write(change.before)


def sentence(who: str, changes: Sequence[Change]) -> str:
    """The sentence that names who changed settings that others share."""
    drawn = [each for each in changes if each.setting in GENERATORS]
    if drawn and len(drawn) == len(changes):
        named = " and ".join(str(each) for each in drawn)
        return (
            f"{who} seeds or draws from what all others share: {named}; draw from a generator of its own, "
            "in a run from streams['a name'], which the run's seed fixes"
        )
    return (
        f"{who} changes what all others share: {', '.join(map(str, changes))}; set it before caelab starts, or "
        "only for a while and put it back"
    )


@contextmanager
def left_as_found(who: str, settings: Sequence[Setting] = ALL) -> Iterator[None]:
    """Refuse code that changes settings of the whole process, and put them back, whatever happens within the block.

    >>> with left_as_found("the analysis 'mine'"):
    ...     torch.set_default_dtype(torch.float64)
    Traceback (most recent call last):
    caelab.errors.CaelabError: the analysis 'mine' changes what all others share: torch's default dtype from ...
    >>> torch.get_default_dtype()
    torch.float32

    Args:
        who: is named, as "the analysis 'mine'".
        settings: which; leave ``GENERATORS`` out for code that may draw from the global random generators.

    Raises:
        CaelabError: a setting is different at the end of the block, which raised nothing itself.
    """
    found = Found(settings)
    try:
        yield
    except BaseException:
        found.put_back(found.changes())
        raise
    changes = found.changes()
    if changes:
        found.put_back(changes)
        raise CaelabError(sentence(who, changes))
