# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 3. Contraction
#
# After this notebook you can
#
# * state the objective of a contractive auto-encoder (CAE) with its sum and its mean in the right places;
# * compute the penalty of a sigmoid layer in closed form, and check it against automatic differentiation;
# * say in which two ways a unit can contract, and why weight decay knows only one of them;
# * read a contraction curve: what the encoder does to distances near an example and far from it.
#
# Time: 45 minutes to read and run, 60 for the exercises.
#
# ## Theory
#
# A contractive auto-encoder (Rifai et al. 2011, ICML) asks that the code changes little where the input does:
#
# $$
# \frac1n \sum_{t=1}^n \Big( L\big(x_t, r(x_t)\big) + \lambda \, \lVert J_f(x_t) \rVert_F^2 \Big),
# \qquad
# \lVert J_f(x) \rVert_F^2 = \sum_{j=1}^m \sum_{i=1}^d \left( \frac{\partial h_j}{\partial x_i} \right)^2 .
# $$
#
# The penalty is a **sum** over the $m \cdot d$ entries of the Jacobian and a **mean** over the examples. The
# reconstruction error pulls the other way: what must be told apart cannot be contracted. What remains sensitive is
# what the data vary in.
#
# For one layer of sigmoid units, $h = s(Wx + b)$, the slope is $s' = h (1 - h)$, and
#
# $$
# \lVert J_f(x) \rVert_F^2 = \sum_j \big( h_j (1 - h_j) \big)^2 \sum_i W_{ji}^2 .
# $$
#
# So a unit can contract in two ways: with small weights, or saturated, with $h_j$ near 0 or 1, where the slope
# vanishes. Weight decay, $\lVert W \rVert_F^2$, knows the first way only. For a linear encoder, the two penalties
# are the same.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from grade import graded

import caelab

digits = {"kind": "digits", "splits": [1200, 297, 300]}
common = {"hidden": [100], "dataset": digits, "epochs": 60, "learning_rate": 0.003, "batch_size": 50}

# %% [markdown]
# ## The penalty, three times
#
# `caelab.jacobian(encode, inputs)` is the Jacobian of every example. It knows the closed form of a sigmoid layer;
# here it is beside that formula by hand, and beside brute force: one backward pass for each unit.

# %%
encode = caelab.train("ae", dataset="digits", splits=(1200, 297, 300)).model.encode
x = caelab.load_dataset("digits").valid_inputs[:20]

layer, h = encode[0], encode(x)
by_hand = ((h * (1 - h)).square() @ layer.weight.square().sum(dim=1)).detach()

leaf = x.clone().requires_grad_()
rows = [torch.autograd.grad(unit.sum(), leaf, retain_graph=True)[0] for unit in encode(leaf).unbind(dim=1)]
brute_force = torch.stack(rows, dim=1).square().sum(dim=(1, 2))

jacobian = caelab.jacobian(encode, x)
print("computed by:", jacobian.method)
pd.DataFrame({"caelab": jacobian.squared_norm().detach(), "by hand": by_hand, "brute force": brute_force}).head(3)

# %% [markdown]
# ### Check yourself

# %%
assert torch.allclose(jacobian.squared_norm(), by_hand, rtol=1e-4)
assert torch.allclose(brute_force, by_hand, rtol=1e-4)
print("all three agree")

# %% [markdown]
# ## What the penalty does
#
# Four weights of the contractive penalty, four of weight decay, and the auto-encoder without either. The table has
# the mean of $\lVert J_f \rVert_F$ on validation digits, the share of saturated units ($h < 0.05$ or $h > 0.95$),
# the norm of the weights, and the reconstruction error.

# %%
lambdas, decays = [0.03, 0.1, 0.3, 1.0], [0.001, 0.003, 0.01, 0.03]
configs = [
    caelab.recipe("ae", **common),
    *(caelab.recipe("cae", weight=value, **common) for value in lambdas),
    *(caelab.recipe("ae-wd", weight=value, **common) for value in decays),
]
runs = {config.label: caelab.train(config) for config in configs}


def numbers(run):
    """What contraction did to a run, on validation digits."""
    inputs = run.dataset.valid_inputs
    code = run.encode(inputs)
    return {
        "mean norm": float(caelab.jacobian(run.model.encode, inputs).squared_norm().detach().sqrt().mean()),
        "saturated": float(((code < 0.05) | (code > 0.95)).float().mean()),
        "norm of W": float(run.model.encode[0].weight.detach().norm()),
        "reconstruction": float(run.reconstruction_error(inputs).mean()),
    }


table = pd.DataFrame({name: numbers(run) for name, run in runs.items()}).T
table.round(2)

# %% [markdown]
# A fair comparison is at equal reconstruction: any penalty makes the Jacobian small if it may make the error large.
# Each line goes through the four weights of one penalty.

# %%
figure, places = plt.subplots(1, 2, figsize=(9, 3.4))
families = {"CAE": ("cae", "#d55e00", "o-"), "AE + weight decay": ("ae-wd", "#0072b2", "s--")}
for axes, column in zip(places, ("mean norm", "saturated"), strict=True):
    axes.plot(*table.loc["ae", ["reconstruction", column]], "k*", markersize=11, label="AE")
    for name, (recipe, color, style) in families.items():
        line = table[table.index.str.startswith(f"{recipe} ")]
        axes.plot(line["reconstruction"], line[column], style, color=color, label=name)
    axes.set(xlabel="reconstruction error", ylabel=column, ylim=(0, None))
places[0].legend(frameon=False)
figure.tight_layout()
plt.show()

# %% [markdown]
# At the same reconstruction error the contractive penalty leaves a smaller Jacobian, and more units in the flat
# parts of the sigmoid.
#
# ### Check yourself
#
# Interpolate the line of weight decay at the reconstruction error of the CAE with $\lambda = 0.3$. Which norm is
# smaller?

# %%
decay = table[table.index.str.startswith("ae-wd ")].sort_values("reconstruction")
cae = table.loc["cae contractive.weight=0.3"]
equal = np.interp(cae["reconstruction"], decay["reconstruction"], decay["mean norm"])
print(f"at a reconstruction error of {cae['reconstruction']:.1f}: CAE {cae['mean norm']:.2f}, weight decay {equal:.2f}")
assert cae["mean norm"] < equal
assert table.loc[[f"cae contractive.weight={value}" for value in lambdas], "mean norm"].is_monotonic_decreasing

# %% [markdown]
# ## Near and far: the contraction curve
#
# The Jacobian speaks of infinitely small changes. The contraction curve speaks of all sizes: for a point $x_1$ at
# distance $r$ from an example $x_0$, the mean of $\lVert f(x_1) - f(x_0) \rVert / \lVert x_1 - x_0 \rVert$. At
# $r \to 0$ it is the Jacobian in a random direction, and the mean of its square $\lVert J_f \rVert_F^2 / d$.

# %%
radii = [0.05, 0.25, 0.5, 1, 1.5, 2, 3, 4, 6]
shown = {"AE": "ae", "CAE, λ = 0.3": "cae contractive.weight=0.3", "AE + wd, 0.01": "ae-wd weight-decay.weight=0.01"}
figure, axes = plt.subplots(figsize=(6, 3.4))
curves = {}
for (name, label), style in zip(shown.items(), ("k*:", "o-", "s--"), strict=True):
    curve = runs[label].analyse("contraction_curve", radii=radii, examples=100)
    curves[name] = curve.groupby("radius")["ratio"].mean()
    axes.plot(curves[name] / curves[name].iloc[0], style, label=name)
distances = torch.pdist(runs["ae"].dataset.train_inputs[:300])
axes.axvspan(*np.quantile(distances, [0.05, 0.95]), color="0.9", label="distances between digits")
axes.set(xlabel="radius r", ylabel="ratio, over that at r = 0.05", ylim=(0, None))
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# Each curve is divided by its first value, since the CAE contracts more everywhere. Compare the shapes: how long
# does each encoder keep contracting as it does at the example itself?
#
# ## Questions
#
# 1. Double every weight of a tied sigmoid auto-encoder. Can the contractive penalty fall?
# 2. Why is $\lambda = 0.1$ from one paper another $\lambda$ in a paper that averages the reconstruction error over
#    pixels? See [Which lambda?](../theory/which-lambda.md)
# 3. What happens to the penalty of an auto-encoder with **untied** weights if $W \to \varepsilon W$ and
#    $V \to V / \varepsilon$?
# 4. A denoising auto-encoder is robust in its reconstruction, a contractive one in its code. Where does that matter?
#
# ## Exercises
#
# Write the three functions in `exercises/contraction.py`. The two penalties are graded by `caelab check`, which
# holds them against brute force in float64, at a random start, after training, with equal rows, and so on.

# %%
graded("exercises", "contraction")

# %% [markdown]
# ## Sources
#
# * S. Rifai, P. Vincent, X. Muller, X. Glorot, Y. Bengio (2011). Contractive auto-encoders: explicit invariance
#   during feature extraction. *ICML*.
# * caelab: [the contractive penalty](../theory/contractive.md), [weight decay](../theory/weight-decay.md),
#   [the Jacobian](../theory/jacobian.md).
