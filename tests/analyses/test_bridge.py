import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from caelab import CaelabError
from caelab.cli.main import main
from caelab_analyses.bridge.page import publish
from caelab_analyses.bridge.parts import PARTS, expansion, how_they_meet, transition, twin_training_reading
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
    for name in ("caelab.training._trained", "caelab_analyses.twin_training.train_twins"):
        monkeypatch.setattr(name, None)  # would fail if it were called
    study = BridgeStudy("digits", 0, finished, quick=True)
    before = {path: path.read_bytes() for path in finished.rglob("*.parquet")}
    study.run("serial", 1, lambda what: None)
    assert json.loads((finished / "bridge.json").read_text())["problems"] == []
    assert {path: path.read_bytes() for path in finished.rglob("*.parquet")} == before


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
    reading = twin_training_reading(twins)
    assert "RCAE 5.0% at σ = 0.2; CAE 90.0% at σ = 0.2" in reading
    assert reading.endswith("another function than contraction of the reconstruction g∘f: " + EIGHTEEN)


EIGHTEEN = "the CAE's is 18 times as far from the DAE's as the RCAE's is."


@pytest.mark.parametrize(
    ("near", "far", "cosine", "found"),
    [
        (
            0.05,
            0.9,
            0.95,
            "CAE and DAE meet half way: both functions point the same way (cosine 0.95), but " + EIGHTEEN,
        ),
        (0.1, 0.15, 0.99, "led to much the same function here: the CAE's is 1.5 times as far"),
        (0.5, 0.9, 0.5, "At no σ is the RCAE within 20% of the DAE: nothing follows here about the CAE."),
    ],
)
def test_what_is_said_of_contraction_follows_from_the_numbers(near, far, cosine, found):
    values = {
        ("distance of r(x) - x", "rcae", 0.1): near,
        ("distance of r(x) - x", "cae", 0.1): far,
        ("cosine of r(x) - x", "cae", 0.1): cosine,
    }
    assert found in how_they_meet(pd.Series(values).sort_index())


def test_the_seed_reaches_every_run():
    studies = BridgeStudy("digits", 3, Path("out"), quick=True).studies()
    for name, study in studies.items():
        assert {job.config.seed for job in study.jobs()} == {3}, name
    folders = [
        {
            job.config.content_hash()
            for s in BridgeStudy("digits", seed, Path("out"), quick=True).studies().values()
            for job in s.jobs()
        }
        for seed in (3, 4)
    ]
    assert not folders[0] & folders[1]


def test_data_beyond_cross_entropy_are_refused_with_advice_that_works(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["bridge", "--dataset", "sphere", "--out", str(tmp_path / "out")])
    error = capsys.readouterr().err
    assert "give images, as --dataset digits, or data of your own rescaled" in error
    assert "--set" not in error


def test_what_has_no_meaning_is_left_out_and_told(tmp_path, monkeypatch):
    """Data that are no images have no known tangents; the page comes all the same."""
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).random((300, 12)).astype(np.float32))
    images = BridgeStudy(f"npz:{tmp_path / 'x.npz'}", 0, tmp_path / "out", quick=True).studies()["images"]
    fewer = replace(images, configs=images.configs[3:5], analyses={"linear_limit": {}, "manifold_alignment": {}})
    monkeypatch.setattr(BridgeStudy, "studies", lambda self: {"images": fewer})
    study = BridgeStudy(f"npz:{tmp_path / 'x.npz'}", 0, tmp_path / "out", quick=True)
    study.check()
    study.run("serial", 1, lambda what: None)
    lines = list(publish(tmp_path / "out"))
    (told,) = [line for line in lines if line.startswith("On images: ")]
    assert re.match("On images: left out: manifold_alignment needs", told)
    assert any(line.startswith("The same on a spiral: left out: the study has no table") for line in lines)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Left out: manifold_alignment needs" in page
    assert 'id="figure-linear_limit"' in page
    assert not (tmp_path / "out" / "figures" / "manifold_alignment.png").exists()
