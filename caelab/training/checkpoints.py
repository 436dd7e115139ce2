"""Checkpoints: one safetensors file with every tensor that training continues from, and the history as metadata."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from caelab.errors import DamagedFile
from caelab.storage.files import told_as_storage, write_bytes

Flat = dict[str, Tensor]


def flatten_optimizer(optimizer: torch.optim.Optimizer) -> Flat:
    """The optimiser's tensors under names like ``3/exp_avg``."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}/{key}": value for index, part in state.items() for key, value in part.items() if value is not None
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, flat: Mapping[str, Tensor]) -> None:
    """Put the tensors of ``flatten_optimizer`` back; the parameter groups come from the config."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in flat.items():
        index, key = name.split("/")
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def save_checkpoint(path: Path, parts: Mapping[str, Flat], facts: Mapping[str, Any]) -> None:
    """Write all parts (``{"model": {...}, "optimizer": {...}}``) and the facts at once, or nothing.

    Raises:
        StorageError: it cannot be written.
    """
    tensors = {f"{part}|{name}": _own(tensor) for part, flat in parts.items() for name, tensor in flat.items()}
    text = json.dumps(facts)
    write_bytes(path, save(tensors, metadata={"facts": text, "checksum": _digest(tensors, text)}))


def _own(tensor: Tensor) -> Tensor:
    """The values in memory that no other tensor shares, as the format asks."""
    return tensor.detach().contiguous().clone()


def _digest(tensors: Mapping[str, Tensor], facts: str) -> str:
    """SHA-256 of all that a checkpoint holds: names, types, shapes and values of its tensors, and its facts."""
    digest = hashlib.sha256(facts.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def load_checkpoint(path: Path, parts: Iterable[str], device: str = "cpu") -> tuple[dict[str, Flat], dict[str, Any]]:
    """Read a checkpoint that ``save_checkpoint`` wrote.

    Raises:
        DamagedFile: it holds something else than was written.
        StorageError: it cannot be read.
    """
    found: dict[str, Flat] = {part: {} for part in parts}
    try:
        tensors, facts = _checked(path, device)
        for key, tensor in tensors.items():
            part, name = key.split("|", 1)
            found[part][name] = tensor
        return found, json.loads(facts)
    except (SafetensorError, KeyError, TypeError, ValueError, DamagedFile) as error:
        raise DamagedFile(f"the checkpoint {path} is damaged ({error}); remove it to start anew") from error


def _checked(path: Path, device: str) -> tuple[Flat, str]:
    """Tensors and facts of a checkpoint's file; one that was written before there were checksums is taken as it is."""
    with told_as_storage(path, "read"):
        content = path.read_bytes()  # safetensors itself opens only a path that is text in UTF-8
    tensors = {key: value.to(device) for key, value in load(content).items()}
    metadata = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    if metadata.keys() != {"facts"} and metadata["checksum"] != _digest(tensors, metadata["facts"]):
        raise DamagedFile("its content is not what was written: its checksum is another")
    return tensors, metadata["facts"]
