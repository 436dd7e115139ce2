"""The config of one run, frozen and validated, read from YAML and written to it; without torch, to be quick."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from caelab.data.samples import PUBLISHED, published_splits
from caelab.data.scaling_options import take_scaling
from caelab.errors import CaelabError
from caelab.options import Count
from caelab.registry.catalogue import Catalogue, catalogue
from caelab.registry.fingerprints import files_in, fingerprints_of
from caelab.registry.paths import resolved
from caelab.registry.reserved import GIVEN_BY_CORE, VALIDATION
from caelab.registry.signatures import SENTENCE, checked_options, option_fields, readable, refuse_booleans
from caelab.runs.optimisation import Optimisation
from caelab.runs.safe_yaml import LARGEST, read_yaml
from caelab.runs.section import Section

GIVEN = "given"  # the kind of a block that stands for an object of the user's, which no config can make again
LONGEST_LABEL = 180  # bytes; a file system allows 255 for the name of a run's folder


class Block(BaseModel):
    """``{kind: NAME, ...}``: something a plugin offers, with its options beside the name."""

    model_config = ConfigDict(frozen=True, extra="allow")
    kind: str

    @property
    def options(self) -> dict[str, Any]:
        """The options without the kind."""
        return dict(self.model_extra or {})


def _sizes_or_published(given: Any, sizes: ValidatorFunctionWrapHandler) -> Any:
    return given if given == PUBLISHED else sizes(given)


Sizes = Annotated[tuple[Count, Count, Count], WrapValidator(_sizes_or_published), PlainSerializer(lambda value: value)]
"""How many examples train, validate and test; ``published``, until a config is checked, for those of a paper."""


class DataBlock(Block):
    """A data set, how many examples train, validate and test, and which of its random splits is taken.

    Attributes:
        splits: how many examples train, validate and test.
        split_seed: the seed of the split; the run's own seed where it is None.
    """

    splits: Sizes | None = None
    split_seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None

    @model_serializer(mode="wrap")
    def _without_what_is_not_set(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Plain values; ``split_seed`` only where it is set, so that runs without it keep their names."""
        found: dict[str, Any] = plain(self)
        if self.split_seed is None:
            found.pop("split_seed", None)
        return found


class Training(Optimisation):
    """The part of a config that says how the parameters are found.

    Attributes:
        reconstruction: the error between inputs and reconstruction that is minimised.
        device: where, as ``cpu`` or ``cuda``.
        monitor: the metric of an epoch by which ``patience`` judges it.
        better: which of two values of that metric is the better one.
    """

    only_where_set: ClassVar[tuple[str, ...]] = (*Optimisation.only_where_set, "monitor", "better")

    reconstruction: Literal["cross-entropy", "squared-error"]
    device: str = "cpu"
    monitor: Annotated[str, Field(min_length=1)] = VALIDATION
    better: Literal["smaller", "larger"] = "smaller"

    @model_validator(mode="after")
    def _judged_only_with_patience(self) -> Training:
        if self.patience is None and (self.monitor, self.better) != (VALIDATION, "smaller"):
            raise PydanticCustomError(
                SENTENCE, "monitor and better say how patience judges an epoch, so give patience too, as in patience: 5"
            )
        return self


def _kinds_from_labels(blocks: Any) -> Any:
    """``{contractive: {weight: 1}}`` says the kind by its label."""
    if not isinstance(blocks, Mapping):
        return blocks
    return {k: {"kind": k, **(v or {})} if v is None or isinstance(v, Mapping) else v for k, v in blocks.items()}


def _kind_alone(block: Any) -> Any:
    """``digits`` stands for ``{kind: digits}``."""
    return {"kind": block} if isinstance(block, str) else block


def _name_of_folder(label: str) -> str:
    if label.startswith(".") or len(label.encode()) > LONGEST_LABEL or any(c in "/\\" or c < " " for c in label):
        raise PydanticCustomError(
            "label",
            "expected a name that a folder can have: at most {most} bytes, no slash, no full stop in front",
            {"most": LONGEST_LABEL},
        )
    return label


class Layer(Section):
    """What one layer of a stack that is trained layer by layer has of its own.

    Attributes:
        model: options of the model in this layer, beside ``hidden``.
        regularizers: in place of those of the run.
        training: keys of the section ``training`` in this layer.
    """

    only_where_set: ClassVar[tuple[str, ...]] = ("model", "regularizers", "training")

    model: dict[str, Any] = Field(default_factory=dict)
    regularizers: Annotated[dict[str, Block] | None, BeforeValidator(_kinds_from_labels)] = None
    training: dict[str, Any] = Field(default_factory=dict)


class RunConfig(Section):
    """Everything that determines one run.

    Attributes:
        label: the name of the model in tables; it does not count.
        seed: of every random stream, and of the split unless ``dataset.split_seed`` gives another one.
        dataset: the data and their split.
        model: the model and its options.
        regularizers: by label; as a list, one mapping for each layer of a stack.
        training: how the parameters are found.
        pretraining: ``greedy`` trains a model of several layers layer by layer, each on the codes of the one below
            (Hinton et al. 2006; Bengio et al. 2007); ``end-to-end`` trains all of them at once; ``none`` leaves the
            model as it was made, or as ``solve`` leaves it.
        layers: what the layers of a greedy stack have of their own, from the first to the last.
    """

    only_where_set: ClassVar[tuple[str, ...]] = ("pretraining", "layers")

    label: Annotated[str, AfterValidator(_name_of_folder)]
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    dataset: Annotated[DataBlock, BeforeValidator(_kind_alone)]
    model: Annotated[Block, BeforeValidator(_kind_alone)]
    regularizers: Annotated[dict[str, Block], BeforeValidator(_kinds_from_labels)] = Field(default_factory=dict)
    training: Training
    pretraining: Literal["end-to-end", "greedy", "none"] = "end-to-end"
    layers: tuple[Layer, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _a_list_is_one_set_per_layer(cls, raw: Any) -> Any:
        """``regularizers: [{...}, {...}]`` stands for ``layers: [{regularizers: {...}}, ...]``."""
        if not isinstance(raw, Mapping) or not isinstance(raw.get("regularizers"), list):
            return raw
        sets, layers = raw["regularizers"], raw.get("layers") or [{} for _ in raw["regularizers"]]
        listed = isinstance(layers, list | tuple) and len(layers) == len(sets) > 0
        if not listed or any(not isinstance(layer, Mapping) or "regularizers" in layer for layer in layers):
            raise PydanticCustomError(
                SENTENCE, "expected either regularizers as a list with one mapping per layer, or layers that have them"
            )
        both = [{**layer, "regularizers": each} for layer, each in zip(layers, sets, strict=True)]
        return {**raw, "regularizers": {}, "layers": both}

    @model_validator(mode="after")
    def _layers_of_a_stack(self) -> RunConfig:
        if self.layers and self.pretraining != "greedy":
            raise PydanticCustomError(
                SENTENCE,
                "layers, or regularizers as a list, are for a model that is trained layer by layer; give "
                "pretraining: greedy too",
            )
        return self

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as they go into YAML and JSON."""
        return self.model_dump(mode="json")

    def to_yaml(self) -> str:
        """The config as a YAML text that ``load_config`` reads back to the same config."""
        return yaml.safe_dump(self.as_dict(), sort_keys=False)

    def _repr_html_(self) -> str:
        """What a notebook shows: the config as it stands in a YAML file."""
        return f"<pre>{escape(self.to_yaml())}</pre>"

    def content_hash(self, data_hash: str = "") -> str:
        """Twelve hexadecimal digits that name what this config, on these data, determines; the label is only a name.

        The code of plugins that are not caelab's own counts, and so does what a file holds that an option of a model or
        of a regularizer names: after a change the run is trained anew.
        """
        return hash_of(self.as_dict(), data_hash, self.fingerprints())

    def fingerprints(self) -> dict[str, str]:
        """Digests of the code of others, and of the files that options of the model and the regularizers name."""
        blocks = {"model": self.model, **self.regularizers}
        for place, layer in enumerate(self.layers, start=1):
            blocks |= {f"layer {place} {label}": block for label, block in (layer.regularizers or {}).items()}
        files = [files_in(block.options, label) for label, block in blocks.items() if block.kind != GIVEN]
        return {**fingerprints_of(self.in_use()), **{name: digest for found in files for name, digest in found.items()}}

    def in_use(self) -> list[tuple[str, str]]:
        """Kind and name of everything that this run takes from the catalogue."""
        own = [block for layer in self.layers for block in (layer.regularizers or {}).values()]
        regularizers = [("regularizer", block.kind) for block in [*self.regularizers.values(), *own]]
        return [("dataset", self.dataset.kind), ("model", self.model.kind), *regularizers]

    @property
    def split(self) -> int:
        """The seed of the random split into training, validation and test examples."""
        return self.seed if self.dataset.split_seed is None else self.dataset.split_seed

    def with_split(self, split: int | None) -> RunConfig:
        """The same run on another random split of its data; None stands for the split of the run's own seed."""
        return self.model_copy(update={"dataset": self.dataset.model_copy(update={"split_seed": split})})

    def with_label(self, label: str) -> RunConfig:
        """The same run under another label."""
        return self.model_copy(update={"label": label})

    def with_seed(self, seed: int) -> RunConfig:
        """The same run from another seed."""
        return self.model_copy(update={"seed": seed})


def hash_of(plain: Mapping[str, Any], data_hash: str, fingerprints: Mapping[str, str]) -> str:
    """The hash in the name of a run's folder, from its config as plain values; the label does not count."""
    counted = {key: value for key, value in plain.items() if key != "label"}
    text = json.dumps([counted, data_hash, *([dict(fingerprints)] if fingerprints else [])], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def make_config(raw: Mapping[str, Any], offers: Catalogue | None = None) -> RunConfig:
    """Check a config against itself and against what the plugins offer; fill in their defaults.

    Raises:
        CaelabError: one sentence that names every wrong key, what was expected and what came.
    """
    offers = offers or catalogue()
    try:
        config = RunConfig.model_validate(raw)
    except ValidationError as error:
        raise readable(error, "", RunConfig) from error
    refuse_booleans(raw, config.as_dict(), "")
    return config.model_copy(
        update={
            "dataset": _checked(config.dataset, "dataset", "dataset", offers),
            "model": _checked(config.model, "model", "model", offers),
            "regularizers": _checked_regularizers(config.regularizers, "", offers),
            "layers": tuple(_checked_layer(layer, k, offers) for k, layer in enumerate(config.layers)),
        }
    )


def _checked_regularizers(blocks: Mapping[str, Block], where: str, offers: Catalogue) -> dict[str, Block]:
    return {label: _checked(each, "regularizer", where + label, offers) for label, each in sorted(blocks.items())}


def _checked_layer(layer: Layer, place: int, offers: Catalogue) -> Layer:
    if layer.regularizers is None:
        return layer
    found = _checked_regularizers(layer.regularizers, f"layers.{place}.regularizers.", offers)
    return layer.model_copy(update={"regularizers": found})


def _checked(block: Block, kind: str, where: str, offers: Catalogue) -> Block:
    if block.kind == GIVEN:
        return block
    if not block.kind:
        raise CaelabError(f"{where}: expected the name of a {kind}, but an empty text came")
    name, options = _named(block, offers)
    factory = offers.get(kind, name)
    options, common = _common(kind, factory, options, where)
    fixed = {key: getattr(block, key) for key in type(block).model_fields}
    if fixed.get("splits") == PUBLISHED:
        fixed["splits"], options = published_splits(factory, name, PUBLISHED, options)
    options = checked_options(factory, options, where, GIVEN_BY_CORE.get(kind, ())) | common
    return type(block)(**{**fixed, "kind": name, **options})


class OfAnyModel(Section):
    """How caelab calls a model that takes or returns something else than flat batches.

    Attributes:
        code_part: which of what ``encode`` returns is the code: a place in a tuple, a key or an attribute.
        example_shape: the shape of one example that ``encode`` takes, as (1, 28, 28).
    """

    code_part: int | str | None = None
    example_shape: Annotated[tuple[Count, ...], Field(min_length=1)] | None = None


class OfAnyRegularizer(Section):
    """How caelab calls a regularizer.

    Attributes:
        warmup: W, the epochs in which the penalty rises to its full weight: in epoch e it counts e / (W + 1), and from
            epoch W + 1 on all of it.
    """

    warmup: Count | None = None


OF_ANY: dict[str, type[Section]] = {"model": OfAnyModel, "regularizer": OfAnyRegularizer}
"""By kind, the options that the core reads, not the factory; a factory's own option of the same name comes first."""


def _common(kind: str, factory: Any, options: dict[str, Any], where: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options that are the factory's own, and those that the core reads."""
    if kind == "dataset":
        own, scaling = take_scaling(factory, options, where)
        return own, scaling.asked
    common = _taken_out(kind, factory, options, where)
    return options, common


def _taken_out(kind: str, factory: Any, options: dict[str, Any], where: str) -> dict[str, Any]:
    """Take what is an option of every model or regularizer, and none of this factory's own, out of the options."""
    if kind not in OF_ANY:
        return {}
    section, own = OF_ANY[kind], option_fields(factory, GIVEN_BY_CORE.get(kind, ()))
    names = [name for name in section.model_fields if name in options and name not in own]
    try:
        given = {name: options.pop(name) for name in names}
        found = section.model_validate(given).model_dump(mode="json", exclude_none=True)
    except ValidationError as error:
        raise readable(error, where, section) from error
    refuse_booleans(given, found, where)
    return found


def of_any(kind: str, block: Block, factory: Any = None) -> dict[str, Any]:
    """The options of a block that the core reads, not the factory."""
    fields = OF_ANY[kind].model_fields.keys() & block.options.keys()  # a factory's parameters take long to read
    own = option_fields(factory, GIVEN_BY_CORE.get(kind, ())) if fields and factory is not None else {}
    return {name: block.options[name] for name in sorted(fields - own.keys())}


def _named(block: Block, offers: Catalogue) -> tuple[str, dict[str, Any]]:
    """``idx:FOLDER`` stands for the kind ``idx`` with ``path: FOLDER``, and ``mine.npz`` for ``npz:mine.npz``."""
    if not isinstance(block, DataBlock):
        return block.kind, block.options
    name, colon, rest = resolved(block.kind, offers.names("dataset")).partition(":")
    return name, {"path": rest, **block.options} if colon else block.options


def names_a_file(word: str | Path) -> bool:
    """Whether a word or a path stands for a config file, or a pipe that gives one, rather than a recipe."""
    with suppress(OSError, ValueError):
        return str(word).endswith((".yaml", ".yml")) or Path(word).is_fifo()
    return False


def load_config(path: str | Path) -> RunConfig:
    """Read a run's config from a YAML file.

    Raises:
        CaelabError: there is no such file, it is not YAML, or the config is wrong.
    """
    path = Path(path)
    if not path.exists() or path.is_dir():  # a pipe is read, as of <(caelab train cae --print-config)
        raise CaelabError(f"no config file at {path}; write one with: caelab train cae --print-config > {path}")
    try:
        with path.open("rb") as stream:
            raw = read_yaml(stream.read(LARGEST + 1))
    except OSError as error:
        raise CaelabError(f"{path} cannot be read ({error.strerror}); change its permissions") from error
    except CaelabError as error:
        raise CaelabError(f"{path} is not YAML, or not of the kind that is read: {error}") from error
    if not isinstance(raw, dict):
        raise CaelabError(f"{path} holds {type(raw).__name__}, but a run's config is a mapping of keys to values")
    return make_config(raw)
