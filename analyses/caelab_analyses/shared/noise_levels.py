"""The noise that a run was trained to remove."""

from __future__ import annotations

import math

from caelab.errors import NotApplicable
from caelab.runs.run import Run


def noise_level(run: Run, option: str) -> float:
    """σ of the run: of its Gaussian corruption, or √λ of its reconstruction-contractive penalty.

    Args:
        run: whose config is read.
        option: what gives it otherwise, for the sentence.

    Raises:
        NotApplicable: it has neither.
    """
    blocks = {block.kind: block.options for block in run.config.regularizers.values()}
    if "gaussian" in blocks:
        return float(blocks["gaussian"]["sigma"])
    if blocks.get("reconstruction-contractive", {}).get("weight", 0) > 0:
        return math.sqrt(blocks["reconstruction-contractive"]["weight"])
    raise NotApplicable(
        f"a denoiser needs a noise level, but {run.label!r} has no gaussian corruption and no "
        f"reconstruction-contractive penalty; give {option}"
    )
