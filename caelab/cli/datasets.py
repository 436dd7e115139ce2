"""Data sets named on the command line: loading them, and what there is to say of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from caelab.data import Dataset, load_dataset
from caelab.data.scaling_options import NAMES as SCALINGS
from caelab.errors import CaelabError, unknown_name
from caelab.registry.catalogue import catalogue
from caelab.registry.paths import resolved
from caelab.registry.signatures import option_fields
from caelab.runs.settings import parse_setting

MANY_LABELS = 10
FURTHER = ("splits", "seed", *SCALINGS)  # of any data set


def load_named(names: Sequence[str], settings: Sequence[str]) -> list[Dataset]:
    """The data sets of those names; a setting applies to those that have the option, with or without ``dataset.``.

    Raises:
        CaelabError: an unknown name, or an option that none of them has.
    """
    given = {key.removeprefix("dataset."): value for key, value in map(parse_setting, settings)}
    names = [resolved(name, catalogue().names("dataset")) for name in names]
    known = {name: _options_of(name) for name in names}
    for option in given:
        if not any(option in options for options in known.values()):
            every = [option for options in known.values() for option in options]
            raise CaelabError(f"{', '.join(names)}: {unknown_name('option', option, dict.fromkeys(every))}")
    return [load_dataset(name, **_of(given, options)) for name, options in known.items()]


def _options_of(name: str) -> list[str]:
    return [*option_fields(catalogue().get("dataset", name.partition(":")[0])), *FURTHER]


def _of(given: Mapping[str, Any], options: Sequence[str]) -> dict[str, Any]:
    return {option: value for option, value in given.items() if option in options}


def row_of(dataset: Dataset) -> dict[str, str]:
    """Name, sizes of the parts, shape, labels, range of values and the start of the content hash."""
    shape = dataset.image_shape or (dataset.inputs.shape[1],)
    low, high = dataset.value_range
    return {
        "name": dataset.name,
        "train / valid / test": " / ".join(str(len(part)) for part in (dataset.train, dataset.valid, dataset.test)),
        "shape": " x ".join(map(str, shape)),
        "labels": _labels(dataset),
        "values": f"{low:.4g} to {high:.4g}",
        "content": dataset.content_hash[:12],
    }


def _labels(dataset: Dataset) -> str:
    if dataset.labels is None:
        return "none"
    names = dataset.label_names
    counts = sorted(Counter(dataset.labels.tolist()).items())
    if len(counts) > MANY_LABELS:
        return f"{len(counts)} kinds"
    return ", ".join(f"{names[label] if names else label}: {count}" for label, count in counts)
