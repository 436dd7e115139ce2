"""Findings about an encoder, made once on a few examples and again when something was switched."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from caelab.errors import CaelabError
from caelab.jacobian import layers as structure
from caelab.jacobian.context import Conditioned, Encode, innermost
from caelab.jacobian.layers import Layer
from caelab.jacobian.memory import MEBIBYTE, handful
from caelab.jacobian.record_size import bytes_per_row
from caelab.jacobian.validation import agreement, coupling, passes, refusals
from caelab.jacobian.validation.passes import Examples
from caelab.jacobian.validation.states import State, differs_quietly, root_of, state_of

Layers = Callable[[], Sequence[Layer] | None]
AGAIN = 8  # looked at again after so many uses, and so many times as many
_MOST_STATES = 64
_LARGEST_RECORD = 64 * MEBIBYTE  # of the examples that are tried out at once


@dataclass
class Finding:
    """What an encoder is in one state.

    Attributes:
        is_chain: whether it computes what its layers say.
        copies: whether it writes to its arguments, and is handed copies.
        one_unit: whether its output (batch,) stands for a code of one unit.
        largest: the batch up to which it was tried out.
        trains: whether a gradient was seen to reach its parameters.
        outputs_agreed: whether a code that was given was seen to be its own.
        tried: which passes were found right for its derivatives.
    """

    is_chain: bool = False
    copies: bool = False
    one_unit: bool = False
    largest: int = 0
    trains: bool = False
    outputs_agreed: bool = False
    tried: dict[Any, Any] = field(default_factory=dict)

    def applied(self, encode: Encode) -> Encode:
        """The encoder as a map (batch, *input) to (batch, *code) that changes none of its arguments."""
        if not (self.copies or self.one_unit):
            return encode
        plain = encode if isinstance(encode, Conditioned) else Conditioned(encode)
        return replace(plain, copies=self.copies, one_unit=self.one_unit)


@dataclass
class Memory:
    """What is known of an encoder.

    Attributes:
        findings: by kind of inputs and state, the last ones.
        latest: the last state that was found right, by kind of inputs.
        restless: entries of a state that the encoder itself changes when it is called, for states of that length.
        uses: how often it was asked for.
        quiet: how often only numbers of its state were changed.
        refused: whether it was refused in some state; then no change of a number is passed over.
    """

    findings: dict[Any, Finding] = field(default_factory=dict)
    latest: dict[Any, State] = field(default_factory=dict)
    restless: dict[int, frozenset[int]] = field(default_factory=dict)
    uses: int = 0
    quiet: int = 0
    refused: bool = False

    def settled(self, state: State) -> State:
        """A state without what the encoder itself changes."""
        restless = self.restless.get(len(state))
        return state if not restless else tuple(e for n, e in enumerate(state) if n not in restless)

    def keep(self, kind: Any, state: State, finding: Finding) -> None:
        """Remember a finding; the oldest is forgotten."""
        self.findings.pop((kind, state), None)
        self.findings[kind, state] = finding
        self.latest[kind] = state
        if len(self.findings) > _MOST_STATES:
            del self.findings[next(iter(self.findings))]


_memories: WeakKeyDictionary[Any, Memory] = WeakKeyDictionary()


def examined(encode: Encode, inputs: Tensor, state: State, layers: Layers, budget: Callable[[], int]) -> Finding:
    """What an encoder is; tried out where that is not known, or no longer certain.

    It is tried out on inputs of a new kind, on a larger batch than before, in a new state, and now and then, since not
    everything that can be switched is seen. Numbers that change all the time (a level that is annealed, a buffer that
    is updated) are a new state after 1, 2, 4, 8, ... changes.

    Args:
        encode: as given, or with its context.
        inputs: x.
        state: of the encoder, as ``state_of`` says.
        layers: what looks for the layers of a chain.
        budget: bytes that computations may take.

    Raises:
        CaelabError: there is no Jacobian per example.
    """
    memory = _memory_of(innermost(encode))
    kind = _kind_of(encode, inputs)
    memory.uses += 1
    known = _known(memory, kind, memory.settled(state))
    if known and len(inputs) <= known.largest and not _is_power(memory.uses, AGAIN):
        return known
    try:
        with _left_as_it_was(innermost(encode), inputs):
            finding = _found(encode, inputs, layers, budget)
    except CaelabError:
        memory.refused = True
        memory.findings.clear()
        raise
    _note_restless(memory, state, state_of(innermost(encode)))
    memory.keep(kind, memory.settled(state), finding)
    return finding


def _memory_of(encode: Any) -> Memory:
    try:
        return _memories.setdefault(root_of(encode), Memory())
    except TypeError:  # an object that nobody can remember
        return Memory()


def _kind_of(encode: Encode, inputs: Tensor) -> Any:
    """What else an encoder may go by: type, shape and layout of the inputs, and what comes with them."""
    own: Any = (inputs.dtype, inputs.shape[1:], inputs.device.type, inputs.is_contiguous())
    if isinstance(encode, Conditioned):
        named = [(name, value.dtype, value.shape[1:]) for name, value in encode.named.items()]
        own += (*((value.dtype, value.shape[1:]) for value in encode.positional), *named)
    return own


def _known(memory: Memory, kind: Any, state: State) -> Finding | None:
    found = memory.findings.get((kind, state))
    latest = memory.latest.get(kind)
    if found or memory.refused or latest is None or not differs_quietly(latest, state):
        return found
    memory.quiet += 1
    near = memory.findings.get((kind, latest))
    if near is None or _is_power(memory.quiet, 2):
        return None
    memory.keep(kind, state, near)
    return near


def _is_power(number: int, base: int) -> bool:
    while number > 1 and number % base == 0:
        number //= base
    return number == 1


def _note_restless(memory: Memory, before: State, after: State) -> None:
    if len(before) == len(after):
        changed = {number for number, (a, b) in enumerate(zip(before, after, strict=True)) if a != b}
        memory.restless[len(after)] = memory.restless.get(len(after), frozenset()) | changed


@contextmanager
def _left_as_it_was(encode: Any, inputs: Tensor) -> Iterator[None]:
    """Within the block nothing is drawn from torch's generators and no buffer is changed, as far as others see."""
    owner = getattr(encode, "__self__", encode)
    buffers = list(owner.buffers()) if isinstance(owner, nn.Module) else []
    buffers = [buffer for buffer in buffers if not buffer.is_inference()]
    before = [(buffer, buffer._version, buffer.detach().clone()) for buffer in buffers]
    with torch.random.fork_rng(devices=[inputs.device] if inputs.device.type == "cuda" else []):
        try:
            yield
        finally:
            with torch.no_grad():
                for buffer, version, value in before:
                    if buffer._version != version and buffer.shape == value.shape:
                        buffer.copy_(value)


def _found(encode: Encode, inputs: Tensor, layers: Layers, budget: Callable[[], int]) -> Finding:
    few, code = _first_pass(encode, inputs)
    passes.refuse_unsteady(few, code)
    finding = Finding(copies=passes.writes(few), one_unit=code.ndim == 1, largest=len(inputs))
    found = layers()
    if found is not None and isinstance(encode, nn.Module):
        finding.is_chain = agreement.are_layers(encode, found, few.inputs, code)
    if not finding.is_chain or _says_something(encode):  # torch's own layers mix nothing
        _refuse_dependence(few, code, finding)
        _refuse_dependence_in(Examples(encode, inputs.detach(), few.recorded), few, finding, budget)
    return finding


def _says_something(encode: Any) -> bool:
    return any(agreement.says_something(module) for module in structure.leaves(encode))


def _first_pass(encode: Encode, inputs: Tensor) -> tuple[Examples, Tensor]:
    """A few examples with their code, and with autograd where the encoder cannot do without."""
    owner = innermost(encode)
    refusals.refuse_power_iterations(owner)
    names = {id(module): name for name, module in owner.named_modules()} if isinstance(owner, nn.Module) else {}
    chosen = [0, 0] if len(inputs) == 1 else list(range(min(len(inputs), handful(inputs))))
    whole = Examples(encode, inputs.detach())
    with passes.modules_refused(names):
        few, code = passes.first_code(whole, chosen)
    refusals.refuse_output(encode, few.inputs, code)
    return few, code


def _refuse_dependence(few: Examples, code: Tensor, finding: Finding) -> None:
    """Refuse what mixes a few examples, or cannot be cut."""
    if len(few) > 1:
        passes.refuse_mixing(few, code)
        _refuse_coupling(few, finding, every_pair=True)
        passes.refuse_parts(few, code)


def _refuse_dependence_in(whole: Examples, few: Examples, finding: Finding, budget: Callable[[], int]) -> None:
    """Refuse what does so in a larger batch alone."""
    one = whole.part(slice(0, 1))
    each = bytes_per_row(finding.applied(one.encode), one.inputs, recorded=False)
    count = min(len(whole), min(_LARGEST_RECORD, budget()) // max(1, each))
    if count > len(few):
        many = whole.part(slice(0, count))
        _refuse_coupling(many, finding, every_pair=False)
        passes.refuse_parts(many, many.code())


def _refuse_coupling(examples: Examples, finding: Finding, every_pair: bool) -> None:
    encode = finding.applied(examples.encode)
    try:
        coupled = coupling.couples(encode, examples.inputs, every_pair)
    except coupling.NoWayError:
        raise CaelabError(
            f"autograd sees no way from the inputs of {refusals.name_of(encode)} to its output; "
            "leave out torch.no_grad(), detach() and numpy inside it"
        ) from None
    if coupled:
        raise passes.mixing(encode)
