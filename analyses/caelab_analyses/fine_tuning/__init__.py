"""Fine-tuning and the Jacobian: what an encoder's contraction becomes when labels are learnt (Rifai et al. 2011).

The paper measures the norm and the saturation before fine-tuning. Here both are measured before and after it, on the
same validation examples, beside the error of the classifier that came of it.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from caelab.analysis.columns import Column
from caelab.classifiers import finetune
from caelab.jacobian.service import jacobian
from caelab.models.layers import saturated_share
from caelab.options import Count, Positive, Probability
from caelab.runs.run import Run
from caelab.streams import Streams
from caelab_analyses.fine_tuning.figure import AFTER, BEFORE, before_and_after
from caelab_analyses.shared.activations import code_activation
from caelab_analyses.shared.float64 import double_encoder

title = "Fine-tuning and the Jacobian"
caption = (
    "The norm of the encoder's Jacobian, the saturated share of its units and its spectrum, before (open marks, broken "
    "lines) and after (filled marks, lines) the encoder was fine-tuned on labels, at the same validation examples. "
    "Each mark is the mean over seeds, the bar its 95 % interval."
)
needs_labels = True
columns = (
    Column(
        name="test error after fine-tuning",
        heading="test error after\nfine-tuning (%)",
        better="smaller",
        table="main",
        short="test error %",
        order=-1,
        optional=True,  # it is left out while something is chosen
    ),
    Column(
        name="validation error after fine-tuning",
        heading="validation error\nafter fine-tuning (%)",
        better="smaller",
        tune=True,
    ),
    Column(name="norm after fine-tuning", heading="mean ‖J‖ after\nfine-tuning", table="contraction"),
    Column(name="norm ratio of fine-tuning", heading="mean ‖J‖ after /\nbefore fine-tuning", table="contraction"),
    Column(
        name="saturated share after fine-tuning",
        heading="saturated after\nfine-tuning (%)",
        factor=100,
        table="contraction",
        optional=True,
    ),
)


def measure(
    run: Run,
    streams: Streams,
    *,
    labels: Count | None = None,
    examples: Count = 100,
    optimizer: Literal["adam", "sgd", "rmsprop"] = "sgd",
    learning_rate: Positive = 0.1,
    momentum: Probability = 0.9,
    batch_size: Count = 50,
    epochs: Count = 60,
    patience: Count | None = 10,
    dropout: Probability = 0.0,
    test: bool = True,
    device: str = "cpu",
) -> pd.DataFrame:
    """Norm, saturation and spectrum of the encoder before and after fine-tuning, and the errors that it led to.

    Args:
        run: the trained model and its data; its weights stay as they are.
        streams: only their seed counts: for the softmax layer's start, the batches and dropout.
        labels: how many labelled training examples, the first ones, or all if there are fewer or it is None.
        examples: how many validation examples the Jacobian is measured at, the first ones.
        optimizer: of fine-tuning, as the options that follow; see ``caelab.finetune``.
        learning_rate: see there.
        momentum: see there.
        batch_size: see there.
        epochs: see there.
        patience: see there.
        dropout: of the code; see there.
        device: where it is computed, as ``cuda``.
        test: whether the test examples are looked at; while something is chosen they are not.

    Returns:
        One row per ``stage`` (before, after) and ``rank`` from 1: ``singular_value``, the mean over the examples of
        that of the rank; and, the same in all rows of a stage: ``norm``, the mean of ‖J‖_F, ``squared_norm``,
        ``squared_entry`` (‖J‖_F² / (m·d)), ``saturated_share`` (NaN where the activation has no two bounds), then
        ``valid_error`` and ``test_error`` in percent (NaN before: there is no classifier), ``test_examples``,
        ``labels`` and ``epochs`` up to the weights that were kept.

    Raises:
        NotApplicable: the data have no labels, the labelled examples are of one class, or nothing can be tuned.
        CaelabError: fine-tuning diverged.
    """
    count = None if labels is None else min(labels, len(run.dataset.train))
    descent: dict[str, Any] = {
        "optimizer": optimizer,
        "learning_rate": learning_rate,
        "momentum": momentum,
        "dropout": dropout,
    }
    lengths: dict[str, Any] = {"batch_size": batch_size, "epochs": epochs, "patience": patience, "device": device}
    made = finetune(run, labels=count, seed=streams.seed, **descent, **lengths)
    errors = {"valid_error": made.error("valid"), "test_error": made.error("test") if test else np.nan}
    learnt = {
        "test_examples": len(run.dataset.test) if test else 0,
        "labels": made.record["labels"],
        "epochs": int(made.best()["epoch"]),
    }
    inputs = run.dataset.valid_inputs[:examples]
    before = _stage(run, inputs).assign(stage=BEFORE, **dict.fromkeys(errors, np.nan), **learnt)
    after = _stage(made.as_run(), inputs).assign(stage=AFTER, **errors, **learnt)
    return pd.concat([before, after], ignore_index=True)


def _stage(run: Run, inputs: Tensor) -> pd.DataFrame:
    """Spectrum, norms and saturation of one encoder, one row per rank."""
    values = jacobian(double_encoder(run), inputs.double()).singular_values().detach()
    code = run.encode(inputs)
    squared = values.square().sum(dim=1)
    means = {
        "norm": float(squared.sqrt().mean()),
        "squared_norm": float(squared.mean()),
        "squared_entry": float(squared.mean()) / (code[0].numel() * inputs[0].numel()),
        "saturated_share": float(saturated_share(code, code_activation(run)).mean()),
    }
    ranks = np.arange(1, values.shape[1] + 1)
    return pd.DataFrame({"rank": ranks, "singular_value": values.mean(dim=0).numpy()}).assign(**means)


def summarise(table: pd.DataFrame) -> dict[str, float]:
    """The errors after fine-tuning in percent, the norm after it, its ratio to that before, and the saturation."""
    first: Any = table.groupby("stage").first()
    keys = ("norm", "saturated_share", "valid_error", "test_error")
    before, after = ({key: float(first[key][stage]) for key in keys} for stage in (BEFORE, AFTER))
    tested = {"test error after fine-tuning": after["test_error"]} if np.isfinite(after["test_error"]) else {}
    found = tested | {
        "validation error after fine-tuning": after["valid_error"],
        "norm after fine-tuning": after["norm"],
        "norm ratio of fine-tuning": after["norm"] / before["norm"] if before["norm"] else np.nan,
    }
    if np.isfinite(after["saturated_share"]):
        found["saturated share after fine-tuning"] = after["saturated_share"]
    return found


def draw(table: pd.DataFrame, axes: Any = None) -> Figure:
    """Norm and saturation of every model before and after, and the spectra."""
    return before_and_after(table, axes)
