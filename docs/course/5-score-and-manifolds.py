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
# # 5. Score and manifolds
#
# After this notebook you can
#
# * derive why a denoiser knows the score of its data, the gradient of the log density;
# * check a learned score against a known one, and say which density it belongs to;
# * show which contraction is the limit of denoising for small noise, and which is not;
# * draw samples from a density of which only a denoiser is known;
# * use a denoiser to find the manifold that noisy points came from.
#
# Time: 60 minutes to read and run, 60 for the exercises.
#
# ## Theory
#
# Let $\tilde x = x + \varepsilon$ with $\varepsilon \sim \mathcal N(0, \sigma^2 I)$, and let $p_\sigma$ be the
# density of $\tilde x$: that of the data, blurred. The best denoiser under squared error is
# $r^*(\tilde x) = \mathbb E[x \mid \tilde x]$. Differentiate
# $p_\sigma(\tilde x) = \int p(x) \, \mathcal N(\tilde x; x, \sigma^2 I) \, dx$ under the integral, and divide by
# $p_\sigma$:
#
# $$
# \frac{r^*(\tilde x) - \tilde x}{\sigma^2} = \nabla \log p_\sigma(\tilde x) .
# $$
#
# This holds for every $\sigma$ (Miyasawa 1961; Vincent 2011). As $\sigma \to 0$, the score of the blurred data
# becomes that of the data (Alain and Bengio 2014). So a denoising auto-encoder learns the slope of the log density
# without ever computing a density.
#
# **The bridge to contraction.** Expand $r$ at $x$ (Bishop 1995). With $J_r$ the Jacobian of the *reconstruction*,
#
# $$
# \mathbb E \, \lVert r(x + \varepsilon) - x \rVert^2 \approx
# \lVert r(x) - x \rVert^2 + \sigma^2 \lVert J_r(x) \rVert_F^2 ,
# $$
#
# where a term that is small with the residual $r(x) - x$ is left out. What stands on the right is the
# reconstruction-contractive auto-encoder (RCAE) with $\lambda = \sigma^2$. The contractive auto-encoder penalises
# $J_f$, of the encoder alone: a relative, but another function.

# %%
import matplotlib.pyplot as plt
import pandas as pd
import torch
from grade import graded

import caelab

# %% [markdown]
# ## A density whose score is known
#
# Three Gaussians of standard deviation 0.3 in the plane. Three models: a denoiser with $\sigma = 0.3$, an RCAE and
# a CAE, both with $\lambda = \sigma^2$.

# %%
sigma = 0.3
common = {
    "hidden": [100],
    "activation": "tanh",
    "output": "identity",
    "tied": False,
    "reconstruction": "squared-error",
    "epochs": 80,
    "learning_rate": 0.01,
    "batch_size": 300,
}
mixture = {"kind": "gaussian-mixture", "components": 3, "sigma": 0.3, "samples": 6000, "splits": [5400, 300, 300]}
runs = {
    "DAE": caelab.train(caelab.recipe("dae-g", gaussian__sigma=sigma, dataset=mixture, **common)),
    "RCAE": caelab.train(caelab.recipe("rcae", weight=sigma**2, dataset=mixture, **common)),
    "CAE": caelab.train(caelab.recipe("cae", weight=sigma**2, dataset=mixture, **common)),
}
truth = runs["DAE"].dataset.truth
blurred = type(truth)(truth.centres, (truth.sigma**2 + sigma**2) ** 0.5)  # Gaussians blurred by a Gaussian

# %%
line = torch.linspace(-2, 2, 17)
grid = torch.cartesian_prod(line, line)
fine = torch.linspace(-2, 2, 101)
density = blurred.log_density(torch.cartesian_prod(fine, fine)).reshape(101, 101).T
seen = blurred.log_density(grid) > -5  # where training put noisy points

figure, places = plt.subplots(1, 4, figsize=(11, 3.1), sharex=True, sharey=True)
fields = {"true, of the blurred data": blurred.score} | {
    name: lambda x, run=run: (run.reconstruct(x) - x) / sigma**2 for name, run in runs.items()
}
for axes, (name, score) in zip(places, fields.items(), strict=True):
    axes.contour(fine, fine, density, levels=[-5, -4, -3, -2, -1.5], colors="0.75", linewidths=0.8, linestyles="solid")
    axes.quiver(
        *grid[seen].T, *score(grid[seen]).T, angles="xy", scale_units="xy", scale=16, width=0.008, color="#d55e00"
    )
    axes.set(aspect="equal", title=name)
figure.tight_layout()
plt.show()

# %% [markdown]
# In numbers, on validation examples. The cosine is of the whole field,
# $\sum a \cdot b / (\lVert a \rVert \lVert b \rVert)$; the share explained is
# $1 - \lVert a - b \rVert^2 / \lVert b \rVert^2$.

# %%
points = runs["DAE"].dataset.valid_inputs
learned = {name: ((run.reconstruct(points) - points) / sigma**2).double() for name, run in runs.items()}


def agreement(field, true):
    """The cosine of two fields, and how much of the true one is explained."""
    cosine = (field * true).sum() / (field.norm() * true.norm())
    return {"cosine": float(cosine), "explained": 1 - float((field - true).norm() / true.norm()) ** 2}


table = pd.concat(
    {
        "score of the blurred data": pd.DataFrame(
            {n: agreement(f, blurred.score(points)) for n, f in learned.items()}
        ).T,
        "score of the data": pd.DataFrame({n: agreement(f, truth.score(points)) for n, f in learned.items()}).T,
    },
    axis=1,
)
table.round(2)

# %% [markdown]
# Denoiser and RCAE estimate the score of the blurred data. Of the score of the data they have the direction, and
# not the length: near a centre it is $-(x - c) / 0.3^2$, and for the blurred data half of that. The encoder's
# contraction gives another field altogether.
#
# ### Check yourself

# %%
explained = table["score of the blurred data"]["explained"]
assert explained[["DAE", "RCAE"]].min() > 0.8 > 0.3 > explained["CAE"]
assert explained["DAE"] > table["score of the data"]["explained"]["DAE"] + 0.1
print("DAE and RCAE know the score of the blurred data; the CAE does not")

# %% [markdown]
# ## Sampling
#
# Langevin's equation moves a point up the score and shakes it,
# $x \leftarrow x + \tfrac{\eta}{2} \nabla \log p(x) + \sqrt{\eta} \, \varepsilon$. After many small steps the
# points are samples of $p$. With the denoiser's field they are samples of $p_\sigma$, though no density was ever
# computed.

# %%
shaking = torch.Generator().manual_seed(0)
chains = 2 * torch.rand(600, 2, generator=shaking) - 1
start, step = chains.clone(), 0.02
for _ in range(400):
    score = (runs["DAE"].reconstruct(chains) - chains) / sigma**2
    chains = chains + step / 2 * score + step**0.5 * torch.randn(chains.shape, generator=shaking)

train = runs["DAE"].dataset.train_inputs[:600]
noisy = train + sigma * torch.randn(train.shape, generator=shaking)
figure, places = plt.subplots(1, 3, figsize=(9, 3), sharex=True, sharey=True)
for axes, (name, x) in zip(
    places, {"start": start, "after 400 steps": chains, "blurred data": noisy}.items(), strict=True
):
    axes.contour(fine, fine, density, levels=[-5, -4, -3, -2, -1.5], colors="0.75", linewidths=0.8, linestyles="solid")
    axes.scatter(*x.T, s=4, color="#0072b2")
    axes.set(aspect="equal", title=name, xlim=(-2.4, 2.4), ylim=(-2.4, 2.4))
figure.tight_layout()
plt.show()

# %% [markdown]
# ### Check yourself
#
# Samples of the right density have the right shares of the three components, and the right distance from their
# centres.

# %%
distance, component = torch.cdist(chains.double(), truth.centres).min(dim=1)
expected = torch.cdist(noisy.double(), truth.centres).min(dim=1).values.mean()
print(f"shares {(component.bincount() / len(chains)).tolist()}, distance {distance.mean():.2f} for {expected:.2f}")
assert component.bincount().min() > 0.2 * len(chains)
assert abs(distance.mean() / expected - 1) < 0.15

# %% [markdown]
# ## Back to the manifold
#
# Where the data lie near a curve, the score across it is steep and along it flat, so $r$ moves points across the
# curve and leaves them along it. Denoising again brings the points that one step has not reached closer. And the
# Jacobian of $r$ says how many directions are left: along the curve its singular value is near 1, across it near 0.
# This is what "denoising learns the manifold" means, in numbers.

# %%
spiral = {"kind": "spiral", "turns": 1.0, "sigma": 0.02, "samples": 4000, "splits": [3400, 300, 300]}
denoiser = caelab.train(caelab.recipe("dae-g", gaussian__sigma=0.1, dataset=spiral, **{**common, "hidden": [100, 100]}))
curve = denoiser.dataset.inputs
away = denoiser.dataset.test_inputs + 0.15 * torch.randn(300, 2, generator=torch.Generator().manual_seed(3))
stages = {"noisy": away}
for count in (1, 5):
    x = away
    for _ in range(count):
        x = denoiser.reconstruct(x)
    stages[f"denoised {count} times" if count > 1 else "denoised once"] = x

figure, places = plt.subplots(1, 3, figsize=(9, 3.2), sharex=True, sharey=True)
medians = {}
for axes, (name, x) in zip(places, stages.items(), strict=True):
    medians[name] = float(torch.cdist(x, curve).min(dim=1).values.median())
    axes.scatter(*curve.T, s=1, color="0.8")
    axes.scatter(*x.T, s=5, color="#d55e00")
    axes.set(aspect="equal", title=name)
figure.tight_layout()
plt.show()

# %%
on_curve = denoiser.dataset.test_inputs
jacobian = caelab.jacobian(lambda x: denoiser.model.decode(denoiser.model.encode(x)), on_curve)
values = jacobian.singular_values().detach().median(dim=0).values
print(f"singular values of the reconstruction's Jacobian on the curve, medians: {values[0]:.2f} and {values[1]:.2f}")

# %% [markdown]
# ### Check yourself

# %%
assert medians["denoised once"] < 0.5 * medians["noisy"]
assert values[0] > 0.7 > 0.4 > values[1]
print({name: round(value, 4) for name, value in medians.items()})

# %% [markdown]
# ## Questions
#
# 1. For data from $\mathcal N(0, s^2 I)$ the best denoiser is $s^2 / (s^2 + \sigma^2) \, x$. Which score does it
#    give, and how far is that from the score of the data?
# 2. Why is the learned field wrong where the density is low? What do larger $\sigma$ change about that?
# 3. Why must the score be a gradient, and when is $r(x) - x$ one? (Look at the Jacobian of $r$ with tied weights.)
# 4. A linear encoder and decoder with $W = V^{\mathsf T}$: write $\lVert J_r \rVert_F^2$ and
#    $\lVert J_f \rVert_F^2$ by the singular values of $W$. When is one small and the other not?
#
# ## Exercises
#
# Write the three functions in `exercises/score.py`.

# %%
graded("exercises", "score")

# %% [markdown]
# ## Sources
#
# * K. Miyasawa (1961). An empirical Bayes estimator of the mean of a normal population. *Bulletin of the
#   International Statistical Institute* 38.
# * C. Bishop (1995). Training with noise is equivalent to Tikhonov regularization. *Neural Computation* 7.
# * P. Vincent (2011). A connection between score matching and denoising autoencoders. *Neural Computation* 23.
# * G. Alain and Y. Bengio (2014). What regularized auto-encoders learn from the data-generating distribution.
#   *JMLR* 15.
# * caelab: [the score](../theory/score.md), [the expansion](../theory/expansion.md),
#   [the reconstruction-contractive auto-encoder](../theory/reconstruction-contractive.md).
