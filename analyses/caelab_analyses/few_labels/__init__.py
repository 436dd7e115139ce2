"""Few labels: the error of the fine-tuned classifier against the number of labelled examples that it learns from.

The run saw all training inputs, without labels. What its features save is the number of labels that another start
needs for the same error; a random start is a run that was trained for no epoch.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from caelab.analysis.columns import Column
from caelab.analysis.plotting import PAGE_WIDTH, curves, panels, paper_style, show_zero
from caelab.classifiers import finetune
from caelab.errors import NotApplicable
from caelab.options import Count, Positive, Probability
from caelab.runs.run import Run
from caelab.streams import Streams
from caelab_analyses.shared.binomial import rows_of
from caelab_analyses.shared.legends import legend_below

ALL = "all"
PANELS = {"test": "test examples", "valid": "validation examples"}
APART = 1.5  # the least ratio of two counts that are both written below the axis

title = "Few labels"
caption = (
    "The error of the classifier that starts from the run's encoder, against the number of labelled examples; the band "
    "is the 95 % interval of the mean over seeds. Two models whose curves run apart to the left need different numbers "
    "of labels for the same error."
)
needs_labels = True
columns = (
    Column(name="test error with * labels", heading="test error,\n* labels (%)", better="smaller", table="Few labels"),
)


def measure(
    run: Run,
    streams: Streams,
    *,
    counts: list[Count] = [100, 300, 1000, 3000],  # noqa: B006 - an option, which is never changed
    with_all: bool = True,
    optimizer: Literal["adam", "sgd", "rmsprop"] = "sgd",
    learning_rate: Positive = 0.1,
    momentum: Probability = 0.9,
    batch_size: Count = 50,
    epochs: Count = 60,
    patience: Count | None = 10,
    device: str = "cpu",
) -> pd.DataFrame:
    """Errors of fine-tuned classifiers that learn from 100, 300, 1 000, ... labels, all from the same run.

    Fewer labels are the first of more. A count that exceeds the training examples is left out, and so is one whose
    examples are all of one class.

    Args:
        run: the trained model and its data; its weights stay as they are.
        streams: only their seed counts: for the softmax layer's start, and the batches.
        counts: the numbers of labels.
        with_all: whether all training examples are one more number.
        optimizer: of fine-tuning, as the options that follow; see ``caelab.finetune``.
        learning_rate: see there.
        momentum: see there.
        batch_size: see there.
        epochs: see there.
        patience: see there.
        device: where it is computed, as ``cuda``.

    Returns:
        One row per number of ``labels`` and ``split`` (valid, test): ``error`` in percent of the ``examples``, its
        binomial ``standard_error``, ``epochs`` up to the weights that were kept, and ``of_all``, whether these are all
        labels.

    Raises:
        NotApplicable: the data have no labels, nothing can be tuned, or no number of labels has two classes.
        CaelabError: fine-tuning diverged.
    """
    descent: dict[str, Any] = {"optimizer": optimizer, "learning_rate": learning_rate, "momentum": momentum}
    lengths: dict[str, Any] = {"batch_size": batch_size, "epochs": epochs, "patience": patience, "device": device}
    most = len(run.dataset.train)
    wanted = sorted({count for count in counts if count <= most} | ({most} if with_all else set()))
    rows, left_out = [], None
    for count in wanted:
        try:
            rows += _rows(run, count, {"seed": streams.seed, **descent, **lengths})
        except NotApplicable as error:
            left_out = error
    if not rows:
        raise left_out or NotApplicable(f"few_labels has no number of labels that is at most {most}; give others")
    return pd.DataFrame(rows)


def _rows(run: Run, count: int, options: dict[str, Any]) -> list[dict[str, Any]]:
    made = finetune(run, labels=count, **options)
    facts = {"epochs": int(made.best()["epoch"]), "of_all": count == len(run.dataset.train)}
    return rows_of(made, {"labels": count}, facts)


def summarise(table: pd.DataFrame) -> dict[str, float]:
    """The test error by the number of labels, in percent; that of all labels is called so."""
    test = table[table["split"] == "test"]
    names = [ALL if of_all else str(labels) for labels, of_all in zip(test["labels"], test["of_all"], strict=True)]
    return {f"test error with {name} labels": error for name, error in zip(names, test["error"], strict=True)}


@paper_style()
def draw(table: pd.DataFrame, axes: Any = None) -> Figure:
    """Test and validation error against the number of labels, a line per model with a band over seeds."""
    found = panels(axes, 1, len(PANELS), of="few_labels", size=(PAGE_WIDTH, 2.8), sharey=True)
    ticks = _apart(sorted(table["labels"].unique()))
    for panel, (part, name) in zip(found, PANELS.items(), strict=True):
        curves(panel, table[table["split"] == part], "labels", "error")
        panel.set_xscale("log")
        panel.xaxis.set_major_locator(FixedLocator(ticks))
        panel.xaxis.set_minor_locator(NullLocator())
        panel.set_xticklabels([f"{count:g}" for count in ticks])
        panel.set(xlabel="labelled examples", ylabel="error (%)")
        panel.set_title(name, loc="left")
    for panel in found.ends(found):
        show_zero(panel)
    legend_below(found, 7)
    return found.finished()


def _apart(counts: list[int]) -> list[int]:
    """The counts whose labels do not run into each other on a logarithmic axis, the last one among them.

    >>> _apart([100, 300, 1000, 1200])
    [100, 300, 1200]
    """
    return [count for count, after in pairwise(counts) if after > APART * count] + counts[-1:]
