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
# # 2. Denoising
#
# After this notebook you can
#
# * state the objective of a denoising auto-encoder (DAE) and its best answer, the posterior mean;
# * show what denoising does to the features of a code that is wider than its input;
# * draw the field $r(x) - x$ of a denoiser and say where it points;
# * derive the best linear denoiser and recognise ridge regression in it.
#
# Time: 45 minutes to read and run, 45 for the exercises.
#
# ## Theory
#
# A denoising auto-encoder gets a corrupted input $\tilde x$ and is to reconstruct the clean one (Vincent et al.
# 2008, 2010):
#
# $$
# \mathbb E_{\tilde x \mid x} \, L\big(x, r(\tilde x)\big) .
# $$
#
# Two corruptions are common: Gaussian noise, $\tilde x = x + \varepsilon$ with
# $\varepsilon \sim \mathcal N(0, \sigma^2 I)$ (DAE-g), and masking, where each input is set to zero with
# probability $p$ (DAE-b). To copy the input does not pay any more, so the code may be wide.
#
# Among all functions the best one under squared error is the posterior mean,
# $r^*(\tilde x) = \mathbb E[x \mid \tilde x]$. It pulls a corrupted point back to where the data are dense. Vincent
# et al. call this learning a manifold: what is noise is orthogonal to the data, and what remains is along them.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from grade import graded
from sklearn.linear_model import Ridge

import caelab

# %% [markdown]
# ## What denoising learns on digits
#
# Three models with a code of 100 units for 64 inputs: without noise, with Gaussian noise, with masking. All have
# the same initial weights and the same batches, since these follow from the seed.

# %%
digits = {"kind": "digits", "splits": [1200, 297, 300]}
common = {"hidden": [100], "dataset": digits, "epochs": 60, "learning_rate": 0.003, "batch_size": 50}
configs = {
    "AE": caelab.recipe("ae", **common),
    "DAE-g": caelab.recipe("dae-g", sigma=0.5, **common),
    "DAE-b": caelab.recipe("dae-b", p=0.4, **common),
}
runs = {name: caelab.train(config) for name, config in configs.items()}

# %% [markdown]
# Each model is asked to mend what it was trained to mend, and what it was not. Rows are models, columns corruptions
# of test digits; a number is the cross-entropy of the reconstruction with the **clean** digit, summed over pixels.

# %%
clean = runs["AE"].dataset.test_inputs
noise = torch.Generator().manual_seed(0)
corrupted = {
    "clean": clean,
    "Gaussian 0.5": clean + 0.5 * torch.randn(clean.shape, generator=noise),
    "masking 40 %": clean * (torch.rand(clean.shape, generator=noise) >= 0.4),
}


def cross_entropy(reconstruction):
    """Mean over examples of - sum_i x_i log r_i + (1 - x_i) log(1 - r_i)."""
    return float(torch.nn.functional.binary_cross_entropy(reconstruction, clean, reduction="sum") / len(clean))


table = pd.DataFrame(
    {kind: {name: cross_entropy(run.reconstruct(x)) for name, run in runs.items()} for kind, x in corrupted.items()}
)
table.round(1)

# %% [markdown]
# Read the table by columns. The plain auto-encoder is best on clean digits and worst on corrupted ones. The two
# denoisers pay a little on clean digits, and each is best at its own corruption. The pictures say the same:

# %%
chosen = [3, 14]
figure, places = plt.subplots(2 * len(chosen), 4, figsize=(5.5, 5.6))
for pair, example in enumerate(chosen):
    for row, kind in enumerate(("Gaussian 0.5", "masking 40 %")):
        x = corrupted[kind][example : example + 1]
        shown = {kind: x, **{name: run.reconstruct(x) for name, run in runs.items()}}
        for axes, (name, picture) in zip(places[2 * pair + row], shown.items(), strict=True):
            axes.imshow(picture.reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[])
            axes.set_title(name, fontsize=9)
figure.tight_layout()
plt.show()

# %% [markdown]
# The filters, which are the rows of the encoder's weights, differ too (compare Figure 5 of Vincent et al. 2010).
# Each row shows the twelve filters with the largest norm. Without noise they change from pixel to pixel. With noise,
# a unit must gather evidence from several neighbouring pixels, so that strokes and blobs appear.

# %%
figure, places = plt.subplots(3, 12, figsize=(9, 2.6))
for row, (name, run) in enumerate(runs.items()):
    weights = run.model.encode[0].weight.detach()
    largest = weights.norm(dim=1).argsort(descending=True)[:12]
    for axes, picture in zip(places[row], weights[largest], strict=True):
        limit = float(picture.abs().max())
        axes.imshow(picture.reshape(8, 8), cmap="RdBu_r", vmin=-limit, vmax=limit)
        axes.set(xticks=[], yticks=[])
    places[row, 0].set_ylabel(name)
plt.show()

# %% [markdown]
# ### Check yourself

# %%
assert table["clean"].idxmin() == "AE"
assert table["Gaussian 0.5"].idxmin() == "DAE-g"
assert table["masking 40 %"].idxmin() == "DAE-b"
print("each model is best at what it was trained for")

# %% [markdown]
# ## Where the denoiser points
#
# In the plane a denoiser can be drawn whole. The data lie on a spiral with a little noise; the arrows are
# $r(x) - x$, the way from a point to its reconstruction. A small network, `tanh` units and a linear output, is
# trained with squared error.

# %%
spiral = {"kind": "spiral", "samples": 2000, "sigma": 0.02, "turns": 1.5, "splits": [1600, 200, 200]}
plane = {"activation": "tanh", "output": "identity", "tied": False, "reconstruction": "squared-error"}
denoiser = caelab.train(
    caelab.recipe(
        "dae-g",
        gaussian__sigma=0.1,
        hidden=[100, 100],
        dataset=spiral,
        epochs=80,
        learning_rate=0.005,
        batch_size=100,
        **plane,
    )
)
points = denoiser.dataset.inputs
line = torch.linspace(-1.1, 1.1, 23)
grid = torch.cartesian_prod(line, line)
distance = torch.cdist(grid, points).min(dim=1).values
near = grid[distance < 0.25]
moved = denoiser.reconstruct(near)

figure, axes = plt.subplots(figsize=(5, 5))
axes.scatter(*points.T, s=2, color="0.75")
axes.quiver(*near.T, *(moved - near).T, angles="xy", scale_units="xy", scale=1, width=0.004, color="#d55e00")
axes.set(aspect="equal", xlabel="$x_1$", ylabel="$x_2$", title="r(x) - x points to the data")
plt.show()

# %% [markdown]
# Near the curve the arrows end on it: there one step of denoising is a projection on the manifold. Between two turns,
# where training put hardly any noisy point and two parts of the curve compete, the arrows are short and end off it.
#
# ### Check yourself
#
# How far from the data are points before and after one step?

# %%
before = torch.cdist(near, points).min(dim=1).values
after = torch.cdist(moved, points).min(dim=1).values
print(f"median distance to the nearest example: {before.median():.3f} before, {after.median():.3f} after")
assert after.median() < 0.5 * before.median()

# %% [markdown]
# ## The linear case, in closed form
#
# For a linear denoiser $r(x) = m + A(x - m)$ of data with mean $m$ and covariance $S$,
#
# $$
# \mathbb E \lVert r(x + \varepsilon) - x \rVert^2 =
# \operatorname{tr} (A - I) S (A - I)^{\mathsf T} + \sigma^2 \lVert A \rVert_F^2 .
# $$
#
# The second term is what noise adds: a penalty on the Jacobian of the reconstruction, $J_r = A$. That is ridge
# regression of $x$ on $x$, with the weight $n \sigma^2$. Directions of large variance pass, directions of small
# variance are shrunk. The exercise asks for $A$; here is what training finds, beside ridge regression, on digits
# with $\sigma = 0.5$.

# %%
linear = {"activation": "identity", "output": "identity", "reconstruction": "squared-error", "tied": False}
trained = caelab.train(
    caelab.recipe(
        "dae-g", sigma=0.5, hidden=[64], dataset=digits, epochs=100, learning_rate=0.001, batch_size=50, **linear
    )
)
inputs = trained.dataset.train_inputs.double().numpy()
centred = inputs - inputs.mean(axis=0)
ridge = Ridge(alpha=len(inputs) * 0.5**2, fit_intercept=False).fit(centred, centred).coef_
learned = caelab.jacobian(lambda x: trained.model.decode(trained.model.encode(x)), trained.dataset.train_inputs[:1])
learned = learned.dense()[0].detach().double().numpy()  # (64, 64), the same at every x

variances, directions = np.linalg.eigh(centred.T @ centred / len(inputs))
factors = pd.DataFrame(
    {
        "variance": variances,
        "ridge": np.einsum("di,de,ei->i", directions, ridge, directions),
        "trained": np.einsum("di,de,ei->i", directions, learned, directions),
    }
)[::-1]

figure, axes = plt.subplots(figsize=(6, 3.2))
axes.plot(factors["variance"], factors["ridge"], color="black", label="s / (s + σ²)")
axes.plot(factors["variance"], factors["trained"], "o", color="#d55e00", markersize=4, label="a linear DAE, trained")
axes.set(xscale="log", xlim=(1e-3, 1), xlabel="variance s of the direction", ylabel="how much of it passes")
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# ### Check yourself

# %%
assert np.allclose(factors["ridge"], factors["variance"] / (factors["variance"] + 0.25), atol=1e-6)
assert (factors["trained"] - factors["ridge"]).abs().max() < 0.1
print(f"largest difference of a factor: {(factors['trained'] - factors['ridge']).abs().max():.3f}")

# %% [markdown]
# ## Questions
#
# 1. Why is the reconstruction compared with the clean input, and not with the corrupted one?
# 2. Masking sets pixels to zero, and the background of a digit is zero. Which corruption changes the strokes only?
# 3. What does $r(x) - x$ do at a point that is as far from two turns of the spiral? Why is that right under squared
#    error?
# 4. Which penalty on which Jacobian would replace the noise in the linear case? Is it the encoder's?
#
# ## Exercises
#
# Write the two functions in `exercises/denoising.py`.

# %%
graded("exercises", "denoising")

# %% [markdown]
# ## Sources
#
# * P. Vincent, H. Larochelle, Y. Bengio, P.-A. Manzagol (2008). Extracting and composing robust features with
#   denoising autoencoders. *ICML*.
# * P. Vincent, H. Larochelle, I. Lajoie, Y. Bengio, P.-A. Manzagol (2010). Stacked denoising autoencoders. *JMLR* 11.
# * C. Bishop (1995). Training with noise is equivalent to Tikhonov regularization. *Neural Computation* 7.
# * caelab: [denoising](../theory/denoising.md), [the linear limit](../theory/linear-limit.md).
