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
# # 6. Write your own penalty
#
# After this notebook you can
#
# * write a regularizer in ten lines and train with it;
# * say what it claims to be, and have that checked in value and gradient;
# * recognise the mistakes that most public implementations of the contractive penalty make, and mend them.
#
# Time: 30 minutes to read and run, 90 for the exercises.
#
# ## Theory
#
# A penalty that is wrong rarely fails. It runs, and it prints a number. A test that looks at the
# value at a random start often passes: the gradient of the *summed* code, $J^{\mathsf T} \mathbf 1$, has the same
# squared norm as $J$ in expectation over random weights. So a check must look
#
# * **after training**, where rows of the weight are correlated, and at made-up weights: equal rows, one huge row;
# * **at the gradient**, by central differences of the value, since what is cut from the graph has the right value;
# * **at the reduction**: twice the examples must not change a mean over examples; twice the units must change a sum
#   over entries;
# * **at manners**: a hook that changes the batch in place, draws from the global generator or switches the model's
#   mode changes the experiment for everybody else.
#
# `caelab check` does that. The reference is brute force in float64, example by example and entry by entry.

# %%
from dataclasses import dataclass

import matplotlib.pyplot as plt
import pandas as pd
import torch
from grade import graded

import caelab
from caelab.testing import check_penalty, check_regularizer

# %% [markdown]
# ## A regularizer in ten lines
#
# A plugin is a class with hooks. `penalty_terms` is asked in every batch, and asks by name for what it needs: here
# the Jacobian of the encoder. It returns terms that are weighted already.


# %%
@dataclass(eq=False)
class Mine:
    """lambda times the mean over examples of ||J_f(x)||_F^2 (Rifai et al. 2011)."""

    weight: float

    claims = "squared norm of the encoder's Jacobian"

    @caelab.hookimpl
    def penalty_terms(self, encoder_jacobian):
        return {"mine": self.weight * encoder_jacobian.squared_norm().mean()}


digits = {"kind": "digits", "splits": [1200, 297, 300]}
common = {"hidden": [60], "dataset": digits, "epochs": 40, "learning_rate": 0.003}
mine = caelab.train(caelab.recipe("ae", **common), regularizers={"mine": Mine(weight=0.3)})
built_in = caelab.train(caelab.recipe("cae", weight=0.3, **common))
same = torch.equal(mine.model.encode[0].weight, built_in.model.encode[0].weight)
print("the same weights as the built-in one:", same)
print(check_regularizer(Mine).summary())

# %% [markdown]
# ## A mistake that trains
#
# Here is one that was published more than once: the mean over the entries of the Jacobian instead of their sum.


# %%
def entries(W, h):
    """The contractive penalty of a sigmoid layer, it says."""
    jacobian = (h * (1 - h))[:, :, None] * W  # (batch, code, input)
    return jacobian.square().mean()


@dataclass(eq=False)
class Wrong:
    """The same as a plugin."""

    weight: float

    @caelab.hookimpl
    def penalty_terms(self, model, clean):
        return {"wrong": self.weight * entries(model.encode[0].weight, model.encode(clean))}


wrong = caelab.train(caelab.recipe("ae", **common), regularizers={"wrong": Wrong(weight=0.3)})
plain = caelab.train(caelab.recipe("ae", **common))

figure, places = plt.subplots(1, 2, figsize=(8.5, 3))
places[0].plot(wrong.history["epoch"], wrong.history["train_wrong"], color="#d55e00")
places[0].set(xlabel="epoch", ylabel="the penalty that is printed", title="a number like any other")
norms = {}
for name, run in {"AE": plain, "mistake": wrong, "CAE": built_in}.items():
    norms[name] = float(caelab.jacobian(run.model.encode, run.dataset.valid_inputs).squared_norm().detach().mean())
places[1].bar(norms.keys(), norms.values(), color=["0.6", "#d55e00", "#0072b2"])
places[1].set(ylabel="mean squared norm of J", title="what it did")
figure.tight_layout()
plt.show()

# %% [markdown]
# It did nothing: $\lambda$ was divided by $m \cdot d = 60 \cdot 64$. This is what the check says. `W` and `h` are
# handed over by their names; the function says that it is for sigmoid layers.

# %%
claim = "squared norm of the encoder's Jacobian"
report = check_penalty(entries, claim, activations=["sigmoid"], raises=False)
print(report.summary())
pd.DataFrame(report.rows()[:5], columns=["check", "verdict", "expected", "found", "what to do"]).style.hide()

# %% [markdown]
# The first row names the mistake; every value is 1/36 of what was claimed, on the check's tiny network of 9 inputs
# and 4 units. From the shell it is
#
# ```text
# $ caelab check exercises/penalties.py:entries --claims "squared norm of the encoder's Jacobian"
# ```
#
# Mended, and checked again:


# %%
def mended(W, h):
    """Sum over entries, mean over examples."""
    jacobian = (h * (1 - h))[:, :, None] * W
    return jacobian.square().sum(dim=(1, 2)).mean()


print(check_penalty(mended, claim, activations=["sigmoid"]).summary())

# %% [markdown]
# ## The exercises: eleven mistakes
#
# `exercises/penalties.py` holds seven functions that claim to be the contractive penalty, and four plugins. Each
# has one mistake. This is what the check says of them as they are:

# %%
before = graded("exercises", "penalties")
before.style.hide().set_properties(**{"text-align": "left"})

# %% [markdown]
# Mend them one by one, in the file, and run the cell again, until every verdict is "right"; `python grade.py exercises
# --only penalties` does the same. The functions can be mended within their arguments. For the plugins
# look at [the hooks](../reference/hooks.md).
#
# ### Check yourself
#
# A right penalty is as important to recognise. Is this one, which draws a random projection instead of computing
# the Jacobian, a mistake? Its *expectation* is the claim (Hutchinson 1989), and the check averages over as many
# draws as it takes.


# %%
@dataclass(eq=False)
class Projected:
    """E ||J^T u||^2 over random signs u, which is ||J||_F^2."""

    weight: float

    claims = "squared norm of the encoder's Jacobian"

    @caelab.hookimpl
    def penalty_terms(self, encoder_jacobian, code, streams):
        signs = 2 * torch.randint(2, code.shape, generator=streams["signs"], device=code.device).to(code.dtype) - 1
        return {"projected": self.weight * encoder_jacobian.vjp(signs).square().sum(dim=1).mean()}


assert (before["verdict"] == "wrong").all()
assert norms["mistake"] > 0.99 * norms["AE"]
assert norms["CAE"] < 0.7 * norms["AE"]
print(check_regularizer(Projected).summary())

# %% [markdown]
# ## Your own
#
# Now invent one. Some that are known, each with a page: [sparse Jacobians](../theory/jacobian-sparsity.md), [a
# contraction over a finite distance](../theory/finite-contraction.md), [curvature](../theory/higher-order.md),
# [orthogonal rows](../theory/code-orthogonality.md). `caelab new regularizer` makes a package with tests; [Write a
# regularizer](../howto/write-a-regularizer.md) shows how.
#
# ## Questions
#
# 1. `graph` has the right value everywhere. How would you notice without a check? (What happens to the weights?)
# 2. `units` passes at a random start, on average. Why, and why not after training?
# 3. Which mistakes does training with a larger or smaller $\lambda$ make good, and which change the function?
# 4. Why must a corruption draw from `streams`, though its numbers are random either way?
#
# ## Sources
#
# * S. Rifai, P. Vincent, X. Muller, X. Glorot, Y. Bengio (2011). Contractive auto-encoders. *ICML*.
# * M. Hutchinson (1989). A stochastic estimator of the trace of the influence matrix. *Communications in
#   Statistics* 18.
# * caelab: [known mistakes](../theory/known-mistakes.md), [test your plugin](../howto/test-your-plugin.md).
