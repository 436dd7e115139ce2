"""Data sets: embedded, from files, downloaded, and synthetic ones whose truth is known.

The names stand here; each is imported when first used, so that the catalogue stays light.
"""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from caelab.hookspecs import hookimpl

if TYPE_CHECKING:
    from caelab.data.dataset import Dataset, load_dataset, make_dataset
    from caelab.data.listing import describe
    from caelab.data.samples import Samples, describes
    from caelab.data.truth import Score, SubspaceGaussian, Tangents

__all__ = [
    "Dataset",
    "Samples",
    "Score",
    "SubspaceGaussian",
    "Tangents",
    "describe",
    "describes",
    "load_dataset",
    "make_dataset",
]

_HOMES = {
    "Dataset": "caelab.data.dataset",
    "Samples": "caelab.data.samples",
    "Score": "caelab.data.truth",
    "SubspaceGaussian": "caelab.data.truth",
    "Tangents": "caelab.data.truth",
    "describe": "caelab.data.listing",
    "describes": "caelab.data.samples",
    "load_dataset": "caelab.data.dataset",
    "make_dataset": "caelab.data.dataset",
}

LOADERS = {
    "mnist5k": "caelab.data.embedded:mnist5k",
    "digits": "caelab.data.embedded:digits",
    "idx": "caelab.data.idx:idx",
    "npz": "caelab.data.arrays:npz",
    "npy": "caelab.data.arrays:npy",
    "memmap": "caelab.data.mapped_files:memmap",
    "hdf5": "caelab.data.hdf5_files:hdf5",
    "mat": "caelab.data.matlab_files:mat",
    "parquet": "caelab.data.columnar_files:parquet",
    "feather": "caelab.data.columnar_files:feather",
    "hf": "caelab.data.huggingface:hf",
    "arrays": "caelab.data.kept:arrays",
    "csv": "caelab.data.text_tables:csv",
    "images": "caelab.data.images:images",
    "mnist": "caelab.data.downloads:mnist",
    "fashion-mnist": "caelab.data.downloads:fashion_mnist",
    "cifar10-bw": "caelab.data.downloads:cifar10_bw",
    "circle": "caelab.data.manifolds:circle",
    "curve": "caelab.data.manifolds:curve",
    "sphere": "caelab.data.manifolds:sphere",
    "torus": "caelab.data.manifolds:torus",
    "swiss-roll": "caelab.data.manifolds:swiss_roll",
    "subspace": "caelab.data.flat:subspace",
    "flat-torus": "caelab.data.flat:flat_torus",
    "gaussian-mixture": "caelab.data.densities:gaussian_mixture",
    "spiral": "caelab.data.densities:spiral",
    "mnist-rot": "caelab.data.variations:mnist_rot",
    "mnist-bg-rand": "caelab.data.variations:mnist_bg_rand",
    "mnist-bg-img": "caelab.data.variations:mnist_bg_img",
    "mnist-bg-img-rot": "caelab.data.variations:mnist_bg_img_rot",
    "rect": "caelab.data.rectangles:rect",
    "rect-img": "caelab.data.rectangles:rect_img",
    "convex": "caelab.data.convexity:convex",
    "codes": "caelab.runs.codes:codes",  # made from a run, which this room knows nothing of
}


@hookimpl
def register_datasets(register: Callable[[str, Any], None]) -> None:
    """Offer the built-in data sets."""
    for name, loader in LOADERS.items():
        register(name, loader)


def __dir__() -> list[str]:
    return sorted([*__all__, "register_datasets"])  # plugins are searched for hooks by what they list


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'caelab.data' has no attribute {name!r}")
