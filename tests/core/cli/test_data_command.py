import numpy as np
import pytest
from matplotlib.image import imread

from caelab.analysis.example_sheet import chosen_examples, example_sheet
from caelab.cli.main import main
from caelab.data import Samples, load_dataset, make_dataset
from caelab.errors import CaelabError
from tests.test_docs import ROOT

TABLE2 = ("mnist-rot", "mnist-bg-rand", "mnist-bg-img", "mnist-bg-img-rot", "rect", "rect-img", "convex")


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*words):
        with pytest.raises(SystemExit) as stopped:
            main(("data", *words))
        said = capsys.readouterr()
        return stopped.value.code, said.out, said.err

    return run


def test_the_list_names_the_sets_of_table_2_with_their_facts(run):
    status, out, _ = run()
    assert status == 0
    rows = {line.split("\t")[0]: line for line in out.splitlines()}
    assert {*TABLE2} <= {*rows}
    assert "digits before photographs" in rows["mnist-bg-img"]
    assert "outlines of rectangles" in rows["rect"]


def test_a_named_set_is_loaded_with_its_options(run):
    status, out, _ = run("rect", "digits", "--set", "samples=20", "--set", "dataset.splits=[10,5,5]")
    assert status == 0
    heading, *rows = [line.split("\t") for line in out.splitlines()]
    assert heading == ["name", "train / valid / test", "shape", "labels", "values", "content"]
    assert rows[0][:5] == ["rect", "10 / 5 / 5", "28 x 28", "wide: 10, tall: 10", "0 to 1"]
    assert rows[0][5] == load_dataset("rect", samples=20).content_hash[:12]
    assert rows[1][:3] == ["digits", "10 / 5 / 5", "8 x 8"]


def test_vectors_without_labels_are_told_so_without_a_picture(run):
    status, out, _ = run("circle", "--set", "samples=20")
    assert status == 0
    assert "\t50\tnone\t" in out


@pytest.mark.parametrize("name", ["examples.png", "examples.pdf"])
def test_a_picture_is_written(run, tmp_path, name):
    status, out, _ = run("digits", "rect", "--set", "samples=30", "--picture", name, "--lines", "2")
    assert status == 0
    assert out.splitlines()[-1] == f"picture: {name}"
    content = (tmp_path / name).read_bytes()
    assert content.startswith(b"\x89PNG" if name.endswith("png") else b"%PDF")
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(("words", "told"), [
    (["rekt"], "did you mean 'rect'"),
    (["rect", "--set", "smaples=3"], "rect: unknown option 'smaples'; did you mean 'samples'"),
    (["rect", "--set", "samples=0"], "rect.samples"),
    (["mnist-rot", "--set", "source=circle"], "it has no images"),
    (["mnist-rot", "--set", "angle=3"], "unknown option 'angle'"),
    (["mnist-bg-rand", "--set", "splits=published"], "has 5000 examples, but the splits ask for 62000"),
    (["circle", "--picture", "a.png"], "data set 'circle' has no images to draw"),
    (["rect", "--picture", "a.bmp"], "expected a picture named .png or .pdf, but 'a.bmp' came"),
    (["rect", "--picture", "a.png", "--lines", "0"], "--lines"),
    (["--picture", "a.png"], "--picture needs the name of a data set"),
    (["--set", "samples=3"], "--set needs the name of a data set"),
], ids=lambda x: " ".join(x) if isinstance(x, list) else "")  # fmt: skip
def test_wrong_input_is_one_sentence_and_nothing_is_written(run, tmp_path, words, told):
    status, out, err = run(*words)
    assert status == 2
    assert told in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert out == ""
    assert not [*tmp_path.iterdir()]


class TestSheet:
    def test_examples_are_of_every_label_in_turn_and_of_the_training_part(self):
        dataset = load_dataset("rect", samples=40)
        chosen = chosen_examples(dataset, 10)
        assert dataset.labels[chosen].tolist() == [0, 1] * 5
        assert len({*chosen}) == 10
        assert {*chosen} <= {*dataset.train.tolist()}

    def test_where_a_label_has_few_examples_others_follow_and_none_comes_twice(self):
        labels = np.array([0] * 8 + [1])
        dataset = make_dataset("mine", Samples(np.eye(9), labels, (3, 3)), splits=(7, 1, 1))
        chosen = chosen_examples(dataset, 20)
        assert sorted(chosen) == sorted(dataset.train.tolist())
        without = make_dataset("mine", Samples(np.eye(9), None, (3, 3)), splits=(5, 2, 2))
        assert chosen_examples(without, 3) == without.train.tolist()[:3]

    def test_images_stand_where_they_belong(self):
        dataset = load_dataset("rect", samples=40)
        (axes,) = example_sheet([dataset, load_dataset("digits")], 2).axes
        assert len(axes.images) == 40
        chosen = chosen_examples(dataset, 20)
        for place, image in enumerate(axes.images[:20]):
            left, _, _, top = image.get_extent()
            assert (int(top), int(left)) == divmod(place, 10)
            np.testing.assert_array_equal(image.get_array(), dataset.inputs[chosen[place]].reshape(28, 28))
        assert [text.get_text() for text in axes.get_yticklabels()] == ["rect", "digits"]

    def test_colour_and_other_ranges_are_drawn_between_black_and_white(self):
        pixels = np.random.default_rng(0).random((5, 12)) * 6 - 2
        dataset = make_dataset("mine", Samples(pixels, None, (2, 2, 3)), splits=(3, 1, 1))
        (axes,) = example_sheet([dataset]).axes
        values = np.stack([image.get_array() for image in axes.images])
        assert values.shape == (3, 2, 2, 3)
        assert values.min() >= 0
        assert values.max() <= 1

    def test_vectors_are_refused(self):
        with pytest.raises(CaelabError, match="vectors of 50 values without an image shape"):
            example_sheet([load_dataset("circle", samples=10)])


@pytest.mark.slow
def test_the_picture_of_the_documentation_is_that_of_today(run, tmp_path):
    assert run(*TABLE2, "--picture", "now.png")[0] == 0
    now, there = (imread(path) for path in (tmp_path / "now.png", ROOT / "docs" / "images" / "table2-data.png"))
    assert now.shape == there.shape
    assert np.abs(now - there).mean() < 0.002  # fonts may differ a little
