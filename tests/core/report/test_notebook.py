"""What a notebook shows: the facts as they are, a picture inside, nothing that runs or is fetched."""

import re
from base64 import b64decode
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

import caelab
from caelab.report.notebook import SHOWN

RNG = np.random.default_rng(0)
IMAGES = RNG.random((60, 4, 4))


@pytest.fixture(scope="module")
def comparison():
    return caelab.compare(
        ["ae", caelab.recipe("cae", label="<mine>")],
        seeds=2,
        dataset=IMAGES,
        epochs=2,
        hidden=[5],
        analyses=["jacobian_norm"],
        executor="serial",
    )


def pictures(html):
    return [Image.open(BytesIO(b64decode(code))) for code in re.findall(r"data:image/png;base64,([^\"]+)", html)]


def test_everything_shows_itself_with_a_picture(comparison):
    run = comparison.run("ae", 0)
    for thing, says in ((comparison, "2 seeds"), (run, "last epoch"), (run.dataset, "36 train, 6 valid, 18 test")):
        html = thing._repr_html_()  # which is what Jupyter asks for
        assert says in html
        (picture,) = pictures(html)
        assert len(np.unique(np.asarray(picture.convert("L")))) > 10, "the picture should not be empty"
        assert "<script" not in html
        assert "http" not in html


def test_names_are_escaped(comparison):
    assert "<mine>" not in comparison._repr_html_()
    assert "&lt;mine&gt;" in comparison._repr_html_()


def test_the_table_is_that_of_the_summary(comparison):
    summary = comparison.summary.set_index(["number", "model"])["mean"]
    shown = re.findall(r"<tr><td[^>]*>AE</td><td[^>]*>([\d.]+) ±", comparison._repr_html_())
    assert float(shown[0]) == pytest.approx(summary["mean norm", "ae"], rel=1e-2)


def test_repr_says_what_a_thing_is(comparison):
    run = comparison.run("ae", 1)
    assert repr(run).startswith("<Run 'ae' on arrays, seed 1, 2 epochs, ")
    assert repr(comparison) == "<Comparison of AE, <mine>: 2 seeds, 1 analysis, 0 findings>"
    assert repr(run.dataset) == "<Dataset arrays: 60 examples of 16 inputs; 36 train, 6 valid, 18 test>"
    assert "learning_rate: 0.001" in run.config._repr_html_()
    assert repr(caelab.Study(["ae"], 2, ["jacobian_norm"], "x")) == "<Study of ae: 2 runs, analyses jacobian_norm>"
    assert caelab.html_of(3) == "<pre>3</pre>"
    with caelab.figures.style("icml"):
        assert repr(caelab.figures.style("slides")) == "<style of figures in force: 12 in wide, text of 16 pt>"


class OfTheFirst(torch.Tensor):
    """Inputs of which only so many examples may be read at once."""

    def __getitem__(self, places):
        assert len(places) <= SHOWN, "data larger than memory are not read for a picture"
        return self.as_subclass(torch.Tensor)[places]


def test_a_picture_of_data_reads_the_examples_that_it_shows(comparison):
    data = comparison.run("ae", 0).dataset
    assert pictures(replace(data, inputs=data.inputs.as_subclass(OfTheFirst))._repr_html_())
