"""Comparing a model with the one that a run was made of: its structure, and what it computes."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from copy import deepcopy
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor, nn

from caelab.errors import CaelabError
from caelab.registry.object_fingerprints import fingerprint
from caelab.streams import seeded

EXAMPLES = 4  # whose outputs are kept
DIRECTIONS = 4  # along which each output is kept
TOLERANCE = 1e-3  # of an output's size; processors and library versions differ by some 1e-6

Outputs = dict[str, list[list[float]]]


def copied(model: nn.Module) -> nn.Module:
    """A copy to train or to load weights into, so that the user's own object stays as it is.

    Raises:
        CaelabError: it cannot be copied.
    """
    try:
        return deepcopy(model)
    except Exception as error:  # a user's module may hold anything
        raise CaelabError(
            f"the model {type(model).__name__} cannot be copied, and a run never changes the object that was given "
            f"({type(error).__name__}: {' '.join(str(error).split())}); give one that copy.deepcopy copies"
        ) from error


def structure_of(model: nn.Module) -> str:
    """A digest of a model without its weights: classes, code, attributes and hooks of all its modules."""
    return fingerprint(model, "model", without=frozenset(model.state_dict()))


def weights_of(model: nn.Module) -> str:
    """A digest of a model's parameters and buffers."""
    return fingerprint(dict(model.state_dict()), "model")


@torch.no_grad()
def outputs_of(model: Any, inputs: Tensor) -> Outputs:
    """Code and reconstruction of the first inputs along a few fixed random directions; nothing where there are none.

    Two models that compute different things differ in them almost surely.

    Returns:
        For ``code`` and ``reconstruction`` a row per example with a number per direction.
    """
    with seeded(0, "outputs"):  # for what draws noise even in evaluation mode
        try:
            code = model.encode(inputs[:EXAMPLES])
            found = {"code": code, "reconstruction": model.decode(code)}
        except Exception:  # where it matters, whoever uses the model is told why
            return {}
    rows = {name: _along(output) for name, output in found.items() if isinstance(output, Tensor)}
    return {name: values for name, values in rows.items() if torch.tensor(values).isfinite().all()}


def _along(output: Tensor) -> list[list[float]]:
    flat = output.detach().cpu().reshape(len(output), -1).double()
    generator = torch.Generator().manual_seed(flat.shape[1])
    directions = torch.randn(flat.shape[1], DIRECTIONS, generator=generator, dtype=torch.float64)
    rows = (flat @ directions / math.sqrt(max(flat.shape[1], 1))).tolist()
    return [[float(f"{value:.7g}") for value in row] for row in rows]  # as many digits as mean anything


def check_outputs(model: Any, inputs: Tensor, kept: Mapping[str, Any], whose: str) -> None:
    """Refuse a model that computes something else than what was kept with a run.

    Raises:
        CaelabError: names the output and how far off it is.
    """
    found = outputs_of(model, inputs) if kept else {}
    for name, rows in kept.items():
        before, now = torch.tensor(rows, dtype=torch.float64), torch.tensor(found.get(name, []), dtype=torch.float64)
        far = float((now - before).abs().max()) if now.shape == before.shape else math.inf
        size = float(before.square().mean().sqrt())
        if not far <= TOLERANCE * size + 1e-6:
            raise CaelabError(
                f"this is not the model of {whose}: with the run's weights its {name} of the first {len(before)} "
                f"examples is off by {far:.3g}, where values are about {size:.3g}; give the model that was trained, "
                "or train again in another folder"
            )


def check_parameters(model: nn.Module, weights: Mapping[str, Tensor], whose: str) -> None:
    """Refuse a model whose parameters and buffers have other names or shapes than those that were kept.

    Raises:
        CaelabError: names the first difference.
    """
    now = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    kept = {name: tuple(value.shape) for name, value in weights.items()}
    for name in [*now, *sorted(kept)]:  # a file does not keep the order
        if kept.get(name) != now.get(name):
            raise CaelabError(
                f"this is not the model of {whose}: {name} is {kept.get(name, 'missing')} there, but "
                f"{now.get(name, 'missing')} in {type(model).__name__}; give the model that was trained, or train "
                "again in another folder"
            )


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], added: Collection[str] = ()) -> None:
    """Put parameters and buffers into a model.

    Args:
        model: what they are put into; what they do not name stays as it is.
        weights: by name, as ``state_dict`` gives them.
        added: names of those that a plugin gave the model while it was trained, and that it gets as buffers.
    """
    for name in added:
        parent, _, last = name.rpartition(".")
        _module_at(model, parent).register_buffer(last, torch.empty_like(weights[name]))
    model.load_state_dict({**model.state_dict(), **weights})


def _module_at(model: nn.Module, path: str) -> nn.Module:
    """The module at a path; where there is none, an empty one is put there."""
    for part in path.split(".") if path else []:
        if part not in model._modules:
            model.add_module(part, nn.Module())
        model = model.get_submodule(part)
    return model


def materialised(model: nn.Module, inputs: Tensor, seed: int) -> nn.Module:
    """A model whose lazy parameters have their shapes, drawn from the run's seed."""
    if any(map(torch.nn.parameter.is_lazy, [*model.parameters(), *model.buffers()])):
        with torch.no_grad(), seeded(seed, "initial weights"), suppress(Exception):  # it may take images: told later
            made: Any = model
            made.decode(made.encode(inputs[:2]))
    return model


def repr_of(model: nn.Module) -> str:
    """The ``repr`` of a module without addresses.

    >>> repr_of(nn.Tanh())
    'Tanh()'
    """
    return re.sub(r" at 0x[0-9a-f]+", "", repr(model))


def first_difference(before: str, now: str) -> tuple[str, str]:
    """The first line in which two texts differ, of each.

    >>> first_difference("Sequential(\\n  (1): Tanh()\\n)", "Sequential(\\n  (1): ReLU()\\n)")
    ('(1): Tanh()', '(1): ReLU()')
    """
    pairs = zip_longest(before.splitlines(), now.splitlines(), fillvalue="")
    return next((a.strip(), b.strip()) for a, b in pairs if a != b)
