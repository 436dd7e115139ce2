"""Earlier names of modules that have moved; importing them still works, for plugins and configs of earlier versions."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType
from warnings import warn

MOVED = {
    "caelab.analysing": "caelab.analysis.base",
    "caelab.catalogue": "caelab.registry.catalogue",
    "caelab.comparison": "caelab.report.store",
    "caelab.config": "caelab.runs.config",
    "caelab.encoders": "caelab.runs.external",
    "caelab.evidence": "caelab.report.claims",
    "caelab.executors": "caelab.study.executors",
    "caelab.files": "caelab.storage.files",
    "caelab.figures": "caelab.analysis.plotting",
    "caelab.loading": "caelab.registry.importing",
    "caelab.plans": "caelab.study.plan",
    "caelab.recipes": "caelab.runs.recipes",
    "caelab.schema": "caelab.registry.signatures",
    "caelab.single": "caelab.analysis.standalone",
    "caelab.statistics": "caelab.analysis.statistics",
    "caelab.tables": "caelab.report.tables",
    "caelab.jacobian.curves": "caelab_analyses.shared.contraction_ratios",
    "caelab.models.outputs": "caelab.models.reconstruction",
    "caelab_analyses.expansions": "caelab_analyses.noise_expansion.expansions",
    "caelab_analyses.fields": "caelab_analyses.shared.fields",
    "caelab_analyses.image_tangents": "caelab_analyses.manifold_alignment.image_tangents",
    "caelab_analyses.linear_solutions": "caelab_analyses.linear_limit.solutions",
    "caelab_analyses.precision": "caelab_analyses.shared.float64",
    "caelab_analyses.subspaces": "caelab_analyses.shared.subspaces",
    "caelab_plugins": "caelab_regularizers",
}
CURRENT = ("caelab.figures",)  # a name that stays, for those who draw


class Moved(MetaPathFinder, Loader):
    """Finds modules by their earlier names."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a module that has moved; None for any other."""
        return spec_from_loader(fullname, self) if new_name(fullname) else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The module where it stands today."""
        home = new_name(spec.name)
        if spec.name not in CURRENT:
            warn(f"{spec.name} is now {home}; import it from there", DeprecationWarning, stacklevel=2)
        module = import_module(home)
        spec.loader_state = module.__spec__  # importlib puts the spec of the earlier name in its place
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Give the module its own spec back; its code has run already."""
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state


def new_name(name: str) -> str:
    """Where a module stands today; an empty text where it has not moved.

    >>> new_name("caelab_plugins.contractive"), new_name("caelab.options")
    ('caelab_regularizers.contractive', '')
    """
    top, dot, rest = name.partition(".")
    if dot and top in MOVED:
        return f"{MOVED[top]}.{rest}"
    return MOVED.get(name, "")


def keep_earlier_names() -> None:
    """Let modules be imported by their earlier names too, from now on."""
    if not any(isinstance(finder, Moved) for finder in sys.meta_path):
        sys.meta_path.insert(0, Moved())  # before the finder that would make a second module of the same file
