"""Figures onto axes that a caller gives, and in the caller's own style."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure

from caelab.analysis.base import drawn_onto, panels_of
from caelab.analysis.panels import panels
from caelab.analysis.styles import every_width, style
from caelab.errors import CaelabError
from caelab.registry.catalogue import Offer, catalogue
from tests.core.invented import analysis, dots


def spectra(models=("ae", "cae")):
    ranks = np.arange(1, 6)
    parts = [
        pd.DataFrame({"model": model, "seed": 0, "rank": ranks, "mean": 2.0**-ranks * (at + 1), "low": 0.01, "high": 1})
        for at, model in enumerate(models)
    ]
    return pd.concat(parts, ignore_index=True)


def lines_of(figure):
    return [line.get_xydata().tolist() for axes in figure.axes for line in axes.lines]


def test_given_axes_hold_what_a_figure_of_its_own_does_and_the_settings_stay():
    before = dict(mpl.rcParams)
    own = drawn_onto("jacobian_spectrum", spectra())
    figure, axes = pyplot.subplots(1, 2)
    try:
        assert drawn_onto("jacobian_spectrum", spectra(), axes) is figure
        assert lines_of(figure) == lines_of(own)
        assert axes[0].get_legend() is not None
        assert axes[0].xaxis.label.get_size() == mpl.rcParams["font.size"] == 10
        assert dict(mpl.rcParams) == before
    finally:
        pyplot.close(figure)


def test_axes_may_come_in_any_order_that_matplotlib_returns_them_in():
    for give in (list, tuple, np.asarray, lambda axes: dict(zip("ab", axes, strict=True)), lambda axes: [[*axes]]):
        figure = Figure()
        assert drawn_onto("jacobian_spectrum", spectra(), give(figure.subplots(1, 2))) is figure


def test_a_part_of_a_figure_belongs_to_the_figure():
    figure = Figure()
    upper, _ = figure.subfigures(2, 1)
    assert drawn_onto("jacobian_spectrum", spectra(), upper.subplots(1, 2)) is figure


@pytest.mark.parametrize(
    ("give", "what"),
    [
        (lambda figure: figure.add_subplot(), "but 1 axes came"),
        (lambda figure: figure.subplots(1, 3), "but 3 axes came"),
        (lambda figure: [figure.add_subplot()] * 2, "one axes came twice"),
        (lambda figure: figure, "but a Figure came"),
        (lambda figure: [figure.add_subplot(), "right"], "but 'right' came"),
        (lambda figure: np.array([]), "but 0 axes came"),
    ],
)
def test_axes_that_do_not_fit_are_refused_with_those_that_do(give, what):
    with pytest.raises(ValueError, match=what) as refused:
        drawn_onto("jacobian_spectrum", spectra(), give(Figure()))
    assert str(refused.value).startswith("jacobian_spectrum draws 2 panels")
    assert str(refused.value).endswith("give plt.subplots(1, 2)[1]")
    assert isinstance(refused.value, CaelabError)


def test_the_panels_of_a_table_can_be_asked_for():
    assert panels_of("jacobian_spectrum", spectra()) == (1, 2)


def test_an_analysis_that_draws_its_own_figures_only_says_so(monkeypatch):
    monkeypatch.setattr(catalogue(), "offers", dict(catalogue().offers))
    catalogue().offers["analysis", "dots"] = Offer("analysis", "dots", "test", analysis("dots", dots))
    table = pd.DataFrame({"model": ["ae"], "seed": [0], "mean norm": [1.0]})
    assert len(drawn_onto("dots", table).axes) == 1
    with pytest.raises(CaelabError, match=r"'dots' of plugin 'test' draws figures of its own only: .* leave axes out"):
        drawn_onto("dots", table, Figure().subplots())


def test_neighbours_with_one_label_need_it_once_in_a_narrow_figure():
    with style("icml"), every_width(3.25):
        found = panels(None, 2, 3, of="mine", size=(6.75, 4.2))
        for axes in found:
            axes.set(ylabel="the same", title="a title that is longer than its narrow panel")
        found.finished()
    assert [axes.get_ylabel() for axes in found] == ["the same", ""] * 3
    assert all("\n" in axes.get_title() for axes in found)
