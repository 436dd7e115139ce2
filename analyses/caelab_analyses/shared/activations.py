"""The activation that makes a run's code."""

from __future__ import annotations

from torch import nn

from caelab.models.layers import ACTIVATIONS
from caelab.runs.run import Run

UNKNOWN = "unknown"


def code_activation(run: Run) -> str:
    """The name of the activation that makes the code, read from the encoder's last step; "unknown" if that is none.

    An encoder that is a plain function cannot be looked into: then the config's word counts, unless the encoder is
    someone else's, of which the config says nothing.
    """
    step = run.model.encode
    while isinstance(step, nn.Sequential) and len(step):
        step = step[-1]
    if isinstance(step, nn.Module):
        return next((name for name, kind in ACTIVATIONS.items() if isinstance(step, kind)), UNKNOWN)
    stated = {} if "encoder" in run.record else run.config.model.options
    return str(stated.get("activation", UNKNOWN))
