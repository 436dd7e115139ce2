"""Options of plugins, read from their signatures and checked by pydantic; errors are one sentence."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, get_args, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from caelab.errors import CaelabError, shown, unknown_name

SENTENCE = "sentence"  # the type of a complaint that says all by itself, so that the value need not be told


def option_fields(factory: Callable[..., Any], skip: Collection[str] = ()) -> dict[str, inspect.Parameter]:
    """The parameters of a plugin's factory that a config may set, with resolved annotations.

    >>> def loader(path: str, count: int = 3): ...
    >>> {name: p.annotation.__name__ for name, p in option_fields(loader).items()}
    {'path': 'str', 'count': 'int'}

    Raises:
        CaelabError: they cannot be read: it is built in, or an annotation names nothing.
    """
    try:
        hints = get_type_hints(factory.__init__ if inspect.isclass(factory) else factory, include_extras=True)
        parameters = inspect.signature(factory).parameters.values()
    except (NameError, TypeError, ValueError) as error:
        raise CaelabError(
            f"the parameters of {getattr(factory, '__qualname__', factory)} cannot be read "
            f"({type(error).__name__}: {error}); write them with types that exist"
        ) from error
    kept = [p for p in parameters if p.name not in skip and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    return {p.name: p.replace(annotation=hints.get(p.name, Any)) for p in kept}


def _options_model(factory: Callable[..., Any], skip: Collection[str] = ()) -> type[BaseModel]:
    """The pydantic model of a factory's options; unknown keys are forbidden."""
    fields: dict[str, Any] = {
        name: (p.annotation, ... if p.default is p.empty else p.default)
        for name, p in option_fields(factory, skip).items()
    }
    config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)
    return create_model("Options", __config__=config, **fields)


def checked_options(
    factory: Callable[..., Any], options: Mapping[str, Any], where: str, skip: Collection[str] = ()
) -> dict[str, Any]:
    """The options with the factory's defaults filled in.

    Raises:
        CaelabError: an unknown, missing or impossible option; ``where`` says whose it is.
    """
    model = _options_model(factory, skip)
    try:
        checked = model.model_validate(dict(options))
    except ValidationError as error:
        raise readable(error, where, model, skip) from error
    found = checked.model_dump(mode="json")
    refuse_booleans(options, found, where)
    return found


def refuse_booleans(given: Any, found: Any, where: str) -> None:
    """Refuse true and false where a number is expected; pydantic takes them for 1 and 0.

    Args:
        given: the values that came, mappings and lists inside each other.
        found: what they were taken for.
        where: the key path.

    Raises:
        CaelabError: names the key path of the first.
    """
    if isinstance(given, bool) and not isinstance(found, bool):
        raise CaelabError(f"{where}: a number is expected, but {given} came")
    if isinstance(given, Mapping) and isinstance(found, Mapping):
        for key in given.keys() & found.keys():
            refuse_booleans(given[key], found[key], ".".join(filter(None, (where, str(key)))))
    if isinstance(given, list | tuple) and isinstance(found, list | tuple) and len(given) == len(found):
        for place, (each, other) in enumerate(zip(given, found, strict=True)):
            refuse_booleans(each, other, f"{where}.{place}")


def readable(
    error: ValidationError,
    where: str,
    model: type[BaseModel],
    given: Collection[str] = (),
    *,
    stored: bool = False,
    file: bool = False,
) -> CaelabError:
    """All of pydantic's complaints as one sentence, each with its key path and the value that came.

    Args:
        error: the complaints.
        where: whose options they are about; an empty text for a whole config.
        model: what was expected.
        given: what caelab gives of itself.
        stored: the values come from a file of caelab's, which nobody sets by hand.
        file: the values come from a file that is written by hand, so that no option of the command line sets them.
    """
    way = "{path} is missing" if stored else "{path} is missing; write it into the file" if file else SET
    found = [item for item in error.errors() if not _follows(item, error)]
    return CaelabError("; ".join(dict.fromkeys(_complaint(item, where, model, given, way) for item in found)))


SET = "{path} is missing: it has no default; give it, for instance with --set {path}=VALUE{itself}"


MODEL = re.compile(r" or instance of \w+")  # pydantic names its own classes, which nobody can write into a file


def _follows(item: Any, error: ValidationError) -> bool:
    """Whether a list is called too short because what stood in it was refused, which is told already."""
    inside = [other for other in error.errors() if other["loc"][:-1] == item["loc"] and len(other["loc"]) > 1]
    return item["type"] == "too_short" and bool(item["input"]) and bool(inside)


def _complaint(item: Any, where: str, model: type[BaseModel], given: Collection[str], missing: str) -> str:
    path = ".".join(str(part) for part in (where, *item["loc"]) if part != "")
    if item["type"] == "extra_forbidden":
        *parents, last = item["loc"]
        top = "study" if "study" in model.model_fields else "config"
        owner = ".".join(str(part) for part in (where, *parents) if part != "") or top
        return f"{owner}: {unknown_name('option', str(last), _known_at(model, parents))}"
    if item["type"] == "missing" and item["loc"] and isinstance(item["loc"][-1], int):  # of a row, not of a block
        return f"{path.rpartition('.')[0]}: expected more values, but {shown(item['input'])} came"
    if item["type"] == "missing":
        itself = f" (of itself caelab gives only what is called {' or '.join(given)})" if given else ""
        return missing.format(path=path, itself=itself)
    if item["type"] == SENTENCE:
        return f"{path}: {item['msg']}" if path else str(item["msg"])
    message = MODEL.sub("", (item["msg"][0].lower() + item["msg"][1:]).replace("tuple", "list"))
    return f"{path}: {message}, but {shown(item['input'])} came"


def _known_at(model: type[BaseModel], parents: Iterable[Any]) -> list[str]:
    """The keys that are known at a key path; none where it leads to no model."""
    for part in parents:
        if isinstance(part, int):  # a place in a list of models
            continue
        inner = _models_in(model.model_fields[part].annotation) if part in model.model_fields else []
        if len(inner) != 1:
            return []
        (model,) = inner
    return list(model.model_fields)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """The models in a type, as in a list of them."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]
