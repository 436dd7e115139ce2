"""Penalties that are a factor times the mean squared norm of the encoder's Jacobian, found by trying them.

Such a penalty needs no pass of its own: whoever knows the norm and its gradient in closed form knows the term.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from caelab.training.plugins import TrainingPlugins, ordered_manager
from caelab.training.watching import implementations

TRIED = ((3.0, 1.0, 2.0), (0.5, 7.0, 0.25, 4.0))  # squared norms of made-up batches
ASKS = {"encoder_jacobian", "epoch"}


class Unlike(Exception):
    """A plugin is no such penalty; the message says why."""


class Norms:
    """A Jacobian of which nothing is known but its squared norms, one per example."""

    is_constant = False

    def __init__(self, values: Tensor) -> None:
        self.values = values

    def squared_norm(self) -> Tensor:
        """Shape (batch,)."""
        return self.values


def check_kind(plugins: Mapping[str, object]) -> None:
    """Refuse plugins that do anything but add a penalty on the encoder's Jacobian.

    Raises:
        Unlike: one answers another hook, or asks for more.
    """
    manager = ordered_manager(plugins)
    for label in plugins:
        for hook, each in implementations(manager, label):
            if hook != "penalty_terms" or not set(each.argnames) <= ASKS:
                raise Unlike(f"{label!r} answers {hook}({', '.join(each.argnames)})")


def factors(plugins: TrainingPlugins, epoch: int) -> dict[str, float]:
    """By term, its factor in this epoch.

    Raises:
        Unlike: a plugin fails with made-up norms, changes when it is asked, or its term is something else.
    """
    plugins.epoch = epoch
    before = deepcopy([vars(each) for each in plugins.instances.values() if hasattr(each, "__dict__")])
    tried = [_tried(plugins, torch.tensor(norms), epoch) for norms in TRIED]
    if [vars(each) for each in plugins.instances.values() if hasattr(each, "__dict__")] != before:
        raise Unlike("a plugin changes when it is asked")
    if any(each.keys() != tried[0].keys() for each in tried):
        raise Unlike("the terms differ from batch to batch")
    for name, factor in tried[0].items():
        if abs(tried[1][name] - factor) > 1e-6 * abs(factor):
            raise Unlike(f"the term {name!r} is no factor times the mean of the squared norms")
    return tried[0]


def _tried(plugins: TrainingPlugins, norms: Tensor, epoch: int) -> dict[str, float]:
    values = norms.requires_grad_()
    jacobian: Any = Norms(values)
    found: dict[str, float] = {}
    for each in plugins.manager.hook.penalty_terms.get_hookimpls():
        given = {"encoder_jacobian": jacobian, "epoch": epoch}
        try:
            answer: Any = each.function(*(given[name] for name in each.argnames))
            terms = {name: _factor(name, term, values) for name, term in dict(answer).items()}
        except Unlike:
            raise
        except Exception as error:  # a plugin may ask the Jacobian for anything
            raise Unlike(
                f"{each.plugin_name!r} asks for more than squared norms ({error.__cause__ or error})"
            ) from error
        if terms.keys() & found.keys():
            raise Unlike("two plugins use one name")
        found |= terms
    return dict(sorted(found.items()))


def _factor(name: str, term: Tensor, norms: Tensor) -> float:
    """The factor of the mean, if value and gradient both say so."""
    mean = float(norms.detach().mean())
    value = float(term.detach())
    factor = value / mean
    if not term.requires_grad:
        if value == 0:
            return 0.0
        raise Unlike(f"the term {name!r} has no gradient")
    (gradient,) = torch.autograd.grad(term, norms)
    expected = torch.full_like(norms, factor / len(norms))
    if not torch.allclose(gradient, expected, rtol=1e-5, atol=0):
        raise Unlike(f"the term {name!r} is no factor times the mean of the squared norms")
    return factor
