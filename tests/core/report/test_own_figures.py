"""``caelab figures`` with options: figures of one's own, beside those of the report."""

from io import BytesIO

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from caelab.cli.main import main
from caelab.errors import CaelabError
from caelab.registry.catalogue import Offer, catalogue
from caelab.report.own_figures import inches_of
from caelab.report.publish import publish_comparison
from caelab.report.store import MANIFEST, load_comparison, save
from caelab.storage.folders import open_folder
from tests.core.invented import analysis, dots, fails, invented_comparison


def spectra():
    ranks = np.arange(1, 6)
    parts = [
        pd.DataFrame({"model": model, "seed": 0, "rank": ranks, "mean": 2.0**-ranks, "low": 0.01, "high": 1.0})
        for model in ("ae", "cae")
    ]
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A published comparison with a figure of ours, one of a stranger, and one that cannot be drawn."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue(), "offers", dict(catalogue().offers))
        for name, draw in (("dots", dots), ("broken", fails)):
            catalogue().offers["analysis", name] = Offer("analysis", name, "test", analysis(name, draw))
        place = tmp_path_factory.mktemp("own") / "out"
        open_folder(place, MANIFEST)
        rows = invented_comparison().rows
        whole = {"dots": rows[["model", "seed", "mean norm"]], "broken": rows[["model", "seed", "mean norm"]]}
        save(invented_comparison(tables={"jacobian_spectrum": spectra(), **whole}), place)
        list(publish_comparison(place))
        yield place


def run(capsys, *words):
    with pytest.raises(SystemExit) as stopped:
        main(list(map(str, words)))
    captured = capsys.readouterr()
    return stopped.value.code, captured.out, captured.err


def size_of(svg):
    found = pd.Series(svg.read_text(encoding="utf-8")).str.extract(r'<svg[^>]*? width="([\d.]+)pt"')
    return float(found.iloc[0, 0]) / 72


def test_figures_of_ones_own_have_the_width_and_stand_beside_those_of_the_report(capsys, folder):
    before = {path.name: path.read_bytes() for path in (folder / "figures").iterdir()}
    words = ["figures", folder, "--style", "icml", "--width", "3.25in", "--format", "svg"]
    status, out, err = run(capsys, *words)
    assert (status, out) == (0, f"2 figures as svg: {folder / 'own-figures'}\n")
    assert err.startswith("warning: the analysis 'broken' could not be drawn")
    drawn = {path.name: path for path in (folder / "own-figures").iterdir()}
    assert set(drawn) == {"jacobian_spectrum.svg", "dots.svg"}
    assert {size_of(path) for path in drawn.values()} == {3.25}  # the stranger's too, which goes by no style
    assert {path.name: path.read_bytes() for path in (folder / "figures").iterdir()} == before
    load_comparison(folder)  # whole as before


def test_the_same_figure_is_the_same_bytes_whatever_else_is_set(capsys, folder, tmp_path):
    words = ["figures", folder, "--style", "neurips", "--only", "jacobian_spectrum", "--format", "svg,pdf", "--out"]
    assert run(capsys, *words, tmp_path / "one")[0] == 0
    with mpl.rc_context({"lines.linewidth": 9, "font.size": 20, "svg.hashsalt": "mine"}):
        assert run(capsys, *words, tmp_path / "two")[0] == 0
    for kind in ("svg", "pdf"):
        one, two = ((tmp_path / each / f"jacobian_spectrum.{kind}").read_bytes() for each in ("one", "two"))
        assert one == two
        assert not any(word in one for word in (b"CreationDate", b"dc:date"))


def test_the_style_paper_is_what_the_report_has(capsys, folder, tmp_path):
    words = ["--only", "jacobian_spectrum", "--format", "png", "--out", tmp_path]
    assert run(capsys, "figures", folder, *words)[1] == f"1 figure as png: {tmp_path}\n"
    one, two = (
        np.asarray(Image.open(BytesIO((place / "jacobian_spectrum.png").read_bytes())))
        for place in (tmp_path, folder / "figures")
    )
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--style", "imcl"], "unknown style 'imcl'; did you mean 'icml'? Known: icml, jmlr, neurips, paper, slides"),
        (["--width", "3.25"], "expected a width as 3.25in, 8.2cm, 82mm or 240pt, but '3.25' came"),
        (["--width", "3.25parsec"], "but '3.25parsec' came"),
        (["--width", "-3in"], "but '-3in' came"),
        (["--width", "3.25mm"], "but 3.25mm are 0.128; check its unit"),
        (["--format", "svg,jpg"], "unknown format 'jpg'"),
        (["--only", "spectrum"], "unknown figure of this comparison 'spectrum'; did you mean 'jacobian_spectrum'"),
        (["--only", "broken"], "none of the figures could be drawn; the lines above say why"),
        (["--out", "HERE/figures"], "holds the figures of the report"),
    ],
)
def test_wrong_options_are_refused_in_one_sentence(capsys, folder, words, what):
    status, out, err = run(capsys, "figures", folder, *(word.replace("HERE", str(folder)) for word in words))
    assert (status, out) == (2, "")
    assert what in err.splitlines()[-1]
    assert err.splitlines()[-1].startswith("error: ")


def test_widths_are_inches_by_their_unit():
    given = ["3.25in", "8.255 cm", "82.55mm", "234.8775pt", " 3.25IN "]
    assert [inches_of(each) for each in given] == pytest.approx([3.25] * 5)
    with pytest.raises(CaelabError, match="from 1 to 40 inches"):
        inches_of("50in")
