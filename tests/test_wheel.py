"""The built wheel, in a folder of its own and away from the repository, does what the README promises."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
QUIET = ["--quiet", "--disable-pip-version-check", "--no-deps"]


def pip(*words):
    subprocess.run([sys.executable, "-m", "pip", *words], check=True, capture_output=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("dist")
    pip("wheel", *QUIET, "--no-build-isolation", "--no-index", "-w", str(out), str(ROOT))
    (found,) = out.glob("caelab-*.whl")
    return found


def test_the_wheel_holds_templates_types_and_studies(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    studies = {f"caelab_analyses/studies/{path.name}" for path in (ROOT / "docs" / "studies").glob("*.yaml")}
    assert studies <= {*names}
    assert {"caelab/py.typed", "caelab_analyses/py.typed", "caelab_regularizers/py.typed"} <= {*names}
    assert [name for name in names if name.startswith("caelab/report/templates/") and name.endswith(".j2")]
    assert [name for name in names if name.startswith("caelab/report/templates/") and name.endswith(".js")]
    assert not [name for name in names if name.startswith(("tests/", "docs/"))]


@pytest.mark.slow
def test_the_wheel_compares_away_from_the_repository(wheel, tmp_path):
    place, away = tmp_path / "installed", tmp_path / "away"
    away.mkdir()
    pip("install", *QUIET, "--no-index", "--target", str(place), str(wheel))
    script = (
        f"import sys; sys.path.insert(0, {str(place)!r}); import caelab; "
        f"assert caelab.__file__.startswith({str(place)!r}), caelab.__file__; "
        "from caelab.cli.main import main; main()"
    )
    words = ["compare", "ae", "cae", "--dataset", "digits", "--seeds", "2", "--set", "training.epochs=1"]
    for more in ([*words, "--executor", "serial"], ["reproduce"]):
        command = [sys.executable, "-P", "-c", script, *more]
        done = subprocess.run(command, cwd=away, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "report:   compare/report.html" in done.stdout or "table-of-recipes:" in done.stdout
