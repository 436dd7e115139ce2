"""Dead units resampled: they begin anew, in the direction of an example that is reconstructed badly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from caelab import CaelabError, hookimpl
from caelab.models.layers import TiedLinear
from caelab.models.reconstruction import reconstruction_error
from caelab.options import Count, Positive
from caelab.streams import stream_seed
from caelab_regularizers.dead_units import Threshold, dead_units

EXAMPLES = 2000  # of the epoch before, on which units are found dead and from which directions are drawn


@dataclass(frozen=True)
class CodeLayer:
    """The affine maps into the code and out of it, with what the encoder computes before them.

    Attributes:
        below: from the inputs to what ``into`` takes.
        into: weight (code, width), bias (code,).
        out: weight (width, code); that of ``into``, transposed, where the two are tied.
    """

    below: nn.Sequential
    into: nn.Linear
    out: nn.Linear | TiedLinear

    @property
    def tied(self) -> bool:
        """Whether both have one weight."""
        return isinstance(self.out, TiedLinear)


def code_layer(model: Any) -> CodeLayer:
    """The maps into and out of a model's code.

    Raises:
        CaelabError: it has none of which rows and columns belong to single units.
    """
    encode, decode = getattr(model, "encode", None), getattr(model, "decode", None)
    if isinstance(encode, nn.Sequential) and isinstance(decode, nn.Sequential) and len(decode):
        last = max((k for k, step in enumerate(encode) if next(step.parameters(), None) is not None), default=-1)
        into, out = encode[last] if last >= 0 else None, decode[0]
        if isinstance(into, nn.Linear) and _leads_back(out, into):
            return CodeLayer(encode[:last], into, out)  # type: ignore[arg-type]
    raise CaelabError(
        f"resample-dead writes the rows of the affine map into the code and the columns of that out of it, but "
        f"{type(model).__name__} has no nn.Linear as the last step of encode with parameters, or none as the first "
        "step of decode, of that width, both being nn.Sequential; use the model autoencoder"
    )


def _leads_back(out: nn.Module, into: nn.Linear) -> bool:
    if isinstance(out, TiedLinear):
        return out.layer is into
    return isinstance(out, nn.Linear) and tuple(out.weight.shape) == (into.in_features, into.out_features)


@torch.no_grad()
def resample(
    model: Any, inputs: Tensor, kind: str, threshold: float, scale: float, generator: torch.Generator
) -> Tensor:
    """Begin the dead units anew; the others keep every bit.

    For each dead unit an example x is drawn with p(x) = L(x)² / Σ L². With u the unit vector along x - x̄, x̄ the mean of
    the inputs, the row of the unit in the encoder becomes w = s · r̄ · u and its bias -w·x̄, so that it is 0 for inputs
    counted from their mean; with untied weights its column in the decoder becomes c̄ · u. r̄ and c̄ are the mean norms of
    the rows and columns of the living units; of all, where none lives. In an encoder of several layers x is the
    output of those below.

    Args:
        model: an auto-encoder, in evaluation mode.
        inputs: examples (n, input), on which units are found dead and from which x is drawn.
        kind: of the reconstruction error L.
        threshold: see ``dead_units``.
        scale: s.
        generator: draws the examples.

    Returns:
        Which units began anew, boolean, shape (code,).

    Raises:
        CaelabError: the model is none that can be treated; see ``code_layer``.
    """
    layer = code_layer(model)
    code = model.encode(inputs)
    dead = dead_units(code, threshold)
    below = layer.below(inputs)
    mean = below.mean(dim=0)
    away = below - mean
    chances = _chances(reconstruction_error(kind, model, code, inputs), away)
    if not dead.any() or not chances.any():
        return torch.zeros_like(dead)
    drawn = torch.multinomial(chances.cpu(), int(dead.sum()), replacement=True, generator=generator)
    directions = nn.functional.normalize(away[drawn.to(away.device)], dim=1)
    _write(layer, dead, directions, mean, scale)
    return dead


def _chances(errors: Tensor, away: Tensor) -> Tensor:
    """L² in float64 relative to the largest, 0 where there is no direction."""
    errors = torch.where(away.norm(dim=1) > 0, errors, 0.0).double()
    return (errors / errors.max().clamp(min=torch.finfo(errors.dtype).tiny)).square()


def _write(layer: CodeLayer, dead: Tensor, directions: Tensor, mean: Tensor, scale: float) -> None:
    like = ~dead if not dead.all() else dead
    rows = layer.into.weight[like].norm(dim=1).mean()
    if not layer.tied:
        layer.out.weight[:, dead] = directions.T * layer.out.weight[:, like].norm(dim=0).mean()
    layer.into.weight[dead] = scale * rows * directions
    if layer.into.bias is not None:
        layer.into.bias[dead] = -(layer.into.weight[dead] @ mean)


@dataclass(eq=False)
class ResampleDead:
    """Begins dead units, max_x h_j(x) - min_x h_j(x) <= θ, anew after every N epochs (after Bricken et al. 2023).

    The row of a dead unit in the encoder becomes s · (mean norm of the living rows) · u. The unit vector u points from
    the mean of the examples to one of them, drawn with p(x) = L(x)² / Σ L². The bias makes the pre-activation 0 at that
    mean. The unit's column in an untied decoder becomes u with the mean norm of the living ones; see ``resample``.
    Units are found dead, and examples drawn, among the first 2 000 examples of the epoch before. The metric
    ``resampled_units`` tells how many began anew before the epoch.

    The source takes x itself and the bias 0, in an encoder that subtracts the decoder's bias from its input. The
    encoders here subtract nothing: inputs without negative entries would make such a unit active for every example.

    What it does not do: the source also resets Adam's moments of the changed weights; the optimiser is not handed to
    plugins, so here they stay. A unit of ReLU that was dead for long has moments near 0, and its first updates are up
    to (1 - β1) / sqrt(1 - β2), about 3, times the learning rate.

    Attributes:
        every: N; 1 resamples before every epoch but the first.
        threshold: θ; see ``dead_units``.
        scale: s; 0.2 in the source.
    """

    stateful = True
    trial_options: ClassVar[Mapping[str, Any]] = {"every": 1, "threshold": 0.0, "scale": 0.2}

    every: Count
    threshold: Threshold
    scale: Positive

    def __post_init__(self) -> None:
        self.examples: list[Tensor] = []
        self.count, self.seed, self.kind = 0, 0, "squared-error"

    @hookimpl
    def before_training(self, model: Any, config: Any) -> None:
        """Refuse a model that cannot be treated; take the seed and the reconstruction error of the run."""
        code_layer(model)
        if config is not None:
            self.seed, self.kind = config.seed, config.training.reconstruction

    @hookimpl
    def after_batch(self, clean: Tensor, epoch: int) -> None:
        """Keep examples of an epoch after which units are resampled."""
        room = EXAMPLES - sum(map(len, self.examples))
        if epoch % self.every == 0 and room > 0:
            self.examples.append(clean[:room].clone())

    @hookimpl
    def before_epoch(self, model: Any, epoch: int) -> None:
        """Begin dead units anew, where examples of the epoch before were kept."""
        self.count = 0
        if self.examples:
            generator = torch.Generator().manual_seed(stream_seed(self.seed, f"resample-dead before epoch {epoch}"))
            device = next(model.parameters()).device  # examples from a checkpoint lie in memory
            inputs, self.examples = torch.cat([each.to(device) for each in self.examples]), []
            began = resample(model, inputs, self.kind, self.threshold, self.scale, generator)
            self.count = int(began.sum())

    @hookimpl
    def extra_metrics(self) -> dict[str, float]:
        """How many units began anew before this epoch."""
        return {"resampled_units": float(self.count)}

    def state_dict(self) -> dict[str, Any]:
        """The examples that were kept."""
        return {"examples": list(self.examples)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take them back."""
        self.examples = list(state["examples"])
