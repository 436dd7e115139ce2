"""Data sets that are larger than memory: arrays that stay in a file, and batches that are written to one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from caelab.data.samples import Samples
from caelab.errors import CaelabError
from caelab.storage.files import told_as_storage

ROWS = 4096  # that are converted at once
BATCH = "expected each batch as inputs (batch, ...), or as a pair of these and labels (batch,)"


def is_mapped(values: object) -> bool:
    """Whether an array's values stay in a file until they are asked for."""
    return isinstance(values, np.memmap)


def in_float32(values: np.memmap[Any, Any]) -> np.memmap[Any, Any]:
    """A mapped array of examples (n, ...) as (n, d) in float32, whose values stay in a file, too.

    An array of another type is written to a temporary file once, unsigned bytes divided by 255. Nothing that is
    written into the result reaches the user's file.

    Raises:
        StorageError: the temporary file cannot be written.
    """
    if values.dtype == np.float32 and values.flags.c_contiguous and values.filename is not None:
        offset = values.offset + _start(values)
        private = np.memmap(values.filename, np.float32, "c", offset, values.shape)
        return cast("np.memmap[Any, Any]", private.reshape(len(values), -1))
    return _written(values[start : start + ROWS] for start in range(0, len(values), ROWS))


def _start(values: np.memmap[Any, Any]) -> int:
    """Where a slice of a mapped array begins, in bytes from what ``offset`` says."""
    base: Any = values
    while isinstance(base.base, np.memmap):
        base = base.base
    return int(values.__array_interface__["data"][0] - base.__array_interface__["data"][0])


def samples_of_batches(batches: Iterable[Any], image_shape: tuple[int, ...] | None = None) -> Samples:
    """All examples that something yields in batches; their inputs are written to a temporary file, batch by batch.

    The file goes when nothing uses it any more. A ``DataLoader`` is read in the order of its data set, whatever its
    sampler, since training draws its own order.

    Args:
        batches: a ``torch.utils.data.DataLoader``, or anything that yields batches of inputs, or of pairs of inputs
            and labels.
        image_shape: of an example, where the inputs are flat already.

    Raises:
        CaelabError: a batch is none, or has another shape than the first.
        StorageError: the temporary file cannot be written.
    """
    labels: list[Tensor] = []
    shapes: list[tuple[int, ...]] = []
    mapped = _written(_inputs_of(_in_order(batches), shapes, labels))
    if labels and sum(map(len, labels)) != len(mapped):
        raise CaelabError(f"{BATCH}, but {sum(map(len, labels))} labels came for {len(mapped)} examples")
    shape = shapes[0] if len(shapes[0]) in (2, 3) else image_shape
    return Samples(mapped, torch.cat(labels).numpy() if labels else None, shape)


def _inputs_of(batches: Iterable[Any], shapes: list[tuple[int, ...]], labels: list[Tensor]) -> Iterator[NDArray[Any]]:
    """The inputs of each batch; the shapes of an example, and the labels, go into the lists."""
    for batch in batches:
        inputs, known = _parts(batch)
        shapes.append(tuple(inputs.shape[1:]))
        if shapes[-1] != shapes[0]:
            raise CaelabError(f"{BATCH}, all of one shape, but one of {shapes[-1]} came after {shapes[0]}")
        labels.extend([] if known is None else [known])
        yield inputs


def _in_order(batches: Iterable[Any]) -> Iterable[Any]:
    if not isinstance(batches, DataLoader) or isinstance(batches.dataset, IterableDataset):
        return batches
    return DataLoader(
        batches.dataset,
        batch_size=batches.batch_size or ROWS,
        collate_fn=batches.collate_fn,
        num_workers=batches.num_workers,
    )


def _parts(batch: Any) -> tuple[NDArray[Any], Tensor | None]:
    """Inputs, with the channels of images last as in a data set of images, and labels or None."""
    inputs, labels = batch if isinstance(batch, list | tuple) and len(batch) == 2 else (batch, None)
    inputs = inputs[0] if isinstance(inputs, list | tuple) and len(inputs) == 1 else inputs
    if not isinstance(inputs, Tensor | np.ndarray) or inputs.ndim < 2:
        raise CaelabError(f"{BATCH}, but {type(inputs).__name__} came")
    values = np.asarray(inputs.detach().cpu() if isinstance(inputs, Tensor) else inputs)
    values = np.moveaxis(values, 1, -1) if values.ndim == 4 and values.shape[1] in (1, 3) else values
    values = values[..., 0] if values.ndim == 4 and values.shape[-1] == 1 else values
    return values, None if labels is None else torch.as_tensor(labels).reshape(-1)


def _written(parts: Iterable[NDArray[Any]]) -> np.memmap[Any, Any]:
    """Arrays (k, ...) one after the other in a temporary file, (n, d) in float32; the file has no name."""
    place, count, width = tempfile.gettempdir(), 0, 0
    with told_as_storage(place):
        opened = tempfile.TemporaryFile()  # noqa: SIM115  # whose content goes with the last array that maps it
    with opened as file:
        for part in parts:
            scaled = part / np.float32(255) if part.dtype == np.uint8 else part
            flat = np.ascontiguousarray(scaled, np.float32).reshape(len(part), -1)
            count, width = count + len(flat), flat.shape[1]
            with told_as_storage(place):
                file.write(flat.data)
        if not count:
            raise CaelabError(f"{BATCH}, but no batch came")
        with told_as_storage(place):
            file.flush()
            return np.memmap(file, np.float32, "r+", shape=(count, width))
