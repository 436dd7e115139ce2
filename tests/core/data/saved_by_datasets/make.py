"""Writes the folders beside it with Hugging Face's ``datasets``: ``python make.py FOLDER``; here, by version 5.2.0."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

NAMES = ["owl", "cat", "dog"]


def numbers():
    """What the folders hold, made anew."""
    rng = np.random.default_rng(0)
    return {
        "images": rng.integers(0, 256, (24, 4, 3), dtype=np.uint8),
        "colour": rng.integers(0, 256, (6, 4, 3, 3), dtype=np.uint8),
        "arrays": rng.integers(0, 256, (12, 4, 3), dtype=np.uint8),
        "vectors": rng.random((12, 5)).astype("float32"),
        "a": rng.random(20),
        "b": rng.integers(0, 5, 20),
    }


def pictures(arrays, datasets):
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)})
    columns = {"image": [Image.fromarray(array) for array in arrays], "label": [k % 3 for k in range(len(arrays))]}
    return datasets.Dataset.from_dict(columns, features=features)


def made():
    """The data sets by name, as objects of ``datasets``."""
    import datasets

    found = numbers()
    lists = {"a": found["a"], "b": found["b"], "y": ["u", "v"] * 10}
    table = datasets.Dataset.from_dict(lists)
    kinds = {"x": datasets.Array2D((4, 3), "uint8"), "label": datasets.Value("int64")}
    arrays = {"x": found["arrays"].tolist(), "label": [*range(12)]}
    return {
        "images": pictures(found["images"], datasets),
        "colour": pictures(found["colour"], datasets),
        "two": datasets.DatasetDict(
            {"test": pictures(found["images"][18:], datasets), "train": pictures(found["images"][:18], datasets)}
        ),
        "three": datasets.DatasetDict(
            {
                "test": table.select(range(3)),
                "validation": table.select(range(3, 8)),
                "train": table.select(range(8, 20)),
            }
        ),
        "shuffled": table.shuffle(seed=1),
        "arrays": datasets.Dataset.from_dict(arrays, features=datasets.Features(kinds)),
        "vectors": datasets.Dataset.from_dict({"v": found["vectors"], "id": [f"n{k}" for k in range(12)]}),
        "odd": datasets.DatasetDict({"train": table, "unsupervised": table}),
    }


def write(folder):
    for name, each in made().items():
        each.save_to_disk(str(folder / name), **({"num_shards": 3} if name == "shuffled" else {}))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
