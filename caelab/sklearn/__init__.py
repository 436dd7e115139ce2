"""Auto-encoders as scikit-learn's estimators: in pipelines, grid searches, clones and pickles.

``Autoencoder`` takes any regularizer by name, any model and any recipe. Plugins offer estimators with parameters of
their own through the hook ``register_estimators``; these are imported from here, too, when they are first asked for.
"""

from __future__ import annotations

from typing import Any

from caelab.errors import unknown_name
from caelab.registry.catalogue import catalogue
from caelab.sklearn.autoencoder import Autoencoder

__all__ = ["Autoencoder"]

KIND = "estimator"


def __dir__() -> list[str]:
    return sorted([*__all__, *catalogue().names(KIND)])


def __getattr__(name: str) -> Any:
    if (KIND, name) in catalogue().offers:
        return catalogue().get(KIND, name)
    if name.startswith("_"):
        raise AttributeError(f"module 'caelab.sklearn' has no attribute {name!r}")
    raise AttributeError(f"caelab.sklearn has no such name: {unknown_name(KIND, name, __dir__())}")
