"""Every study file of the documentation runs, at the scale of a smoke test, and is named where its results are."""

from pathlib import Path

import pandas as pd
import pytest

from caelab.registry.catalogue import catalogue
from tests import warm

ROOT = Path(__file__).parents[1]
STUDIES = sorted((ROOT / "docs" / "studies").glob("*.yaml"))


@pytest.mark.slow
@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_study_of_the_documentation_runs(path, tmp_path):
    words = ["study", "run", str(path), "--smoke", "--out", "out", "--executor", "serial"]
    status, said, trouble = warm.run(warm.command, *words, folder=tmp_path)
    assert status == 0, trouble
    assert "report:" in said
    rows = pd.read_parquet(tmp_path / "out" / "results" / "runs.parquet")
    assert rows.groupby(["dataset", "model"]).size().min() >= 1
    assert rows.drop(columns=["study", "dataset", "model", "split", "seed", "run"]).notna().any().any()


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_study_is_named_where_its_results_are_and_can_be_reproduced(path):
    pages = [page for room in ("results", "howto") for page in (ROOT / "docs" / room).glob("*.md")]
    assert any(f"reproduce {path.stem}" in page.read_text(encoding="utf-8") for page in pages) or path.stem in NOT_YET
    assert catalogue().get("study", path.stem).name == path.name


NOT_YET = {"repeated-splits"}  # an example of what a study file can say, not a result
