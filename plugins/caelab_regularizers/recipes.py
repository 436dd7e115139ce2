"""The built-in recipes: each states its scientific choices, and how readers know the model.

Colours are those of Okabe and Ito (2008), and where more are needed, Tol's "muted" ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from caelab.runs.recipes import Look, Recipe

AE = Recipe("auto-encoder without a regularizer", name="AE", look=Look("#000000", "o", "-"), default=True)
AE_WD = Recipe(
    "auto-encoder with weight decay",
    {"regularizers": {"weight-decay": {"weight": 0.01}}},
    {"weight-decay.weight": [0.001, 0.003, 0.01, 0.03]},
    name="AE+wd",
    look=Look("#7f7f7f", "s", "--"),
    default=True,
)
DAE_G = Recipe(
    "denoising auto-encoder, Gaussian corruption",
    {"regularizers": {"gaussian": {"sigma": 0.6}}},
    {"gaussian.sigma": [0.1, 0.3, 0.6, 1.0]},
    name="DAE-g",
    look=Look("#0072b2", "^", "-."),
    default=True,
)
DAE_B = Recipe(
    "denoising auto-encoder, binary masking corruption",
    {"regularizers": {"masking": {"p": 0.5}}},
    {"masking.p": [0.1, 0.25, 0.5, 0.7]},
    name="DAE-b",
    look=Look("#56b4e9", "v", (0, (5, 1, 1, 1, 1, 1))),
    default=True,
)
SPARSE_AE = Recipe(
    "sparse auto-encoder, KL divergence of the mean activation from a target",
    {"regularizers": {"sparse-kl": {"weight": 3.0, "target": 0.1}}},
    {"sparse-kl.weight": [0.3, 1.0, 3.0, 10.0]},
    name="Sparse AE",
    look=Look("#009e73", "D", (0, (8, 2))),
    default=True,
)
CAE = Recipe(
    "contractive auto-encoder (Rifai et al. 2011)",
    {"regularizers": {"contractive": {"weight": 2.0}}},
    {"contractive.weight": [0.3, 1.0, 2.0, 5.0]},
    name="CAE",
    look=Look("#d55e00", "*", "-"),
    default=True,
)
RBM = Recipe(
    "restricted Boltzmann machine, binary units, contrastive divergence",
    {
        "model": {"kind": "rbm", "hidden": 300, "steps": 1},
        "training": {"optimizer": "sgd", "learning_rate": 0.1, "batch_size": 20},
    },
    {"training.learning_rate": [0.02, 0.05, 0.1, 0.2]},
    name="RBM",
    look=Look("#cc79a7", "P", (0, (3, 1, 1, 1))),
    default=True,
)
RCAE = Recipe(
    "reconstruction-contractive auto-encoder (Alain and Bengio 2014)",
    {"regularizers": {"reconstruction-contractive": {"weight": 0.36}}},
    {"reconstruction-contractive.weight": [0.01, 0.1, 0.36, 1.0]},
    name="RCAE",
    look=Look("#e69f00", "X", "--"),
)
CAE_H = Recipe(
    "higher-order contractive auto-encoder, CAE+H (Rifai et al. 2011, ECML)",
    {
        "regularizers": {
            "contractive": {"weight": 2.0},
            "higher-order-contractive": {"weight": 50.0, "sigma": 0.1, "samples": 4},
        }
    },
    {"higher-order-contractive.weight": [5, 20, 50, 200]},
    name="CAE+H",
    look=Look("#882255", "p", "-."),
)

RANDOM = Recipe(
    "random initial weights, which nothing trains: a floor",
    {"pretraining": "none"},
    name="Random",
    look=Look("#999933", "x", ":"),
)
INPUTS = Recipe(
    "the inputs as their own code: a floor",
    {"model": {"kind": "inputs"}, "training": {"reconstruction": "squared-error"}, "pretraining": "none"},
    name="Inputs",
    look=Look("#bbbbbb", ".", ":"),
)
PCA = Recipe(
    "principal component analysis: a floor",
    {
        "model": {"kind": "pca", "hidden": 300},
        "training": {"reconstruction": "squared-error"},
        "pretraining": "none",
    },
    name="PCA",
    look=Look("#44aa99", "+", (0, (1, 1))),
)

SAE_PAIR = Recipe(
    "two sparse auto-encoders, before and behind an MLP block",
    {
        "model": {"kind": "sparse-pair", "hidden": 2048, "k": 32},
        "training": {"reconstruction": "squared-error"},
    },
    name="SAE pair",
    look=Look("#117733", "1", "-"),
)
JSAE = Recipe(
    "Jacobian sparse auto-encoders (Farnik et al. 2025)",
    {**SAE_PAIR.config, "regularizers": {"jacobian-sparsity": {"weight": 0.01, "rows": 1}}},
    {"jacobian-sparsity.weight": [0.001, 0.003, 0.01, 0.03]},
    name="JSAE",
    look=Look("#ddcc77", "2", "--"),
)


def _stack(of: Recipe, layers: int, look: Look) -> Recipe:
    """The same model with several layers, trained one after the other."""
    single = of.config.get("model", {})
    model = {"kind": "autoencoder", **single, "hidden": [300] * layers}
    return Recipe(
        f"{of.about}; {layers} layers, trained one after the other",
        {**of.config, "model": model, "pretraining": "greedy"},
        of.tune,
        name=f"{of.name}-{layers}",
        look=look,
    )


CAE_2 = _stack(CAE, 2, Look("#cc6677", "h", "--"))
SAE_3 = replace(_stack(AE, 3, Look("#555555", ">", ":")), name="SAE-3")
DAE_B_3 = _stack(DAE_B, 3, Look("#88ccee", "<", "--"))
RBM_3 = _stack(RBM, 3, Look("#aa4499", "d", "-."))
CAE_H_2 = _stack(CAE_H, 2, Look("#332288", "8", "--"))

RECIPES: Mapping[str, Recipe] = {
    "ae": AE,
    "ae-wd": AE_WD,
    "dae-g": DAE_G,
    "dae-b": DAE_B,
    "sparse-ae": SPARSE_AE,
    "cae": CAE,
    "rbm": RBM,
    "rcae": RCAE,
    "cae-h": CAE_H,
    "cae-2": CAE_2,
    "cae-h-2": CAE_H_2,
    "sae-3": SAE_3,
    "dae-b-3": DAE_B_3,
    "rbm-3": RBM_3,
    "sae-pair": SAE_PAIR,
    "jsae": JSAE,
    "random": RANDOM,
    "pca": PCA,
    "inputs": INPUTS,
}
