"""The built-in analyses and claims, offered through the same hooks as anyone's; each is imported when first used."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from caelab import hookimpl

HERE = Path(__file__).parent
STUDIES = [folder for folder in (HERE / "studies", HERE.parents[1] / "docs" / "studies") if folder.is_dir()][:1]
"""Where the study files lie: in an installed package beside this file, in the repository in the documentation."""

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
    "other_classifiers",
    "noise_expansion",
    "deterministic_twin",
    "twin_training",
    "score_field",
    "samples",
    "alignment_transition",
    "linear_limit",
    "intrinsic_dimension",
    "dimension_from_noise",
    "log_volume",
    "higher_order",
    "eigendistortion",
    "denoiser_directions",
    "code_similarity",
    "fine_tuning",
    "few_labels",
    "tangent_classifier",
)

CLAIMS = (
    "smallest_norm",
    "second_smallest_norm",
    "denoising_contracts",
    "weight_decay_contracts_less",
    "weight_decay_at_equal_reconstruction",
    "norms_in_the_papers_order",
    "highest_saturation",
    "lowest_error",
    "sharpest_spectrum",
    "fewest_large_singular_values",
    "curve_of_cae_rises",
    "curve_of_dae_falls",
    "other_curves_fall",
    "keeps_directions_of_the_data",
)


FEATURES = (
    "smallest_squared_entry",
    "norm_goes_with_error",
    "pretraining_beats_random",
    "two_layers_beat_one",
    "two_beat_three",
    "second_layer_contracts_more",
    "second_layer_bumps_later",
    "fewer_labels_larger_gap",
    "tangents_help",
    "tangent_distance_helps",
)

PRINTED = (
    *(f"table1_{data}_{what}" for data in ("mnist", "cifar10_bw") for what in ("error", "entry", "saturated")),
    *("table2_mnist", "table2_mnist_svm"),
    *(
        f"table2_mnist_{kind}{of}"
        for kind in ("basic", "rot", "bg_rand", "bg_img", "bg_img_rot")
        for of in ("", "_svm")
    ),
    *("table2_rect", "table2_rect_svm", "table2_rect_img", "table2_rect_img_svm"),
)


@hookimpl
def register_commands(register: Callable[[str, Any], None]) -> None:
    """Offer the study that connects contraction with denoising."""
    register("bridge", "caelab_analyses.bridge.command:bridge")


@hookimpl
def register_studies(register: Callable[[str, Any], None]) -> None:
    """Offer the studies behind the documentation's results, by the names of their files."""
    for folder in STUDIES:
        for path in sorted(folder.glob("*.yaml")):
            register(path.stem, path)


@hookimpl
def register_analyses(register: Callable[[str, Any], None]) -> None:
    """Offer the built-in analyses; each is a module with ``measure``, ``draw`` and perhaps ``summarise``."""
    for name in ANALYSES:
        register(name, f"caelab_analyses.{name}")


@hookimpl
def register_claims(register: Callable[[str, Any], None]) -> None:
    """Offer what Rifai et al. (2011) say, in the order in which the report tells it."""
    for name in CLAIMS:
        register(f"rifai2011.{name}", f"caelab_analyses.rifai2011.claims:{name}")
    for name in FEATURES:
        register(f"rifai2011.{name}", f"caelab_analyses.rifai2011.features:{name}")


@hookimpl
def register_published(register: Callable[[str, Any], None]) -> None:
    """Offer the numbers of the papers' tables, as far as they were checked."""
    for name in PRINTED:
        register(f"rifai2011.{name}", f"caelab_analyses.rifai2011.printed:{name}")
