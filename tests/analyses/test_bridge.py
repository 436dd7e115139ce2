import json
import re

import pandas as pd
import pytest

from caelab import CaelabError
from caelab.cli import main
from caelab_analyses.bridge.page import publish
from caelab_analyses.bridge.parts import PARTS, expansion, transition, twin_training_reading
from caelab_analyses.bridge.study import BridgeStudy


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A quick study on small images, in this process."""
    out = tmp_path_factory.mktemp("bridge") / "out"
    study = BridgeStudy("digits", 0, out, quick=True)
    study.check()
    done = []
    study.run("serial", 1, done.append)
    assert len(done) == study.steps()
    return out


@pytest.mark.slow
def test_the_page_holds_every_step_in_the_order_of_the_argument(finished):
    lines = list(publish(finished))
    page = (finished / "report.html").read_text()
    steps = [step for part in PARTS for step in part.steps]
    places = [page.index(f'id="figure-{step.name}"') for step in steps]
    assert places == sorted(places)
    for step in steps:
        assert any(line.startswith(f"{step.title}: ") for line in lines)
        for kind in ("pdf", "png"):
            assert (finished / "figures" / f"{step.name}.{kind}").is_file()
    assert not re.search(r'(?:src|href)="(?!#|data:)', page)  # nothing comes from elsewhere
    assert "nan" not in " ".join(lines).lower()
    assert json.loads((finished / "bridge.json").read_text())["problems"] == []


@pytest.mark.slow
def test_what_exists_is_used_again(finished, monkeypatch):
    monkeypatch.setattr("caelab_analyses.bridge.study.train_twins", None)  # would fail if it were called
    study = BridgeStudy("digits", 0, finished, quick=True)
    study.run("serial", 1, lambda what: None)


def test_a_folder_that_is_not_ours_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(CaelabError, match="holds files that caelab did not make"):
        BridgeStudy("digits", 0, tmp_path).check()
    with pytest.raises(CaelabError, match="holds no finished bridge study"):
        list(publish(tmp_path))


def test_an_unknown_data_set_is_told_in_one_sentence(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["bridge", "--dataset", "mnist5", "--out", str(tmp_path / "out")])
    error = capsys.readouterr().err
    assert stopped.value.code == 2
    assert error.count("\n") == 1
    assert "did you mean 'mnist5k'?" in error
    assert not (tmp_path / "out").exists()


def test_readings_name_the_numbers_of_their_tables():
    terms = ["full expansion", "Gauss-Newton", "encoder only"]
    table = pd.DataFrame(
        {
            "model": "ae",
            "sigma": 0.05,
            "term": terms,
            "remainder order": [4.01, 2.0, 2.0],
            "relative error": [0.002, 0.06, 0.4],
        }
    )
    assert "AE 0.20%" in expansion(table)
    assert "AE 4.01 (4 in theory)" in expansion(table)
    assert "AE 6.0%" in expansion(table)
    angles = pd.DataFrame({"recipe": ["cae", "cae"], "angle": [80.0, 7.56], "gap": [1.0, 2.2], "strength": [0.03, 0.1]})
    assert "CAE 7.6° with a gap of 2.20 (strength 0.1)" in transition(angles)
    rows = [
        ("distance of r(x) - x", "rcae", None, 0.05),
        ("distance of r(x) - x", "cae", None, 0.9),
        ("cosine of r(x) - x", "rcae", None, 0.99),
        ("cosine of r(x) - x", "cae", None, 0.1),
        ("gradient cosine (penalty)", "rcae", 1.0, 0.97),
    ]
    twins = pd.DataFrame(rows, columns=["quantity", "twin", "at", "value"]).assign(sigma=0.2)
    assert "RCAE 5.0% at σ = 0.2; CAE 90.0% at σ = 0.2" in twin_training_reading(twins)
