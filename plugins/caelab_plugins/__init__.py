"""The built-in regularizers, offered through the same hooks as anyone's; each is imported when first used."""

from collections.abc import Callable
from typing import Any

from caelab import hookimpl

REGULARIZERS = {
    "code-orthogonality": "caelab_plugins.code_orthogonality:CodeOrthogonality",
    "contractive": "caelab_plugins.contractive:Contractive",
    "corruption-chain": "caelab_plugins.corruption_chain:CorruptionChain",
    "decoder-jacobian": "caelab_plugins.decoder_jacobian:DecoderJacobian",
    "finite-contraction": "caelab_plugins.finite_contraction:FiniteContraction",
    "gaussian": "caelab_plugins.corruption:Gaussian",
    "group-sparsity": "caelab_plugins.group_sparsity:GroupSparsity",
    "higher-order-contractive": "caelab_plugins.higher_order:HigherOrderContractive",
    "masking": "caelab_plugins.corruption:Masking",
    "reconstruction-contractive": "caelab_plugins.reconstruction_contractive:ReconstructionContractive",
    "salt-and-pepper": "caelab_plugins.corruption:SaltAndPepper",
    "saturating": "caelab_plugins.saturating:Saturating",
    "sparse-kl": "caelab_plugins.sparsity:SparseKL",
    "sparse-l1": "caelab_plugins.sparsity:SparseL1",
    "tangent-propagation": "caelab_plugins.tangent_propagation:TangentPropagation",
    "top-k": "caelab_plugins.top_k:TopK",
    "twin": "caelab_plugins.twin:Twin",
    "weight-decay": "caelab_plugins.weight_decay:WeightDecay",
}


@hookimpl
def register_regularizers(register: Callable[[str, Any], None]) -> None:
    """Offer the built-in regularizers."""
    for name, target in REGULARIZERS.items():
        register(name, target)
