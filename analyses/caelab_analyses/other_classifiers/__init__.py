"""Classifiers beside fine-tuning, on the code as it is: support vectors, neighbours, logistic regression.

The run of the recipe ``inputs`` has the inputs themselves as its code, so that its support vectors are the column
SVM-rbf of the tables of Larochelle et al. (2007) and Vincent et al. (2010).
"""

from __future__ import annotations

from typing import Any, Literal

import pandas as pd
from matplotlib.figure import Figure

from caelab.analysis.columns import Column
from caelab.analysis.plotting import PAGE_WIDTH, dot_chart, panels, paper_style
from caelab.classifiers import finetune
from caelab.errors import NotApplicable
from caelab.options import Count
from caelab.runs.run import Run
from caelab.streams import Streams
from caelab_analyses.shared.binomial import rows_of

Method = Literal["svm-rbf", "nearest-neighbours", "frozen"]

title = "Classifiers on the code"
caption = (
    "Test error of classifiers that learn from the code as it is; each small dot is one seed, the bar the 95 % "
    "interval of the mean. Their settings are chosen by the validation error."
)
needs_labels = True
columns = (
    Column(name="test error by *", heading="test error,\n* (%)", better="smaller", table="Classifiers on the code"),
)


def measure(
    run: Run,
    streams: Streams,
    *,
    methods: list[Method] = ["svm-rbf", "nearest-neighbours", "frozen"],  # noqa: B006 - an option, never changed
    labels: Count | None = None,
    models: list[str] | None = None,
) -> pd.DataFrame:
    """Errors of classifiers on a run's code, their settings chosen on validation examples.

    Args:
        run: the trained model and its data; its weights stay as they are.
        streams: only their seed counts.
        methods: as ``caelab.finetune`` names them.
        labels: how many labelled training examples, the first ones, or all if there are fewer or it is None.
        models: the recipes whose runs are measured, since support vectors take long; all by default.

    Returns:
        One row per ``classifier`` and ``split`` (valid, test): ``error`` in percent of the ``examples``, its binomial
        ``standard_error`` and ``labels`` learnt from.

    Raises:
        NotApplicable: the run is of none of the models, the data have no labels, or the labelled examples are of one
            class.
    """
    recipe = run.label.partition(" ")[0]
    if models is not None and recipe not in models:
        raise NotApplicable(f"other_classifiers is asked for {', '.join(models)} alone, not for {recipe}")
    count = None if labels is None else min(labels, len(run.dataset.train))
    rows = []
    for method in methods:
        made = finetune(run, method=method, labels=count, seed=streams.seed)
        rows += rows_of(made, {"classifier": method}, {"labels": made.record["labels"]})
    return pd.DataFrame(rows)


def summarise(table: pd.DataFrame) -> dict[str, float]:
    """The test error of each classifier, in percent."""
    test = table[table["split"] == "test"]
    return {f"test error by {name}": error for name, error in zip(test["classifier"], test["error"], strict=True)}


@paper_style()
def draw(table: pd.DataFrame, axes: Any = None) -> Figure:
    """Test errors by classifier: every seed, the mean over seeds and its 95 % interval."""
    test = table[table["split"] == "test"]
    size, count = (PAGE_WIDTH, 0.95 + 0.17 * test["model"].nunique()), test["classifier"].nunique()
    found = panels(axes, 1, count, of="other_classifiers", size=size, grows="text", narrowest=12, sharey=True)
    for panel, (classifier, rows) in zip(found, test.groupby("classifier", sort=False), strict=True):
        dot_chart(panel, rows, "error", "test error (%)")
        panel.set_title(str(classifier), loc="left")
    return found.finished()
