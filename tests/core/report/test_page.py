import re
import tomllib
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from caelab.analysis.contract import caption_of, columns_of, default_analyses, load_analysis
from caelab.registry.catalogue import Offer, catalogue
from caelab.report import page as report
from caelab.report.claims import Finding
from caelab.report.embedding import chart_library, page_script
from caelab.report.page import Page, model_settings, picture, render, shared_settings
from caelab.report.tables import all_tables, every_run
from caelab.runs.recipes import recipe_config
from tests.core.invented import a_problem, analysis, dots, invented_rows, noise

VOID = {"meta", "link", "br", "img", "path", "use", "circle"}
ATTACK = "<script>alert('x')</script> & more"


class Outline(HTMLParser):
    """Opened and closed elements, ids, and whatever a browser would fetch."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.fetched, self.targets, self.names = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.names.append((tag, found))
        self.ids += [found["id"]] if "id" in found else []
        self.fetched += [found[name] for name in ("src", "href", "xlink:href") if name in found]
        self.targets += [found[n][1:] for n in ("href", "xlink:href") if found.get(n, "").startswith("#")]
        self.targets += [found["aria-labelledby"]] if "aria-labelledby" in found else []
        self.targets += re.findall(r"url\(#([^)]+)\)", " ".join(v or "" for v in found.values()))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture(autouse=True)
def own_analyses(monkeypatch):
    """Three analyses of someone else."""
    monkeypatch.setattr(catalogue(), "offers", dict(catalogue().offers))
    for name in ("dots", "again"):
        catalogue().offers["analysis", name] = Offer("analysis", name, "test", analysis(name, dots))
    catalogue().offers["analysis", "noise"] = Offer("analysis", "noise", "test", analysis("noise", noise, about=""))


def page(**changes):
    rows = invented_rows()
    drawings = () if "pictures" in changes else (("dots", dots), ("again", dots), ("noise", noise))
    shown = {
        "title": "a title",
        "facts": {"command": "caelab compare"},
        "models": [("AE", "no regularizer")],
        "shared": {"training.epochs": "30"},
        "tables": all_tables(rows, columns_of(default_analyses())),
        "findings": [Finding(f"claim {v}", "source", v, "evidence") for v in report.SYMBOLS],
        "pictures": [picture(name, draw(rows)) for name, draw in drawings],
        "failed": [a_problem()],
        "meaningless": [a_problem(analysis="tangents", message="no images", applies=False)],
        "runs": every_run(rows),
        "versions": {"caelab": "0.1.0"},
    }
    return Page(**(shown | changes))


@pytest.fixture
def html():
    return render(page())


def test_page_is_well_formed_and_needs_no_network(html):
    outline = Outline(html)
    assert outline.open == []
    assert all(target.startswith(("#", "data:")) for target in outline.fetched), outline.fetched
    ours = html.replace(page_script(), "")
    assert not re.search(r"@import|url\((?!#)|<script[^>]*src|<iframe", ours)
    assert outline.names[0] == ("html", {"lang": "en"})
    assert "<title>a title</title>" in html
    assert 'name="viewport"' in html


def test_no_id_occurs_twice_and_every_reference_leads_somewhere(html):
    outline = Outline(html)
    assert len(outline.ids) == len(set(outline.ids)) > 20
    assert set(outline.targets) <= set(outline.ids)
    assert any(target.startswith("again-") for target in outline.targets)


def test_figures_have_names_for_those_who_do_not_see_them(html):
    outline = Outline(html)
    drawn = [found for tag, found in outline.names if tag in ("svg", "img")]
    assert [found.get("aria-label") or found.get("alt") for found in drawn] == ["Dots", "Again", "Noise"]


def test_large_figures_are_pixels(html):
    outline = Outline(html)
    assert [tag for tag, _ in outline.names if tag in ("svg", "img")] == ["svg", "svg", "img"]
    assert len(html) - len(chart_library()[0]) < 1_000_000


def test_figures_of_pixels_keep_to_a_budget_together(tmp_path, monkeypatch):
    figures = {"noise": noise(None), "dots": dots(invented_rows())}
    free = {each.name: len(each.markup) for each in report.all_pictures(figures, tmp_path)}
    monkeypatch.setattr(report, "FIGURES", free["noise"] // 2)
    kept = {each.name: len(each.markup) for each in report.all_pictures(figures, tmp_path)}
    assert kept["dots"] == free["dots"]
    assert kept["noise"] < free["noise"] // 2


def test_what_lies_there_as_png_is_not_drawn_again(tmp_path, monkeypatch):
    figure = noise(None)
    figure.savefig(tmp_path / "noise.png", dpi=300)
    monkeypatch.setattr(figure, "savefig", None)
    monkeypatch.setattr(report, "MOST_MARKS", 0)
    content = report.smallest(figure, tmp_path / "noise.png")
    assert Image.open(BytesIO(content)).size == (600, 400)
    monkeypatch.setattr(report, "MOST_PIXELS", 60_000)
    assert Image.open(BytesIO(report.smallest(figure, tmp_path / "noise.png"))).size == (300, 200)


def test_everything_is_on_the_page(html):
    for text in ("claim supported", "✗", "contradicted", "it fails", "no images", "How far each model is.", "Failed"):
        assert text in html, text
    assert html.count("<tr>") == 1 + 1 + sum(1 + len(table.rows) for table in page().tables) + 1 + 21


def test_tables_scroll_in_their_own_box(html):
    assert html.count("<table") == html.count('class="wide') > 0


def test_sections_without_content_are_left_out():
    html = render(page(tables=[], findings=[], pictures=[], failed=[], meaningless=[])).replace(page_script(), "")
    for name in ("Numbers", "Findings", "Figures", "Problems", "What is missing"):
        assert name not in html
    assert Outline(html).open == []


def test_every_text_is_escaped(monkeypatch):
    for key in ("title", "caption"):
        monkeypatch.setattr(load_analysis("dots"), key, ATTACK, raising=False)
    hostile = page(
        title=ATTACK,
        facts={"command": ATTACK, ATTACK: ATTACK},
        models=[(ATTACK, ATTACK)],
        shared={ATTACK: ATTACK},
        findings=[Finding(ATTACK, ATTACK, "supported", ATTACK)],
        pictures=[picture("dots", dots(invented_rows()))],
        failed=[a_problem(ATTACK, ATTACK, ATTACK)],
        versions={ATTACK: ATTACK},
        run_pages=[{"name": ATTACK}],
        looks={ATTACK: {"name": ATTACK}},
    )
    html = render(hostile)
    assert "<script>alert" not in html
    assert html.count("&lt;script&gt;") >= 15
    assert html.count("<script") == html.count("</script>") == 4
    assert Outline(html).open == []


@pytest.mark.parametrize("name", catalogue().names("analysis"))
def test_every_built_in_analysis_has_a_title_and_says_how_to_read_its_figure(name):
    found = load_analysis(name)
    assert found.title
    assert found.caption.endswith(".")
    assert 1 <= found.caption.count(". ") + 1 <= 6


def test_caption_of_others_is_their_first_line():
    assert caption_of("dots") == "How far each model is."
    assert caption_of("noise") == ""


def test_settings_name_regularizers_and_what_differs():
    configs = [recipe_config(name).as_dict() for name in ("ae", "cae", "rbm", "sparse-ae")]
    settings = dict(model_settings(configs))
    assert settings["AE"] == "no regularizer"
    assert settings["CAE"] == "contractive weight=2.0"
    assert settings["Sparse AE"].startswith("sparse-kl ")
    assert "model.kind=rbm" in settings["RBM"]
    assert "training.learning_rate=0.1" in settings["RBM"]
    shared = shared_settings(configs)
    assert shared["training.learning_rate"] == "0.001"
    assert shared["dataset.kind"] == "mnist5k"
    assert not any(key.startswith(("label", "seed", "regularizers")) for key in shared)


def test_a_regularizer_under_another_name_says_its_kind():
    config = recipe_config("ae").as_dict() | {"regularizers": {"mine": {"kind": "contractive", "weight": 1.0}}}
    assert dict(model_settings([config]))["AE"] == "mine kind=contractive weight=1.0"


def test_the_template_travels_with_the_package():
    templates = Path(report.__file__).parent / "templates"
    assert (templates / "report.html.j2").is_file()
    assert (templates / "page.js").is_file()
    root = Path(report.__file__).parents[2]
    packages = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert "caelab" in packages["packages"]  # hatch takes every file below it that git does not ignore
