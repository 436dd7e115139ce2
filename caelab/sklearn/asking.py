"""The run that an estimator asks for: its config from the parameters, its data set from ``X``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from numbers import Real
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from caelab.data import Dataset
from caelab.errors import CaelabError, shown
from caelab.registry.arguments import by_label
from caelab.registry.catalogue import catalogue
from caelab.registry.signatures import option_fields
from caelab.runs.config import GIVEN, RunConfig, make_config
from caelab.runs.layers import is_stack
from caelab.runs.recipes import BASE
from caelab.runs.settings import merged
from caelab.sklearn.constraints import widths
from caelab.streams import Streams
from caelab.training.asked import Asked, as_config, asked_for

HIDDEN = 100
OUTPUTS = {"squared-error": "identity", "cross-entropy": "sigmoid"}
CORE_MODEL = "autoencoder"


def seed_of(estimator: Any) -> int:
    """The seed of a run: ``random_state`` itself where it is a number, that of a config, or one that is drawn."""
    state = estimator.random_state
    if state is None and isinstance(estimator.recipe, RunConfig):
        return estimator.recipe.seed
    return int(state) if isinstance(state, int | np.integer) else int(check_random_state(state).randint(2**31 - 1))


def asked_of(estimator: Any, X: NDArray[Any], y: Any, seed: int) -> Asked:
    """The run of an estimator on examples, checked as a run of ``caelab.train`` is.

    Args:
        estimator: with its parameters.
        X: shape (n, d), float32.
        y: class labels, which training does not use, or anything else, which is left out.
        seed: of the run.

    Raises:
        CaelabError: the parameters do not fit together, or not to the data.
    """
    raw, objects = _config_of(estimator, seed)
    config = make_config(raw)
    held_out = is_stack(config) or config.training.patience is not None
    dataset = dataset_of(X, y, estimator.validation_fraction if held_out else 0.0, seed, estimator.image_shape)
    if is_stack(config):
        dataset = _parted(dataset)
    _check_range(config, X, type(estimator).__name__)
    return asked_for(config, model=estimator.model, dataset=dataset, regularizers=objects or None)


def _config_of(estimator: Any, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The keys of the config, and the regularizers that were given as objects."""
    raw = _start(estimator)
    raw |= {"seed": seed, "dataset": {"kind": GIVEN}}
    raw["training"] = {**raw["training"], **_training(estimator)}
    raw["model"] = _model(estimator, raw)
    blocks, objects = _regularizers(estimator)
    raw["regularizers"] = {**raw["regularizers"], **blocks}
    for label in objects:
        raw["regularizers"].pop(label, None)  # what is given is laid over the recipe
    return raw, objects


def _start(estimator: Any) -> dict[str, Any]:
    """The keys of the recipe, or of caelab's base with a squared error."""
    if estimator.recipe is None:
        plain = {"kind": CORE_MODEL, "hidden": [HIDDEN]}
        start = {"label": type(estimator).__name__, "model": plain, "training": {"reconstruction": "squared-error"}}
        return merged(BASE, start)
    config = as_config(estimator.recipe)
    if config.dataset.options.keys() & {"standardise", "minmax", "binarise"}:
        raise CaelabError(
            f"the recipe {config.label!r} scales its data ({shown(config.dataset.options)}), which an estimator leaves "
            "to the pipeline; put StandardScaler, MinMaxScaler or Binarizer before it, and give a recipe without it"
        )
    return config.as_dict()


def _training(estimator: Any) -> dict[str, Any]:
    numbers = {"epochs": int, "batch_size": int, "learning_rate": float, "optimizer": str, "reconstruction": str}
    asked = {name: getattr(estimator, name) for name in numbers}
    found: dict[str, Any] = {name: numbers[name](value) for name, value in asked.items() if value is not None}
    return found | ({"patience": int(estimator.n_iter_no_change)} if estimator.early_stopping else {})


def _model(estimator: Any, raw: Mapping[str, Any]) -> dict[str, Any]:
    """The model's block; its output follows the reconstruction error, unless a recipe says it."""
    own = {"hidden": widths(estimator.hidden, type(estimator).__name__)}
    own |= {"activation": estimator.activation, "tied": estimator.tied}
    own = {name: value for name, value in own.items() if value is not None}
    if estimator.model is not None and own:
        raise CaelabError(f"a model is given, which {', '.join(own)} cannot change; leave out either")
    block = {**raw["model"], **own}
    if block["kind"] == CORE_MODEL and (estimator.recipe is None or estimator.reconstruction is not None):
        block["output"] = OUTPUTS[raw["training"]["reconstruction"]]
    return block


def _regularizers(estimator: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """By label: those with options, and those that are objects; the class's own are among them."""
    given = by_label(estimator.regularizers, "regularizers", names=True)
    own = estimator.own_regularizers()
    if taken := sorted(given.keys() & own.keys()):
        raise CaelabError(
            f"{type(estimator).__name__} itself brings the regularizer {taken[0]!r}, whose options are its own "
            "parameters; leave it out of regularizers"
        )
    every = {
        label: _options(label, each) if isinstance(each, Real) else each for label, each in {**own, **given}.items()
    }
    if wrong := [label for label, each in every.items() if isinstance(each, str)]:
        raise CaelabError(
            f"regularizers: expected the options of {wrong[0]!r}, a number or an instance, but {every[wrong[0]]!r} came"
        )
    blocks = {label: {"kind": label, **each} for label, each in every.items() if isinstance(each, Mapping)}
    return blocks, {label: each for label, each in every.items() if label not in blocks}


def _options(label: str, number: Real) -> dict[str, Any]:
    """``{"contractive": 0.1}``: the number is the weight, or the only option that there must be.

    Raises:
        CaelabError: there is no regularizer of that name, or the number could be more than one of its options.
    """
    fields = option_fields(catalogue().get("regularizer", label))
    needed = [name for name, field in fields.items() if field.default is field.empty]
    names = ["weight"] if "weight" in fields else needed
    if len(names) != 1 or isinstance(number, bool):
        raise CaelabError(
            f"regularizers: expected the options of {label!r} by name ({', '.join(fields)}), but {number!r} came"
        )
    return {names[0]: float(number)}


def _check_range(config: RunConfig, X: NDArray[Any], name: str) -> None:
    """Refuse data outside [0, 1] under cross-entropy.

    Raises:
        CaelabError: says where they lie, and what to do.
    """
    low, high = float(X.min()), float(X.max())
    if config.training.reconstruction == "cross-entropy" and (low < 0 or high > 1):
        raise CaelabError(
            f"{name} with reconstruction='cross-entropy' expects X in [0, 1], but X lies in [{low:.4g}, {high:.4g}]; "
            "put MinMaxScaler(clip=True) before it, or use reconstruction='squared-error'"
        )


def dataset_of(
    X: NDArray[Any], y: Any = None, validation: float = 0.0, seed: int = 0, image_shape: Any = None
) -> Dataset:
    """Examples as a data set: all of them train, validate and test, unless a share validates.

    Args:
        X: shape (n, d); copied.
        y: class labels, or anything else, which is left out.
        validation: the share of the examples that validate and test, and do not train.
        seed: of the order in which that share is drawn.
        image_shape: of one example, or None.

    Raises:
        CaelabError: too few examples for that share, or a shape that does not fit.
    """
    inputs = torch.from_numpy(np.array(X, dtype=np.float32, order="C"))
    train = valid = torch.arange(len(inputs))
    if validation:
        count = max(1, round(validation * len(inputs)))
        if count >= len(inputs):
            raise CaelabError(
                f"a validation_fraction of {validation:g} leaves none of {len(inputs)} examples to train on"
            )
        order = torch.randperm(len(inputs), generator=Streams(seed)["data splits"])
        train, valid = order[count:], order[:count]
    labels, names = _labels(y, len(inputs))
    shape = None if image_shape is None else tuple(image_shape)
    return Dataset("X", inputs, labels, shape, train, valid, valid, label_names=names)


def _parted(dataset: Dataset) -> Dataset:
    """The examples that are held out in two halves: what a layer of a stack learns from comes in three parts.

    Raises:
        CaelabError: only one is held out.
    """
    half = len(dataset.valid) // 2
    if not half:
        raise CaelabError(
            "a stack that is trained layer by layer needs two examples that are held out, but of "
            f"{len(dataset.inputs)} one is; give more examples, or a larger validation_fraction"
        )
    return replace(dataset, valid=dataset.valid[half:], test=dataset.valid[:half])


def _labels(y: Any, count: int) -> tuple[Any, tuple[str, ...] | None]:
    """Class labels as whole numbers, with names where they are texts; (None, None) where ``y`` is none."""
    try:
        labels = np.asarray(y)
    except (ValueError, TypeError):
        return None, None
    if labels.shape != (count,):
        return None, None
    if labels.dtype.kind in "bui":
        return torch.from_numpy(labels.astype(np.int64)), None
    if labels.dtype.kind in "UOST" and all(isinstance(each, str) for each in labels.tolist()):
        names, numbers = np.unique(labels.astype(str), return_inverse=True)
        return torch.from_numpy(numbers.astype(np.int64)), tuple(map(str, names))
    return None, None
