"""Data from memory, kept in a folder, so that other processes and later sessions load the very same examples.

What needs torch is imported where it is used: listing the data sets imports this module.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from caelab.data.given_tables import is_of_huggingface
from caelab.data.memory import check_room
from caelab.data.samples import FilePath, Samples, describes
from caelab.errors import CaelabError, reason
from caelab.storage.files import aside, publish, told_as_storage

if TYPE_CHECKING:
    from caelab.data.dataset import Dataset

INPUTS, LABELS, ABOUT = "inputs.npy", "labels.npy", "about.json"
PARTS = ("train", "valid", "test")
DIGITS = 12  # of the content hash, in the name of a folder


def keep(given: Any, folder: Path, splits: Sequence[int] | None = None) -> dict[str, Any]:
    """Write data that were given as objects into a folder of their own, and say how a config names them.

    Args:
        given: whatever ``as_dataset`` takes; a :class:`Dataset` keeps its own splits.
        folder: where the folder of these data is to lie; one of the same content stays.
        splits: how many examples train, validate and test.

    Returns:
        ``{"kind": "arrays", "path": FOLDER, "splits": [...]}``.

    Raises:
        CaelabError: they are no data, or a law behind them is known that no file can keep.
        StorageError: the folder cannot be written.
    """
    from caelab.data.dataset import Dataset
    from caelab.data.given import as_dataset

    dataset = as_dataset(given, splits=splits)
    if dataset.truth is not None:
        raise CaelabError(
            f"the law behind the data set {dataset.name!r} is known, which no file keeps; give its name instead, as in "
            f"dataset={dataset.name!r}"
        )
    place = folder / f"arrays-{dataset.content_hash[:DIGITS]}"
    fixed = isinstance(given, Dataset) or (is_of_huggingface(given) and isinstance(given, Mapping))
    if not place.is_dir():
        _write(dataset, aside(place), fixed)
        publish(aside(place), place)
    return {"kind": "arrays", "path": str(place.resolve()), "splits": None if splits is None else list(splits)}


def _write(dataset: Dataset, place: Path, fixed: bool) -> None:
    parts = zip(PARTS, (dataset.train, dataset.valid, dataset.test), strict=True)
    about = {
        "image_shape": dataset.image_shape,
        "label_names": dataset.label_names,
        "mapped": dataset.mapped,
        **({} if dataset.scaling is None else {"scaling": {**dataset.scaling.as_record(), "of": dataset.scaling.of}}),
        **({name: part.tolist() for name, part in parts} if fixed else {}),
    }
    with told_as_storage(place):
        shutil.rmtree(place, ignore_errors=True)  # of a process that was killed here
        place.mkdir(parents=True)
        np.save(place / INPUTS, dataset.inputs.numpy())
        if dataset.labels is not None:
            np.save(place / LABELS, dataset.labels.numpy())
        (place / ABOUT).write_text(json.dumps(about), encoding="utf-8")


@describes("as it was given", "as it was given", "arrays, tables or tensors that were given in Python", "FOLDER")
def arrays(path: FilePath) -> Samples:
    """Data that were given in Python, as ``caelab.compare`` keeps them in the folder of a comparison."""
    folder = Path(path).expanduser()
    from caelab.data.mapped import in_float32
    from caelab.data.scaling import Scaling

    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        mapped = np.load(folder / INPUTS, mmap_mode="r")
        labels = np.load(folder / LABELS) if (folder / LABELS).exists() else None
        parts: Any = tuple(np.asarray(about[part]) for part in PARTS) if PARTS[0] in about else None
        scaling = Scaling.from_record(about["scaling"]) if "scaling" in about else None
    except (OSError, ValueError, EOFError, KeyError, TypeError) as error:
        raise CaelabError(
            f"{folder} holds no data that were kept ({reason(error)}); give them again, as in "
            "caelab.compare([...], dataset=...)"
        ) from error
    if about["mapped"]:
        inputs: Any = in_float32(mapped)
    else:
        check_room(f"{folder / INPUTS}, {mapped.shape} of {mapped.dtype},", mapped.size, mapped.dtype)
        inputs = np.array(mapped)
    shape = about["image_shape"]
    return Samples(
        inputs, labels, shape and tuple(shape), label_names=about["label_names"], parts=parts, scaling=scaling
    )
