import numpy as np
import pandas as pd
import pytest

from caelab.config import make_config
from caelab.data import load_dataset, memory
from caelab.data.text_tables import csv
from caelab.errors import CaelabError
from caelab.recipes import recipe_config

RNG = np.random.default_rng(0)
PIXELS, CLASSES = RNG.integers(0, 256, (40, 6)), RNG.integers(0, 10, 40)
NAMES = [f"{row}x{column}" for row in (1, 2) for column in (1, 2, 3)]


@pytest.fixture
def mnist_csv(tmp_path):
    """A table as it is passed around for MNIST: the label first, a row of names."""
    table = pd.DataFrame(PIXELS, columns=NAMES)
    table.insert(0, "label", CLASSES)
    table.to_csv(tmp_path / "mnist_train.csv", index=False)
    return tmp_path / "mnist_train.csv"


def test_a_table_with_names_and_labels_is_read(mnist_csv):
    dataset = load_dataset(f"csv:{mnist_csv}", divisor=255, image_shape=[2, 3])
    np.testing.assert_array_equal(dataset.inputs.numpy(), PIXELS.astype("float32") / np.float32(255))
    assert dataset.labels.tolist() == CLASSES.tolist()
    assert dataset.image_shape == (2, 3)
    assert dataset.label_names is None


def test_numbers_are_taken_as_they_are_where_no_divisor_is_given(mnist_csv):
    np.testing.assert_array_equal(load_dataset(f"csv:{mnist_csv}").inputs.numpy(), PIXELS)


@pytest.mark.parametrize(
    ("options", "label"),
    [({"header": False, "index": False}, None), ({"index": False}, None), ({"header": False, "index": False}, 2)],
)
def test_without_names_a_column_is_a_label_only_where_that_is_said(tmp_path, options, label):
    pd.DataFrame(PIXELS).to_csv(tmp_path / "x.csv", **options)  # with a header, pandas names them 0, 1, 2, ...
    dataset = load_dataset(f"csv:{tmp_path / 'x.csv'}", label=label)
    kept = [column for column in range(6) if column != label]
    np.testing.assert_array_equal(dataset.inputs.numpy(), PIXELS[:, kept])
    assert dataset.labels is None if label is None else dataset.labels.tolist() == PIXELS[:, 2].tolist()


@pytest.mark.parametrize("label", ["kind", 1])
def test_labels_that_are_texts_are_numbered_and_keep_their_names(tmp_path, label):
    (tmp_path / "x.csv").write_text("a,kind,b\n1,été,2\n3,class10,4\n5,class2,6\n7,été,8\n", encoding="utf-8")
    samples = csv(str(tmp_path / "x.csv"), label=label)
    assert samples.label_names == ("class2", "class10", "été")
    assert samples.labels.tolist() == [2, 1, 0, 2]
    assert samples.inputs.tolist() == [[1, 2], [3, 4], [5, 6], [7, 8]]


@pytest.mark.parametrize("examples", [1, 7, 39, 40, 99])
@pytest.mark.parametrize("header", [True, False])
def test_a_part_of_a_table_is_evenly_spread_over_it(tmp_path, examples, header):
    pd.DataFrame(PIXELS, columns=NAMES).to_csv(tmp_path / "x.csv", index=False, header=header)
    count = min(examples, 40)
    places = [place * 40 // count for place in range(count)]
    np.testing.assert_array_equal(csv(str(tmp_path / "x.csv"), examples=examples).inputs, PIXELS[places])


@pytest.mark.parametrize(("separator", "mark"), [(";", ""), ("\t", ""), (",", "\ufeff")])
def test_other_separators_and_a_byte_order_mark_are_read(tmp_path, separator, mark):
    text = pd.DataFrame(PIXELS).to_csv(index=False, sep=separator, header=False)
    (tmp_path / "x.csv").write_text(mark + text, encoding="utf-8")
    np.testing.assert_array_equal(csv(str(tmp_path / "x.csv"), separator=separator).inputs, PIXELS)


def test_a_table_that_memory_does_not_hold_is_refused_unread(mnist_csv, monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 3919)
    with pytest.raises(CaelabError, match=r"40 rows of 7 numbers, would take 3\.828 KiB .* 3\.827 KiB are .*examples"):
        csv(str(mnist_csv))
    assert len(csv(str(mnist_csv), examples=30).inputs) == 30


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"a,b\n", "no rows"),
        (b"a,b\n1,x\n2,3\n", "the column b holds 'x'"),
        (b"1,2\n3\n", "NaN"),
        (b"1,2\n3,4,5\n", "cannot be read"),
        (b"1,2\n3,\n", "NaN"),
        (b"1,2\ninf,1\n", "infinite"),
        (b"1;2\n3;4\n", "expected numbers separated by ','"),
        (b",a,b\n0,1,2\n", "index=False"),
        (b"a,label\n1,\n2,3\n4,5\n", "1 have none"),
        (b"a,label\n1,.5\n2,3\n", "whole numbers or texts"),
        (b"\xff\xfe1\0", "cannot be read"),
        (b"a,b\n1,\xff\n", "cannot be read"),
        (b"PK\x03\x04\0\0", "no text"),
        (b"1e999,2\n3,4\n", "infinite"),
        (b"a,a\n1,2\n3,x\n", "holds 'x'"),
    ],
)
def test_what_is_no_table_of_numbers_is_refused_in_one_sentence(tmp_path, content, words):
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(CaelabError) as caught:
        load_dataset(f"csv:{tmp_path / 'x.csv'}")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "x.csv" in str(caught.value)


@pytest.mark.parametrize("options", [{"label": "lable"}, {"label": 7}, {"separator": ""}, {"image_shape": [5, 5]}])
def test_options_that_do_not_fit_are_refused(mnist_csv, options):
    with pytest.raises(CaelabError):
        load_dataset(f"csv:{mnist_csv}", **options)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(CaelabError, match=r"no file at .*none\.csv"):
        csv(str(tmp_path / "none.csv"))
    with pytest.raises(CaelabError, match="cannot be read"):
        csv(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mnist_train.csv", "is a path; say what it holds, as csv:mnist_train.csv"),
        ("MINE.NPZ", "as npz:MINE.NPZ"),
        ("sub/x.npy", "as npy:sub/x.npy"),
        ("data.pkl", "'data.pkl' is a path, at which there is nothing; caelab reads npz:FILE"),
        ("train.csv.gz", "'train.csv.gz' is a path, at which"),
        ("here.txt", "'here.txt' is a path; caelab reads npz:FILE, npy:FILE, csv:FILE, idx:FOLDER and images:FOLDER"),
        ("./nothing", "'./nothing' is a path, at which there is nothing"),
        ("folder", "as images:folder or idx:folder"),
        ("bare", "'bare' is a path; caelab reads"),
        ("mnist5", "did you mean 'mnist5k'?"),
        ("mnist.5k", "unknown dataset 'mnist.5k'"),
    ],
)
def test_a_path_in_place_of_a_name_is_called_a_path(name, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for file in ("here.txt", "bare"):
        (tmp_path / file).write_bytes(b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(CaelabError) as caught:
        make_config({**recipe_config("ae").as_dict(), "dataset": {"kind": name}})
    assert words in str(caught.value)
