import inspect
from pathlib import Path

import pytest

from caelab.hookspecs import CatalogueHooks, TrainingHooks

HOOKS_PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "hooks.md").read_text()


def all_hooks():
    for specs in (CatalogueHooks, TrainingHooks):
        for name, function in vars(specs).items():
            if not name.startswith("_"):
                arguments = [argument for argument in inspect.signature(function).parameters if argument != "self"]
                yield f"{name}({', '.join(arguments)})"


@pytest.mark.parametrize("hook", list(all_hooks()))
def test_hook_is_documented_with_its_signature(hook):
    assert f"### {hook}\n" in HOOKS_PAGE, f"docs/reference/hooks.md lacks a section for {hook}"


def test_the_page_documents_no_hook_that_is_not_there():
    headings = [line.removeprefix("### ") for line in HOOKS_PAGE.splitlines() if line.startswith("### ")]
    assert headings == list(all_hooks())


def test_no_hook_has_a_default():
    for specs in (CatalogueHooks, TrainingHooks):
        for name, function in vars(specs).items():
            if not name.startswith("_"):
                assert all(p.default is p.empty for p in inspect.signature(function).parameters.values()), name
