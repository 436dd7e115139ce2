"""caelab: a laboratory for regularized auto-encoders.

The names a user needs stand here; each is imported when first used, so that the command line starts at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from caelab.errors import CaelabError, NotApplicable
from caelab.hookspecs import hookimpl
from caelab.moved import keep_earlier_names
from caelab.version import __version__

if TYPE_CHECKING:
    from caelab.analysis.asking import analyse, draw
    from caelab.analysis.columns import Column
    from caelab.classifiers import Classifier, finetune, load_classifier
    from caelab.data import Dataset, Samples, load_dataset
    from caelab.jacobian.service import Jacobian, jacobian
    from caelab.models.sparse_codes import BatchTopK, JumpReLU, TopK
    from caelab.registry.importing import allow_code
    from caelab.registry.session import register
    from caelab.report.claims import Contest, Finding, Numbers, finding
    from caelab.report.comparing import compare
    from caelab.report.comparison import Comparison, load_comparison
    from caelab.report.notebook import html_of
    from caelab.report.paired_tests import PairedTest
    from caelab.report.published import Published
    from caelab.report.studies import run_study
    from caelab.runs.conventions import ConvertedWeight, convert_weight
    from caelab.runs.keywords import recipe
    from caelab.runs.recipes import Look, Recipe, recipe_config
    from caelab.runs.run import Run, load_run
    from caelab.streams import Streams
    from caelab.study.making import load_study
    from caelab.study.results import read_results
    from caelab.study.study import Study
    from caelab.training import train

__all__ = [
    "BatchTopK",
    "CaelabError",
    "Classifier",
    "Column",
    "Comparison",
    "Contest",
    "ConvertedWeight",
    "Dataset",
    "Finding",
    "Jacobian",
    "JumpReLU",
    "Look",
    "NotApplicable",
    "Numbers",
    "PairedTest",
    "Published",
    "Recipe",
    "Run",
    "Samples",
    "Streams",
    "Study",
    "TopK",
    "__version__",
    "allow_code",
    "analyse",
    "compare",
    "convert_weight",
    "draw",
    "finding",
    "finetune",
    "hookimpl",
    "html_of",
    "jacobian",
    "load_classifier",
    "load_comparison",
    "load_dataset",
    "load_run",
    "load_study",
    "read_results",
    "recipe",
    "recipe_config",
    "register",
    "run_study",
    "train",
]

_ROOMS = ("data", "figures", "sklearn", "testing")

_HOMES = {
    "BatchTopK": "caelab.models.sparse_codes",
    "Classifier": "caelab.classifiers",
    "Column": "caelab.analysis.columns",
    "Comparison": "caelab.report.comparison",
    "Contest": "caelab.report.claims",
    "ConvertedWeight": "caelab.runs.conventions",
    "Dataset": "caelab.data",
    "Finding": "caelab.report.claims",
    "Jacobian": "caelab.jacobian.service",
    "JumpReLU": "caelab.models.sparse_codes",
    "Look": "caelab.runs.recipes",
    "Numbers": "caelab.report.claims",
    "PairedTest": "caelab.report.paired_tests",
    "Published": "caelab.report.published",
    "Recipe": "caelab.runs.recipes",
    "Run": "caelab.runs.run",
    "Samples": "caelab.data",
    "Streams": "caelab.streams",
    "Study": "caelab.study.study",
    "TopK": "caelab.models.sparse_codes",
    "allow_code": "caelab.registry.importing",
    "analyse": "caelab.analysis.asking",
    "compare": "caelab.report.comparing",
    "convert_weight": "caelab.runs.conventions",
    "draw": "caelab.analysis.asking",
    "finding": "caelab.report.claims",
    "finetune": "caelab.classifiers",
    "html_of": "caelab.report.notebook",
    "jacobian": "caelab.jacobian.service",
    "load_classifier": "caelab.classifiers",
    "load_comparison": "caelab.report.comparison",
    "load_dataset": "caelab.data",
    "load_run": "caelab.runs.run",
    "load_study": "caelab.study.making",
    "read_results": "caelab.study.results",
    "recipe": "caelab.runs.keywords",
    "recipe_config": "caelab.runs.recipes",
    "register": "caelab.registry.session",
    "run_study": "caelab.report.studies",
    "train": "caelab.training",
}

keep_earlier_names()


def __dir__() -> list[str]:
    return sorted([*__all__, *_ROOMS])


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"caelab.{name}")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'caelab' has no attribute {name!r}")
