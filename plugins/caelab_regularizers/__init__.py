"""The built-in regularizers, recipes and estimators, offered through the same hooks as anyone's.

A regularizer is imported when it is first used.
"""

from collections.abc import Callable
from typing import Any

from caelab import hookimpl
from caelab_regularizers.recipes import RECIPES

REGULARIZERS = {
    "auxiliary-dead": "caelab_regularizers.auxiliary_dead:AuxiliaryDead",
    "code-orthogonality": "caelab_regularizers.code_orthogonality:CodeOrthogonality",
    "contractive": "caelab_regularizers.contractive:Contractive",
    "corruption-chain": "caelab_regularizers.corruption_chain:CorruptionChain",
    "dead-units": "caelab_regularizers.dead_units:DeadUnits",
    "decoder-jacobian": "caelab_regularizers.decoder_jacobian:DecoderJacobian",
    "finite-contraction": "caelab_regularizers.finite_contraction:FiniteContraction",
    "gaussian": "caelab_regularizers.corruption:Gaussian",
    "group-sparsity": "caelab_regularizers.group_sparsity:GroupSparsity",
    "higher-order-contractive": "caelab_regularizers.higher_order:HigherOrderContractive",
    "jacobian-sparsity": "caelab_regularizers.jacobian_sparsity:JacobianSparsity",
    "masking": "caelab_regularizers.corruption:Masking",
    "reconstruction-contractive": "caelab_regularizers.reconstruction_contractive:ReconstructionContractive",
    "resample-dead": "caelab_regularizers.resample_dead:ResampleDead",
    "salt-and-pepper": "caelab_regularizers.corruption:SaltAndPepper",
    "saturating": "caelab_regularizers.saturating:Saturating",
    "sparse-kl": "caelab_regularizers.sparsity:SparseKL",
    "sparse-l1": "caelab_regularizers.sparsity:SparseL1",
    "tangent-propagation": "caelab_regularizers.tangent_propagation:TangentPropagation",
    "top-k": "caelab_regularizers.top_k:TopK",
    "twin": "caelab_regularizers.twin:Twin",
    "weight-decay": "caelab_regularizers.weight_decay:WeightDecay",
}


ESTIMATORS = ("ContractiveAutoencoder", "DenoisingAutoencoder", "SparseAutoencoder")


@hookimpl
def register_estimators(register: Callable[[str, Any], None]) -> None:
    """Offer the built-in estimators for scikit-learn."""
    for name in ESTIMATORS:
        register(name, f"caelab_regularizers.estimators:{name}")


@hookimpl
def register_regularizers(register: Callable[[str, Any], None]) -> None:
    """Offer the built-in regularizers."""
    for name, target in REGULARIZERS.items():
        register(name, target)


@hookimpl
def register_recipes(register: Callable[[str, Any], None]) -> None:
    """Offer the built-in recipes."""
    for name, recipe in RECIPES.items():
        register(name, recipe)
