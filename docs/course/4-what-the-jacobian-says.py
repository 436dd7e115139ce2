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
# # 4. What the Jacobian says
#
# After this notebook you can
#
# * read the singular values of an encoder's Jacobian as the directions that it tells apart at an example;
# * find the dimension of a manifold in a spectrum, and say when it cannot be found there;
# * compare the leading directions of an encoder with the true tangents of a manifold;
# * compare models over seeds, paired, with intervals;
# * say what the manifold tangent classifier does with tangents.
#
# Time: 45 minutes to read and run, 60 for the exercises.
#
# ## Theory
#
# Near an example $x$ the encoder is its Jacobian, $f(x + \delta) \approx f(x) + J_f(x) \, \delta$. The singular
# value decomposition $J_f = U \, \mathrm{diag}(s) \, V^{\mathsf T}$ says what it does: a small step along the right
# singular vector $v_i$ moves the code by $s_i$ times its length, along $u_i$. Large $s_i$: the encoder tells apart
# what differs along $v_i$. Small $s_i$: it does not care. Their squares add up to the penalty,
# $\sum_i s_i^2 = \lVert J_f \rVert_F^2$.
#
# A contractive auto-encoder makes all $s_i$ small, but for those that reconstruction needs: the directions in which
# the examples near $x$ vary. If the data lie near a manifold of dimension $k$, these are its $k$ tangents at $x$,
# and the spectrum should fall after $k$ values (Rifai et al. 2011, section 5.3).

# %%
import matplotlib.pyplot as plt
import torch
from grade import graded

import caelab

# %% [markdown]
# ## A manifold that is known
#
# A sphere of radius 4, a manifold of two dimensions, lies in a space of 20 dimensions, turned at random, with a
# little noise in all of them. caelab knows the true tangents at every example: `dataset.truth.basis`, shape
# (examples, 2, 20).

# %%
sphere = {"kind": "sphere", "scale": 4, "noise": 0.12, "ambient": 20, "samples": 1200, "splits": [1000, 100, 100]}
common = {
    "hidden": [100],
    "dataset": sphere,
    "output": "identity",
    "reconstruction": "squared-error",
    "epochs": 40,
    "learning_rate": 0.01,
    "batch_size": 50,
}
runs = {
    "AE": caelab.train(caelab.recipe("ae", **common)),
    "CAE, λ = 0.1": caelab.train(caelab.recipe("cae", weight=0.1, **common)),
    "CAE, λ = 1": caelab.train(caelab.recipe("cae", weight=1.0, **common)),
}


def jacobian_of(run):
    """The Jacobian of the encoder at the validation examples."""
    return caelab.jacobian(run.model.encode, run.dataset.valid_inputs)


spectra = {name: jacobian_of(run).singular_values().detach().mean(dim=0) for name, run in runs.items()}

figure, axes = plt.subplots(figsize=(6, 3.4))
for (name, values), style in zip(spectra.items(), ("k*:", "s--", "o-"), strict=True):
    axes.plot(range(1, 21), values, style, label=name)
axes.axvline(2.5, color="0.7")
axes.annotate("dimension of the sphere: 2", (2.7, 0.53), color="0.4")
axes.set(xlabel="rank i", ylabel="singular value, mean over examples", ylim=(0, 0.58), xticks=[1, 2, 3, 5, 10, 15, 20])
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# The plain auto-encoder, wide enough to copy, responds to all 20 directions nearly alike: its spectrum says nothing
# about the data. With $\lambda = 1$ contraction takes 17 of them away; with $\lambda = 0.1$ it has begun to. Of the
# three that stay, two are larger: the tangents. The third is the direction from the centre of the sphere. The code
# must say on which side of the sphere an example lies, so the auto-encoder cannot give it up.
#
# ## Are they the tangents?
#
# Let $V_x$ have the two leading directions as rows, and $T_x$ the two true tangents.
# $\lVert V_x T_x^{\mathsf T} \rVert_F^2 / 2$ is the mean of the squared cosines of the angles between the two
# planes: 1 if they agree, $2/20$ on average for a random plane.

# %%
true = {name: run.dataset.truth.basis[run.dataset.valid] for name, run in runs.items()}
alignment = {}
for name, run in runs.items():
    _, directions = jacobian_of(run).tangents(2)  # (examples, 2, 20)
    alignment[name] = float((directions.detach().double() @ true[name].mT).square().sum(dim=(1, 2)).mean() / 2)
    print(f"{name:12} {alignment[name]:.3f}")

# %% [markdown]
# ### Check yourself
#
# An alignment means little without a gap in the spectrum: if $s_2 = s_3$, the second direction is any mixture of
# two. What is the gap $s_2 / s_3$ of each model?

# %%
gap = {name: float(values[1] / values[2]) for name, values in spectra.items()}
print({name: round(value, 2) for name, value in gap.items()})
assert gap["AE"] < 1.1 < 1.5 < gap["CAE, λ = 1"]
assert alignment["AE"] < 0.2 < 0.95 < alignment["CAE, λ = 1"]
squares = jacobian_of(runs["AE"]).singular_values().square().sum(dim=1)
assert torch.allclose(squares.float(), jacobian_of(runs["AE"]).squared_norm(), rtol=1e-4)

# %% [markdown]
# ## Digits: a comparison over seeds
#
# Nobody knows the manifold of digits. What can be said is how models differ, and whether that is more than chance.
# `caelab.compare` trains every model from every seed; models of one seed share splits and initial weights, so that
# differences are paired.

# %%
comparison = caelab.compare(
    ["ae", "dae-g", "cae"],
    seeds=3,
    dataset={"kind": "digits", "splits": [1200, 297, 300]},
    analyses={"jacobian_norm": {}, "jacobian_spectrum": {}, "tangents": {"reach": 2}},
    executor="serial",
    hidden=[100],
    epochs=30,
    learning_rate=0.003,
    batch_size=50,
)
comparison.figure("jacobian_spectrum")

# %%
comparison.summary.pivot(index="number", columns="model", values="mean").round(4)

# %% [markdown]
# The effective rank is the exponential of the entropy of $s_i / \sum_j s_j$ (Roy and Vetterli 2007): the number of
# directions that a spectrum has. Is it smaller for the CAE, and is that more than chance?

# %%
comparison.test("cae", "ae", on="effective rank")

# %% [markdown]
# The leading directions at two digits, drawn as images. Red and blue are where ink is added and taken away. A step
# along a tangent should turn the digit into a digit: a shift of a stroke, a thicker line.

# %%
comparison.figure("tangents")

# %% [markdown]
# ## What tangents are good for
#
# The manifold tangent classifier (Rifai et al. 2011, NIPS) takes the leading directions at every training example
# and fine-tunes a classifier $o$ with the penalty $\sum_k \lVert \partial o / \partial x \cdot v_k \rVert^2$: a
# step along the manifold is not to change the class. caelab has it as the analysis `tangent_classifier`; see [the
# tangent classifier](../theory/tangent-classifier.md).
#
# ## Questions
#
# 1. Why does weight decay not show the dimension of the data in a linear encoder, however large its weight is?
# 2. The noise has standard deviation 0.12 in all 20 directions. What happens to the spectrum when it is 1?
# 3. At which examples of the digits would you expect more directions than at others?
# 4. Give the sphere a radius of 1. Why does the alignment fall? (Where are the units on their sigmoid?) See
#    [Singular vectors and tangents](../theory/alignment.md).
#
# ## Exercises
#
# Write the three functions in `exercises/spectrum.py`.

# %%
graded("exercises", "spectrum")

# %% [markdown]
# ## Sources
#
# * S. Rifai, P. Vincent, X. Muller, X. Glorot, Y. Bengio (2011). Contractive auto-encoders. *ICML*.
# * S. Rifai, Y. Dauphin, P. Vincent, Y. Bengio, X. Muller (2011). The manifold tangent classifier. *NIPS*.
# * O. Roy and M. Vetterli (2007). The effective rank: a measure of effective dimensionality. *EUSIPCO*.
# * caelab: [the Jacobian](../theory/jacobian.md), [singular vectors and tangents](../theory/alignment.md).
