"""The layers of a stack that is trained greedily: the config of each, as a run of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from caelab.errors import CaelabError
from caelab.runs.config import GIVEN, Layer, RunConfig, make_config
from caelab.runs.settings import merged

KIND = "codes"  # of the data set that a layer above the first is trained on
LARGEST_SEED = 2**63
BETWEEN_SEEDS = 2**32  # of two layers: beyond the seeds that people give
IN_UNIT_INTERVAL = ("sigmoid", "hardsigmoid")  # activations whose codes cross-entropy can reconstruct


def is_stack(config: RunConfig) -> bool:
    """Whether a run is trained layer by layer."""
    return config.pretraining == "greedy"


def widths_of(config: RunConfig) -> list[int]:
    """The widths of the layers of a greedy stack.

    Raises:
        CaelabError: the model has no layers that could be trained one by one, or there are more or fewer ``layers``.
    """
    if config.model.kind == GIVEN:
        raise CaelabError(
            f"pretraining: greedy makes the layers of {config.label!r} itself, but a model was given as an object; "
            "name one, as in model: {kind: autoencoder, hidden: [300, 300]}"
        )
    hidden = config.model.options.get("hidden")
    widths = [hidden] if isinstance(hidden, int) else hidden
    if not isinstance(widths, list):
        raise CaelabError(
            f"pretraining: greedy needs a model with the option hidden, the widths of its layers, but the model "
            f"{config.model.kind!r} has none; use the model autoencoder, or pretraining: end-to-end"
        )
    if config.layers and len(config.layers) != len(widths):
        raise CaelabError(
            f"layers: expected one entry for each of the {len(widths)} layers {widths} of the model, but "
            f"{len(config.layers)} came"
        )
    for place, layer in enumerate(config.layers):
        if "hidden" in layer.model:
            raise CaelabError(
                f"layers.{place}.model.hidden: the widths of all layers stand in model.hidden, here {widths}; change "
                "that, and leave it out here"
            )
    return widths


def layer_configs(config: RunConfig) -> list[RunConfig]:
    """The config of each layer of a greedy stack, from the first to the last.

    The first layer is trained on the data: it is the run that its config gives by itself. Every other is trained on
    the codes of the one below, with random streams of its own. Codes are reconstructed by the activation that they come
    from; where they may lie outside [0, 1], as those of tanh, under squared error, unless ``layers`` says otherwise.

    Raises:
        CaelabError: the model has no layers that could be trained one by one, or a layer does not fit.
    """
    raw = config.as_dict()
    raw.pop("layers", None)
    del raw["pretraining"]
    found: list[dict[str, Any]] = []
    widths = widths_of(config)
    for place, (width, own) in enumerate(zip(widths, config.layers or [Layer()] * len(widths), strict=True)):
        below = found[-1] if found else None
        found.append(_layer(raw, place, width, own.model_dump(mode="json"), below))
    return [_checked(place, each, config.label) for place, each in enumerate(found, start=1)]


def of_its_layer(history: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
    """The rows of a stack's history, each with the metrics of its own layer.

    A stored table has columns for the metrics of all layers, which are NaN in the rows of those that lack them.

    >>> of_its_layer([{"layer": 1, "a": 3.0, "b": math.nan}, {"layer": 2, "a": math.nan, "b": 4.0}])
    [{'layer': 1, 'a': 3.0}, {'layer': 2, 'b': 4.0}]
    """
    known: dict[float | None, set[str]] = {}
    for row in history:
        here = known.setdefault(row.get("layer"), set())
        here |= {name for name, value in row.items() if not math.isnan(value) or "layer" not in row}
    return [{name: value for name, value in row.items() if name in known[row.get("layer")]} for row in history]


def _layer(
    raw: Mapping[str, Any], place: int, width: int, own: Mapping[str, Any], below: Mapping[str, Any] | None
) -> dict[str, Any]:
    """One layer as plain values, without a label."""
    model = dict(raw["model"])
    training = dict(raw["training"])
    dataset = raw["dataset"]
    if below is not None:
        activation = below["model"].get("activation")
        if activation is not None and "output" in model:
            model["output"] = activation
            if activation not in IN_UNIT_INTERVAL:
                training["reconstruction"] = "squared-error"
        dataset = {"kind": KIND, "of": {key: value for key, value in below.items() if key != "label"}}
    return {
        "seed": (raw["seed"] + place * BETWEEN_SEEDS) % LARGEST_SEED,
        "dataset": dataset,
        "model": _of_width(merged({"model": model}, {"model": own.get("model", {})})["model"], model, width),
        "regularizers": own.get("regularizers", raw["regularizers"]),
        "training": {**training, **own.get("training", {})},
    }


def _of_width(own: Mapping[str, Any], model: Mapping[str, Any], width: int) -> dict[str, Any]:
    """A layer's model of that width; one of another kind may take a number alone."""
    return {**own, "hidden": [width] if own["kind"] == model["kind"] else width}


def _checked(place: int, raw: Mapping[str, Any], label: str) -> RunConfig:
    with told_of_layer(place, label):
        return make_config({"label": f"{label} layer {place}", **raw})


@contextmanager
def told_of_layer(place: int, label: str) -> Iterator[None]:
    """Within the block, a mistake in the request is told with the layer that it is of; a full disk is told as ever."""
    try:
        yield
    except CaelabError as error:
        if type(error) is not CaelabError:
            raise
        raise CaelabError(f"layer {place} of {label!r}: {error}") from error
