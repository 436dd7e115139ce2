"""Regularizers for the tests of data-parallel training."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from caelab import CaelabError, hookimpl


@dataclass(eq=False)
class Projected:
    weight: float

    @hookimpl
    def penalty_terms(self, encoder_jacobian, streams):
        norm = encoder_jacobian.squared_norm(samples=2, generator=streams["projections"])
        return {"projected": self.weight * norm.mean()}


@dataclass(eq=False)
class OverBatch:
    weight: float
    over_batch = True

    @hookimpl
    def penalty_terms(self, code):
        return {"mine": self.weight * code.mean(dim=0).square().sum()}


@dataclass(eq=False)
class Drawing:
    weight: float

    @hookimpl
    def penalty_terms(self, code, streams):
        noise = torch.randn(code.shape, generator=streams["mine"])
        return {"mine": self.weight * (code * noise).square().mean()}


@dataclass(eq=False)
class Disturbed:
    """In the second epoch the process 1 fails, or waits to be killed, as the environment says."""

    weight: float

    @hookimpl
    def penalty_terms(self, encoder_jacobian):
        return {"mine": self.weight * encoder_jacobian.squared_norm().mean()}

    @hookimpl
    def before_epoch(self, epoch):
        how, place = os.environ.get("DISTURB", ""), os.environ.get("PLACE", "")
        if epoch != 2 or os.environ.get("RANK") != "1" or not how:
            return
        if how == "fail":
            raise CaelabError("expected fine weather")
        Path(place).write_text(str(os.getpid()))
        time.sleep(600)


@hookimpl
def register_regularizers(register):
    register("projected", Projected)
    register("over-batch", OverBatch)
    register("drawing", Drawing)
    register("disturbed", Disturbed)
