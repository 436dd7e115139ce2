"""The map that a Jacobian is taken of: how it is computed, and what is known of its layers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from caelab.jacobian.context import Context
from caelab.jacobian.layers import Layer
from caelab.jacobian.recording import Recording
from caelab.jacobian.selection import Question, Selection, selected
from caelab.jacobian.strategy import Strategy
from caelab.jacobian.validation import refusals
from caelab.jacobian.validation.states import state_of
from caelab.jacobian.validation.surroundings import answered
from caelab.jacobian.validation.vectors import recordable
from caelab.registry.arguments import tensor_of

Encode = Callable[..., Tensor]


class ExaminedMap:
    """A map f at a batch of inputs x; it is looked at and tried out when something is asked, and not before.

    Attributes:
        encode: f, as it was given.
        inputs: x, shape ``(batch, *input)``.
        outputs: f(x), where it is known.
        gradients: whether a gradient will be asked for.
        known_squared_norm: ‖J‖_F², where someone has it already.
    """

    def __init__(
        self,
        encode: Encode,
        inputs: Tensor,
        outputs: Tensor | Recording | None = None,
        *,
        memory_budget: int | None = None,
        gradients: bool = False,
        known_squared_norm: Tensor | None = None,
        context: Context | None = None,
    ) -> None:
        recording = outputs if isinstance(outputs, Recording) else None
        code = recording.outputs if recording else outputs
        self.encode = encode
        self.inputs: Tensor = recordable(inputs)
        self.outputs = None if code is None else tensor_of(code, "outputs")
        self.gradients = gradients
        self._question = Question(encode, self.inputs, self.outputs, recording, context, memory_budget, gradients)
        known = known_squared_norm
        self.known_squared_norm = None if known is None else tensor_of(known, "known_squared_norm")
        self._selections: dict[bool, Selection] = {}

    def __repr__(self) -> str:
        return f"Jacobian of {refusals.name_of(self.encode)} at {tuple(self.inputs.shape)}"

    @property
    def strategy(self) -> Strategy:
        """What computes it: the cheapest exact strategy, chosen by looking at the module, and by trying it out.

        Raises:
            CaelabError: there is no Jacobian per example, or no parameter to take a gradient.
        """
        return self._selection().strategy

    @property
    def function(self) -> Encode:
        """f, the map ``(batch, *input)`` to ``(batch, *code)`` that is differentiated, tried out and with its context.

        Raises:
            CaelabError: there is no Jacobian per example.
        """
        return self._selection().function

    def _budget(self) -> int:
        return self._question.budget()

    def _selection(self) -> Selection:
        """What fits, found once where autograd records and once where it does not.

        A weight that is computed from others, as a tied one, has a history only where autograd records.
        """
        recorded = torch.is_grad_enabled()
        if recorded not in self._selections:
            self._selections[recorded] = self._select()
        return self._selections[recorded]

    @answered
    def _select(self) -> Selection:
        if self._question.memory_budget is not None:
            self._budget()  # refused here, also by questions that need none
        return selected(self._question)

    def _renew(self) -> None:
        """Look again at an encoder that was switched since the last answer."""
        if self._selections:
            now = state_of(self.encode)
            if any(selection.state != now for selection in self._selections.values()):
                self._selections.clear()

    @property
    @answered
    def shape(self) -> tuple[int, int]:
        """(code, input), the shape of one example's J with its axes flattened."""
        return self.strategy.shape

    @property
    @answered
    def layers(self) -> tuple[Layer, ...]:
        """The layers h_l = s_l(W_l h_{l-1} + b_l) that f is a chain of, from the input to the code.

        Each has its ``weight`` W_l, its ``bias`` b_l and its ``activation`` s_l (with ``name``, ``derivative`` and
        ``second_derivative``), and maps a batch of vectors as f does. They are seen where f is an ``nn.Sequential``
        (also nested) of affine layers and elementwise activations, without hooks, and were compared with f itself.

        Returns:
            The layers, or an empty tuple where f is anything else.

        Raises:
            CaelabError: there is no Jacobian per example.
        """
        self._renew()
        return tuple(self.strategy.layers)

    @property
    def single_layer(self) -> Layer | None:
        """The one layer h = s(W x + b) that f consists of, or nothing where it is anything else; see ``layers``.

        Its Jacobian is diag(s'(z)) W with z = W x + b, and ``slopes()`` holds s'(z).

        >>> from caelab import jacobian
        >>> found = jacobian(torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Tanh()), torch.rand(5, 3))
        >>> found.single_layer.weight.shape, found.single_layer.activation.name, found.slopes()[0].shape
        (torch.Size([2, 3]), 'tanh', torch.Size([5, 2]))

        Raises:
            CaelabError: there is no Jacobian per example.
        """
        layers = self.layers
        return layers[0] if len(layers) == 1 else None

    @answered
    def slopes(self) -> list[Tensor]:
        """s_l'(z_l) of every layer at the batch, shape (batch, width) each, from the input to the code.

        J = diag(s_L') W_L ... diag(s_1') W_1. Differentiable with respect to the encoder's parameters.

        Returns:
            One tensor for each of ``layers``, so none where f is no chain of them.

        Raises:
            CaelabError: there is no Jacobian per example.
        """
        self._renew()
        return self.strategy.slopes()

    @property
    def is_constant(self) -> bool:
        """Whether J is seen to be the same at every input: the map is a chain of affine steps alone."""
        if self.known_squared_norm is not None:  # no need to look
            return False
        layers = self.strategy.layers
        return bool(layers) and all(layer.is_affine for layer in layers)
