"""The analyses that fine-tune: before and after, few labels, and the tangent classifier."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose

from caelab import finetune
from caelab.analysis.base import gather
from caelab.errors import NotApplicable
from caelab.streams import Streams
from caelab_analyses import few_labels, fine_tuning, tangent_classifier
from caelab_analyses.tangent_classifier import EUCLIDEAN, PENALISED, PLAIN, TANGENT
from tests.drawing import drawn_alike

QUICK = {"epochs": 6, "patience": 3}
MTC = {**QUICK, "tangents": 3, "weights": [0.01, 1.0], "candidates": 10, "labels": 100}
ANALYSES = {
    "fine_tuning": (fine_tuning, QUICK),
    "few_labels": (few_labels, QUICK),
    "tangent": (tangent_classifier, MTC),
}


@pytest.fixture(scope="module")
def run(tiny_runs):
    return tiny_runs["cae"]


@pytest.fixture(scope="module")
def table(run):
    return fine_tuning.measure(run, Streams(run.seed), examples=10, **QUICK)


@pytest.fixture(scope="module")
def few(run):
    return few_labels.measure(run, Streams(run.seed), counts=[50, 100, 1000], **QUICK)


@pytest.fixture(scope="module")
def tangents(run):
    return tangent_classifier.measure(run, Streams(run.seed), **MTC)


def test_both_stages_are_measured_on_the_closed_form(run, table, explicit_jacobians):
    made = finetune(run, **QUICK)
    for stage, each in (("before", run), ("after", made.as_run())):
        rows = table[table["stage"] == stage]
        dense = explicit_jacobians(each, 10)
        norms = np.sqrt(np.sum(dense**2, axis=(1, 2)))
        assert_allclose(rows["norm"], norms.mean(), rtol=1e-9)
        assert_allclose(rows["squared_norm"], np.mean(norms**2), rtol=1e-9)
        assert_allclose(rows["squared_entry"], np.mean(dense**2), rtol=1e-9)
        spectra = np.linalg.svd(dense, compute_uv=False)
        assert_allclose(rows["singular_value"], spectra.mean(axis=0), rtol=1e-6, atol=1e-9)
        code = each.encode(run.dataset.valid_inputs[:10]).double().numpy()
        assert_allclose(rows["saturated_share"], np.mean((code < 0.05) | (code > 0.95)))
    assert table["norm"].nunique() == 2


def test_errors_are_those_of_the_classifier(run, table):
    made = finetune(run, **QUICK)
    after = table[table["stage"] == "after"]
    assert after["valid_error"].unique().tolist() == [made.error("valid")]
    assert after["test_error"].unique().tolist() == [made.error("test")]
    assert table.loc[table["stage"] == "before", ["valid_error", "test_error"]].isna().all(axis=None)
    assert table["labels"].unique().tolist() == [300]


def test_the_summary_of_before_and_after(table):
    first = table.groupby("stage").first()
    found = fine_tuning.summarise(table)
    assert found["norm ratio of fine-tuning"] == first.loc["after", "norm"] / first.loc["before", "norm"]
    assert found["test error after fine-tuning"] == first.loc["after", "test_error"]
    assert found["saturated share after fine-tuning"] == first.loc["after", "saturated_share"]
    assert {*found} == {column.name for column in fine_tuning.columns}
    assert [column.name for column in fine_tuning.columns if column.tune] == ["validation error after fine-tuning"]
    without = fine_tuning.summarise(table.assign(saturated_share=np.nan))
    assert "saturated share after fine-tuning" not in without


def test_errors_by_labels_are_those_of_classifiers(run, few):
    assert few["labels"].tolist() == [50, 50, 100, 100, 300, 300]  # 1000 are too many, 300 are all
    assert few["of_all"].tolist() == [False] * 4 + [True] * 2
    for (labels, part), rows in few.groupby(["labels", "split"]):
        made = finetune(run, labels=labels, **QUICK)
        assert rows["error"].tolist() == [made.error(part)]
        share, count = made.error(part) / 100, {"valid": 60, "test": 100}[part]
        assert_allclose(rows["standard_error"], 100 * np.sqrt(share * (1 - share) / count))


def test_the_summary_of_few_labels(few):
    found = few_labels.summarise(few)
    test = few[few["split"] == "test"].set_index("labels")["error"]
    assert found == {f"test error with {name} labels": test[n] for name, n in (("50", 50), ("100", 100), ("all", 300))}
    assert all(few_labels.columns[0].covers(name) for name in found)


def test_without_all_labels(run):
    table = few_labels.measure(run, Streams(0), counts=[50], with_all=False, **QUICK)
    assert {*table["labels"]} == {50}
    with pytest.raises(NotApplicable, match="no number of labels that is at most 300"):
        few_labels.measure(run, Streams(0), counts=[500], with_all=False)


def test_a_count_of_one_class_is_left_out(run):
    data = run.dataset
    labels = data.labels.clone()
    labels[data.train[:20]] = 4
    one = replace(run, dataset=replace(data, labels=labels, content_hash=""))
    assert {*few_labels.measure(one, Streams(0), counts=[20, 60], **QUICK)["labels"]} == {60, 300}
    with pytest.raises(NotApplicable, match="all of the class 4"):
        few_labels.measure(one, Streams(0), counts=[20], with_all=False, **QUICK)


def test_the_tangent_classifier_is_four_classifiers(run, tangents):
    common = {"labels": 100}
    penalised = {w: finetune(run, tangents=3, tangent_weight=w, **QUICK, **common) for w in MTC["weights"]}
    weight = min(penalised, key=lambda w: penalised[w].error("valid"))
    expected = {
        PLAIN: finetune(run, **QUICK, **common),
        PENALISED: penalised[weight],
        EUCLIDEAN: finetune(run, method="nearest-neighbours", features="inputs", **common),
        TANGENT: finetune(run, method="tangent-nearest-neighbours", tangents=3, candidates=10, **common),
    }
    rows = tangents.set_index(["classifier", "split"])
    for name, made in expected.items():
        for part in ("valid", "test"):
            assert rows.loc[(name, part), "error"] == made.error(part)
    assert rows.loc[(PENALISED, "test"), "weight"] == weight
    assert {*tangents["labels"]} == {100}
    found = tangent_classifier.summarise(tangents)
    assert {*found} == {column.name for column in tangent_classifier.columns}
    assert found["test error of the tangent classifier"] == expected[PENALISED].error("test")
    assert found["weight of the tangents"] == weight


def test_tangents_are_computed_once(run, monkeypatch):
    from caelab.classifiers import planes

    asked, plain = [], planes.tangents_of
    monkeypatch.setattr(planes, "tangents_of", lambda *given: asked.append(len(given[1])) or plain(*given))
    tangent_classifier.measure(run, Streams(0), **MTC)
    assert asked == [100]


def test_no_more_tangents_than_units(run):
    table = tangent_classifier.measure(run, Streams(0), **{**MTC, "tangents": 50, "epochs": 1})
    assert {*table["tangents"]} == {20}


@pytest.mark.parametrize("name", ANALYSES)
def test_they_are_deterministic_and_leave_the_run(run, name):
    analysis, options = ANALYSES[name]
    before = {key: value.clone() for key, value in run.model.state_dict().items()}
    tables = []
    for seed in (1, 99):
        torch.manual_seed(seed)
        tables.append(analysis.measure(run, Streams(run.seed), **options))
    pd.testing.assert_frame_equal(*tables)
    assert all(torch.equal(value, before[key]) for key, value in run.model.state_dict().items())


@pytest.mark.parametrize("name", ANALYSES)
def test_without_labels_they_are_not_applicable(run, name):
    analysis, options = ANALYSES[name]
    unlabelled = replace(run, dataset=replace(run.dataset, labels=None))
    with pytest.raises(NotApplicable, match="needs labels"):
        analysis.measure(unlabelled, Streams(0), **options)


@pytest.mark.parametrize("name", ANALYSES)
def test_they_draw_from_the_stored_table(name, request, tmp_path):
    fixture = {"fine_tuning": "table", "few_labels": "few", "tangent": "tangents"}[name]
    measured = request.getfixturevalue(fixture)
    parts = [measured.assign(model=model, seed=seed) for model in ("ae", "cae") for seed in (0, 1)]
    gather(parts).to_parquet(tmp_path / "t.parquet")
    figure = drawn_alike(ANALYSES[name][0].draw, pd.read_parquet(tmp_path / "t.parquet"))
    figure.canvas.draw()
    if name == "few_labels":
        assert [axes.get_title(loc="left") for axes in figure.axes] == ["test examples", "validation examples"]
        assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["50", "100", "300"]
        line = figure.axes[0].get_lines()[0]
        assert_allclose(line.get_ydata(), measured[measured["split"] == "test"]["error"])
    if name == "fine_tuning":
        assert [axes.get_xlabel() for axes in figure.axes[1:]] == ["saturated share of units", "rank"]
        marks = [line for line in figure.axes[0].get_lines() if line.get_marker() == "*"]
        first = measured.groupby("stage")["norm"].first()
        assert [line.get_xdata()[0] for line in marks] == pytest.approx([first["before"], first["after"]])
    if name == "tangent":
        assert [axes.get_title(loc="left") for axes in figure.axes] == [PLAIN, PENALISED, EUCLIDEAN, TANGENT]


@pytest.mark.parametrize("model", ["random", "inputs", "ae"])
def test_before_and_after_differ_in_more_than_colour(model, table):
    figure = fine_tuning.draw(table.assign(model=model, seed=0))
    marks = [line for line in figure.axes[0].get_lines() if line.get_marker() not in ("None", None, "")]
    before, after = marks
    assert before.get_marker() == after.get_marker()
    assert before.get_marker() in before.filled_markers
    assert before.get_markerfacecolor() == "white" != after.get_markerfacecolor()


def test_the_models_spectra_differ_in_more_than_colour(table):
    models = ("random", "ae", "cae", "rbm")
    figure = fine_tuning.draw(pd.concat([table.assign(model=model, seed=0) for model in models]))
    lines = figure.axes[2].get_lines()
    assert len({line.get_marker() for line in lines}) == len(models)
    assert len({(line.get_marker(), line.get_markerfacecolor(), line.get_linestyle()) for line in lines}) == len(lines)
    legend = figure.axes[2].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["before", "after"]
    assert {handle.get_color() for handle in legend.get_lines()} == {"0.3"}, "a stage has no model's colour"


def test_a_share_is_drawn_between_nought_and_one(table):
    figure = fine_tuning.draw(table.assign(model="ae", seed=0, saturated_share=0.0))
    low, high = figure.axes[1].get_xlim()
    assert -0.1 < low <= 0
    assert 0.1 <= high <= 1.1
