"""Selection of the strategy for an encoder: the cheapest exact one, by its modules and by trying it out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from caelab.errors import CaelabError
from caelab.jacobian.active import ActiveRows
from caelab.jacobian.active_front import Front, front_of_layers, front_of_module
from caelab.jacobian.autodiff import Autodiff
from caelab.jacobian.chain import Chain
from caelab.jacobian.compiled import uncompiled
from caelab.jacobian.context import Context, conditioned
from caelab.jacobian.known_pass import KnownPass, known_pass
from caelab.jacobian.layers import Layer, find_layers
from caelab.jacobian.memory import budget_in_bytes
from caelab.jacobian.recording import Recording
from caelab.jacobian.single_layer import SingleLayer
from caelab.jacobian.strategy import Strategy
from caelab.jacobian.transformed import Transformed, is_inside
from caelab.jacobian.validation import findings, passes, refusals, trial
from caelab.jacobian.validation.states import State, state_of

Encode = Callable[..., Tensor]


@dataclass(frozen=True, eq=False)
class Question:
    """A map and where its Jacobian is asked for; see ``caelab.jacobian`` for each of them."""

    encode: Encode
    inputs: Tensor
    outputs: Tensor | None
    recording: Recording | None
    context: Context | None
    memory_budget: int | None
    gradients: bool

    def budget(self) -> int:
        """Bytes that a computation may take."""
        return budget_in_bytes(self.memory_budget, self.inputs.device)

    def known_outputs(self) -> Tensor | None:
        """The code, if it is known in full precision, and with its history where autograd records."""
        if self.outputs is None or self.outputs.dtype != self.inputs.dtype:
            return None
        return None if torch.is_grad_enabled() and not self.outputs.requires_grad else self.outputs

    def known_pass(self) -> KnownPass | None:
        """The pass to the known code, where autograd can go back through it, and once more through the way back."""
        outputs, recording = self.known_outputs(), self.recording
        if outputs is None or not torch.is_grad_enabled():
            return None
        if recording is None:
            return known_pass(self.inputs, outputs)
        own = recording.encode == self.encode and recording.inputs is self.inputs and recording.point is not None
        return known_pass(recording.point, outputs) if own and recording.point is not None else None

    def known_layer_inputs(self, layers: Sequence[Layer]) -> Sequence[Tensor] | None:
        """What each layer took in on the way to the known code, if that was recorded."""
        if self.recording is None or self.known_outputs() is None:
            return None
        found = self.recording.layer_inputs_of(self.encode, self.inputs)
        return found if found is not None and len(found) == len(layers) else None


@dataclass(frozen=True)
class Selection:
    """The strategy that was selected, and what was found on the way.

    Attributes:
        strategy: computes J.
        function: the map of the inputs alone that is differentiated: the encoder with its context, called so that it
            changes none of its arguments.
        state: that the encoder was in.
    """

    strategy: Strategy
    function: Encode
    state: State


def selected(question: Question) -> Selection:
    """The cheapest exact strategy for an encoder in its present state.

    Raises:
        CaelabError: there is no Jacobian per example, or no parameter to take a gradient.
    """
    encode, inputs = question.encode, question.inputs
    refusals.refuse_inputs(inputs, encode)
    if question.gradients:
        refusals.refuse_untrainable(encode)
    plain = conditioned(uncompiled(encode), question.context, len(inputs))
    if is_inside():
        refusals.refuse_modules(encode)
        return Selection(Transformed(plain, inputs), plain, ())
    state = state_of(encode)
    look = partial(find_layers, plain, inputs.shape[1:])
    finding = findings.examined(plain, inputs, state, look, question.budget)
    function = finding.applied(plain)
    strategy = _from_layers(question, plain, finding, look() if finding.is_chain else None)
    return Selection(strategy or _by_autodiff(question, function, finding), function, state)


def _from_layers(
    question: Question, encode: Encode, finding: findings.Finding, layers: Sequence[Layer] | None
) -> Strategy | None:
    """The strategy that takes an encoder apart, where its derivatives are those of the whole."""
    if not layers:
        return None
    _refuse_other_outputs(question, finding)
    outputs = question.known_outputs()
    strategy: Strategy
    if len(layers) == 1:
        strategy = SingleLayer(layers[0], question.inputs, outputs)
    else:
        strategy = Chain(layers, question.inputs, outputs, question.known_layer_inputs(layers))
    agrees = trial.agrees_once(finding.tried, partial(_pulled, strategy), encode, question.inputs)
    if not agrees:
        return None
    front = front_of_layers(layers, question.inputs)
    return ActiveRows(strategy, front, outputs) if front else strategy


def _pulled(strategy: Strategy, inputs: Tensor, covectors: Tensor) -> Tensor:
    return strategy.at(inputs, slice(None)).vjp(covectors)


def _by_autodiff(question: Question, function: Encode, finding: findings.Finding) -> Strategy:
    known = question.known_pass()
    if known:
        _refuse_other_outputs(question, finding)
    strategy = Autodiff(function, question.inputs, finding.tried, known)
    if question.gradients and torch.is_grad_enabled() and not finding.trains:
        finding.trains = strategy.parameters_want_gradient()
        if not finding.trains:
            refusals.refuse_no_gradient(question.encode)
    return _of_active_rows(question, function, finding, strategy) or strategy


def _of_active_rows(
    question: Question, function: Encode, finding: findings.Finding, whole: Strategy
) -> Strategy | None:
    """The strategy that takes the rows of active units alone, where a last step sets units to 0 and says so rightly."""
    if question.context is not None or finding.copies or finding.one_unit:
        return None
    encode, inputs = uncompiled(question.encode), question.inputs
    found = finding.tried.setdefault("before the last step", {})
    front = front_of_module(encode, inputs, found)
    if front is None or not trial.agrees_once(found, partial(_pulled_through, front), encode, inputs):
        return None
    return ActiveRows(whole, front, question.known_outputs())


def _pulled_through(front: Front, inputs: Tensor, covectors: Tensor) -> Tensor:
    return front.at(inputs, slice(None)).vjp(covectors)


def _refuse_other_outputs(question: Question, finding: findings.Finding) -> None:
    """Refuse a code that is not the encoder's at these inputs; seen at its shape, and once at its values."""
    known, encode, inputs = question.known_outputs(), question.encode, question.inputs
    if known is None or (finding.outputs_agreed and len(known) == len(inputs)):
        return
    few = slice(0, 2)
    with torch.no_grad():
        code = encode(inputs[few].detach())
    if known.shape != (len(inputs), *code.shape[1:]) or not passes.same(known[few].detach(), code):
        raise CaelabError(
            f"the outputs that were given, of shape {tuple(known.shape)}, are not those of "
            f"{refusals.name_of(encode)} at the inputs {tuple(inputs.shape)}; leave them out"
        )
    finding.outputs_agreed = True
