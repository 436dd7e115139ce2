"""The tangents of many inputs: the leading right singular vectors of the encoder's Jacobian at each of them.

They take inputs · k · d numbers of 4 bytes, 314 MB for 10 000 inputs of 784 values and k = 10. They are computed once;
beside stored classifiers they are kept in a file, of which only those of a batch are read at a time.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from caelab.data.memory import free_memory
from caelab.errors import CaelabError, DamagedFile
from caelab.jacobian.service import jacobian
from caelab.models.identity import structure_of
from caelab.registry.object_fingerprints import Unnameable
from caelab.storage.checksums import checksum_of
from caelab.storage.files import aside, told_as_storage, write_text
from caelab.storage.locks import one_writer
from caelab.training.batches import Inputs

log = logging.getLogger(__name__)

_shared: ContextVar[dict[str, Tensor] | None] = ContextVar("shared tangents", default=None)

AT_ONCE = 250  # inputs whose tangents are sought together
SHARE = 4  # tangents that take more than this part of the free memory lie in a file


def tangents_of(model: Any, inputs: Inputs, count: int) -> Tensor:
    """The leading right singular vectors of J_f(x), orthonormal, shape (n, k, d), float32.

    Of one layer they span the leading subspace to a sine of 1e-3, of other encoders to rounding; in float64.

    Args:
        model: whose encoder is f.
        inputs: x, shape (n, d).
        count: k.

    Raises:
        CaelabError: there are not as many, or the encoder has no Jacobian per example.
    """
    encode = encoder_in_double(model)
    return torch.cat([_tangents(encode, part, count) for part in _pieces(inputs)])


def _pieces(inputs: Inputs) -> Iterator[Tensor]:
    """Some inputs at a time, at least one piece, be it empty."""
    for first in range(0, max(len(inputs), 1), AT_ONCE):
        yield inputs[first : first + AT_ONCE]


def encoder_in_double(model: Any) -> Any:
    """A copy of the encoder in float64; a plain function, which has no weights to convert, is called with float32."""
    encode = deepcopy(model).encode
    owner = encode if isinstance(encode, nn.Module) else getattr(encode, "__self__", None)
    if not isinstance(owner, nn.Module):
        return lambda inputs: encode(inputs.float()).double()
    owner.double().eval()
    return encode


def _tangents(encode: Any, inputs: Tensor, count: int) -> Tensor:
    found = jacobian(encode, inputs.double())
    most = min(found.shape)
    if count > most:
        raise CaelabError(
            f"expected at most {most} tangents, since the code has {found.shape[0]} dimensions and the input "
            f"{found.shape[1]}, but {count} are asked for; ask for fewer"
        )
    return found.tangents(count, "strict")[1].detach().float()


def kept_tangents(model: Any, inputs: Inputs, count: int, out: Path | None) -> Tensor:
    """``tangents_of`` of many inputs, computed once: kept in ``out`` under a name that says whose they are.

    Without ``out`` they are in memory where there is room, and else in a file that ends with the process.

    Raises:
        Unnameable: the model cannot be told from another, and they are to be kept.
        CaelabError: as for ``tangents_of``.
        StorageError: they cannot be stored.
    """
    shape = (len(inputs), count, inputs[:1].shape[1])
    if out is None:
        return _in_this_process(model, inputs, shape)
    path = out / f"tangents-{plane_name(model, inputs, count)}.npy"
    if not _is_whole(path):
        with one_writer(path):
            if not _is_whole(path):
                _store(path, model, inputs, shape)
    return _mapped(path)


def _in_this_process(model: Any, inputs: Inputs, shape: tuple[int, int, int]) -> Tensor:
    known, name = _shared.get(), ""
    if known is not None:
        with suppress(Unnameable):
            name = plane_name(model, inputs, shape[1])
        if name in known:
            return known[name]
    fits = 4 * int(np.prod(shape)) * SHARE < free_memory()
    found = tangents_of(model, inputs, shape[1]) if fits else _in_file_without_name(model, inputs, shape)
    if known is not None and name:
        known[name] = found
    return found


def _store(path: Path, model: Any, inputs: Inputs, shape: tuple[int, ...]) -> None:
    with told_as_storage(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _fill(aside(path), model, inputs, shape)
        write_text(path.with_suffix(".sha256"), checksum_of(aside(path)) + "\n")
        os.replace(aside(path), path)


@contextmanager
def shared_tangents() -> Iterator[None]:
    """Within the block, tangents that are not kept in a folder are computed once, too."""
    token = _shared.set({})
    try:
        yield
    finally:
        _shared.reset(token)


def plane_name(model: Any, inputs: Inputs, count: int) -> str:
    """Twelve hexadecimal digits that follow the structure and weights of a model, the inputs, and the number k.

    Raises:
        Unnameable: the model cannot be told from another.
    """
    digest = hashlib.sha256(f"{structure_of(model)} {digest_of(model.state_dict())} {count}".encode())
    for part in _pieces(inputs):
        digest.update(digest_of({"": part}).encode())
    return digest.hexdigest()[:12]


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, types, shapes and values."""
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _fill(path: Path, model: Any, inputs: Inputs, shape: tuple[int, ...]) -> None:
    """Write the tangents into a file, those of a few inputs at a time."""
    file = np.lib.format.open_memmap(path, "w+", np.float32, shape)
    try:
        for first in range(0, len(inputs), AT_ONCE):
            file[first : first + AT_ONCE] = tangents_of(model, inputs[first : first + AT_ONCE], shape[1]).numpy()
        file.flush()
    except BaseException:
        with suppress(OSError):
            path.unlink()
        raise


def _is_whole(path: Path) -> bool:
    """Whether tangents lie at a path as they were written; damaged ones are told of, and computed again."""
    try:
        expected = path.with_suffix(".sha256").read_text(encoding="ascii").strip()
        if checksum_of(path) == expected:
            return True
        log.warning("%s is damaged, so that its tangents are computed again", path)
    except (FileNotFoundError, UnicodeDecodeError, DamagedFile):
        pass
    return False


def _mapped(path: Path) -> Tensor:
    return torch.from_numpy(np.load(path, mmap_mode="c"))  # changes, of which there are none, would stay in memory


def _in_file_without_name(model: Any, inputs: Inputs, shape: tuple[int, ...]) -> Tensor:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "tangents.npy"
        with told_as_storage(path):
            _fill(path, model, inputs, shape)
        return _mapped(path)  # the file is there until the last who uses it lets go
