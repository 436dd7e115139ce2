"""The manifold tangent classifier (Rifai et al. 2011, NIPS), beside what it adds its tangents to.

Fine-tuning with and without the penalty on the tangents, and nearest neighbours by tangent and by Euclidean distance.
"""

from __future__ import annotations

from typing import Any, Literal

import pandas as pd
from matplotlib.figure import Figure

from caelab.analysis.columns import Column
from caelab.analysis.plotting import PAGE_WIDTH, dot_chart, panels, paper_style
from caelab.classifiers import Classifier, finetune
from caelab.classifiers.planes import shared_tangents
from caelab.options import Count, Positive, Probability
from caelab.runs.run import Run
from caelab.streams import Streams
from caelab_analyses.shared.binomial import rows_of

PLAIN, PENALISED = "fine-tuned", "fine-tuned with tangents"
EUCLIDEAN, TANGENT = "neighbours", "neighbours by tangents"

title = "The manifold tangent classifier"
caption = (
    "Test error of the fine-tuned classifier without and with the penalty on the leading tangents of each example, and "
    "of nearest neighbours by Euclidean and by tangent distance. Each small dot is one seed, the bar the 95 % interval "
    "of the mean."
)
needs_labels = True
columns = (
    Column(
        name="test error of the tangent classifier", heading="test error, tangent\nclassifier (%)", better="smaller"
    ),
    Column(name="test error without tangents", heading="test error,\nno tangents (%)", better="smaller"),
    Column(name="test error of neighbours", heading="test error,\nneighbours (%)", better="smaller"),
    Column(
        name="test error of neighbours by tangents",
        heading="test error, neighbours\nby tangents (%)",
        better="smaller",
    ),
    Column(name="weight of the tangents", heading="weight of\nthe tangents"),
)


def measure(
    run: Run,
    streams: Streams,
    *,
    labels: Count | None = None,
    tangents: Count = 10,
    weights: list[Positive] = [0.3, 1.0, 3.0, 10.0],  # noqa: B006 - an option, which is never changed
    outputs: Literal["probabilities", "log-probabilities", "logits"] = "probabilities",
    candidates: Count = 100,
    learning_rate: Positive = 0.1,
    momentum: Probability = 0.9,
    batch_size: Count = 50,
    epochs: Count = 60,
    patience: Count | None = 10,
) -> pd.DataFrame:
    """Errors of four classifiers that start from the same run; the penalty's weight is chosen on validation examples.

    Args:
        run: the trained model and its data; its weights stay as they are.
        streams: only their seed counts: for the softmax layer's start, and the batches.
        labels: how many labelled training examples, the first ones, or all if there are fewer or it is None.
        tangents: k, or as many as the code or the input has dimensions.
        weights: λ, of which the one with the lowest validation error is taken, of equals the first.
        outputs: whose change along the tangents is penalised; see ``caelab.finetune``.
        candidates: to how many Euclidean neighbours tangent distances are computed.
        learning_rate: of fine-tuning by SGD, as the options that follow; see ``caelab.finetune``.
        momentum: see there.
        batch_size: see there.
        epochs: see there.
        patience: see there.

    Returns:
        One row per ``classifier`` (fine-tuned, fine-tuned with tangents, neighbours, neighbours by tangents) and
        ``split`` (valid, test): ``error`` in percent of the ``examples``, its binomial ``standard_error``, ``labels``,
        ``tangents``, and ``weight``, λ (0 where there is no penalty).

    Raises:
        NotApplicable: the data have no labels, the labelled examples are of one class, or nothing can be tuned.
        CaelabError: fine-tuning diverged.
    """
    count = None if labels is None else min(labels, len(run.dataset.train))
    code = run.encode(run.dataset.inputs[:1]).numel()
    tangents = min(tangents, code, run.dataset.inputs.shape[1])
    common: dict[str, Any] = {"labels": count, "seed": streams.seed}
    descent: dict[str, Any] = {"learning_rate": learning_rate, "momentum": momentum, "batch_size": batch_size}
    descent |= {"epochs": epochs, "patience": patience}
    with shared_tangents():
        made: dict[str, tuple[Classifier, float]] = {PLAIN: (finetune(run, **common, **descent), 0.0)}
        penalised: dict[str, Any] = {"tangents": tangents, "tangent_outputs": outputs}
        made[PENALISED] = _best(run, weights, {**common, **descent, **penalised})
        made[EUCLIDEAN] = finetune(run, method="nearest-neighbours", features="inputs", **common), 0.0
        planes: dict[str, Any] = {"tangents": tangents, "candidates": candidates}
        made[TANGENT] = finetune(run, method="tangent-nearest-neighbours", **planes, **common), 0.0
    return pd.DataFrame(
        [
            row
            for name, (classifier, weight) in made.items()
            for row in rows_of(
                classifier,
                {"classifier": name},
                {"labels": classifier.record["labels"], "tangents": tangents, "weight": weight},
            )
        ]
    )


def _best(run: Run, weights: list[float], options: dict[str, Any]) -> tuple[Classifier, float]:
    """The classifier whose λ has the lowest validation error, of equals the first, and that λ."""
    found = [(finetune(run, tangent_weight=weight, **options), weight) for weight in weights]
    return min(found, key=lambda pair: pair[0].error("valid"))


def summarise(table: pd.DataFrame) -> dict[str, float]:
    """The four test errors in percent, and the weight that was chosen."""
    test = table[table["split"] == "test"].set_index("classifier")
    return {
        "test error of the tangent classifier": test["error"][PENALISED],
        "test error without tangents": test["error"][PLAIN],
        "test error of neighbours": test["error"][EUCLIDEAN],
        "test error of neighbours by tangents": test["error"][TANGENT],
        "weight of the tangents": test["weight"][PENALISED],
    }


@paper_style()
def draw(table: pd.DataFrame, axes: Any = None) -> Figure:
    """Test errors by classifier: every seed, the mean over seeds and its 95 % interval."""
    test = table[table["split"] == "test"]
    size, count = (PAGE_WIDTH, 0.85 + 0.17 * test["model"].nunique()), test["classifier"].nunique()
    found = panels(
        axes, 1, count, of="tangent_classifier", size=size, grows="text", narrowest=12, sharex=True, sharey=True
    )
    for panel, (classifier, rows) in zip(found, test.groupby("classifier", sort=False), strict=True):
        dot_chart(panel, rows, "error", "test error (%)")
        panel.set_title(str(classifier), loc="left")
    return found.finished()
