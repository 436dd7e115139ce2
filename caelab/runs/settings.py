"""Settings ``KEY=VALUE``, read from the command line and laid over a config."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from typing import Any

from caelab.errors import CaelabError, shown, unknown_name
from caelab.registry.arguments import rows_of, text_of, texts_of
from caelab.registry.catalogue import Catalogue, catalogue
from caelab.registry.importing import allow_code_in
from caelab.registry.signatures import option_fields
from caelab.runs.config import RunConfig, make_config
from caelab.runs.safe_yaml import read_yaml


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """One mapping laid over another, level by level; a new ``kind`` starts its block afresh.

    What lies in a list is named by its place, counted from 0, as a text.

    >>> merged({"a": {"x": 1, "y": 2}}, {"a": {"y": 3}})
    {'a': {'x': 1, 'y': 3}}
    >>> merged({"layers": [{}, {"x": 1}]}, {"layers": {"1": {"y": 2}}})
    {'layers': [{}, {'x': 1, 'y': 2}]}
    """
    out = dict(base)
    for key, value in over.items():
        old = out.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping) and _same_kind(old, value):
            out[key] = merged(old, value)
        elif isinstance(value, Mapping) and isinstance(old, list | tuple) and _places_in(old, value):
            out[key] = list(merged(dict(_by_place(old)), value).values())
        else:
            out[key] = value
    return out


def _by_place(values: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    return ((str(place), value) for place, value in enumerate(values))


def _places_in(old: Sequence[Any], new: Mapping[str, Any]) -> bool:
    """Whether all keys of a mapping are places in a list."""
    return bool(new) and new.keys() <= dict(_by_place(old)).keys()


def _same_kind(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    return bool(new.get("kind", old.get("kind")) == old.get("kind"))


def parse_setting(text: str) -> tuple[str, Any]:
    """``contractive.weight=0.3`` as a key path and a value (YAML; ``1e-3`` is a number too).

    Raises:
        CaelabError: there is no ``=``, or the value is not YAML.
    """
    text = text_of(text, "a setting")
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise CaelabError(
            f"{text!r} holds bytes that are no text in this terminal's encoding ({sys.getfilesystemencoding()}); set a "
            "locale in UTF-8, as LC_ALL=C.UTF-8, and type it in UTF-8"
        )
    path, equals, value = text.partition("=")
    if not equals or not path.strip():
        raise CaelabError(f"expected KEY=VALUE, as in contractive.weight=0.3, but {text!r} came")
    return path.strip(), parse_value(value)


def parse_value(text: str) -> Any:
    """A YAML value; PyYAML reads ``1e-3`` as a text, which is a number here.

    >>> parse_value("1e-3"), parse_value("[100, 30]"), parse_value("relu")
    (0.001, [100, 30], 'relu')
    """
    try:
        value = read_yaml(text)
    except CaelabError as error:
        raise CaelabError(f"{shown(text)} is not a value in YAML: {error}") from error
    return as_number_or_text(value)


def as_number_or_text(value: Any) -> Any:
    """A value of YAML in which texts that are numbers, as ``1e-3``, are numbers; also inside lists.

    >>> as_number_or_text(["1e-3", "relu"])
    [0.001, 'relu']
    """
    if isinstance(value, list):
        return [as_number_or_text(each) for each in value]
    if isinstance(value, str):
        with suppress(ValueError):
            return float(value)
    return value


def chooses_kind(key: str, value: Any) -> bool:
    """Whether a setting chooses what a block is: it comes before those that set options of it.

    >>> chooses_kind("model.kind", "rbm"), chooses_kind("model", {"kind": "rbm"}), chooses_kind("model.hidden", 8)
    (True, True, False)
    """
    return key.endswith(".kind") or (isinstance(value, Mapping) and "kind" in value)


def _unknown_setting(first: str, rest: Sequence[str], present: Collection[str], offers: Catalogue) -> CaelabError:
    """The error for a key path that starts at nothing known; the nearest setting that does exist is offered."""
    regularizers = {*present, *(name for name in offers.names("regularizer") if _has_option(offers, name, rest))}
    known = {".".join([name, *rest]) for name in regularizers} | {*RunConfig.model_fields} - {"regularizers"}
    blocks = get_close_matches(first, ("dataset", "model", "training"), n=1) if rest else []
    return unknown_name("setting", ".".join([first, *rest]), known | {".".join([each, *rest]) for each in blocks})


def _has_option(offers: Catalogue, name: str, rest: Sequence[str]) -> bool:
    with suppress(CaelabError):  # a broken plugin offers no setting
        return not rest or rest[0] in option_fields(offers.get("regularizer", name))
    return False


def _regularizers_of(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The regularizers of a raw config by label, none where it has none.

    >>> _regularizers_of({"regularizers": {"contractive": {"weight": 1.0}}})
    {'contractive': {'weight': 1.0}}

    Raises:
        CaelabError: they are no mapping.
    """
    blocks = raw.get("regularizers")
    if isinstance(blocks, list):
        raise CaelabError(
            f"regularizers are a list here, one mapping for each layer, {shown(blocks)}, so a name alone does not say "
            "whose is meant; name its place, counted from 0, as in --set regularizers.0.contractive.weight=0.3, or "
            "change the list"
        )
    if blocks is not None and not isinstance(blocks, Mapping):
        raise CaelabError(
            f"regularizers: expected a mapping of names to options, as {{contractive: {{weight: 1.0}}}}, but "
            f"{blocks!r} came"
        )
    return dict(blocks or {})


def with_setting(raw: Mapping[str, Any], path: str, value: Any, offers: Catalogue | None = None) -> dict[str, Any]:
    """The raw config with one key set; a path may start at a regularizer, present or new.

    >>> with_setting({}, "contractive", {"weight": 1.0}) == with_setting({}, "contractive.weight", 1.0)
    True

    Raises:
        CaelabError: the path starts at nothing known, or names a regularizer without an option of it.
    """
    first, *rest = path.split(".")
    if first not in RunConfig.model_fields:
        regularizers = _regularizers_of(raw)
        offers = offers or catalogue()
        if first not in {*regularizers, *offers.names("regularizer")}:
            raise _unknown_setting(first, rest, regularizers, offers)
        if not rest and not isinstance(value, Mapping):
            raise CaelabError(
                f"expected an option, as {first}.OPTION=VALUE, or all of them, as '{first}={{}}' where none is needed, "
                f"but {first}={value} came"
            )
        rest, first = [first, *rest], "regularizers"
    nested: Any = value
    for key in reversed(rest):
        nested = {key: nested}
    return merged(raw, {first: nested})


def configured(
    raw: Mapping[str, Any],
    over: Mapping[str, Any],
    settings: Sequence[str] = (),
    without: Sequence[str] = (),
    offers: Catalogue | None = None,
) -> RunConfig:
    """The checked config after keys were laid over it, ``KEY=VALUE`` settings made, and regularizers left out.

    Settings that choose a ``kind`` come first, wherever they stand; otherwise the last word counts. Code that they name
    is allowed, since the user typed them; code that only ``raw`` names is not.

    Raises:
        CaelabError: a key, a setting or a value that does not fit, or a regularizer to leave out that is not there.
    """
    raw = merged(raw, over)
    pairs = [parse_setting(setting) for setting in rows_of(settings, "settings")]
    allow_code_in([over, *(value for _, value in pairs)])
    for key, value in sorted(pairs, key=lambda pair: not chooses_kind(*pair)):
        raw = with_setting(raw, key, value, offers=offers)
    without = texts_of(without, "the regularizers to leave out")
    if isinstance(raw.get("regularizers"), list) and not without:
        return make_config(raw, offers)  # one set for each layer of a stack
    regularizers = _regularizers_of(raw)
    for name in without:
        if name not in regularizers:
            raise unknown_name("regularizer of this run", name, regularizers)
        del regularizers[name]
    return make_config({**raw, "regularizers": regularizers}, offers)
