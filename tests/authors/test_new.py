import subprocess
import sys
from types import SimpleNamespace

import pytest

from caelab import CaelabError
from caelab.cli.commands.new import KINDS, LONGEST, NAME, Package, nearest_valid, refuse_names, rendered
from caelab.cli.main import main
from caelab.registry.catalogue import catalogue

NAMES = {kind: f"my-{kind}" for kind in KINDS}


def new(capsys, *words):
    with pytest.raises(SystemExit) as stopped:
        main(["new", *words])
    captured = capsys.readouterr()
    return stopped.value.code, captured.out, captured.err


@pytest.fixture(scope="module")
def packages(tmp_path_factory, caelab_command, installed):
    """One new package of each kind, and the folder they are all installed in."""
    folder = tmp_path_factory.mktemp("author")
    for kind, name in NAMES.items():
        caelab_command(f"new {kind} {name}", folder)
    installed([folder / f"caelab-{name}" for name in NAMES.values()], folder / "installed")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_new_package_passes_its_own_tests_as_it_is(kind, packages, own_tests):
    said = own_tests(packages / f"caelab-{NAMES[kind]}", packages / "installed")
    assert " passed" in said


def shortened(words):
    """The same command with less to do: the other analyses have tests of their own."""
    words = words.replace("epochs=5", "epochs=1")
    if not words.startswith("compare"):
        return words
    return f"{words} --seeds 1" + ("" if "--analyses" in words else " --analyses jacobian_norm")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_what_its_readme_says_to_do_works(kind, packages, caelab_command, readme_commands):
    folder = packages / f"caelab-{NAMES[kind]}"
    commands = readme_commands(folder)
    assert len(commands) > 1
    for words in commands:
        caelab_command(shortened(words), folder, packages / "installed")


@pytest.mark.slow
def test_caelab_sees_every_new_package(packages, caelab_command):
    rows = caelab_command("plugins", packages, packages / "installed").splitlines()
    for kind, name in NAMES.items():
        (row,) = [row.split("\t") for row in rows if row.startswith(f"{kind}\t{name}\t")]
        assert row[3] == f"caelab-{name}/{name}"
        assert "broken" not in row[4]


@pytest.mark.parametrize("kind", KINDS)
def test_its_code_is_clean(kind, tmp_path):
    for path, text in rendered(Package(kind, "one-two")).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    for check in (["check", "--select", "E,F,W,UP,B,PT,RUF"], ["format", "--check"]):
        words = [sys.executable, "-m", "ruff", *check, "--isolated", "--line-length", "120", "."]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_an_existing_folder_is_left_as_it_is(capsys, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    status, _, err = new(capsys, "regularizer", "mine", "--out", str(tmp_path))
    assert status == 2
    assert err.count("\n") == 1
    assert "exists already and is left as it is" in err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("kind", "name", "sentence"),
    [
        ("regularizr", "mine", "unknown kind of plugin 'regularizr'; did you mean 'regularizer'?"),
        ("regularizer", "My Penalty", "'My Penalty' came; 'my-penalty' would do"),
        ("regularizer", "../mine", "'../mine' came; 'mine' would do"),
        ("regularizer", "a__b", "single hyphens or underscores"),
        ("regularizer", "a" * 300, f"at most 60 letters, but 300 came; '{'a' * 60}' would do"),
        ("analysis", "", "'' came; 'mine' would do"),
        ("analysis", "2nd--try", "'nd-try' would do"),
        ("regularizer", "contractive", "offered by 'caelab/regularizers'; 'my-contractive' would do"),
        ("regularizer", "cae", "the recipe 'cae' is there already"),
        ("analysis", "jacobian_norm", "the analysis 'jacobian_norm' is there already"),
        ("dataset", "mnist5k", "the dataset 'mnist5k' is there already"),
        ("model", "rbm", "the model 'rbm' is there already"),
        ("regularizer", "training", "'training' already means a part of a run"),
        ("regularizer", "reconstruction", "'my-reconstruction' would do"),
        ("analysis", "analyses", "a package caelab_analyses is installed already"),
        ("regularizer", "plugins", "a package caelab_plugins is installed already"),  # its earlier name
    ],
)
def test_a_name_that_cannot_be_is_refused_with_one_that_can(kind, name, sentence, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, _, err = new(capsys, kind, name)
    assert status == 2
    assert sentence in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["My Penalty", "--", "9to5", "a__b", "é-à", "λ", "-_x_-", "a.b/c", "a" * 59 + "-b"])
def test_the_name_that_is_offered_is_valid(name):
    assert NAME.fullmatch(nearest_valid(name))
    assert len(nearest_valid(name)) <= LONGEST


@pytest.mark.parametrize("out", ["file/package", "/proc/nowhere/package", "a" * 300])
def test_a_folder_that_cannot_be_written_is_told_in_one_sentence(out, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("a file")
    status, _, err = new(capsys, "regularizer", "mine", "--out", out)
    assert status == 2
    assert err.startswith(f"error: {out} cannot be written (")
    assert err.endswith("); give another folder with --out\n")
    assert err.count("\n") == 1


def test_nothing_half_written_is_left_behind(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def full_disk(package):
        yield "README.md", "..."
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(
        "caelab.cli.commands.new.rendered", lambda package: SimpleNamespace(items=lambda: full_disk(package))
    )
    status, _, err = new(capsys, "regularizer", "mine")
    assert status == 2
    assert "No space left on device" in err
    assert list(tmp_path.iterdir()) == []


def test_one_name_may_serve_two_kinds_but_not_twice_for_one():
    refuse_names(Package("analysis", "contractive"))
    with pytest.raises(CaelabError, match="is there already"):
        refuse_names(Package("regularizer", "contractive"))
    assert "contractive" in catalogue().names("regularizer")
