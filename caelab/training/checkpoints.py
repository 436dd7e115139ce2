"""A checkpoint is one safetensors file: every tensor that training continues from, and the history as metadata."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from caelab.errors import CaelabError
from caelab.files import written_aside

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
    """Write all parts (``{"model": {...}, "optimizer": {...}}``) and the facts at once, or nothing."""
    tensors = {f"{part}|{name}": t.detach().contiguous() for part, flat in parts.items() for name, t in flat.items()}
    with written_aside(path) as partial:
        save_file(tensors, partial, metadata={"facts": json.dumps(facts)})


def load_checkpoint(path: Path, parts: Iterable[str], device: str = "cpu") -> tuple[dict[str, Flat], dict[str, Any]]:
    """Read what ``save_checkpoint`` wrote.

    Raises:
        CaelabError: the file is damaged.
    """
    found: dict[str, Flat] = {part: {} for part in parts}
    try:
        with safe_open(path, framework="pt", device=device) as file:
            facts = json.loads(file.metadata()["facts"])
            for key in file.keys():  # noqa: SIM118 (not a dictionary)
                part, name = key.split("|", 1)
                found[part][name] = file.get_tensor(key)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CaelabError(f"the checkpoint {path} is damaged ({error}); remove it to start anew") from error
    return found, facts
