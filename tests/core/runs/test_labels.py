"""A model's label is drawn as it is, whatever its letters mean to those who draw."""

from io import BytesIO
from types import SimpleNamespace

import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from caelab.analysis.base import drawn
from caelab.analysis.plotting import display_name, dot_chart, look
from caelab.registry.catalogue import Offer, catalogue

LABELS = [
    "$$",
    "$",
    "a$b$c",
    "costs $5 or $6",
    r"\frac",
    r"$\frac$",
    "_mine",
    "__",
    "100%",
    "#1",
    "{x}",
    "a^b_c",
    "&<b>",
]


def draw(table):
    figure = Figure(figsize=(3, 2))
    above, below = figure.subplots(2)
    dot_chart(above, table, "value", "value")
    for model, style in look(table["model"]).items():
        below.plot([0, 1], label=display_name(model), **style.line)
    below.set_title(f"of {table['model'][0]}")
    below.legend()
    return figure


@pytest.mark.parametrize("label", LABELS)
def test_a_label_is_shown_as_it_is(label, monkeypatch):
    offer = Offer("analysis", "mine", "test", SimpleNamespace(measure=draw, draw=draw))
    monkeypatch.setattr(catalogue(), "offers", dict(catalogue().offers) | {("analysis", "mine"): offer})
    table = pd.DataFrame({"model": [label, label, "ae"], "seed": [0, 1, 0], "value": [1.0, 2.0, 3.0]})
    figure = drawn("mine", table)
    for kind in ("pdf", "png", "svg"):
        figure.savefig(BytesIO(), format=kind)
    above, below = figure.axes
    assert shown_by(above.get_yticklabels()[0]) == label
    assert shown_by(below.get_legend().get_texts()[0]) == label
    assert shown_by(below.title) == f"of {label}"
    assert list(table["model"]) == [label, label, "ae"]


def shown_by(text):
    """What matplotlib shows for a text: nothing between two unescaped $ is a formula."""
    plain, is_formula = text._preprocess_math(text.get_text())
    assert not is_formula
    return plain.lstrip("\N{ZERO WIDTH SPACE}").replace("of \N{ZERO WIDTH SPACE}", "of ")


def test_without_that_two_of_its_signs_are_a_formula():
    assert Text(text="$$")._preprocess_math("$$")[1]
