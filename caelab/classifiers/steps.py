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

    With δ_o = (softmax(o) - y) / batch and δ_l = s_l' (W_{l+1}ᵀ δ_{l+1}) (of the code W_{L+1} = V)::

        dV = δ_oᵀ h_L      dc = Σ δ_o      dW_l = δ_lᵀ h_{l-1}      db_l = Σ δ_l

    No gradient by the inputs is taken, and the gradients go into memory that is kept from step to step.
    """

    layers: Sequence[Layer]
    softmax: nn.Linear
    updating: Updating

    def __post_init__(self) -> None:
        self.affine: list[tuple[Tensor, Tensor]] = []
        for layer in self.layers:
            assert layer.bias is not None
            self.affine.append((layer.weight, layer.bias))
        self.affine.append((self.softmax.weight, self.softmax.bias))
        self.slopes = [layer.activation.of_output[0] for layer in self.layers if layer.activation.of_output]
        self.functions = [layer.activation.function for layer in self.layers]
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
        surprise = F.log_softmax(torch.addmm(bias, outputs[-1], weight.T), dim=1)
        loss = F.nll_loss(surprise, targets)
        delta = surprise.exp_()
        delta[torch.arange(len(targets), device=targets.device), targets] -= 1
        delta.div_(len(targets))
        for place in reversed(range(len(self.affine))):
            below = (delta @ self.affine[place][0]).mul_(self.slopes[place - 1](outputs[place])) if place else None
            self.change(self.affine[place], delta, outputs[place])
            delta = delta if below is None else below
        self.end()
        return {"loss": loss}

    def change(self, affine: tuple[Tensor, Tensor], delta: Tensor, inputs: Tensor) -> None:
        """Note the gradient of one layer."""
        weight, bias = affine
        assert weight.grad is not None
        assert bias.grad is not None
        torch.mm(delta.T, inputs, out=weight.grad)
        torch.sum(delta, dim=0, out=bias.grad)

    def end(self) -> None:
        """Change all parameters."""
        self.updating.apply()


class InPlaceStep(ChainStep):
    """The same by SGD: what changes a weight is added within the matrix product, and no gradient is stored.

    With rate η, momentum μ and weight decay ω, torch's SGD is v ← μ v + dW + ω W, W ← W - η v; without momentum it is
    W ← (1 - η ω) W - η dW. The velocity v is the optimiser's own, so that its state is stored and restored as ever.
    """

    def begin(self) -> None:
        """Give each parameter its velocity."""
        self.rate, self.momentum = self.updating.options.learning_rate, self.updating.options.momentum
        self.decay = self.updating.options.weight_decay or 0.0
        if self.momentum:
            for parameter in self.updating.parameters:
                state = self.updating.optimizer.state[parameter]
                state.setdefault("momentum_buffer", torch.zeros_like(parameter))

    def change(self, affine: tuple[Tensor, Tensor], delta: Tensor, inputs: Tensor) -> None:
        """Change one layer."""
        weight, bias = affine
        for parameter in affine if self.decay and not self.momentum else ():
            parameter.mul_(1 - self.rate * self.decay)
        if not self.momentum:
            weight.addmm_(delta.T, inputs, alpha=-self.rate)
            bias.sub_(delta.sum(dim=0), alpha=self.rate)
            return
        speeds = [self.updating.optimizer.state[parameter]["momentum_buffer"] for parameter in affine]
        speeds[0].addmm_(delta.T, inputs, beta=self.momentum)
        speeds[1].mul_(self.momentum).add_(delta.sum(dim=0))
        for parameter, speed in zip(affine, speeds, strict=True):
            if self.decay:
                speed.add_(parameter, alpha=self.decay)
            parameter.sub_(speed, alpha=self.rate)

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
