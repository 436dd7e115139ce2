import json
from pathlib import Path

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from caelab.analysis.columns import Column
from caelab.errors import CaelabError
from caelab.registry.catalogue import Offer, catalogue
from caelab.report.claims import VERDICTS
from caelab.report.publish import (
    columns_of_stored,
    facts_of,
    numbers_of,
    publish_comparison,
    shared_by_seed,
    title_of,
    training_seconds,
)
from caelab.report.store import MANIFEST, save
from caelab.report.tables import summary_table
from caelab.runs.recipes import recipe_config
from caelab.storage.folders import open_folder
from tests.core.invented import MODELS, a_problem, analysis, dots, fails, invented_comparison, invented_rows


@pytest.fixture(autouse=True, scope="module")
def own_analyses():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue(), "offers", dict(catalogue().offers))
        for name, draw in (("dots", dots), ("broken", fails)):
            catalogue().offers["analysis", name] = Offer("analysis", name, "test", analysis(name, draw))
        yield


@pytest.fixture(scope="module")
def seven(tmp_path_factory):
    """The seven models published: folder and lines."""
    folder = tmp_path_factory.mktemp("seven") / "out"
    open_folder(folder, MANIFEST)
    save(invented_comparison(), folder)
    return folder, list(publish_comparison(folder))


@pytest.fixture
def published(tmp_path):
    """Publish a comparison into a new folder: ``published(comparison) -> (folder, lines)``."""

    def publish(comparison):
        folder = tmp_path / "out"
        open_folder(folder, MANIFEST)
        save(comparison, folder)
        return folder, list(publish_comparison(folder))

    return publish


def test_everything_is_written(seven):
    comparison, (folder, _) = invented_comparison(), seven
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert names == {
        "comparison.json",
        "data/dots.parquet",
        "data/runs.parquet",
        "runs.csv",
        "summary.csv",
        "statistics.csv",
        "findings.csv",
        "figures/dots.pdf",
        "figures/dots.png",
        "tables/published-mean-squared-entry.tex",
        "tables/published-saturated-share.tex",
        "tables/table1.tex",
        "tables/table2.tex",
        "tables/table3.tex",
        "report.html",
    }
    assert_frame_equal(pd.read_csv(folder / "runs.csv"), comparison.rows, check_dtype=False)
    assert_frame_equal(pd.read_csv(folder / "summary.csv"), summary_table(comparison.rows), check_dtype=False)
    found = pd.read_csv(folder / "findings.csv")
    assert [*found.columns] == ["statement", "source", "verdict", "evidence"]
    html = (folder / "report.html").read_text()
    on_the_page = {each: html.count(f"</span> {each}</span>") for each in VERDICTS}
    assert found["verdict"].value_counts().reindex(VERDICTS, fill_value=0).to_dict() == on_the_page
    assert "caelab compare --out &lt;here&gt;" in html
    assert "3000 examples to train" in html


def test_lines_show_the_table_and_say_where_everything_is(seven):
    folder, lines = seven
    assert [line.split("  ")[0].strip() for line in lines[1:8]] == [
        "AE", "AE+wd", "DAE-g", "DAE-b", "Sparse AE", "CAE", "RBM",
    ]  # fmt: skip
    assert len({len(line) for line in lines[:8]}) == 1
    assert lines[-1] == f"report:   {folder / 'report.html'}"
    assert "supported" in lines[8]
    assert lines[8].startswith("findings: ")


def test_problems_come_first(published):
    problems = [
        a_problem("tangents", "ae", "no images", applies=False),
        a_problem("dots", "ae", "it fails"),
        a_problem("dots", "rbm", "it fails"),
    ]
    rows = invented_rows()
    tables = {name: rows[["model", "seed", "mean norm"]] for name in ("dots", "broken")}
    folder, lines = published(invented_comparison(tables=tables, problems=problems))
    assert lines[:3] == [
        "note: tangents (ae): no images",
        "warning: dots (ae, rbm): it fails",
        "warning: broken (all): the analysis 'broken' could not be drawn: KeyError: 'no such column'",
    ]
    html = (folder / "report.html").read_text()
    assert "could not be drawn" in html
    assert "Without meaning" in html
    assert "figure-dots" in html
    assert "figure-broken" not in html


def test_the_same_comparison_gives_the_same_bytes(seven):
    folder, first = seven
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert list(publish_comparison(folder)) == first
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_tables_of_an_earlier_comparison_go(tmp_path):
    rows = invented_rows()
    few = rows[["model", "seed", "run", "mean norm"]]
    for each in (rows, few):
        list(publish_comparison(tmp_path, invented_comparison(each)))
    assert [path.name for path in (tmp_path / "tables").iterdir()] == ["table1.tex"]


def test_a_comparison_without_numbers_has_a_page_too(published):
    rows = invented_rows()[["model", "seed", "run"]]
    tables = {"dots": invented_rows()[["model", "seed", "mean norm"]]}
    folder, lines = published(invented_comparison(rows, tables))
    assert (folder / "report.html").is_file()
    assert not any(line.startswith("findings") for line in lines)


def test_one_seed_works(published):
    _, lines = published(invented_comparison(invented_rows(seeds=1)))
    assert not any("nan" in line for line in lines)
    assert any("inconclusive" in line for line in lines)


def test_a_folder_without_a_comparison_is_refused(tmp_path):
    with pytest.raises(CaelabError, match="no finished comparison"):
        list(publish_comparison(tmp_path))


def test_claims_get_rows_tables_and_data():
    comparison = invented_comparison()
    found = numbers_of(comparison, [])
    assert (found.rows is comparison.rows, found.tables is comparison.tables) == (True, True)
    assert (found.dataset, found.validation) == ("mnist5k", None)


def test_validation_selects_by_the_first_number_that_an_analysis_marks_and_measured():
    comparison = invented_comparison()
    assert numbers_of(comparison, columns_of_stored(comparison)).validation == "fine-tuned validation error"
    absent = Column(name="nowhere", better="smaller", tune=True)
    higher = Column(name="bump height", better="larger", tune=True)
    found = numbers_of(comparison, [Column(name="mean norm"), absent, higher])
    assert (found.validation, found.larger_is_better) == ("bump height", True)


def test_training_time_is_that_of_the_runs_that_are_there(tmp_path):
    folder = tmp_path / "runs" / "ae-0"
    folder.mkdir(parents=True)
    record = {"config": recipe_config("ae").as_dict(), "record": {"seconds": 2.5}}
    (folder / "run.json").write_text(json.dumps(record))
    assert training_seconds(invented_rows(), tmp_path) == [2.5]


def test_models_on_different_data_are_not_called_paired():
    base = recipe_config("ae").as_dict()
    other = recipe_config("ae", dataset={"kind": "digits", "splits": [10, 5, 5]}, label="ae-digits").as_dict()
    assert shared_by_seed([base, base]) == "splits and initial weights"
    assert "numbers on different data cannot be compared" in shared_by_seed([base, other])
    few = invented_comparison()
    mixed = type(few)("", [base, other], [0], [], {}, few.rows, {})
    assert "digits, 10 examples to train" in facts_of(mixed, Path("nowhere"))["data"]


def test_many_models_are_counted_in_the_title():
    few = invented_comparison()
    assert title_of(few) == "AE, AE+wd, DAE-g, DAE-b, Sparse AE, CAE, RBM on mnist5k"
    configs = [{**recipe_config("cae").as_dict(), "label": f"cae w={k}"} for k in range(10)]
    many = type(few)("", configs, [0], [], {}, few.rows, {})
    assert title_of(many) == "10 models on mnist5k"
    assert len(MODELS) <= 9
