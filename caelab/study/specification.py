"""The study file: models, data sets, seeds and analyses of many runs, in YAML, checked before anything is done.

A study file, with every key::

    study: price-of-contraction         # its name; the file's own name where it is left out
    about: What contraction costs.      # a sentence for the page
    models:                             # recipes, config files, or mappings
      - ae
      - recipe: cae
        label: cae-weak                 # how tables call it; the recipe's name where it is left out
        set: {contractive.weight: 0.1}
      - recipe: cae
        grid: {contractive.weight: [1, 3]}      # one model per value
      - recipe: dae-g
        choose: {gaussian.sigma: [0.3, 0.6]}    # the value that validates best, see selection
    set: {training.epochs: 40}          # of every model that has the key
    grid: {model.hidden: [[100], [500]]}
    datasets: [mnist5k, {kind: digits, splits: [900, 300, 500]}]
    seeds: 4                            # how many, counted from 0; or a list
    splits: 3                           # random splits of the data, so many or a list; without it one per seed
    analyses: [jacobian_norm]           # or a mapping of names to options; without it the default ones
    claims: [mine.smallest]             # without it all that can be asked
    selection: {by: validation error}   # the number that ``choose`` goes by
    plugins: [mine.py]                  # plugin files, as seen from the study file
    resources: {cores: 1, gpus: 0, memory: 2 GiB}   # of one run
    scales:                             # smaller or larger forms of the study, see ``--scale``; keys are laid over
      quick: {seeds: 2, set: {training.epochs: 10}}
    runs: ../runs                       # folder of the runs, which several studies may share
    out: price                          # folder of the study, as seen from the study file
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from caelab.errors import CaelabError, unknown_name
from caelab.options import Count
from caelab.registry.signatures import readable, refuse_booleans
from caelab.runs.safe_yaml import LARGEST, read_yaml
from caelab.runs.section import Section
from caelab.runs.settings import as_number_or_text

UNITS = {"": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40, "KB": 10**3, "MB": 10**6, "GB": 10**9}
SIZE = re.compile(r"\s*([\d.]+)\s*([KMGT]?i?B?)\s*", re.IGNORECASE)


def _values(given: Any) -> Any:
    """A mapping of keys to values, in which ``1e-3`` is a number; nothing at all stands for an empty one."""
    return {key: as_number_or_text(value) for key, value in given.items()} if isinstance(given, dict) else given or {}


Settings = Annotated[dict[str, Any], BeforeValidator(_values)]
Grid = Annotated[dict[str, Annotated[list[Any], Field(min_length=1)]], BeforeValidator(_values)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]


def _several(given: Any) -> Any:
    """A number of seeds as a list, counted from 0."""
    if isinstance(given, int) and not isinstance(given, bool):
        if given < 1:
            raise PydanticCustomError("seeds", "expected how many, at least 1, or a list of different whole numbers")
        return [*range(given)]
    return given


def _different(given: list[int]) -> list[int]:
    if not given or len({*given}) < len(given):
        raise PydanticCustomError("seeds", "expected how many, at least 1, or a list of different whole numbers")
    return given


Seeds = Annotated[list[Seed], BeforeValidator(_several), AfterValidator(_different)]


def _entry(given: Any) -> Any:
    """``cae`` stands for ``{recipe: cae}``."""
    return {"recipe": given} if isinstance(given, str) else given


def _block(given: Any) -> Any:
    """``digits`` stands for ``{kind: digits}``."""
    return {"kind": given} if isinstance(given, str) else given


def _with_kind(given: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(given.get("kind"), str):
        raise PydanticCustomError("dataset", "expected the name of a data set, or a mapping with the key kind")
    return given


def _no_options(given: Any) -> Any:
    """A list of names stands for these without options."""
    names = [given] if isinstance(given, str) else given
    plain = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return {name: {} for name in names} if plain else given


def _bytes(given: Any) -> Any:
    """``2 GiB`` as a number of bytes.

    >>> _bytes("2 GiB"), _bytes(1000)
    (2147483648, 1000)
    """
    if not isinstance(given, str):
        return given
    found = SIZE.fullmatch(given)
    unit = next((factor for name, factor in UNITS.items() if found and name.lower() == found[2].lower()), None)
    if not found or unit is None:
        raise PydanticCustomError("size", "expected a size, as 2 GiB")
    return int(float(found[1]) * unit)


class ModelEntry(Section):
    """One entry of ``models``: a recipe or a config file, and what is set for it.

    Attributes:
        recipe: the name of a recipe, or a config file that ends in .yaml.
        config: a whole config, in place of a recipe.
        label: how tables and figures call the model; the name of the recipe where it is empty.
        set: a value for each key.
        grid: values for each key, of which each makes a model.
        choose: values for each key, of which the one that validates best is taken.
    """

    recipe: str = ""
    config: dict[str, Any] | None = None
    label: str = ""
    set: Settings = Field(default_factory=dict)
    grid: Grid = Field(default_factory=dict)
    choose: Grid = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_of_both(self) -> ModelEntry:
        if bool(self.recipe) == (self.config is not None):
            raise PydanticCustomError("model", "expected either recipe, the name of one, or config, a whole config")
        return self


class Selection(Section):
    """How ``choose`` goes.

    Attributes:
        by: the number that is compared, a column that an analysis marks with ``tune``; None where only one is marked.
        recipes: whether recipes that say which weights are worth trying are chosen among these, too.
    """

    by: str | None = None
    recipes: bool = False


class Resources(Section):
    """What one run takes of a machine.

    Attributes:
        cores: how many.
        gpus: how many, also a part of one.
        memory: in bytes, or as ``2 GiB``; None where it is not known.
    """

    cores: Count = 1
    gpus: Annotated[float, Field(ge=0)] = 0
    memory: Annotated[Annotated[int, Field(ge=1)] | None, BeforeValidator(_bytes)] = None


SCALED = (
    "about", "models", "set", "grid", "datasets", "seeds", "splits", "analyses", "claims", "selection", "resources",
)  # fmt: skip


def _of_scale(given: Any) -> Any:
    wrong = [key for key in given if key not in SCALED] if isinstance(given, dict) else []
    if wrong or not isinstance(given, dict):
        raise PydanticCustomError("scale", "expected a mapping of some of the keys {keys}", {"keys": ", ".join(SCALED)})
    return given


class StudyFile(Section):
    """The content of a study file; see the module's own text for every key."""

    only_where_set: ClassVar[tuple[str, ...]] = ("scales", "scale")

    study: str = ""
    about: str = ""
    models: Annotated[list[Annotated[ModelEntry, BeforeValidator(_entry)]], Field(min_length=1)]
    set: Settings = Field(default_factory=dict)
    grid: Grid = Field(default_factory=dict)
    datasets: list[Annotated[dict[str, Any], BeforeValidator(_block), AfterValidator(_with_kind)]] = Field(
        default_factory=list
    )
    seeds: Seeds = Field(default_factory=lambda: [0, 1, 2])
    splits: Seeds | None = None
    analyses: Annotated[dict[str, dict[str, Any]] | None, BeforeValidator(_no_options)] = None
    claims: list[str] | None = None
    selection: Selection | None = None
    plugins: list[str] = Field(default_factory=list)
    resources: Resources = Resources()
    scales: dict[str, Annotated[dict[str, Any], BeforeValidator(_of_scale)]] = Field(default_factory=dict)
    scale: str = ""  # of those, the one that this is
    runs: str | None = None
    out: Annotated[str, Field(min_length=1)]

    def plain(self) -> dict[str, Any]:
        """Plain values, as they go into JSON."""
        return self.model_dump(mode="json")


def study_file(raw: Any, where: str = "") -> StudyFile:
    """The checked content of a study file.

    Args:
        raw: a mapping of its keys.
        where: the file, for messages.

    Raises:
        CaelabError: one sentence that names every wrong key, what was expected and what came.
    """
    front = f"{where}: " if where else ""
    if not isinstance(raw, Mapping):
        raise CaelabError(f"{front}a study is a mapping of keys to values, but {type(raw).__name__} came")
    try:
        found = StudyFile.model_validate(dict(raw))
    except ValidationError as error:
        raise CaelabError(f"{front}{readable(error, '', StudyFile, file=True)}") from error
    refuse_booleans({k: v for k, v in raw.items() if k != "selection"}, found.plain(), "")
    for name in found.scales:
        at_scale(found, name, where)
    return found


def at_scale(file: StudyFile, name: str, where: str = "") -> StudyFile:
    """A study file with the keys of one of its scales laid over its own; those of ``set`` one by one.

    Raises:
        CaelabError: it has no such scale, or a key of the scale is wrong.
    """
    if name not in file.scales:
        raise unknown_name("scale", name, {*file.scales, "smoke"})
    over, front = file.scales[name], f"{where}: " if where else ""
    both = {**file.set, **_values(over.get("set"))}
    try:
        return StudyFile.model_validate({**file.plain(), **over, "set": both, "scales": {}, "scale": name})
    except ValidationError as error:
        raise CaelabError(f"{front}scales.{name}: {readable(error, '', StudyFile, file=True)}") from error


def read_study(path: Path) -> tuple[StudyFile, str]:
    """A study file and its text.

    Raises:
        CaelabError: there is no such file, it is not YAML, or its content is wrong.
    """
    text = _text_of(path)
    try:
        raw = read_yaml(text)
    except CaelabError as error:
        raise CaelabError(f"{path} is not YAML, or not of the kind that is read: {error}") from error
    found = study_file(raw, str(path))
    return found if found.study else found.model_copy(update={"study": path.stem}), text


def _text_of(path: Path) -> str:
    if not path.is_file():
        raise CaelabError(
            f"no study file at {path}; it is YAML with the keys models and out at least, see: caelab study --help"
        )
    try:
        with path.open("rb") as stream:
            return stream.read(LARGEST + 1).decode()
    except OSError as error:
        raise CaelabError(f"{path} cannot be read ({error.strerror}); change its permissions") from error
    except UnicodeDecodeError as error:
        raise CaelabError(f"{path} is not text in UTF-8; save it as UTF-8") from error


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What changed between two studies, a clause for each key.

    >>> differences({"seeds": [0], "out": "a"}, {"seeds": [0, 1], "out": "a"})
    ['seeds was [0] and is [0, 1]']
    """
    keys = dict.fromkeys([*before, *now])
    return [
        f"{key} was {_short(before.get(key))} and is {_short(now.get(key))}"
        for key in keys
        if before.get(key) != now.get(key)
    ]


def _short(value: Any, length: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= length else f"{text[:length]}..."
