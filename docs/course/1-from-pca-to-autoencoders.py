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
# # 1. From PCA to auto-encoders
#
# After this notebook you can
#
# * say what an auto-encoder minimises, and which linear auto-encoder is principal component analysis (PCA);
# * tell apart what PCA and a linear auto-encoder share (a subspace) and what they do not (the axes);
# * show data that a nonlinear code describes with fewer numbers than PCA needs;
# * say why a code that is wider than its input needs a regularizer, which the other notebooks are about.
#
# Time: 45 minutes to read and run, 45 for the exercises.
#
# ## Theory
#
# An auto-encoder maps an input $x \in \mathbb R^d$ to a code $h = f(x) \in \mathbb R^m$ and back to a
# reconstruction $r(x) = g(f(x))$. Training minimises the mean error over the examples, here the squared error
#
# $$
# \frac1n \sum_{t=1}^n \lVert r(x_t) - x_t \rVert^2 .
# $$
#
# Let both maps be affine, $f(x) = Wx + b$ and $g(h) = Vh + c$, with $k < d$ units. Let $S$ be the covariance of the
# examples, with eigenvalues $s_1 \ge s_2 \ge \dots$ and eigenvectors $u_1, u_2, \dots, u_d$. Then (Bourlard and
# Kamp 1988; Baldi and Hornik 1989):
#
# * at the global minimum $r$ is the orthogonal projection on the span of $u_1, \dots, u_k$, which is PCA, and the
#   error is $s_{k+1} + \dots + s_d$;
# * every other critical point is a saddle, so that gradient descent finds PCA;
# * $W$ and $V$ themselves are not unique: $V C$ and $C^{-1} W$ give the same reconstruction for every invertible $C$.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from grade import graded
from scipy.linalg import subspace_angles
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

import caelab
from caelab.sklearn import Autoencoder

# %% [markdown]
# ## A linear auto-encoder learns the principal subspace
#
# The data are the 1797 handwritten digits of scikit-learn, 8 × 8 pixels in $[0, 1]$. `caelab.recipe` makes a config
# from a name and settings; `caelab.train` trains it. `activation` is of the code, `output` of the reconstruction.
# The weights are tied, $V = W^{\mathsf T}$, which leaves the minimum where it is.

# %%
digits = {"kind": "digits", "splits": [1200, 297, 300]}
linear = {"activation": "identity", "output": "identity", "reconstruction": "squared-error"}
counts = [2, 5, 10, 20]
runs = {
    k: caelab.train(
        caelab.recipe("ae", hidden=[k], dataset=digits, epochs=60, learning_rate=0.005, batch_size=50, **linear)
    )
    for k in counts
}
inputs = runs[10].dataset.train_inputs
runs[10].history.tail(3)

# %% [markdown]
# The error that is left, against the sum of the discarded eigenvalues:

# %%
eigenvalues = np.linalg.eigvalsh(np.cov(inputs.double().numpy().T, bias=True))[::-1]
discarded = eigenvalues.sum() - eigenvalues.cumsum()
errors = {k: float(run.reconstruction_error(inputs).mean()) for k, run in runs.items()}

figure, axes = plt.subplots(figsize=(6, 3.2))
axes.plot(range(1, 31), discarded[:30], color="black", label="PCA: the sum of the discarded eigenvalues")
axes.plot(errors.keys(), errors.values(), "o", color="#d55e00", markersize=8, label="linear auto-encoders, trained")
axes.set(xlabel="units k", ylabel="squared error", ylim=(0, None))
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# The two agree. Do the subspaces, too? The principal angles between two subspaces are 0 where they are equal; two
# random subspaces of 10 dimensions in 64 have a largest angle near 90 degrees.

# %%
pca = PCA(10).fit(inputs)
weights = runs[10].model.encode[0].weight.detach().numpy()  # (10, 64)
random = np.random.default_rng(0).standard_normal((64, 10))
angles = {
    "linear auto-encoder": np.degrees(subspace_angles(weights.T, pca.components_.T)),
    "random directions": np.degrees(subspace_angles(random, pca.components_.T)),
}
for name, values in angles.items():
    print(f"{name}: {values.min():.1f} to {values.max():.1f} degrees from the principal subspace")

# %% [markdown]
# The subspace is the same, and the axes are not: the auto-encoder's rows are a mixture of the principal components.

# %%
figure, axes = plt.subplots(2, 10, figsize=(9, 2.2))
for row, (name, filters) in enumerate({"PCA": pca.components_, "linear AE": weights}.items()):
    for place, picture in zip(axes[row], filters, strict=True):
        limit = abs(picture).max()
        place.imshow(picture.reshape(8, 8), cmap="RdBu_r", vmin=-limit, vmax=limit)
        place.set(xticks=[], yticks=[])
    axes[row, 0].set_ylabel(name)
plt.show()

# %% [markdown]
# ### Check yourself
#
# Predict before you run: what is the largest angle after the rows of $W$ are multiplied by an invertible 10 × 10
# matrix?

# %%
mixed = np.random.default_rng(1).standard_normal((10, 10)) @ weights
assert np.allclose(
    subspace_angles(mixed.T, pca.components_.T), subspace_angles(weights.T, pca.components_.T), atol=1e-3
)
assert angles["linear auto-encoder"].max() < 15 < 60 < angles["random directions"].max()
assert all(abs(errors[k] / discarded[k - 1] - 1) < 0.05 for k in counts)
print("the span does not change")

# %% [markdown]
# ## In the place of PCA
#
# `caelab.sklearn` has auto-encoders as estimators, so that one stands in a pipeline wherever PCA can stand. A logistic
# regression on ten numbers finds nearly the same digits, whichever of the two made the numbers, since a linear
# classifier does not mind which axes a subspace has.

# %%
X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, random_state=0)
ten = Autoencoder(hidden=10, activation="identity", epochs=40, learning_rate=0.005, batch_size=50, random_state=0)
accuracy = {}
for name, encoder in {"PCA": PCA(10), "linear auto-encoder": ten}.items():
    pipeline = make_pipeline(encoder, LogisticRegression(max_iter=1000)).fit(X_train, y_train)
    accuracy[name] = pipeline.score(X_test, y_test)
    print(f"{name}: {accuracy[name]:.1%} of the test digits are right")
assert abs(accuracy["PCA"] - accuracy["linear auto-encoder"]) < 0.05

# %% [markdown]
# ## What a nonlinear code adds
#
# A half circle is a manifold of one dimension in the plane. PCA with one component projects it on a line. An
# auto-encoder whose code is a single number, with a hidden layer on either side, can follow the curve.

# %%
angle = torch.rand(2000, generator=torch.Generator().manual_seed(0)) * np.pi
arc = torch.stack([angle.cos(), angle.sin()], dim=1) + 0.02 * torch.randn(
    2000, 2, generator=torch.Generator().manual_seed(1)
)
curved = caelab.recipe(
    "ae",
    hidden=[30, 1],
    activation="tanh",
    output="identity",
    tied=False,
    reconstruction="squared-error",
    epochs=150,
    learning_rate=0.01,
)
nonlinear = caelab.train(curved, dataset=arc, splits=(1500, 250, 250))
line = PCA(1).fit(arc)

test = nonlinear.dataset.test_inputs
found = {
    "PCA, one component": torch.from_numpy(line.inverse_transform(line.transform(test))),
    "auto-encoder, one unit": nonlinear.reconstruct(test),
}
figure, places = plt.subplots(1, 2, figsize=(8, 2.8), sharex=True, sharey=True)
mean_errors = {}
for axes, (name, back) in zip(places, found.items(), strict=True):
    mean_errors[name] = float((back - test).square().sum(dim=1).mean())
    axes.scatter(*test.T, s=6, color="grey", label="x")
    axes.scatter(*back.T, s=6, color="#d55e00", label="r(x)")
    axes.set(title=f"{name}: error {mean_errors[name]:.4f}", aspect="equal")
places[0].legend(frameon=False, markerscale=2)
plt.show()

# %% [markdown]
# The noise across the curve has variance $0.02^2$ and cannot be described by one number; nearly nothing else is left.
#
# ### Check yourself

# %%
assert mean_errors["auto-encoder, one unit"] < 0.05 * mean_errors["PCA, one component"]
print(f"the noise alone leaves {0.02**2:.4f}, one unit leaves {mean_errors['auto-encoder, one unit']:.4f}")

# %% [markdown]
# ## A code that is too wide
#
# Nothing in the objective says that a code should be useful. With as many units as inputs, or more, $r(x) = x$ is
# possible, and an affine auto-encoder approaches it in all directions in which the examples vary. It then copies
# points that are no digits at all.

# %%
wide = caelab.train(
    caelab.recipe("ae", hidden=[100], dataset=digits, epochs=60, learning_rate=0.005, batch_size=50, **linear)
)
noise = torch.rand(300, 64, generator=torch.Generator().manual_seed(2))
both = {"digits": wide.dataset.test_inputs, "noise": noise}
for units, run in {10: runs[10], 100: wide}.items():
    shares = {
        name: float(run.reconstruction_error(x).mean() / (x - x.mean(0)).square().sum(1).mean())
        for name, x in both.items()
    }
    print(
        f"{units:3} units: "
        + ", ".join(f"{share:6.1%} of the variance of {name} is lost" for name, share in shares.items())
    )

# %% [markdown]
# The narrow code cannot copy noise: its error is larger than the variance of the noise, because the noise has
# another mean than the digits. The wide code copies most of it. Nearly all of the rest lies in the twelve pixels that
# hardly vary in digits, where training never saw an error. So a small error does not say that a wide code knows
# digits.
#
# A narrow code is one way out, and PCA takes it. The others keep the code wide and ask more of it: to undo noise
# ([notebook 2](2-denoising.py)), or to change little where the input changes ([notebook 3](3-contraction.py)).
#
# ## Questions
#
# 1. The bias of a linear auto-encoder can be left out if the inputs are centred first. Why?
# 2. With tied weights, $W^{\mathsf T} W$ must be a projection at the minimum. What does that say of the rows of
#    $W$? Print `weights @ weights.T` and compare. What changes without tying?
# 3. Sigmoid units near zero are nearly linear. What does an auto-encoder with small weights and sigmoid units learn?
#
# ## Exercises
#
# Write the two functions in `exercises/pca.py`. The cell below grades them; `python grade.py exercises --only pca`
# does the same.

# %%
graded("exercises", "pca")

# %% [markdown]
# ## Sources
#
# * H. Bourlard and Y. Kamp (1988). Auto-association by multilayer perceptrons and singular value decomposition.
#   *Biological Cybernetics* 59.
# * P. Baldi and K. Hornik (1989). Neural networks and principal component analysis: learning from examples without
#   local minima. *Neural Networks* 2.
# * caelab: [the linear limit](../theory/linear-limit.md).
