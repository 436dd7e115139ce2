"""The course: its notebooks run and show what they say, right answers are right, and wrong ones are told."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
COURSE = ROOT / "docs" / "course"
SOLUTIONS = ROOT / "tests" / "course_solutions"
FILES = ["pca", "denoising", "contraction", "spectrum", "score", "penalties"]


@pytest.fixture(autouse=True)
def _as_in_the_folder_of_the_course(monkeypatch):
    monkeypatch.syspath_prepend(str(COURSE))
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "_extensions"))


def scripts():
    return sorted(COURSE.glob("[0-9]-*.py"))


def outputs(notebook, kind):
    """Every output of one kind: a stream's name, or a MIME type."""
    found = [each for cell in notebook.cells for each in cell.get("outputs", [])]
    return [each for each in found if each.get("name") == kind or kind in each.get("data", {})]


def test_there_are_six_and_the_page_has_them_all_in_order():
    page = (COURSE / "index.md").read_text(encoding="utf-8")
    assert [path.name[0] for path in scripts()] == list("123456")
    tree = re.search(r"```\{toctree\}\n(.*?)```", page, re.DOTALL)[1].split()
    assert [name for name in tree if re.match(r"\d-", name)] == [path.stem for path in scripts()]
    assert all(f" <{path.stem}>`" in page for path in scripts())


@pytest.mark.parametrize("script", scripts(), ids=lambda path: path.stem)
def test_a_notebook_runs_to_its_end_with_figures_and_without_warnings(script):
    import notebooks

    notebook = notebooks.executed(script)
    assert not outputs(notebook, "stderr"), outputs(notebook, "stderr")
    assert outputs(notebook, "image/png")
    (graded,) = [each for each in outputs(notebook, "text/html") if "verdict" in each["data"]["text/html"]][-1:]
    assert "right" not in graded["data"]["text/plain"], "what is to be solved is not solved"


@pytest.mark.parametrize("script", scripts(), ids=lambda path: path.stem)
def test_a_notebook_has_what_a_lesson_needs(script):
    text = script.read_text(encoding="utf-8")
    assert re.search(rf"^# # {script.name[0]}\. ", text, re.MULTILINE)
    assert "After this notebook you can" in text
    for heading in ("## Theory", "## Questions", "## Sources", "### Check yourself"):
        assert f"# {heading}\n" in text, heading
    assert "# ## Exercises\n" in text or "# ## The exercises" in text
    assert re.search(r"^assert ", text, re.MULTILINE)
    assert "graded(" in text
    for path in re.findall(r"\]\((\.\.?/[^)#]+|[1-6]-[^)#]+)\)", text):
        assert (COURSE / path).is_file(), path


def test_a_notebook_is_executed_again_only_where_something_changed(tmp_path, monkeypatch):
    import nbformat
    import notebooks

    done = []
    monkeypatch.setattr(notebooks, "_execute", lambda notebook: done.append(len(notebook.cells)))
    script = tmp_path / "1-small.py"
    script.write_text("# %% [markdown]\n# # Title\n\n# %%\n1 + 1\n", encoding="utf-8")
    for _ in range(2):
        assert len(notebooks.executed(script).cells) == 2
    assert done == [2]
    script.write_text("# %% [markdown]\n# # Title\n\n# %%\n1 + 2\n", encoding="utf-8")
    notebooks.executed(script)
    assert done == [2, 2]
    assert nbformat.read(tmp_path / "1-small.executed.ipynb", 4).metadata["made_from"] == notebooks.made_from(script)
    monkeypatch.setattr(notebooks, "_digest_of_code", lambda: "changed")
    notebooks.executed(script)
    assert done == [2, 2, 2]


def test_a_cell_that_fails_fails_and_leaves_nothing(tmp_path):
    import notebooks
    from nbclient.exceptions import CellExecutionError

    script = tmp_path / "1-wrong.py"
    script.write_text("# %%\nassert 1 == 2, 'the cell fails'\n", encoding="utf-8")
    with pytest.raises(CellExecutionError, match="the cell fails"):
        notebooks.executed(script)
    assert [path.name for path in tmp_path.iterdir()] == ["1-wrong.py"]


def test_a_page_has_text_code_pictures_and_tables():
    pytest.importorskip("myst_parser")
    import course

    outputs = [
        {"output_type": "stream", "name": "stdout", "text": ["one\n", "```\n"]},
        {"output_type": "display_data", "data": {"image/png": "AAAA\n", "text/plain": "a figure"}},
        {
            "output_type": "execute_result",
            "data": {"text/html": '<table border="1" class="dataframe">', "text/plain": "1"},
        },
        {"output_type": "execute_result", "data": {"text/plain": ["2"]}},
    ]
    cells = [
        {"cell_type": "markdown", "source": "# Title"},
        {"cell_type": "code", "source": ["x = 1\n", "x"], "outputs": outputs},
        {"cell_type": "code", "source": [], "outputs": []},
        {"cell_type": "markdown", "source": ["[next](2-other.py) and [a page](../x.md)\n", "$x$"]},
    ]
    page = course.page_of({"cells": cells}, "1-name")
    assert page.startswith("# Title\n\n{download}`Download as a script <1-name.py>`")
    assert "```{code-block} python\nx = 1\nx\n```" in page
    assert "````text\none\n```\n````" in page, "a fence within the output is not the end of it"
    assert "](data:image/png;base64,AAAA)" in page
    assert '<table class="docutils dataframe">' in page
    assert "```text\n2\n```" in page
    assert page.endswith("\n\n{doc}`next <2-other>` and [a page](../x.md)\n$x$\n")
    assert page.count("{code-block}") == 1


# --- grading -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_every_solution_is_right(name):
    from grade import graded

    table = graded(SOLUTIONS, name)
    assert table["verdict"].tolist() == ["right"] * len(table), table["why"].tolist()


@pytest.mark.parametrize("name", [name for name in FILES if name != "penalties"])
def test_what_is_not_written_is_to_do(name):
    from grade import graded

    assert set(graded(COURSE / "exercises", name)["verdict"]) == {"to do"}


def test_the_exercises_are_the_checked_names_with_the_same_arguments_as_the_solutions():
    from expected import CHECKS
    from grade import FILES as named

    assert list(CHECKS) == FILES == list(named)
    for name, checks in CHECKS.items():
        given, solved = (loaded(folder / f"{name}.py") for folder in (COURSE / "exercises", SOLUTIONS))
        for answer in checks:
            one, two = (getattr(module, answer) for module in (given, solved))
            assert (
                isinstance(one, type)
                or one.__code__.co_varnames[: one.__code__.co_argcount]
                == (two.__code__.co_varnames[: two.__code__.co_argcount])
            )


def loaded(path):
    spec = importlib.util.spec_from_file_location(f"loaded_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MISTAKES = {
    "pca.pca_error": ("eigvalsh(centred.T @ centred / len(inputs))", "eigvalsh(torch.cov(inputs.T))"),
    "pca.largest_angle": ("torch.linalg.qr(rows.T)[0]", "rows.T / rows.T.norm(dim=0)"),
    "denoising.masked": (">= probability", "< probability"),
    "denoising.linear_denoiser": ("sigma**2 *", "sigma *"),
    "contraction.contraction_ratio": (" / directions.norm(dim=1, keepdim=True)", ""),
    "spectrum.effective_rank": (".exp()", ""),
    "spectrum.leading_tangents": ("[2][:, :count]", "[2][:, -count:]"),
    "spectrum.alignment": (" / true.shape[1]", ""),
    "score.score_of": ("/ sigma**2", "/ sigma"),
    "score.gaussian_denoiser": ("(variance + sigma**2)", "(variance + sigma)"),
    "score.langevin_step": ("step / 2 *", "step *"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_likely_mistake_is_wrong_with_a_reason(name, tmp_path):
    from grade import graded

    file = name.partition(".")[0]
    right, wrong = MISTAKES[name]
    text = (SOLUTIONS / f"{file}.py").read_text(encoding="utf-8")
    assert right in text
    (tmp_path / f"{file}.py").write_text(text.replace(right, wrong), encoding="utf-8")
    found = graded(tmp_path, file).set_index("exercise").loc[name]
    assert found["verdict"] == "wrong"
    assert re.search("expected|zeros", found["why"])


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("    clean *= torch.rand(clean.shape, generator=generator) >= probability\n    return clean", "in place"),
        ("    return clean * (torch.rand(clean.shape) >= probability)", "every number from the generator"),
        ("    return clean * (torch.rand(len(clean), 1, generator=generator) >= probability)", "whole rows"),
        ("    return None", "returns nothing"),
        ("    return clean[:3]", "expected the shape"),
        ("    raise SystemExit(3)", "SystemExit: 3"),
    ],
)
def test_masking_that_is_wrong_in_another_way(body, why, tmp_path):
    from grade import graded

    text = f"import torch\n\n\ndef masked(clean, probability, generator):\n{body}\n"
    (tmp_path / "denoising.py").write_text(text, encoding="utf-8")
    table = graded(tmp_path, "denoising").set_index("exercise")
    assert table.loc["denoising.masked", "verdict"] == "wrong"
    assert why in table.loc["denoising.masked", "why"]
    assert table.loc["denoising.linear_denoiser"].tolist() == ["to do", "it is not in the file"]


def test_a_file_that_is_not_there_is_to_do_and_one_that_is_no_python_is_wrong(tmp_path):
    from grade import graded

    (tmp_path / "score.py").write_text("this is no Python", encoding="utf-8")
    broken, absent = (graded(tmp_path, name) for name in ("score", "pca"))
    assert set(broken["verdict"]) == {"wrong"}
    assert broken["why"].str.contains("score.py does not import: SyntaxError").all()
    assert absent[["verdict", "why"]].to_numpy().tolist() == [["to do", "there is no pca.py"]] * 2
    with pytest.raises(ValueError, match="but 'pac' came"):
        graded(tmp_path, "pac")
    with pytest.raises(ValueError, match="expected a folder of answers"):
        graded(tmp_path / "nowhere")


def grade(*words):
    done = subprocess.run(
        [sys.executable, COURSE / "grade.py", *words], capture_output=True, text=True, encoding="utf-8", check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_a_class_is_graded_in_one_command_whatever_its_code_does(tmp_path):
    answers = {
        "anna": (SOLUTIONS / "pca.py").read_text(encoding="utf-8") + "\nprint('hello')\n",
        "ben": "def pca_error(inputs, count):\n    return 1.0\n",
        "dan": "import os\nos._exit(7)",
    }
    for student, text in answers.items():
        (tmp_path / student).mkdir()
        (tmp_path / student / "pca.py").write_text(text, encoding="utf-8")
    folders = [str(path) for path in sorted(tmp_path.iterdir())]
    status, said, _ = grade(*folders, "--only", "pca", "--table", str(tmp_path / "grades.csv"))
    assert status == 1
    table = pd.read_csv(tmp_path / "grades.csv").groupby("student")["verdict"].agg(list).to_dict()
    assert table == {
        "anna": ["right", "right"],
        "ben": ["wrong", "to do"],
        "dan": ["wrong", "wrong"],
    }
    assert "anna: 2 of 2 right" in said


def test_an_answer_that_does_not_end_is_wrong(tmp_path):
    (tmp_path / "pca.py").write_text("while True:\n    pass\n", encoding="utf-8")
    status, said, _ = grade(str(tmp_path), "--only", "pca", "--limit", "1")
    assert status == 1
    assert "it did not end within 1 s" in said


def test_an_answer_that_does_not_end_spoils_its_file_alone(monkeypatch):
    import grade as course

    right = pd.DataFrame([("x.y", "right", "")], columns=course.COLUMNS)
    fails = {None, "pca"}
    monkeypatch.setattr(
        course, "in_a_process", lambda _, only, limit: (None, "slow") if only in fails else (right, None)
    )
    table = course.of_student(Path("anna"), None, 1)
    assert table["verdict"].tolist() == ["wrong", "wrong", *["right"] * 5]
    assert table["exercise"].tolist()[:2] == ["pca.pca_error", "pca.largest_angle"]


@pytest.mark.parametrize(
    ("words", "why"),
    [(["nowhere"], "expected folders of answers, but nowhere is none"), ([], "required"), ([".", "--only", "x"], "x")],
)
def test_a_wrong_command_is_refused(words, why):
    status, _, said = grade(*words)
    assert status == 2
    assert why in said
    assert "Traceback" not in said


# --- the assignment ------------------------------------------------------------------------------------------------

ASSIGNMENT = COURSE / "assignment.py"


def test_the_assignment_trains_the_runs_of_its_study_file(tmp_path):
    """The numbers on the page of the one are those of the other."""
    import caelab

    scope = {}
    text = ASSIGNMENT.read_text(encoding="utf-8")
    exec(text[: text.index("# ## Train, fine-tune, compare")], scope)
    study = caelab.load_study(ROOT / "docs" / "studies" / "course-assignment.yaml", tmp_path)
    configs = [caelab.recipe(each) if isinstance(each, str) else each for each in scope["MODELS"]]
    expected = [
        {
            **config.as_dict(),
            "dataset": scope["DIGITS"],
            "training": {**config.as_dict()["training"], "epochs": scope["EPOCHS"]},
        }
        for config in configs
    ]
    found = [config.as_dict() for config in study.configs]
    assert found == expected
    assert list(study.seeds) == list(range(scope["SEEDS"]))
    assert study.analyses["fine_tuning"] == scope["FINE_TUNING"]


def test_the_assignment_writes_its_table_and_figures(tmp_path):
    """With few digits, one epoch and two seeds."""
    text = ASSIGNMENT.read_text(encoding="utf-8")
    for constant, value in {
        "DIGITS": '{"kind": "digits", "splits": [200, 60, 100]}',
        "EPOCHS, FINE_TUNING, SEEDS": '1, {"epochs": 1, "patience": 1}, 2',
    }.items():
        text, count = re.subn(rf"^{constant} = .*$", f"{constant} = {value}", text, flags=re.MULTILINE)
        assert count == 1
    (tmp_path / "assignment.py").write_text(text.replace("[300, 300]", "[20, 20]"), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "assignment.py", "here"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "here").iterdir()} == {
        "comparison",
        "errors.png",
        "filters.png",
        "table.csv",
        "table.tex",
    }
    table = pd.read_csv(tmp_path / "here" / "table.csv", header=[0, 1], index_col=0)
    assert table.index.tolist() == ["random", "dae-b", "cae", "dae-b-2", "cae-2"]
    assert (table["low"] <= table["mean"]).all(axis=None)
    assert done.stdout.count("95 % interval") == 5
