"""From nothing to a figure with one's own regularizer in it, by the commands that the documentation tells."""

import time
from contextlib import contextmanager

import pandas as pd
import pytest

from caelab.analysis.contract import load_analysis

QUICK = "--dataset digits --set training.epochs=1"
PROMISED = 300  # seconds: five minutes, as a user is told; on a quiet machine it is half a minute


@pytest.fixture(scope="module")
def spent():
    """The seconds of every part of the path."""
    return {}


@contextmanager
def timed(spent, part):
    started = time.monotonic()
    yield
    spent[part] = time.monotonic() - started


@pytest.fixture(scope="module")
def place(tmp_path_factory, caelab_script, installed, spent):
    """A stranger's folder after: caelab new regularizer mine; pip install caelab-mine."""
    folder = tmp_path_factory.mktemp("stranger")
    with timed(spent, "installing"):
        said = caelab_script("new regularizer mine", folder)
        installed([folder / "caelab-mine"], folder / "installed")
    assert "package: caelab-mine" in said
    assert "pip install --editable caelab-mine" in said
    return folder


@pytest.fixture(scope="module")
def trained(place, caelab_script, spent):
    """... caelab train mine."""
    with timed(spent, "training"):
        return caelab_script(f"train mine {QUICK} --trace-hooks", place, place / "installed")


@pytest.fixture(scope="module")
def comparison(place, caelab_script, spent):
    """... caelab compare my.yaml ae."""
    packages = place / "installed"
    with timed(spent, "comparing"):
        words = f"train ae --set mine.weight=5 --set label=mine {QUICK} --print-config"
        (place / "my.yaml").write_text(caelab_script(words, place, packages))
        words = f"compare my.yaml ae --seeds 1 --analyses jacobian_norm {QUICK}"
        return place / "compare", caelab_script(words, place, packages)


@pytest.mark.slow
@pytest.mark.usefixtures("trained", "comparison")
def test_the_whole_path_takes_under_five_minutes(spent):
    assert set(spent) == {"installing", "training", "comparing"}
    assert sum(spent.values()) < PROMISED, spent


@pytest.mark.slow
def test_a_run_trains_with_it_and_says_so(trained):
    assert "penalty_terms (epoch 1) [mine]" in trained
    assert "train_mine" in trained
    assert "run: runs/mine-" in trained


@pytest.mark.slow
def test_the_figure_has_the_regularizer_in_it(comparison):
    folder, said = comparison
    assert f"report:   {folder.name}/report.html" in said
    for suffix in ("pdf", "png"):
        assert (folder / "figures" / f"jacobian_norm.{suffix}").stat().st_size > 1000
    table = pd.read_parquet(folder / "data" / "jacobian_norm.parquet")
    first, *_ = load_analysis("jacobian_norm").draw(table).axes
    assert [label.get_text() for label in first.get_yticklabels()] == ["mine", "AE"]


@pytest.mark.slow
def test_the_penalty_did_what_it_says(comparison):
    """After one epoch of the same batches from the same weights, the penalised model's Jacobian is smaller."""
    rows = pd.read_csv(comparison[0] / "runs.csv").set_index("model")
    assert rows.loc["mine", "mean norm"] < rows.loc["ae", "mean norm"]


@pytest.mark.slow
def test_the_report_and_the_tables_name_it(comparison):
    folder, _ = comparison
    assert "mine" in (folder / "report.html").read_text()
    assert set(pd.read_csv(folder / "summary.csv")["model"]) == {"mine", "ae"}
