"""Data sets that are larger than memory: arrays that stay in a file, and batches that are written to one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
)

from caelab.data.samples import Samples
from caelab.errors import CaelabError, reason
from caelab.storage.files import told_as_storage

ROWS = 4096  # that are converted at once
SEEN = 64  # rows by which a file is known again
BATCH = "expected each batch as inputs (batch, ...), or as a pair of these and labels (batch,)"


def is_mapped(values: object) -> bool:
    """Whether an array's values stay in a file until they are asked for."""
    return isinstance(values, np.memmap)


def in_float32(values: np.memmap[Any, Any]) -> np.memmap[Any, Any]:
    """A mapped array of examples (n, ...) as (n, d) in float32, whose values stay in a file, too.

    An array of another type, or one that no longer is what its file holds, is written to a temporary file once,
    unsigned bytes divided by 255. Nothing that is written into the result reaches the user's file.

    Raises:
        CaelabError: it has no values, or its file was shortened since it was mapped.
        StorageError: the temporary file cannot be written.
    """
    if not values.size:
        raise CaelabError(f"expected at least one example of at least one value, but a mapped {values.shape} came")
    if values.dtype == np.float32 and values.flags.c_contiguous and values.filename is not None:
        private = _mapped_again(values)
        if private is not None:
            return cast("np.memmap[Any, Any]", private.reshape(len(values), -1))
    return in_file(values[start : start + ROWS] for start in range(0, len(values), ROWS))


def _mapped_again(values: np.memmap[Any, Any]) -> np.memmap[Any, Any] | None:
    """The same values of the same file, mapped so that nothing written into them reaches it.

    None where the file holds other values by now: it was renamed, deleted or written anew, or the user's array keeps
    changes of its own (mode ``c``).

    Raises:
        CaelabError: the file is shorter than the array, whose last values cannot be read any more.
    """
    if values.mode == "c":
        return None
    try:
        found = np.memmap(str(values.filename), np.float32, "c", values.offset + _start(values), values.shape)
    except ValueError as error:
        raise CaelabError(
            f"{values.filename} is shorter than the array {values.shape} that was mapped from it; write it again"
        ) from error
    except OSError:
        return None
    rows = np.linspace(0, len(values) - 1, SEEN).astype(int)
    return found if np.array_equal(found[rows], values[rows], equal_nan=True) else None


def _start(values: np.memmap[Any, Any]) -> int:
    """Where a slice of a mapped array begins, in bytes from what ``offset`` says."""
    base: Any = values
    while isinstance(base.base, np.memmap):
        base = base.base
    return int(values.__array_interface__["data"][0] - base.__array_interface__["data"][0])


def samples_of_batches(batches: Iterable[Any], image_shape: tuple[int, ...] | None = None) -> Samples:
    """All examples that something yields in batches; their inputs are written to a temporary file, batch by batch.

    The file goes when nothing uses it any more. The shuffling of a ``DataLoader`` does not count, since training draws
    its own order; which examples its sampler chooses does. Labels are as they came, numbers or texts.

    Args:
        batches: a ``torch.utils.data.DataLoader``, or anything that yields batches of inputs, or of pairs of inputs
            and labels.
        image_shape: of an example, where the inputs are flat already.

    Raises:
        CaelabError: a batch is none, or has another shape than the first, or what yields them fails.
        StorageError: the temporary file cannot be written.
    """
    labels: list[NDArray[Any]] = []
    kinds: list[tuple[tuple[int, ...], bool]] = []
    mapped = in_file(_inputs_of(_told(_in_order(batches)), kinds, labels))
    if labels and sum(map(len, labels)) != len(mapped):
        raise CaelabError(f"{BATCH}, but {sum(map(len, labels))} labels came for {len(mapped)} examples")
    shape = kinds[0][0] if len(kinds[0][0]) in (2, 3) else image_shape
    return Samples(mapped, np.concatenate(labels) if labels else None, shape)


def _inputs_of(
    batches: Iterable[Any], kinds: list[tuple[tuple[int, ...], bool]], labels: list[NDArray[Any]]
) -> Iterator[NDArray[Any]]:
    """The inputs of each batch; the shape of an example, whether it is of bytes, and labels go into the lists."""
    for batch in batches:
        inputs, known = _parts(batch)
        if not len(inputs):
            continue
        kinds.append((tuple(inputs.shape[1:]), inputs.dtype == np.uint8))
        if kinds[-1] != kinds[0]:
            first, now = (f"{shape}{' of unsigned bytes' if small else ''}" for shape, small in (kinds[0], kinds[-1]))
            raise CaelabError(f"{BATCH}, all of one shape and type, but one of {now} came after {first}")
        labels.extend([] if known is None else [known])
        yield inputs


def _told(batches: Iterable[Any]) -> Iterator[Any]:
    """The batches; where the code that yields them fails, that is told in a sentence."""
    count = 0
    try:
        for count, batch in enumerate(batches, start=1):  # noqa: B007 - it is told
            yield batch
    except CaelabError:
        raise
    except (Exception, SystemExit) as error:  # a user's data set may fail in any way
        raise CaelabError(f"what yields the batches failed after {count} of them: {reason(error)}") from error


def _in_order(batches: Iterable[Any]) -> Iterable[Any]:
    """The batches of a loader in the order of its data set; those whose sampler draws at random, in its own."""
    if not isinstance(batches, DataLoader) or isinstance(batches.dataset, IterableDataset):
        return batches
    batching: Any = batches.batch_sampler  # None for a data set that yields batches itself
    chosen = _chosen(batches.sampler if batching is None else getattr(batching, "sampler", None))
    if chosen is None or type(batching) not in (BatchSampler, type(None)):
        return batches
    return DataLoader(
        batches.dataset if isinstance(chosen, range) else Subset(batches.dataset, chosen),
        batch_size=None if batching is None else batching.batch_size,
        collate_fn=batches.collate_fn,
        num_workers=batches.num_workers,
    )


def _chosen(sampler: Any) -> Sequence[int] | None:
    """Which examples a sampler yields, whatever the order: all, as a range, or some; None where chance decides."""
    if type(sampler) is SequentialSampler:
        return range(len(sampler))
    if type(sampler) is RandomSampler and not sampler.replacement and len(sampler) == len(sampler.data_source):
        return range(len(sampler))
    return [*sampler.indices] if type(sampler) is SubsetRandomSampler else None


def _parts(batch: Any) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Inputs, with the channels of images last as in a data set of images, and labels or None.

    Raises:
        CaelabError: it is no batch.
    """
    inputs, labels = batch if isinstance(batch, list | tuple) and len(batch) == 2 else (batch, None)
    inputs = inputs[0] if isinstance(inputs, list | tuple) and len(inputs) == 1 else inputs
    if not isinstance(inputs, Tensor | np.ndarray) or inputs.ndim < 2:
        raise CaelabError(f"{BATCH}, but {_said(inputs)} came")
    values = array_of(inputs)
    if values.dtype.kind not in "buif" or values.ndim > 4:
        raise CaelabError(f"{BATCH}, real numbers in at most 4 dimensions, but {_said(values)} came")
    values = np.moveaxis(values, 1, -1) if values.ndim == 4 and values.shape[1] in (1, 3) else values
    values = values[..., 0] if values.ndim == 4 and values.shape[-1] == 1 else values
    return values, None if labels is None else _labels_of(labels, len(values))


def _labels_of(given: Any, count: int) -> NDArray[Any]:
    labels = array_of(given) if isinstance(given, Tensor) else np.asarray(given)
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if labels.shape != (count,):
        raise CaelabError(f"{BATCH}, but labels of shape {labels.shape} came for {count} examples")
    return labels


def array_of(tensor: Any) -> NDArray[Any]:
    """A tensor of any layout, device and type as an array; numpy has no bfloat16, so that becomes float32."""
    if not isinstance(tensor, Tensor):
        return np.asarray(tensor)
    plain = tensor.detach().cpu()
    plain = plain.to_dense() if plain.layout is not torch.strided else plain
    found: NDArray[Any] = (plain.float() if plain.dtype is torch.bfloat16 else plain).resolve_conj().numpy()
    return found


def _said(value: Any) -> str:
    if isinstance(value, Tensor | np.ndarray):
        return f"{type(value).__name__} of {value.dtype} {tuple(value.shape)}"
    return f"{type(value).__name__} of {len(value)}" if isinstance(value, list | tuple) else type(value).__name__


def in_file(parts: Iterable[NDArray[Any]]) -> np.memmap[Any, Any]:
    """Arrays (k, ...) one after the other in a temporary file, (n, d) in float32; the file has no name.

    Raises:
        CaelabError: there is none.
        StorageError: the file cannot be written.
    """
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
