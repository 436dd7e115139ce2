"""What may stand at each place of a command line, by the names of options and arguments.

An option that is called as one of these completes as it does, also in a command that a plugin offers, unless it has a
completion of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from caelab.cli.completion import settings
from caelab.cli.completion.files import files, folders, runs
from caelab.registry.catalogue import catalogue
from caelab.registry.source_options import Values, options_in_source

Completer = Callable[[click.Context, str], list[str]]

if TYPE_CHECKING:
    ParamType = click.ParamType[Any]
else:
    ParamType = click.ParamType


class Completed(ParamType):
    """A type of click's whose values a function completes.

    Args:
        inner: the type.
        completer: the function.
    """

    def __init__(self, inner: ParamType, completer: Completer) -> None:
        self.inner, self.completer, self.name = inner, completer, inner.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value as the type has it."""
        return self.inner.convert(value, param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The words that begin as the one so far."""
        words = dict.fromkeys(self.completer(ctx, incomplete))
        return [CompletionItem(word) for word in words if word.startswith(incomplete)]


def completing(command: click.Command, path: str = "") -> click.Command:
    """A copy of a command whose options and arguments know what may stand there."""
    path = f"{path} {command.name}".strip()
    found = copy(command)
    found.params = [_completing(param, path) for param in command.params]
    if isinstance(found, click.Group):
        found.commands = {name: completing(each, path) for name, each in found.commands.items()}
    return found


def _completing(param: click.Parameter, path: str) -> click.Parameter:
    completer = COMPLETERS.get(f"{path} {param.name}") or COMPLETERS.get(str(param.name))
    if completer is None or isinstance(param.type, click.Choice | click.types.BoolParamType):
        return param
    found = copy(param)
    found.type = Completed(param.type, completer)
    return found


def _of_kind(kind: str) -> Completer:
    return lambda context, begun: catalogue().names(kind)


def _ending(*endings: str) -> Completer:
    return lambda context, begun: files(begun, endings)


def _holding(file: str) -> Completer:
    return lambda context, begun: folders(begun, file)


def _recipes(context: click.Context, begun: str) -> list[str]:
    return [*catalogue().names("recipe"), *(files(begun, (".yaml", ".yml")) if begun else [])]


def _datasets(context: click.Context, begun: str) -> list[str]:
    """Names; those of files end in a colon, behind which files stand."""
    name, colon, path = begun.partition(":")
    if colon:
        return [f"{name}:{each}" for each in files(path)]
    return [f"{each}:" if _has_path(each) else each for each in catalogue().names("dataset") if each.startswith(name)]


def _has_path(name: str) -> bool:
    target = catalogue().offers["dataset", name].thing
    return isinstance(target, str) and "path" in options_in_source(target)


def _analyses(context: click.Context, begun: str) -> list[str]:
    names = catalogue().names("analysis")
    if "," not in begun:
        return names
    before, comma, _ = begun.rpartition(",")
    return [f"{before}{comma}{name}" for name in names if name not in before.split(",")]


def _asked(context: click.Context, *names: str) -> list[str]:
    """The words that were given to options and arguments of these names.

    Where the last option still waits for its value, click has not told the arguments from each other yet.
    """
    found: list[str] = []
    for name in names:
        value = context.params.get(name)
        found += map(str, value) if isinstance(value, list | tuple) else [] if value is None else [str(value)]
    arguments = [param.name for param in context.command.params if isinstance(param, click.Argument)]
    return found or (list(context.args) if set(names) & set(arguments) else [])


def _keys(context: click.Context, begun: str) -> dict[str, Values]:
    """The keys of the settings of the command."""
    name = context.command.name
    if name == "analyse":
        asked = _asked(context, "analyses") or catalogue().names("analysis")
        return {f"{each}.{key}": v for each in asked for key, v in settings.options_of("analysis", each).items()}
    if name == "data":
        own = [settings.options_of("dataset", each.partition(":")[0]) for each in _asked(context, "names")]
        return _together([*own, {"splits": (), "seed": ()}, settings.of_any("dataset")])
    if name == "finetune":
        return settings.method_options("".join(_asked(context, "method")))
    if name == "check":
        return _together([settings.options_of(kind, each) for each in _asked(context, "target") for kind in CHECKED])
    recipes, dataset = _asked(context, "recipes", "recipe", "config_file"), "".join(_asked(context, "dataset"))
    return settings.config_keys(recipes, dataset or None, _asked(context, "settings"), begun)


def _together(several: Sequence[dict[str, Values]]) -> dict[str, Values]:
    return {key: values for keys in several for key, values in keys.items()}


CHECKED = ("regularizer", "analysis", "claim")


def _settings(context: click.Context, begun: str) -> list[str]:
    return settings.setting(begun, _keys(context, begun))


def _grid(context: click.Context, begun: str) -> list[str]:
    return settings.setting(begun, _keys(context, begun), several=True)


def _executor_settings(context: click.Context, begun: str) -> list[str]:
    (name,) = _asked(context, "executor") or ["processes"]
    return settings.setting(begun, settings.options_of("executor", name))


def _without(context: click.Context, begun: str) -> list[str]:
    """The regularizers of the recipe: its keys that are none of the config's own."""
    names = catalogue().names("regularizer")
    used = [key.partition(".")[0] for key in _keys(context, "") if not key.endswith(".")]
    return [name for name in names if name in used]


def _checked(context: click.Context, begun: str) -> list[str]:
    names = [name for kind in CHECKED for name in catalogue().names(kind)]
    return [*names, *(files(begun, (".py",)) if begun else [])]


def _places(context: click.Context, begun: str) -> list[str]:
    return folders(begun, "study.json", (".yaml", ".yml"))


def _scales(context: click.Context, begun: str) -> list[str]:
    """The scales that the study's file has."""
    from caelab.runs.safe_yaml import read_yaml

    names = [catalogue().get("study", name) for name in _asked(context, "name")]
    paths: Sequence[Any] = [*names, *_asked(context, "place")]
    found = [read_yaml(Path(path).read_text(encoding="utf-8")) for path in paths]
    return [str(scale) for each in found if isinstance(each, dict) for scale in each.get("scales") or {}]


def _trackers(context: click.Context, begun: str) -> list[str]:
    name, colon, target = begun.partition(":")
    if colon:
        return [f"{name}:{each}" for each in folders(target)]
    return [f"{each}:" for each in catalogue().names("tracker")]


def _conventions(known: str) -> Completer:
    def names(context: click.Context, begun: str) -> list[str]:
        from caelab.runs import conventions

        return list(getattr(conventions, known))

    return names


COMPLETERS: dict[str, Completer] = {
    "analyse analyses": _of_kind("analysis"),
    "analyses": _analyses,
    "check target": _checked,
    "config_file": _ending(".yaml", ".yml"),
    "convert-weight errors": _conventions("RECONSTRUCTIONS"),
    "convert-weight penalties": _conventions("PENALTIES"),
    "data names": _datasets,
    "dataset": _datasets,
    "denoiser": _ending(".py"),
    "device": lambda context, begun: list(settings.DEVICES),
    "encoder": _ending(".py"),
    "executor": _of_kind("executor"),
    "executor_settings": _executor_settings,
    "figures folder": _holding("comparison.json"),
    "kinds": lambda context, begun: ["pdf", "png", "svg"],
    "only": _analyses,
    "style": lambda context, begun: ["paper", "icml", "neurips", "jmlr", "slides"],
    "finetune run": lambda context, begun: runs(begun),
    "grids": _grid,
    "method": lambda context, begun: settings.methods(),
    "out": _holding(""),
    "place": _places,
    "plugins": _ending(".py"),
    "recipe": _recipes,
    "recipes": _recipes,
    "report folder": _holding("comparison.json"),
    "reproduce name": _of_kind("study"),
    "runs": lambda context, begun: runs(begun),
    "scale": _scales,
    "settings": _settings,
    "study merge folders": _holding("study.json"),
    "track": _trackers,
    "without": _without,
}
"""By the name of an option or argument, or by those of its command and its own."""
