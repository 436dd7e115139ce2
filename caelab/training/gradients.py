"""Checking that a term of the loss can train something, from its graph, without a backward pass."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import Tensor
from torch.autograd.function import BackwardCFunction

FLAT = (
    "Round",
    "Floor",
    "Ceil",
    "Trunc",
    "Sign",
    "Sgn",
    "Bernoulli",
    "Poisson",
)  # of derivative zero wherever there is one

INSTEAD = (
    "compute it from code, reconstruction, or encoder_jacobian's squared_norm(), dense(), jvp() or vjp(), and without "
    "detach(), item(), numpy() or torch.no_grad(); a penalty that is not yet to count is 0 times itself, or {}"
)


def untrainable(term: Tensor, parameters: Collection[int]) -> str:
    """Why a term trains none of the parameters, or nothing where it trains one.

    A constant zero is no mistake: a condition that no example meets yet, or a weight of 0.

    Args:
        term: shape ().
        parameters: the ``id`` of each trainable parameter.
    """
    if not term.requires_grad:
        return "" if float(term) == 0 else f"has no gradient, so it would train nothing; {INSTEAD}"
    flat = reached(term, parameters)
    if flat is None:
        return (
            "depends on no trainable parameter of the model, so it would train nothing (it comes from the inputs "
            "alone, from frozen parameters, or from another model); use the model that the hook is handed"
        )
    if flat:
        return (
            f"depends on the model only through {flat}, whose derivative is zero, so it would train nothing; {INSTEAD}"
        )
    return ""


def reached(term: Tensor, parameters: Collection[int]) -> str | None:
    """The empty text where some parameter is reached, an operator's name where only through that one, else None.

    What a function written in Python does inside cannot be seen: it counts as reaching.
    """
    smooth, behind = _search([_node(term)], parameters)
    if smooth:
        return ""
    for node in behind:
        if _search([following for following, _ in node.next_functions], parameters, through_flat=True)[0]:
            return f"{str(node.name()).removesuffix('Backward0').lower()}()"
    return None


def _node(term: Tensor) -> Any:
    return term.grad_fn if term.grad_fn is not None else term


def _search(starts: list[Any], parameters: Collection[int], through_flat: bool = False) -> tuple[bool, list[Any]]:
    """Whether the walk back from some nodes meets a parameter, and the flat nodes at which it stopped."""
    left, seen, flat = [*starts], set[Any](), list[Any]()
    while left:
        node = left.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = node if isinstance(node, Tensor) else getattr(node, "variable", None)
        if id(leaf) in parameters or _is_hidden(node):
            return True, flat
        if not through_flat and not isinstance(node, Tensor) and node.name().startswith(FLAT):
            flat.append(node)
        elif not isinstance(node, Tensor):
            left.extend(following for following, _ in node.next_functions)
    return False, flat


def _is_hidden(node: Any) -> bool:
    """A function of Python that takes no parameter as its argument may use some inside, as reentrant checkpoints do."""
    return isinstance(node, BackwardCFunction) and "Checkpoint" in type(node).__name__
