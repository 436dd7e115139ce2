"""The example of a distribution by somebody else, copied out of the tree and installed on its own."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "caelab-spectral"


@pytest.fixture(scope="module")
def place(tmp_path_factory, installed):
    """A copy of the example, and the folder it is installed in."""
    folder = tmp_path_factory.mktemp("elsewhere")
    shutil.copytree(EXAMPLE, folder / EXAMPLE.name)
    installed([folder / EXAMPLE.name], folder / "installed")
    return folder


@pytest.mark.slow
def test_its_own_tests_pass(place, own_tests):
    assert " passed" in own_tests(place / EXAMPLE.name, place / "installed")


@pytest.mark.slow
def test_what_its_readme_says_to_do_gives_figures_tables_and_a_verdict(place, caelab_command, readme_commands):
    for words in readme_commands(place / EXAMPLE.name):
        more = {"compare": " --set model.hidden=[30] --seeds 2", "train": " --set model.hidden=[30]", "check": ""}
        said = caelab_command(f"{words}{more[words.split()[0]]}", place, place / "installed")
    assert "Spectral AE" in said  # the recipe's display name
    assert "largest s" in said  # the short heading of a column
    assert (place / "compare" / "figures" / "spectral_norm.pdf").is_file()
    summary = pd.read_csv(place / "compare" / "summary.csv").set_index("model")
    largest = summary["largest singular value, validation mean"]
    assert largest["spectral-ae"] < largest["ae"]
    page = (place / "compare" / "report.html").read_text(encoding="utf-8")
    for text in (
        "Agreement on the leading direction",
        "learnt by heart",
        "Spectral AE",
        "shrinks the direction to which the code responds most",
    ):
        assert text in page, text  # title, caption, display name, claim
    assert "Bold: the largest mean" in (place / "compare" / "tables" / "table-leading-directions.tex").read_text()
    assert "#117733" in page  # the recipe's colour, in the figures


@pytest.mark.slow
def test_the_list_names_the_distribution_and_its_hooks(place, caelab_command):
    rows = [line.split("\t") for line in caelab_command("plugins", place, place / "installed").splitlines()]
    offered = {(row[0], row[1]): row[2] for row in rows if row[3] == "caelab-spectral/spectral"}
    assert set(offered) == {
        ("analysis", "spectral_agreement"),
        ("analysis", "spectral_norm"),
        ("claim", "spectral-lowers-the-top"),
        ("recipe", "spectral-ae"),
        ("regularizer", "spectral"),
    }
    assert offered["regularizer", "spectral"] == "weight: float, iterations: int = 20"
    hooks = caelab_command("plugins --hooks", place, place / "installed").splitlines()
    asked = [row for row in (line.split("\t") for line in hooks) if row[0] == "penalty_terms" and row[2] == "spectral"]
    assert [row[3] for row in asked] == ["clean, encoder_jacobian, streams"]


def test_it_is_not_installed_in_the_tree():
    from importlib.util import find_spec

    assert find_spec("caelab_spectral") is None
