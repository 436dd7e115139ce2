"""Data sets from memory: arrays, tensors, tables and data sets made by hand."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data import Dataset as TorchDataset

from caelab.data.columns import label_column
from caelab.data.dataset import Dataset, checked_samples, checked_shape, content_hash, make_dataset, with_scaling
from caelab.data.given_tables import is_arrow, is_of_huggingface, samples_of_huggingface, samples_of_table
from caelab.data.labels import numbered
from caelab.data.mapped import array_of, in_float32, is_mapped, samples_of_batches
from caelab.data.samples import Samples
from caelab.data.scaling_options import scaling_of
from caelab.errors import CaelabError, RefusedInput, shown

KINDS = "expected a data set, its name, an array, tensor or table of inputs, or a pair (inputs, labels)"

AT_ONCE = 256  # examples that a data set of torch's is asked for together

WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)


def as_dataset(
    given: Any,
    *,
    splits: Sequence[int] | None = None,
    seed: int = 0,
    name: str = "arrays",
    scaling: Mapping[str, Any] | None = None,
) -> Dataset:
    """A checked and split data set from what a user has in memory.

    Args:
        given: a :class:`Dataset`, which keeps its own splits; ``Samples``; inputs (an array, a tensor, a table of
            pandas, shape (n, d), or images (n, height, width[, channels])); or a pair of inputs and labels, the labels
            perhaps the name of a column of the table. A table whose column is called label, labels, class, target or y
            has its labels there, unless they are given, be it as None. A table of Arrow or polars, and a data set of
            Hugging Face's ``datasets``, are read as from their files. Only unsigned bytes are divided by 255. A
            memory-mapped array stays in its file; a ``DataLoader``, a data set of torch's, or an iterator of batches,
            is read once into a file that is temporary.
        splits: how many examples train, validate and test; by default 60, 10 and 30 %.
        seed: of the splits.
        name: what to call it.
        scaling: how its inputs are scaled, as ``{"standardise": True}``; a data set that was scaled so stays.

    Raises:
        CaelabError: it is none of these, shapes do not fit, values are no finite numbers, or a data set made by hand
            states a content hash that its content does not have.
    """
    if isinstance(given, Dataset):
        if splits is not None:
            raise CaelabError(f"the data set {given.name!r} is split already; leave splits out, or give its arrays")
        return with_scaling(checked(given), scaling_of(scaling or {}, given.name))
    samples = given if isinstance(given, Samples) else _samples(given)
    return make_dataset(name, samples, splits=splits, seed=seed, scaling=scaling_of(scaling or {}, name))


def as_inputs(given: Any) -> Tensor:
    """Inputs of a model, shape (batch, d), from an array (a sparse one too), a tensor, a table or images.

    Raises:
        CaelabError: they are none of these, or hold what is no finite number.
    """
    if not isinstance(given, np.ndarray | pd.DataFrame | Tensor | list) and not hasattr(given, "toarray"):
        raise RefusedInput(
            f"expected inputs, shape (batch, d), as a tensor, an array or a table of numbers, but {shown(given)} came"
        )
    inputs: Tensor = checked_samples("given", _samples(given)).inputs
    return inputs


def _widened(dataset: Dataset, expected: str) -> bool:
    """Whether the content is that of the expected hash in float64, as a run of a float64 model keeps it."""
    plain = dataset.inputs.float()
    found = content_hash(plain, dataset.labels, dataset.image_shape, dataset.label_names)
    return expected == found and torch.equal(plain.to(dataset.inputs.dtype), dataset.inputs)


def _stated_content(dataset: Dataset) -> str:
    """The hash that the inputs have by what a data set states; of scaled ones, that of their values."""
    scaling = dataset.scaling
    return scaling.into if scaling is not None and scaling.hash_with() == dataset.content_hash else dataset.content_hash


def checked(dataset: Dataset) -> Dataset:
    """A data set made by hand, if its hash is that of its content and its splits name examples that it has.

    Raises:
        CaelabError: they do not.
    """
    found = content_hash(dataset.inputs, dataset.labels, dataset.image_shape, dataset.label_names)
    stated = _stated_content(dataset)
    if stated and stated != found and not _widened(dataset, stated):
        raise CaelabError(
            f"the data set {dataset.name!r} states the content hash {stated[:12]}, but its content has "
            f"{found[:12]}; leave content_hash out, or make it with caelab.data.make_dataset"
        )
    _check_labels(dataset)
    checked_shape(dataset.name, dataset.image_shape, dataset.inputs.shape[1])
    for part in ("train", "valid", "test"):
        _check_indices(dataset, part)
    return dataset


def _check_labels(dataset: Dataset) -> None:
    labels, shape = dataset.labels, (len(dataset.inputs),)
    if labels is not None and (labels.shape != shape or labels.dtype not in WHOLE):
        raise CaelabError(
            f"data set {dataset.name!r}: expected labels that are whole numbers, shape {shape}, int64, but "
            f"{_said(labels)} came; make it with caelab.data.make_dataset"
        )


def _check_indices(dataset: Dataset, part: str) -> None:
    indices, count = getattr(dataset, part), len(dataset.inputs)
    whole = isinstance(indices, Tensor) and indices.dtype == torch.int64 and indices.ndim == 1
    if not whole or bool((indices < 0).any() or (indices >= count).any()):
        raise CaelabError(
            f"data set {dataset.name!r}: expected {part} as indices of its {count} examples, shape (count,), int64, "
            f"but {_said(indices)} came; make it with caelab.data.make_dataset"
        )


def _said(value: Any) -> str:
    if not isinstance(value, Tensor):
        return type(value).__name__
    plain = value.numpy(force=True) if value.dtype == torch.uint64 else value  # of which torch finds no minimum
    ends = f" from {plain.min()} to {plain.max()}" if value.numel() else ""
    return f"{value.dtype} {tuple(value.shape)}{ends}"


def split_hash(dataset: Dataset) -> str:
    """SHA-256, in hexadecimal, of which examples train, validate and test, in their order."""
    digest = hashlib.sha256()
    for part in (dataset.train, dataset.valid, dataset.test):
        digest.update(f"{len(part)}:".encode() + part.to("cpu", torch.int64).contiguous().numpy().tobytes())
    return digest.hexdigest()


def _samples(given: Any) -> Samples:
    if is_of_huggingface(given):
        return samples_of_huggingface(given)
    if is_arrow(given) and not isinstance(given, pd.DataFrame | pd.Series):
        return samples_of_table(given)
    if isinstance(given, TorchDataset) and not isinstance(given, TensorDataset):
        given = DataLoader(given, batch_size=AT_ONCE)
    if isinstance(given, DataLoader) or (isinstance(given, Iterator) and not isinstance(given, tuple)):
        found = samples_of_batches(given)
        numbers, names = (None, None) if found.labels is None else _labels(found.labels)
        return replace(found, labels=numbers, label_names=names)
    if isinstance(given, TensorDataset):
        given = given.tensors if len(given.tensors) > 1 else given.tensors[0]
    if isinstance(given, tuple) and len(given) != 2:
        raise CaelabError(f"{KINDS}, but a tuple of {len(given)} came")
    inputs, labels = given if isinstance(given, tuple) else (given, _usual_label(given))
    if isinstance(labels, str):
        inputs, labels = _label_column(inputs, labels)
    values = _numbers(inputs)
    if values.ndim not in (2, 3, 4):
        raise RefusedInput(
            f"expected inputs of shape (n, d), (n, height, width) or (n, height, width, channels), but {values.shape} "
            "came; reshape them"
        )
    shape = values.shape[1:] if values.ndim > 2 else None
    shape = shape[:2] if shape and len(shape) == 3 and shape[2] == 1 else shape
    scaled = in_float32(inputs) if is_mapped(inputs) else _in_memory(values)
    numbers, names = (None, None) if labels is None else _labels(labels)
    return Samples(scaled, numbers, shape, label_names=names)


def _in_memory(values: NDArray[Any]) -> NDArray[Any]:
    """A copy, (n, d), so that the user's own array stays apart; bytes are divided by 255."""
    flat = values.reshape(len(values), int(np.prod(values.shape[1:])))
    return flat / np.float32(255) if values.dtype == np.uint8 else flat.copy()


def _usual_label(given: Any) -> Any:
    """The column of a table that is called as labels are, as in a text table; None where there is none."""
    return label_column("the table", [*given.columns], None) if isinstance(given, pd.DataFrame) else None


def _label_column(table: Any, name: str) -> tuple[Any, Any]:
    if not isinstance(table, pd.DataFrame) or name not in table.columns:
        there = ", ".join(map(str, table.columns)) if isinstance(table, pd.DataFrame) else type(table).__name__
        raise RefusedInput(f"expected a table with the column {name!r} for the labels, but {there} came")
    return table.drop(columns=[name]), table[name]


def _numbers(values: Any) -> NDArray[Any]:
    if isinstance(values, pd.DataFrame):
        wrong = [str(name) for name, kind in values.dtypes.items() if not pd.api.types.is_numeric_dtype(kind)]
        if wrong:
            raise RefusedInput(f"expected numbers in every column, but {', '.join(wrong)} holds others; encode it")
        values = values.to_numpy("float32", na_value=np.nan)
    array = _array(values)
    if array.dtype.kind not in "buif":
        raise RefusedInput(f"{KINDS} of real numbers, but {_kind(values, array)} came")
    return array


def _array(values: Any) -> NDArray[Any]:
    if isinstance(values, Tensor):
        return array_of(values)
    if hasattr(values, "toarray"):  # a sparse matrix
        values = values.toarray()
    if isinstance(values, str | bytes | dict | set) or callable(values):
        raise CaelabError(f"{KINDS}, but {type(values).__name__} came")
    try:
        return np.asarray(values)
    except (TypeError, ValueError) as error:
        raise CaelabError(f"{KINDS}, but {error}") from error


def _kind(values: Any, array: NDArray[Any]) -> str:
    return f"{type(values).__name__} of {array.dtype} {array.shape}"


def _labels(values: Any) -> tuple[NDArray[Any], list[str] | None]:
    """Labels as whole numbers, and the names of the classes where labels are texts, numbered in their order."""
    if isinstance(getattr(values, "dtype", None), pd.CategoricalDtype) and values.dtype.ordered:
        return _in_their_order(pd.Categorical(values))
    labels = values.to_numpy() if isinstance(values, pd.DataFrame | pd.Series | pd.Index) else _array(values)
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if labels.dtype.kind in "bui":
        return labels, None
    if labels.dtype.kind == "f" and (np.abs(labels) < 2**63).all() and (labels == np.round(labels)).all():  # no NaN
        return labels.astype(np.int64), None
    if labels.ndim == 1 and all(isinstance(each, str) for each in labels.tolist()):
        numbers, names = numbered(labels.tolist())
        return numbers, [*names]
    raise CaelabError(
        f"expected labels that are whole numbers, or texts, but {_kind(values, labels)} came; number the classes, as "
        "pandas.factorize does, leave out examples without a label, or give the inputs alone, as in (table, None)"
    )


def _in_their_order(values: pd.Categorical) -> tuple[NDArray[Any], list[str] | None]:
    """The labels of an ordered categorical: texts in its order, numbers as they are."""
    if (values.codes < 0).any():
        raise CaelabError(
            f"expected a label for each example, but {int((values.codes < 0).sum())} have none; leave these out"
        )
    if all(isinstance(each, str) for each in values.categories):
        return values.codes.astype(np.int64), [*values.categories]
    return _labels(np.asarray(values))
