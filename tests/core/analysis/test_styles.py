"""Styles: what a caller sets, or changes by other means, is what figures are drawn with; commands draw as ever."""

import logging

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import seaborn
from matplotlib import font_manager, pyplot
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

import caelab
from caelab.analysis.base import drawn, drawn_onto
from caelab.analysis.panels import Block, as_read, fitting_columns, fitting_names, panels, wrapped_text
from caelab.analysis.plotting import look, svg_of
from caelab.analysis.styles import STYLE, VENUES, column_width, every_width, page_width, paper_style, sized, style
from caelab.errors import CaelabError
from caelab.runs.recipes import load_recipe


@pytest.fixture(autouse=True)
def matplotlibs_own_settings():
    with mpl.rc_context():
        yield
    pyplot.close("all")


def spectra(models=("ae", "cae")):
    ranks = np.arange(1, 6)
    parts = [
        pd.DataFrame({"model": model, "seed": 0, "rank": ranks, "mean": 2.0**-ranks * (at + 1), "low": 0.01, "high": 1})
        for at, model in enumerate(models)
    ]
    return pd.concat(parts, ignore_index=True)


def colors(figure):
    return [to_hex(line.get_color()) for line in figure.axes[0].lines]


def test_a_style_holds_at_once_and_ends_with_its_block():
    before = dict(mpl.rcParams)
    with caelab.figures.style("icml"):
        assert mpl.rcParams["font.size"] == 8
        assert mpl.rcParams["font.family"] == ["STIXGeneral", "DejaVu Serif"]
    assert dict(mpl.rcParams) == before
    caelab.figures.style("slides")
    assert mpl.rcParams["font.size"] == 16
    caelab.figures.style("neurips")
    assert (page_width(), column_width()) == (5.5, 3.25)


@pytest.mark.parametrize("name", VENUES)
def test_figures_have_the_width_and_the_fonts_of_their_style(name, caplog):
    width, text, _ = VENUES[name]
    with caplog.at_level(logging.WARNING), style(name):
        figure = drawn_onto("jacobian_spectrum", spectra())
        figure.canvas.draw()
        assert figure.get_figwidth() == width
        assert figure.axes[0].xaxis.label.get_size() == text
        family = figure.axes[0].xaxis.label.get_fontfamily()
        assert {font_manager.get_font(font_manager.findfont(each, fallback_to_default=False)) for each in family}
    assert not caplog.records


def test_the_venues_are_those_of_their_style_files():
    assert {name: size for name, (size, *_) in VENUES.items() if name in ("icml", "neurips", "jmlr")} == {
        "icml": 6.75,
        "neurips": 5.5,
        "jmlr": 6.0,
    }
    with style("icml"):
        assert column_width() == (6.75 - 0.25) / 2  # \columnsep is 0.25in


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ("imcl", "unknown style 'imcl'; did you mean 'icml'"),
        ("nature", "there are: paper, icml, neurips, jmlr, slides"),
        ({"font.sise": 9}, "no setting 'font.sise'; did you mean 'font.size'"),
        ({"font.size": "nine"}, "does not take these settings: Key font.size"),
        (9, "a style is one of paper, icml"),
    ],
)
def test_an_unknown_style_is_refused_and_nothing_is_changed(given, what):
    before = dict(mpl.rcParams)
    with pytest.raises(ValueError, match=what) as refused:
        style(given)
    assert isinstance(refused.value, CaelabError)
    assert dict(mpl.rcParams) == before


def test_settings_go_before_those_of_caelabs_own_style():
    with style({"font.size": 10, "axes.grid": False}):  # both as matplotlib has them by default
        figure = drawn_onto("jacobian_spectrum", spectra())
        assert mpl.rcParams["legend.fontsize"] == pytest.approx(6.5 * 10 / 7)
    assert figure.axes[0].xaxis.label.get_size() == 10
    assert not any(line.get_visible() for line in figure.axes[0].get_xgridlines())


def test_after_a_style_every_setting_is_the_callers():
    with style("icml"):
        pyplot.rcParams["axes.labelsize"] = 11
        pyplot.rcParams["axes.spines.top"] = True
        figure = drawn_onto("jacobian_spectrum", spectra())
    assert figure.axes[0].xaxis.label.get_size() == 11
    assert figure.axes[0].spines.top.get_visible()


def test_a_palette_of_seaborn_gives_the_colours_and_markers_stay():
    seaborn.set_palette("colorblind")
    wanted = seaborn.color_palette("colorblind").as_hex()
    figure = drawn_onto("jacobian_spectrum", spectra())
    assert colors(figure) == wanted[:2]
    assert [line.get_marker() for line in figure.axes[0].lines] == [load_recipe(n).look.marker for n in ("ae", "cae")]
    assert figure.axes[0].xaxis.label.get_size() == STYLE["axes.labelsize"]
    axes = Figure().subplots(1, 2)
    assert colors(drawn_onto("jacobian_spectrum", spectra(), axes)) == wanted[:2]


def test_models_keep_their_colour_of_a_palette_where_a_figure_lacks_others():
    seaborn.set_palette("colorblind")
    wanted = seaborn.color_palette("colorblind").as_hex()
    figure = drawn_onto("jacobian_spectrum", spectra(["cae"]), models=["ae", "cae"])
    assert colors(figure) == [wanted[1]]
    grid = [f"cae contractive.weight={weight}" for weight in (0.1, 1)]
    assert look([*grid, "mine"])["mine"].color == wanted[1]
    assert look(grid)[grid[1]].color == wanted[0]  # the models of a grid are shades of one colour


@pytest.mark.parametrize(("theme", "grid"), [("white", False), ("whitegrid", True)])
def test_a_theme_of_seaborn_holds(theme, grid):
    seaborn.set_theme(style=theme, font="DejaVu Serif")
    figure = drawn_onto("jacobian_spectrum", spectra())
    axes = figure.axes[0]
    assert any(line.get_visible() for line in axes.get_xgridlines()) == grid
    assert axes.spines.top.get_visible()
    assert axes.xaxis.label.get_fontfamily() == ["DejaVu Serif"]
    assert axes.xaxis.label.get_size() == 12
    assert axes.lines[0].get_linewidth() == pytest.approx(STYLE["lines.linewidth"] * 12 / 7)


def test_a_size_that_a_caller_changes_takes_the_others_with_it():
    pyplot.rcParams["font.size"] = 14
    axes = drawn_onto("jacobian_spectrum", spectra()).axes[0]
    assert axes.xaxis.label.get_size() == 14
    assert axes.lines[0].get_markersize() == 8
    assert sized(7) == STYLE


def test_commands_draw_the_same_whatever_a_caller_has_set():
    plain = svg_of(drawn("jacobian_spectrum", spectra()))
    with style("slides"):
        seaborn.set_palette("colorblind")
        assert svg_of(drawn("jacobian_spectrum", spectra())) == plain
    assert drawn("jacobian_spectrum", spectra()).get_figwidth() == 6.75


def test_a_function_with_axes_draws_by_what_it_finds():
    @paper_style()
    def size(table, axes=None):
        return mpl.rcParams["font.size"]

    assert (size("table"), size("table", None), size("table", axes=None)) == (7, 7, 7)
    assert (size("table", "axes"), size("table", axes="axes")) == (10, 10)
    with paper_style(), paper_style():
        assert mpl.rcParams["font.size"] == 7
    assert mpl.rcParams["font.size"] == 10


def test_panels_stand_in_more_rows_where_a_page_is_narrow():
    with paper_style():
        assert [fitting_columns(2, 2, 6.75, width) for width in (6.75, 5.5, 3.25)] == [2, 2, 1]
        assert [fitting_columns(5, 5, 6.75, width) for width in (6.75, 3.25, 1)] == [5, 3, 1]
    with paper_style(), every_width(3.25):
        assert (page_width(), column_width()) == (3.25, 3.25)
        found = panels(None, 1, 2, of="mine", size=(6.75, 2.9), sharey=True)
    first, second = found
    assert (found.apart, found.figure.get_figwidth()) == (True, 3.25)
    assert first.get_position().y0 > second.get_position().y1
    assert first.get_shared_y_axes().joined(first, second)
    with paper_style():
        assert Block(1, 2, 2.9).high(6.75, 6.75) == 2.9


def test_a_figure_becomes_no_taller_than_a_page_where_panels_may_stand_closer():
    with style("icml"):
        assert Block(2, 3, 4.2).fitted(6.75, 3.25) == (3, 2)
        assert Block(2, 3, 4.2).high(6.75, 3.25) < 9
        assert Block(1, 3, 2.3).fitted(6.75, 3.25) == (3, 1)


def test_names_of_a_legend_stand_in_as_many_lines_as_they_need():
    assert fitting_names(6.75, ["AE", "CAE", "DAE-g"], 7) == 3
    assert fitting_names(6.75, ["AE", "CAE", "DAE-g"], 2) == 2
    assert fitting_names(1.0, ["a long name of a model", "another"], 7) == 1


def test_texts_are_broken_where_they_are_longer_than_a_line_and_formulas_stay_whole():
    text = r"a title with $\sigma \cdot x$ in it" + "\nand a second line"
    assert wrapped_text(text, 1.0, 10) == "a title with\n$\\sigma \\cdot x$ in it\nand a second\nline"
    assert wrapped_text(text, 9.0, 10) == text
    assert len(as_read(r"$\Vert J\Vert_F$")) == 4
