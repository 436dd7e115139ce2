"""The built-in analyses, offered through the same hooks as anyone's; each is imported when first used."""

from collections.abc import Callable
from typing import Any

from caelab import hookimpl

ANALYSES = (
    "jacobian_norm",
    "jacobian_spectrum",
    "contraction_curve",
    "tangents",
    "filters",
    "reconstructions",
    "frontier",
    "manifold_alignment",
    "classification",
    "noise_expansion",
    "deterministic_twin",
    "twin_training",
    "score_field",
    "samples",
    "alignment_transition",
    "linear_limit",
    "intrinsic_dimension",
    "higher_order",
)


@hookimpl
def register_commands(register: Callable[[str, Any], None]) -> None:
    """Offer the study that connects contraction with denoising."""
    register("bridge", "caelab_analyses.bridge.command:bridge")


@hookimpl
def register_analyses(register: Callable[[str, Any], None]) -> None:
    """Offer the built-in analyses; each is a module with ``measure``, ``draw`` and perhaps ``summarise``."""
    for name in ANALYSES:
        register(name, f"caelab_analyses.{name}")
