"""A regularizer that grew: typed options, a random stream, a metric, and a figure of what it did."""

from dataclasses import dataclass

import pandas as pd
import torch

from caelab import hookimpl
from caelab.analysis.plotting import COLUMN_WIDTH, curves, panels, paper_style
from caelab.options import Count, Positive, Weight


def mean_squared_movement(encode, inputs, sigma, generator):
    """Mean over the examples x of ‖f(x + e) - f(x)‖², e normal with standard deviation sigma; a sum over the code.

    For small sigma it is sigma² times the contractive penalty: E‖J e‖² = sigma² ‖J‖_F².

    Args:
        encode: f, from (batch, input) to (batch, code).
        inputs: x, shape (batch, input).
        sigma: standard deviation of the noise.
        generator: of the noise.

    Returns:
        Scalar, shape ().
    """
    noise = torch.randn(inputs.shape, generator=generator, dtype=inputs.dtype, device=inputs.device)
    moved = encode(inputs + sigma * noise) - encode(inputs)
    return moved.square().sum(dim=1).mean()


@dataclass(eq=False)
class NoisyCode:
    """Adds weight * mean_squared_movement: the code of an example with noise shall be that without."""

    weight: Weight
    sigma: Positive

    @hookimpl
    def penalty_terms(self, model, clean, streams):
        movement = mean_squared_movement(model.encode, clean, self.sigma, streams["noisy code"])
        return {"noisy-code": self.weight * movement}

    @hookimpl
    def extra_metrics(self, model, inputs):
        generator = torch.Generator(inputs.device).manual_seed(0)  # the same noise every epoch: only the model changes
        return {"valid_code_movement": float(mean_squared_movement(model.encode, inputs, self.sigma, generator))}


class CodeMovement:
    """How far the code moves under noise, against the standard deviation of the noise."""

    @staticmethod
    def measure(run, streams, *, steps: Count = 8, largest: Positive = 0.5):
        levels = [largest * (step + 1) / steps for step in range(steps)]
        inputs = run.dataset.valid_inputs
        found = [mean_squared_movement(run.encode, inputs, s, streams["code movement"]) for s in levels]
        return pd.DataFrame({"sigma": levels, "movement": [float(value) ** 0.5 for value in found]})

    @staticmethod
    @paper_style()
    def draw(table, axes=None):
        found = panels(axes, 1, 1, of="code_movement", size=(COLUMN_WIDTH, 2.2))
        (axes,) = found
        curves(axes, table, "sigma", "movement")  # the mean over seeds, and its interval
        axes.set(xlabel="noise, standard deviation", ylabel="movement of the code (rms)")
        axes.legend()
        return found.finished()

    @staticmethod
    def summarise(table):
        return {"largest code movement": table["movement"].max()}


@hookimpl
def register_regularizers(register):
    register("noisy-code", NoisyCode)


@hookimpl
def register_analyses(register):
    register("code_movement", CodeMovement)
