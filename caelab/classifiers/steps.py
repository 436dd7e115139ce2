"""One update of fine-tuning: the gradient written out for a chain of layers, by autograd for everything else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caelab.classifiers.network import Network
from caelab.classifiers.options import FineTuning
from caelab.classifiers.penalty import tangent_penalty
from caelab.jacobian.layers import Layer
from caelab.training.optimizers import Scheduler, clip

Step = Callable[[Tensor, Tensor, Tensor | None], dict[str, Tensor]]
"""Updates the parameters from inputs, targets and tangents; returns the terms of the loss, without a gradient."""


Affine = tuple[Tensor, Tensor]  # the weight of a layer, and its bias


@dataclass(frozen=True)
class Updating:
    """What changes parameters: an optimiser over them, its schedule, and the options."""

    parameters: Sequence[nn.Parameter]
    optimizer: torch.optim.Optimizer
    scheduler: Scheduler | None
    options: FineTuning

    def apply(self) -> None:
        """Change the parameters by their gradients."""
        clip(self.parameters, self.options)
        self.optimizer.step()
        if self.scheduler is not None:
            self.scheduler.step()


def step_of(network: Network, updating: Updating, width: int, dropout: torch.Generator) -> Step:
    """The update of a network: the fastest one that computes what is asked for."""
    options, layers = updating.options, network.layers(width)
    plain = not (options.dropout or options.input_dropout or options.tangents)
    if plain and layers and all(map(_is_written_out, layers)):
        in_place = options.optimizer == "sgd" and options.clip_norm is None and options.schedule is None
        return (InPlaceStep if in_place else ChainStep)(layers, network.softmax, updating)
    return AutogradStep(network, updating, layers, dropout)


def _is_written_out(layer: Layer) -> bool:
    """Whether the gradient of a layer is known: torch's own parameters, and a slope that follows from the output."""
    own = isinstance(layer.weight, nn.Parameter) and isinstance(layer.bias, nn.Parameter)
    return own and layer.activation.of_output is not None and not layer.activation.learns


@dataclass
class ChainStep:
    """An update of h_l = s_l(W_l h_{l-1} + b_l), o = V h_L + c, on the mean cross-entropy of softmax(o).

    With δ_o = softmax(o) - y and δ_l = s_l' (W_{l+1}ᵀ δ_{l+1}), where W_{L+1} = V, these are summed over the batch and
    divided by its size::

        dV = δ_oᵀ h_L      dc = Σ δ_o      dW_l = δ_lᵀ h_{l-1}      db_l = Σ δ_l

    No gradient by the inputs is taken, and the gradients go into memory that is kept from step to step.
    """

    layers: Sequence[Layer]
    softmax: nn.Linear
    updating: Updating

    def __post_init__(self) -> None:
        self.affine: list[Affine] = [(layer.weight, layer.bias) for layer in self.layers if layer.bias is not None]
        self.affine.append((self.softmax.weight, self.softmax.bias))
        self.slopes = [layer.activation.of_output[0] for layer in self.layers if layer.activation.of_output]
        self.functions = [layer.activation.function for layer in self.layers]
        self.ones = self.softmax.bias.new_ones(self.updating.options.batch_size)
        self.begin()

    def begin(self) -> None:
        """Set up the memory of the gradients."""
        for parameter in self.updating.parameters:
            parameter.grad = torch.zeros_like(parameter)

    @torch.no_grad()
    def __call__(self, inputs: Tensor, targets: Tensor, tangents: Tensor | None = None) -> dict[str, Tensor]:
        """One update; returns the cross-entropy before it."""
        outputs = [inputs]
        for (weight, bias), function in zip(self.affine, self.functions, strict=False):
            outputs.append(function(torch.addmm(bias, outputs[-1], weight.T)))
        weight, bias = self.affine[-1]
        surprise = torch.log_softmax(torch.addmm(bias, outputs[-1], weight.T), dim=1)
        loss = F.nll_loss(surprise, targets)
        delta = surprise.exp_().scatter_add_(1, targets[:, None], -self.ones[: len(targets), None])
        for place in reversed(range(len(self.affine))):
            below = (delta @ self.affine[place][0]).mul_(self.slopes[place - 1](outputs[place])) if place else None
            self.change(place, delta, outputs[place], 1 / len(targets))
            delta = delta if below is None else below
        self.end()
        return {"loss": loss}

    def change(self, place: int, delta: Tensor, inputs: Tensor, share: float) -> None:
        """Note the gradient of one layer: its δ and inputs are multiplied, and their sum by ``share``."""
        weight, bias = self.affine[place]
        assert weight.grad is not None
        assert bias.grad is not None
        weight.grad.addmm_(delta.T, inputs, beta=0, alpha=share)
        bias.grad.addmv_(delta.T, self.ones[: len(delta)], beta=0, alpha=share)

    def end(self) -> None:
        """Change all parameters."""
        self.updating.apply()


class InPlaceStep(ChainStep):
    """The same by SGD: what changes a weight is added within the matrix product, and no gradient is stored.

    With rate η, momentum μ and weight decay ω, torch's SGD is v ← μ v + dW + ω W, W ← W - η v; without momentum it is
    W ← (1 - η ω) W - η dW. The velocity v is the optimiser's own, so that its state is stored and restored as ever.
    """

    def begin(self) -> None:
        """Read the rates; the velocities are made at the first step, behind those of a checkpoint."""
        self.rate, self.momentum = self.updating.options.learning_rate, self.updating.options.momentum
        self.decay = self.updating.options.weight_decay or 0.0
        self.speeds: list[Affine] = []

    def change(self, place: int, delta: Tensor, inputs: Tensor, share: float) -> None:
        """Change one layer."""
        weight, bias = self.affine[place]
        if not self.momentum:
            kept = 1 - self.rate * self.decay
            weight.addmm_(delta.T, inputs, beta=kept, alpha=-self.rate * share)
            bias.addmv_(delta.T, self.ones[: len(delta)], beta=kept, alpha=-self.rate * share)
            return
        speed, bias_speed = self.velocity(place)
        speed.addmm_(delta.T, inputs, beta=self.momentum, alpha=share)
        bias_speed.addmv_(delta.T, self.ones[: len(delta)], beta=self.momentum, alpha=share)
        if self.decay:
            speed.add_(weight, alpha=self.decay)
            bias_speed.add_(bias, alpha=self.decay)
        weight.sub_(speed, alpha=self.rate)
        bias.sub_(bias_speed, alpha=self.rate)

    def velocity(self, place: int) -> Affine:
        """Those of the weight and the bias of one layer, as the optimiser keeps them."""
        if not self.speeds:
            states = [[self.updating.optimizer.state[parameter] for parameter in pair] for pair in self.affine]
            for pair, those in zip(self.affine, states, strict=True):
                for parameter, state in zip(pair, those, strict=True):
                    state.setdefault("momentum_buffer", torch.zeros_like(parameter))
            self.speeds = [(first["momentum_buffer"], second["momentum_buffer"]) for first, second in states]
        return self.speeds[place]

    def end(self) -> None:
        """All is changed already."""


@dataclass
class AutogradStep:
    """An update of any network on the mean cross-entropy, with dropout and the penalty on tangents."""

    network: Network
    updating: Updating
    layers: Sequence[Layer] | None
    dropout: torch.Generator

    def __call__(self, inputs: Tensor, targets: Tensor, tangents: Tensor | None = None) -> dict[str, Tensor]:
        """One update; returns the terms of the loss before it."""
        options, network = self.updating.options, self.network
        code = network.model.encode(self.dropped(inputs, options.input_dropout)).flatten(1)
        loss = F.cross_entropy(network.softmax(self.dropped(code, options.dropout)), targets)
        terms = {"loss": loss.detach()}
        if tangents is not None:
            penalty = tangent_penalty(network, self.layers, inputs, tangents, options.tangent_outputs)
            terms["penalty"] = (options.tangent_weight or 0.0) * penalty
            loss = loss + terms["penalty"]
            terms["penalty"] = terms["penalty"].detach()
        self.updating.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.updating.apply()
        return terms

    def dropped(self, values: Tensor, share: float) -> Tensor:
        """The values with a share of them left out at random, the others divided by the rest."""
        if not share:
            return values
        kept = torch.rand(values.shape, generator=self.dropout, device=values.device) >= share
        return values * kept / (1 - share)
