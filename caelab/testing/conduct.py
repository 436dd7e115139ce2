"""How a penalty behaves in company: modes, shared arguments, random numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from caelab.jacobian.service import jacobian
from caelab.streams import Streams
from caelab.testing.chance import random_states
from caelab.testing.outcome import Check, judged
from caelab.testing.subjects import Subject, Trial
from caelab.training.objective import reconstruction_map


def check_conduct(subject: Subject) -> Iterator[Check]:
    """Training and evaluation mode, arguments left as they are, random numbers from the streams alone."""
    yield _modes(subject)
    yield _arguments(subject)
    yield _global_random_state(subject)
    yield _same_stream(subject)


def _modes(subject: Subject) -> Check:
    trial = Trial(subject, subject.home)
    training = trial.number()
    trial.model.eval()
    evaluated = trial.number()
    found = f"{training:.8g} and {evaluated:.8g}"
    remedy = "nothing in this model knows a mode, so it is the penalty that asks for model.training; do not"
    return judged("training and evaluation mode", training == evaluated, "the same value", found, remedy)


def arguments_of(trial: Trial) -> dict[str, Any]:
    """What the hook is handed on the trial's batch, every tensor of its own."""
    corrupted = trial.clean + 0.1 if trial.setting.corrupted else trial.clean
    code = trial.model.encode(corrupted)
    return {
        "model": trial.model,
        "clean": trial.clean,
        "corrupted": corrupted,
        "code": code,
        "reconstruction": trial.model.decode(code),
        "encoder_jacobian": jacobian(trial.model.encode, trial.clean),
        "reconstruction_jacobian": jacobian(reconstruction_map(trial.model), trial.clean),
        "streams": Streams(0),
    }


def _arguments(subject: Subject) -> Check:
    trial = Trial(subject, replace(subject.home, corrupted=True))
    arguments = arguments_of(trial)
    tensors = {name: value for name, value in arguments.items() if isinstance(value, Tensor)}
    tensors |= dict(trial.model.named_parameters())
    before = {name: _state(tensor) for name, tensor in tensors.items()}
    mode = trial.model.training
    trial.answers(**arguments)
    changed = [name for name, tensor in tensors.items() if _changed(before[name], _state(tensor))]
    changed += ["the model's mode"] * (trial.model.training != mode)
    remedy = "other plugins are handed the same tensors; work on a copy, as x.clone() or x.detach().requires_grad_()"
    found = f"changed: {', '.join(changed)}" if changed else "unchanged"
    return judged("arguments left alone", not changed, "unchanged inputs, code and parameters", found, remedy)


def _state(tensor: Tensor) -> tuple[Any, ...]:
    gradient = tensor.grad.clone() if tensor.is_leaf and tensor.grad is not None else None
    return tensor.requires_grad, tensor._version, gradient, tensor.detach().clone()


def _changed(before: tuple[Any, ...], after: tuple[Any, ...]) -> bool:
    same_gradient = before[2] is after[2] or (
        before[2] is not None and after[2] is not None and torch.equal(before[2], after[2])
    )
    return before[:2] != after[:2] or not same_gradient or not torch.equal(before[3], after[3])


def _global_random_state(subject: Subject) -> Check:
    trial = Trial(subject, subject.home, steady=False)
    before = random_states()
    trial.gradients()
    return untouched_random_state(before, random_states())


def untouched_random_state(before: tuple[Any, ...], after: tuple[Any, ...]) -> Check:
    """The row on the global random state."""
    whose = ("torch", "numpy", "numpy", "random")
    touched = sorted({name for name, old, new in zip(whose, before, after, strict=True) if old != new})
    remedy = "draw from a stream of your own, generator=streams['my noise']; then it changes nothing for the others"
    found = f"{', '.join(touched)} drawn from" if touched else "untouched"
    return judged("global random state", not touched, "untouched", found, remedy)


def _same_stream(subject: Subject) -> Check:
    first, again = (Trial(subject, subject.home, steady=False).number(seed=1) for _ in range(2))
    remedy = "draw every random number from streams, and keep nothing in the class or the module"
    found = f"{first!r} and {again!r}"
    return judged("same stream, same value", first == again, "two equal values, to the last bit", found, remedy)
