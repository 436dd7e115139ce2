"""The Dataset: examples that are checked, hashed and split."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from caelab.data.mapped import is_mapped
from caelab.data.samples import Samples, published_splits
from caelab.data.scaling import Scaling, fitted, in_new_units, scaled
from caelab.data.scaling_options import ScalingOptions, take_scaling
from caelab.data.splits import draw_splits, first_of_parts
from caelab.errors import CaelabError, RefusedInput, reason, shown
from caelab.process.exits import held_open
from caelab.process.settings import CHEAP, GENERATORS, OTHERS, Found, left_as_found
from caelab.registry.arguments import by_label, tensor_of, text_of
from caelab.registry.catalogue import catalogue
from caelab.registry.paths import as_name, resolved
from caelab.registry.promised import promised
from caelab.registry.signatures import checked_options


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Examples in memory and the indices of their train, valid and test parts.

    Args:
        name: the name it was loaded by.
        inputs: shape (n, d), float32.
        labels: shape (n,), int64, or None.
        image_shape: (height, width), or (height, width, channels), or None.
        train: indices into the examples, shape (count,), int64; so are ``valid`` and ``test``.
        content_hash: SHA-256 of inputs, labels, image shape and, where there are any, the labels' names, whatever the
            split; computed where it is left out. Of scaled data: of these before they were scaled, and of the option.
        truth: what is known of the law behind the examples, for all n of them in order, or None.
        label_names: what the labels 0, 1, 2, ... are called, or None.
        mapped: whether the inputs stay in a file until they are asked for, so that they may be larger than memory.
        scaling: what the inputs went through, by parameters of the training examples, or None.
    """

    name: str
    inputs: Tensor = field(repr=False)
    labels: Tensor | None = field(repr=False)
    image_shape: tuple[int, ...] | None
    train: Tensor = field(repr=False)
    valid: Tensor = field(repr=False)
    test: Tensor = field(repr=False)
    content_hash: str = ""
    truth: Any = field(default=None, repr=False)
    label_names: tuple[str, ...] | None = None
    mapped: bool = False
    scaling: Scaling | None = None

    def __post_init__(self) -> None:
        tensor_of(self.inputs, "the inputs of a data set")
        if self.labels is not None:
            tensor_of(self.labels, "the labels of a data set")
        if not self.content_hash:
            found = content_hash(self.inputs, self.labels, self.image_shape, self.label_names)
            object.__setattr__(self, "content_hash", found)

    @property
    def train_inputs(self) -> Tensor:
        """The inputs to learn from, shape (train, d)."""
        return self.inputs[self.train]

    @property
    def valid_inputs(self) -> Tensor:
        """The inputs for choices and early stopping, shape (valid, d)."""
        return self.inputs[self.valid]

    @property
    def test_inputs(self) -> Tensor:
        """The inputs that nothing may be chosen by, shape (test, d)."""
        return self.inputs[self.test]

    @property
    def train_labels(self) -> Tensor | None:
        """The labels of ``train_inputs``, or None."""
        return None if self.labels is None else self.labels[self.train]

    @property
    def valid_labels(self) -> Tensor | None:
        """The labels of ``valid_inputs``, or None."""
        return None if self.labels is None else self.labels[self.valid]

    @property
    def test_labels(self) -> Tensor | None:
        """The labels of ``test_inputs``, or None."""
        return None if self.labels is None else self.labels[self.test]

    @property
    def value_range(self) -> tuple[float, float]:
        """The least and the greatest value among all inputs."""
        low, high = self.inputs.aminmax()
        return float(low), float(high)

    def __repr__(self) -> str:
        """What the data are, in one line."""
        count, width = self.inputs.shape
        parts = f"{len(self.train)} train, {len(self.valid)} valid, {len(self.test)} test"
        return f"<Dataset {called(self)}: {count} examples of {width} inputs; {parts}>"

    def _repr_html_(self) -> str:
        return str(promised("html_of")(self))


def called(dataset: Dataset) -> str:
    """The name of a data set for readers: of data that were kept, or lie in a file, without the folders above.

    >>> called(make_dataset("npz:/data/mine.npz", Samples(np.eye(10))))
    'npz:mine.npz'
    """
    kind, colon, path = dataset.name.partition(":")
    return kind if kind == "arrays" else f"{kind}{colon}{PurePath(path).name}"


def load_dataset(name: Any, *, splits: Sequence[int] | str | None = None, seed: int = 0, **options: Any) -> Dataset:
    """The data set of that name: inputs, labels, image shape, splits drawn from a seed, and a content hash.

    >>> digits = load_dataset("digits", splits=(1000, 200, 500))
    >>> digits.train_inputs.shape, digits.image_shape, digits.value_range
    (torch.Size([1000, 64]), (8, 8), (0.0, 1.0))

    Args:
        name: a name that ``caelab data`` lists; ``kind:REST`` is the kind with the option ``path=REST``. So will do a
            ``Path`` to a file of a known kind, and a block of a config, as ``{"kind": "digits"}``.
        splits: how many examples train, validate and test; by default 60, 10 and 30 % of all. Where a set has an
            official test part, tests come from it alone (by default all of it), the others from the rest.
            ``"published"`` stands for the sizes of the paper that a data set comes from.
        seed: of the splits.
        options: of the loader; and, of every data set, ``standardise=True``, ``minmax=True`` (or ``"clip"``), or
            ``binarise=0.5`` (or ``"median"``), which scale the inputs by parameters of the training examples alone.

    Raises:
        CaelabError: an unknown name or option, missing or damaged files, impossible splits, NaN or infinity.
    """
    if isinstance(name, Mapping):
        return _of_block(name, splits, seed, options)
    loader, kind, options = _found(name, options)
    options, scaling = take_scaling(loader, options, kind)
    if isinstance(splits, str):
        splits, options = published_splits(loader, kind, splits, options)
    samples = _asked(loader, checked_options(loader, options, kind), kind)
    return make_dataset(_full_name(kind, options), samples, splits=splits, seed=seed, scaling=scaling)


def load_samples(name: Any) -> Samples:
    """The checked examples of a data set before any split: inputs (n, d) and labels (n,) as tensors.

    Args:
        name: as for :func:`load_dataset`; a mapping gives options, as ``{"kind": "idx", "path": "folder"}``.

    Raises:
        CaelabError: an unknown name or option, missing or damaged files, NaN or infinity.
    """
    given = by_label(name, "the keys of a data set") if isinstance(name, Mapping) else {"kind": name}
    if "kind" not in given:
        raise CaelabError(f"expected a data set as {{'kind': 'digits'}}, but {shown(name)} has no kind")
    loader, kind, options = _found(given.pop("kind"), given)
    return checked_samples(_full_name(kind, options), _asked(loader, checked_options(loader, options, kind), kind))


def _found(name: Any, options: Mapping[str, Any]) -> tuple[Any, str, dict[str, Any]]:
    """The loader of a name, its kind, and its options, with what stands behind a colon."""
    kind, colon, rest = _text(name).partition(":")
    return catalogue().get("dataset", kind), kind, {"path": rest, **options} if colon else dict(options)


def _full_name(kind: str, options: Mapping[str, Any]) -> str:
    return f"{kind}:{options['path']}" if options.get("path") is not None else kind


def _of_block(
    block: Mapping[Any, Any], splits: Sequence[int] | str | None, seed: int, options: Mapping[str, Any]
) -> Dataset:
    given = {**by_label(block, "the keys of a data set"), **options}
    if "kind" not in given:
        raise CaelabError(f"expected a data set as {{'kind': 'digits'}}, but {shown(block)} has no kind")
    own, seed = given.pop("splits", None), given.pop("seed", seed)
    return load_dataset(_text(given.pop("kind")), splits=own if splits is None else splits, seed=seed, **given)


def _text(name: Any) -> str:
    if isinstance(name, PathLike):
        return as_name(name)
    return resolved(text_of(name, "the name of a data set"), catalogue().names("dataset"))


def _asked(loader: Any, options: Mapping[str, Any], kind: str) -> Any:
    """What a loader returns; it leaves the process as it found it, though it may draw from the global generators."""
    generators = Found(GENERATORS)
    try:
        with left_as_found(f"the loader of data set {kind!r}", [*CHEAP, *OTHERS]), held_open():
            return loader(**options)
    except (CaelabError, OSError):
        raise
    except (Exception, SystemExit) as error:  # a user's loader may fail in any way
        raise CaelabError(f"the loader of data set {kind!r} failed: {reason(error)}") from error
    finally:
        generators.put_back(generators.changes())


def make_dataset(
    name: str,
    samples: Samples,
    *,
    splits: Sequence[int] | None = None,
    seed: int = 0,
    scaling: ScalingOptions | None = None,
) -> Dataset:
    """Check, hash, split and scale samples, your own or a loader's.

    >>> mine = make_dataset("mine", Samples(np.eye(10)), splits=(6, 2, 2))
    >>> mine.train_inputs.shape
    torch.Size([6, 10])

    Raises:
        CaelabError: shapes that do not fit each other, NaN or infinity, impossible splits.
    """
    found = checked_samples(name, samples)
    about = (name, len(found.inputs), splits)
    if found.parts is None:
        train, valid, test = draw_splits(*about, seed, found.official_test)
    else:
        train, valid, test = first_of_parts(*about, found.parts)
    names = None if found.label_names is None else tuple(found.label_names)
    digest = content_hash(found.inputs, found.labels, found.image_shape, names)
    of_data = (name, found.inputs, found.labels, found.image_shape)
    mapped = is_mapped(samples.inputs)
    known = None if found.scaling is None else replace(found.scaling, into=digest)
    digest = digest if known is None else known.hash_with()
    dataset = Dataset(*of_data, train, valid, test, digest, found.truth, names, mapped, known)
    return dataset if scaling is None else with_scaling(dataset, scaling)


def with_scaling(dataset: Dataset, asked: ScalingOptions) -> Dataset:
    """A data set whose inputs are scaled as is asked for; the very one where that is done already, or nothing is asked.

    Raises:
        CaelabError: it was scaled otherwise, or a scaled value is too large for float32.
    """
    if dataset.scaling is not None and asked.asked not in ({}, dict(dataset.scaling.asked)):
        raise CaelabError(
            f"the inputs of data set {dataset.name!r} went through {dataset.scaling.asked} already, and {asked.asked} "
            "is asked for; give the data as they were before, or ask for the same"
        )
    found = fitted(asked, dataset.inputs, dataset.train) if dataset.scaling is None else None
    if found is None:
        return dataset
    inputs = scaled(found, dataset.inputs, mapped=dataset.mapped)
    _refuse_not_finite(f"{dataset.name}, after {found.kind},", inputs)
    into = content_hash(inputs, dataset.labels, dataset.image_shape, dataset.label_names)
    done = replace(found, of=dataset.content_hash, into=into)
    truth = None if dataset.truth is None else in_new_units(dataset.truth, done, dataset.name)
    return replace(dataset, inputs=inputs, content_hash=done.hash_with(), truth=truth, scaling=done)


def checked_samples(name: str, samples: Any) -> Samples:
    """Samples whose inputs are float32 (n, d), whose labels are int64 (n,) or None, and whose shapes fit each other.

    Raises:
        CaelabError: shapes that do not fit each other, NaN or infinity.
    """
    if not isinstance(samples, Samples):
        raise CaelabError(f"the loader of data set {name!r} must return Samples, but {type(samples).__name__} came")
    inputs = _checked_inputs(name, samples.inputs)
    labels = None if samples.labels is None else _checked_labels(name, samples.labels, len(inputs))
    shape = checked_shape(name, samples.image_shape, inputs.shape[1])
    names = _checked_names(name, samples.label_names, labels)
    return Samples(inputs, labels, shape, samples.truth, samples.official_test, names, samples.parts, samples.scaling)


def _checked_inputs(name: str, values: Any) -> Tensor:
    inputs = _float32(name, values)
    if inputs.ndim != 2 or 0 in inputs.shape:
        raise RefusedInput(f"data set {name!r}: expected inputs of shape (n, d), but {tuple(inputs.shape)} came")
    _refuse_not_finite(name, inputs)
    return inputs


def _refuse_not_finite(name: str, inputs: Tensor) -> None:
    if not torch.stack(inputs.aminmax()).isfinite().all():  # which a NaN reaches, too; it takes no memory
        wrong = ~torch.isfinite(inputs)
        row, column = (int(i) for i in wrong.nonzero()[0])
        raise RefusedInput(
            f"data set {name!r}: expected finite inputs, but {int(wrong.sum())} of {inputs.numel()} values are NaN "
            f"or infinite, the first in example {row}, input {column} (counted from 0); remove or impute them"
        )


def _float32(name: str, values: Any) -> Tensor:
    if isinstance(values, Tensor):
        return values.detach().to("cpu", torch.float32).contiguous()
    try:
        with np.errstate(over="ignore"):  # too large for float32 becomes infinite, and is refused as such
            return torch.from_numpy(np.require(values, np.float32, ["C", "W"]))
    except (TypeError, ValueError) as error:
        raise CaelabError(f"data set {name!r}: expected inputs that are numbers, but {error}") from error


def _checked_labels(name: str, values: Any, count: int) -> Tensor:
    labels = _as_array(values)
    if labels.shape != (count,) or labels.dtype.kind not in "bui":
        raise CaelabError(
            f"data set {name!r}: expected {count} labels that are whole numbers, shape ({count},), "
            f"but {labels.dtype} of shape {labels.shape} came"
        )
    if labels.dtype == np.uint64 and labels.max() >= 2**63:  # as int64 it would be another number, below zero
        raise CaelabError(
            f"data set {name!r}: expected labels below 2**63, but {labels.max()} came; number the classes 0, 1, 2, ..."
        )
    return torch.from_numpy(labels.astype(np.int64))


def _as_array(values: Any) -> NDArray[Any]:
    if not isinstance(values, Tensor):
        return np.asarray(values)
    plain = values.detach().cpu()
    plain = plain.to_dense() if plain.layout is not torch.strided else plain
    return (plain.float() if plain.dtype == torch.bfloat16 else plain).numpy()  # numpy has no bfloat16


def _checked_names(name: str, names: Sequence[str] | None, labels: Tensor | None) -> tuple[str, ...] | None:
    if names is None:
        return None
    low, high = (0, -1) if labels is None else (int(labels.min()), int(labels.max()))
    if labels is None or low < 0 or high >= len(names) or not all(isinstance(each, str) for each in names):
        raise CaelabError(
            f"data set {name!r}: expected a name for each of the labels 0, 1, 2, ..., but {len(names)} names came for "
            f"{'no labels' if labels is None else f'labels from {low} to {high}'}"
        )
    return tuple(names)


def checked_shape(name: str, shape: Sequence[int] | None, width: int) -> tuple[int, ...] | None:
    """The shape of an image as whole numbers.

    Raises:
        CaelabError: it is no two or three whole numbers whose product is ``width``.
    """
    if shape is None:
        return None
    sides = shape if isinstance(shape, Sequence) and not isinstance(shape, str | bytes) else ()
    whole = all(isinstance(side, int | np.integer) for side in sides)
    if not whole or len(sides) not in (2, 3) or int(np.prod(sides)) != width:
        raise CaelabError(
            f"data set {name!r}: expected an image shape (height, width) or (height, width, channels) "
            f"of {width} values, but {shown(shape)} came"
        )
    return tuple(int(side) for side in sides)


def content_hash(
    inputs: Tensor,
    labels: Tensor | None,
    image_shape: tuple[int, ...] | None,
    label_names: tuple[str, ...] | None = None,
) -> str:
    """SHA-256, in hexadecimal, of the shapes and the bytes of inputs (float32) and labels (int64), and of any names."""
    named = () if label_names is None else (label_names,)
    digest = hashlib.sha256(repr((tuple(inputs.shape), labels is not None, image_shape, *named)).encode())
    for part in (inputs,) if labels is None else (inputs, labels):
        digest.update(part.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()
