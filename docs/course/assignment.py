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
# # The assignment: denoising and contractive auto-encoders on digits
#
# Train a denoising and a contractive auto-encoder on handwritten digits, with one layer and with two that are
# trained layer by layer. Fine-tune each with labels. Compare the test errors, and say which differences are more
# than chance.
#
# Run it as a script, `python assignment.py [FOLDER]`, or as a notebook. It writes `table.csv`, `table.tex`,
# `errors.png` and `filters.png` into the folder, by default `assignment`, and takes about four minutes on two
# cores. A second run finds what is there.

# %%
import sys
from pathlib import Path

import matplotlib.pyplot as plt

import caelab

AS_SCRIPT = "ipykernel" not in sys.modules
FOLDER = Path(sys.argv[1] if AS_SCRIPT and sys.argv[1:] else "assignment")
DIGITS = {"kind": "mnist5k", "splits": [3500, 500, 1000]}  # 5000 digits of MNIST, which come with caelab
EPOCHS, FINE_TUNING, SEEDS = 20, {"epochs": 25, "patience": 10}, 3

# %% [markdown]
# ## The models
#
# `random` is the floor: the same encoder with its random start, fine-tuned. `dae-b` sets a quarter of the pixels to
# zero, `cae` penalises the Jacobian of the encoder. The two-layer models are trained greedily: the second layer on
# the codes of the first.

# %%
MODELS = [
    "random",
    "dae-b",
    "cae",
    caelab.recipe("dae-b", hidden=[300, 300], pretraining="greedy", label="dae-b-2"),
    "cae-2",
]
for model in MODELS:
    config = caelab.recipe(model) if isinstance(model, str) else model
    print(f"{config.label:8} hidden {config.model.options['hidden']}, regularizers {list(config.regularizers)}")

# %% [markdown]
# ## Train, fine-tune, compare
#
# Every model is trained from every seed; models of one seed have the same split of the digits and the same initial
# weights, so that their differences are paired. The classifier keeps the epoch with the lowest validation error.

# %%
comparison = caelab.compare(
    MODELS,
    seeds=SEEDS,
    dataset=DIGITS,
    epochs=EPOCHS,
    analyses={"jacobian_norm": {}, "fine_tuning": FINE_TUNING, "filters": {}},
    out=FOLDER / "comparison",
)
error = "test error after fine-tuning"
numbers = comparison.summary
chosen = numbers[numbers["number"].isin([error, "mean norm"])]
table = chosen.pivot(index="model", columns="number", values=["mean", "low", "high"])
table = table.loc[[model if isinstance(model, str) else model.label for model in MODELS]]
table.to_csv(FOLDER / "table.csv")
comparison.to_latex(columns=[error, "mean norm"], path=FOLDER / "table.tex")
print(table["mean"].round(2))

# %% [markdown]
# ## Which differences are more than chance?

# %%
for one, other in [("dae-b", "random"), ("cae", "random"), ("cae", "dae-b"), ("dae-b-2", "dae-b"), ("cae-2", "cae")]:
    print(comparison.test(one, other, on=error))

# %% [markdown]
# ## Figures

# %%
figure, axes = plt.subplots(figsize=(6, 3))
means, lows, highs = (table[column][error] for column in ("mean", "low", "high"))
axes.errorbar(means, range(len(means)), xerr=[means - lows, highs - means], fmt="o", color="#d55e00", capsize=3)
axes.set(yticks=range(len(means)), yticklabels=means.index, xlabel="test error after fine-tuning (%)", xlim=(0, None))
axes.invert_yaxis()
figure.tight_layout()
figure.savefig(FOLDER / "errors.png", dpi=150)
plt.show()

filters = comparison.figure("filters")
filters.savefig(FOLDER / "filters.png", dpi=150)
filters

# %% [markdown]
# ## Hand in
#
# 1. The table and the two figures, with one paragraph each: what is shown, and what follows from it.
# 2. Which pretraining helps, compared with `random`, and how sure are you? Quote an interval.
# 3. Does a second layer help? Why is "inconclusive" an honest answer with three seeds?
# 4. What differs between the filters of the denoising and the contractive auto-encoder?
# 5. Choose the weight of the contractive penalty by the **validation** error: compare `caelab.recipe("cae",
#    weight=...)` for four values. Why not by the test error?
# 6. Replace the contractive penalty by your own of [notebook 6](6-write-your-own-penalty.py), and compare.

# %%
print(f"written: {', '.join(sorted(path.name for path in FOLDER.iterdir() if path.is_file()))} in {FOLDER}")
