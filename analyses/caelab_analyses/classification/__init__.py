"""Classification from learned features (Rifai et al. 2011, section 5): a linear probe, and fine-tuning.

Both learn from the same few labelled training examples, the first ones of the split, which are the same for every
model of a seed. Validation examples choose the epoch, test examples are looked at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure

from caelab.analysis.columns import Column
from caelab.analysis.plotting import PAGE_WIDTH, dot_chart, panels, paper_style
from caelab.errors import NotApplicable
from caelab.options import Count, Positive, Probability
from caelab.runs.run import Run
from caelab.streams import Streams
from caelab_analyses.classification.classifiers import Descent, Labelled, Predict, fine_tuned, linear_probe

PROBE, TUNED = "linear probe", "fine-tuned"

title = "Classification"
caption = (
    "Test error of classifiers on the code; each small dot is one seed, the bar the 95 % interval of the mean. "
    "Differences within one standard error of the test set are chance."
)
default = True
needs_labels = True
columns = (
    Column(
        name="fine-tuned error",
        heading="test error,\nfine-tuned (%)",
        better="smaller",
        table="main",
        short="test error %",
        order=-1,
    ),
    Column(name="linear-probe error", heading="test error,\nlinear probe (%)", better="smaller", order=-1),
    Column(
        name="fine-tuned validation error",
        heading="validation error,\nfine-tuned (%)",
        better="smaller",
        tune=True,
        order=-1,
    ),
)


def measure(
    run: Run,
    streams: Streams,
    *,
    labels: Count = 1000,
    ridge: Positive = 1.0,
    learning_rate: Positive = 0.1,
    momentum: Probability = 0.9,
    batch_size: Count = 50,
    epochs: Count = 60,
    patience: Count = 10,
) -> pd.DataFrame:
    """Classification errors of a linear probe on the code and of a classifier that starts from the encoder.

    Args:
        run: the trained model and its data; its weights stay as they are.
        streams: the softmax layer's start (``classifier weights``) and the batches (``classifier order``).
        labels: how many labelled training examples, the first ones, or all if there are fewer.
        ridge: ρ of the probe, as in ``linear_probe``.
        learning_rate: of fine-tuning by SGD; so are ``momentum``, ``batch_size`` and ``epochs`` (at most).
        momentum: see there.
        batch_size: see there.
        epochs: see there.
        patience: epochs without a lower validation error after which fine-tuning stops.

    Returns:
        One row per ``classifier`` (linear probe, fine-tuned) and ``split`` (valid, test): ``error`` in percent of
        the ``examples``, its binomial ``standard_error`` √(p (1 - p) / n) in percent, ``labels`` learnt from,
        ``epochs`` up to the weights that were kept (0 for the probe, which is solved).

    Raises:
        NotApplicable: the data have no labels, or the labelled examples are all of one class.
        CaelabError: fine-tuning diverged.
    """
    parts = _labelled_parts(run, labels)
    descent = Descent(learning_rate, momentum, batch_size, epochs, patience)
    predictors = {
        PROBE: (linear_probe(run, parts["train"], ridge), 0),
        TUNED: fine_tuned(run, parts["train"], parts["valid"], descent, streams),
    }
    learnt = len(parts["train"].classes)
    rows = [
        {"classifier": name, "split": split, **errors(predict, parts[split]), "labels": learnt, "epochs": kept}
        for name, (predict, kept) in predictors.items()
        for split in ("valid", "test")
    ]
    return pd.DataFrame(rows)


def _labelled_parts(run: Run, labels: int) -> dict[str, Labelled]:
    """The labelled training examples, and all validation and test examples.

    Raises:
        NotApplicable: no labels, or one class.
    """
    data = run.dataset
    if data.labels is None:
        raise NotApplicable(f"classification needs labels, but the data set {data.name!r} has none")
    known = torch.unique(data.labels)  # sorted
    parts = {"train": data.train[:labels], "valid": data.valid, "test": data.test}
    labelled = {
        name: Labelled(data.inputs[chosen], torch.searchsorted(known, data.labels[chosen]))
        for name, chosen in parts.items()
    }
    if len(torch.unique(labelled["train"].classes)) < 2:
        raise NotApplicable(
            f"classification needs two classes, but the {len(parts['train'])} labelled examples are of one"
        )
    return labelled


def errors(predict: Predict, part: Labelled) -> dict[str, float]:
    """Error and its binomial standard error, in percent, and the number of examples."""
    wrong = float((predict(part.inputs) != part.classes).double().mean())
    count = len(part.classes)
    return {"error": 100 * wrong, "standard_error": 100 * math.sqrt(wrong * (1 - wrong) / count), "examples": count}


@paper_style()
def draw(table: pd.DataFrame, axes: Any = None) -> Figure:
    """Test errors by classifier: every seed, the mean over seeds and its 95 % interval."""
    test = table[table["split"] == "test"]
    size, count = (PAGE_WIDTH, 0.95 + 0.17 * test["model"].nunique()), test["classifier"].nunique()
    found = panels(axes, 1, count, of="classification", size=size, grows="text", sharex=True, sharey=True)
    for panel, (classifier, rows) in zip(found, test.groupby("classifier", sort=False), strict=True):
        examples, chance = _span(rows["examples"], "d"), _span(rows["standard_error"], ".1f")
        label = f"test error (%)\nstandard error of one seed on {examples} examples: {chance} points"
        dot_chart(panel, rows, "error", label)
        panel.set_title(f"{classifier}, {_span(rows['labels'], 'd')} labels", loc="left")
    return found.finished()


def _span(values: Iterable[float], form: str) -> str:
    ends = [format(end, form) for end in (min(values), max(values))]
    return "–".join(dict.fromkeys(ends))


def summarise(table: pd.DataFrame) -> dict[str, float]:
    """The test errors of both classifiers, and the validation error that the paper chooses weights by, in percent."""
    error = table.set_index(["classifier", "split"])["error"]
    return {
        "linear-probe error": error[PROBE, "test"],
        "fine-tuned error": error[TUNED, "test"],
        "fine-tuned validation error": error[TUNED, "valid"],
    }
