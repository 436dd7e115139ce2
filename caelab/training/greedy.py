"""Greedy layer-wise pretraining: every layer is a run of its own, trained on the codes of the one below.

Hinton, Osindero and Teh (2006) for layers that are RBMs, Bengio et al. (2007) for auto-encoders.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from caelab.data import Dataset, make_dataset
from caelab.errors import CaelabError
from caelab.models.stack import stacked
from caelab.runs.config import GIVEN, RunConfig
from caelab.runs.encoded import samples_of
from caelab.runs.layers import KIND, layer_configs, told_of_layer
from caelab.runs.run import Run, build_model, of_type, record_of
from caelab.training.asked import Asked


def trained_stack(
    asked: Asked, out: Path | None, train: Callable[..., Run], trace: Callable[[str], None] | None
) -> Run:
    """The stack of a greedy run: its layers are trained, or found, one after the other, and put together.

    Args:
        asked: the request for the stack.
        out: the folder that the layers are kept in, each under its own name; None keeps them in memory.
        train: trains one run, as ``caelab.train`` does.
        trace: is told each call of a hook.

    Raises:
        CaelabError: a layer does not fit, or cannot be trained.
    """
    refuse_given_model(asked)
    build_model(_named(asked), asked.dataset)  # a layer that cannot be made is told before one is trained
    runs: list[Run] = []
    for place, config in enumerate(layer_configs(_named(asked)), start=1):
        plugins = {"regularizers": asked.plugins, "observers": asked.watchers}
        with told_of_layer(place, asked.config.label):
            runs.append(train(config, out=out, dataset=_data_of(asked, runs, out), trace=trace, **plugins))
    model = stacked([run.model for run in runs]).eval()
    dataset = of_type(model, asked.dataset)
    record = {**record_of(asked.config, model, dataset), **_how(runs)}
    return Run(asked.config, model, dataset, history_of(runs), record)


def _named(asked: Asked) -> RunConfig:
    """The config without the regularizers that were given as objects, which every layer is given again."""
    kept = {label: block for label, block in asked.config.regularizers.items() if label not in asked.plugins}
    return asked.config.model_copy(update={"regularizers": kept})


def _data_of(asked: Asked, below: Sequence[Run], out: Path | None) -> Dataset | None:
    """The data of the next layer as an object, where no config can make them again; else None."""
    by_config = asked.config.dataset.kind != GIVEN and out is not None
    if not below:
        return asked.dataset if asked.config.dataset.kind == GIVEN else None
    return None if by_config else make_dataset(KIND, samples_of(below[-1]))


def history_of(runs: Sequence[Run]) -> list[dict[str, float]]:
    """The metrics of every epoch of every layer; epochs are counted on from layer to layer."""
    rows = [(place, row) for place, run in enumerate(runs, start=1) for row in run.metrics]
    return [{**row, "epoch": float(epoch), "layer": float(place)} for epoch, (place, row) in enumerate(rows, start=1)]


def _how(runs: Sequence[Run]) -> dict[str, Any]:
    """What the record says of the layers: the time of all of them, and the folder of each that has one."""
    seconds = round(sum(float(run.record.get("seconds", 0.0)) for run in runs), 3)
    names = [run.path.name for run in runs if run.path is not None]
    alike = {key: runs[0].record[key] for key in ("threads", "processes") if key in runs[0].record}
    return {"seconds": seconds, **alike, **({"layers": names} if names else {})}


def refuse_given_model(asked: Asked) -> None:
    """Refuse a model that was given as an object, which has no layers that could be made one by one.

    Raises:
        CaelabError: one was given.
    """
    if asked.model is not None:
        raise CaelabError(
            f"pretraining: greedy makes the layers itself, but a model, {type(asked.model).__name__}, was given; leave "
            "it out, and name one with widths in hidden, or train it with pretraining: end-to-end"
        )
