import numpy as np
import pandas as pd
import pytest

from caelab.data import load_dataset, memory, text_tables
from caelab.data.text_tables import csv
from caelab.errors import CaelabError
from caelab.runs.config import make_config
from caelab.runs.recipes import recipe_config

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
        ("data.pkl", "'data.pkl' is a path, at which there is nothing; caelab reads csv:FILE, parquet:FILE"),
        ("train.txt.gz", "'train.txt.gz' is a path, at which"),
        ("here.txt", "'here.txt' is a path; caelab reads csv:FILE"),
        ("./nothing", "'./nothing' is a path, at which there is nothing"),
        ("folder", "as images:folder or idx:folder"),
        ("folder.npz", "as images:folder.npz or idx:folder.npz"),
        ("saved", "say what it holds, as hf:saved"),
        ("parts", "say what it holds, as parquet:parts"),
        ("bare", "'bare' is a path; caelab reads"),
        ("mnist5", "did you mean 'mnist5k'?"),
        ("mnist.5k", "unknown dataset 'mnist.5k'"),
    ],
)
def test_a_path_in_place_of_a_name_is_called_a_path(name, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for file in ("here.txt", "bare"):
        (tmp_path / file).write_bytes(b"")
    for folder in ("folder", "folder.npz", "saved", "parts"):
        (tmp_path / folder).mkdir()
    (tmp_path / "saved" / "state.json").write_bytes(b"")
    (tmp_path / "parts" / "0.parquet").write_bytes(b"")
    with pytest.raises(CaelabError) as caught:
        make_config({**recipe_config("ae").as_dict(), "dataset": {"kind": name}})
    assert words in str(caught.value)


# --- rows, names and labels that would be read as others --------------------------------------------------------------


def read(tmp_path, content, **options):
    (tmp_path / "x.csv").write_bytes(content)
    return csv(str(tmp_path / "x.csv"), **options)


@pytest.mark.parametrize("examples", [None, 1, 2])
@pytest.mark.parametrize(
    "content",
    [
        b"label,x1,x2\n0,0,0.5,0.25\n1,1,0.75,0.5\n",  # R's write.table: rows have names, their column has none
        b"a,b\n1,2,3\n4,5,6\n",
        b"a,b\n1,2,\n4,5,\n",
        b"# made by x\n1,2\n3,4\n",
        b"# made by x\na,b\n3,4\n",
        b"0,1\n1,2,3\n4,5,6\n",
    ],
)
def test_more_fields_than_names_are_refused(tmp_path, content, examples):
    with pytest.raises(CaelabError, match=r"x\.csv: .*more fields than names"):
        read(tmp_path, content, examples=examples)


@pytest.mark.parametrize("examples", [None, 2])
def test_a_later_row_with_more_fields_than_names_is_refused(tmp_path, examples):
    with pytest.raises(CaelabError, match="Expected 2 fields in line 4, saw 3"):
        read(tmp_path, b"a,b\n1,2\n3,4\n5,6,7\n", examples=examples)


ENDS = {
    "empty lines between": lambda rows: "\n\n".join(rows),
    "lines of blanks between": lambda rows: "\n  \n".join(rows) + "\n",
    "carriage returns": lambda rows: "\r".join(rows) + "\r",
    "both": lambda rows: "\r\n".join(rows) + "\r\n\r\n",
    "empty lines first and last": lambda rows: "\n\n" + "\n".join(rows) + "\n\n\n",
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("examples", [None, 1, 30, 39, 40, 50])
def test_rows_are_counted_without_empty_lines(tmp_path, end, header, examples):
    rows = pd.DataFrame(PIXELS, columns=NAMES).to_csv(index=False, header=header).splitlines()
    places = range(40) if examples is None else [place * 40 // min(examples, 40) for place in range(min(examples, 40))]
    found = read(tmp_path, ENDS[end](rows).encode(), examples=examples)
    np.testing.assert_array_equal(found.inputs, PIXELS[list(places)])


@pytest.mark.parametrize("block", [8, 2**22])
@pytest.mark.parametrize("examples", [None, 1, 3, 4, 9])
def test_line_feeds_within_quotes_end_no_row(tmp_path, examples, block, monkeypatch):
    monkeypatch.setattr(text_tables, "BLOCK", block)
    content = b'"of\nclass",a\n"one\n\nline",1\n"two\r\nlines",2\nthree,3\n"one\n\nline",4\n'
    found = read(tmp_path, content, label="of\nclass", examples=examples)
    count = min(examples or 4, 4)
    assert found.inputs[:, 0].tolist() == [1 + place * 4 // count for place in range(count)]


@pytest.mark.parametrize(
    ("first", "second"),
    [("True,0", "False,1"), ("true,0", "true,1"), ("FALSE,2.5", "TRUE,1"), ("0,1", "1,0")],
)
def test_a_first_example_is_not_lost_without_a_word(tmp_path, first, second, caplog):
    found = read(tmp_path, "\n".join([first, second] * 20).encode())
    told = "taken for the names of columns and not for an example" in caplog.text
    assert (len(found.inputs), told) in [(40, False), (39, True)]
    assert told == (first == "0,1")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("5.1,3.5,setosa", "4.9,3.0,setosa"),
        ("cat,0,1", "dog,1,0"),
        ("a,0.5,0.25", "0,0.5,0.25"),
        ("label,0.5,0.25", "1,0.5,0.25"),
        ("1x,2", "3,4"),
    ],
)
def test_a_first_row_of_words_and_numbers_may_be_an_example_and_is_refused(tmp_path, first, second):
    with pytest.raises(CaelabError, match="so it may be an example; write a row of names"):
        read(tmp_path, f"{first}\n{second}\n".encode(), label=0)


@pytest.mark.parametrize("first", ["label,0,1", "label,1,2", '"0","1","label"', "kind,0,1", '"0","1","2"'])
def test_numbers_that_count_columns_are_names_and_that_is_told(tmp_path, first, caplog):
    assert read(tmp_path, f"{first}\n4,5,6\n7,8,9\n".encode()).inputs[1].tolist() in ([8, 9], [7, 8], [7, 8, 9])
    assert caplog.text.count("x.csv: its first row") == 1


def test_words_and_plain_numbers_are_read_without_a_word(tmp_path, caplog):
    assert len(read(tmp_path, b"a,b\n1,2\n3,4\n").inputs) == 2
    assert len(read(tmp_path, b"1,2\n3,4\n").inputs) == 2
    assert len(read(tmp_path, b"1,\n3,4\n").inputs) == 2  # refused as NaN later, but not taken for names
    assert not caplog.text


def test_labels_that_int64_does_not_hold_are_numbered_as_texts(tmp_path):
    greatest = [2**64 - 1, 2**63, 5]
    found = read(tmp_path, "\n".join(["label,a", *(f"{each},1" for each in greatest)]).encode())
    assert found.labels.tolist() == [2, 1, 0]
    assert found.label_names == ("5", str(2**63), str(2**64 - 1))


@pytest.mark.parametrize("examples", [None, 70_000])
def test_labels_of_a_long_file_are_read_alike_from_its_start_to_its_end(tmp_path, examples):
    """Pandas reads a long file in parts: 01 was 1 in a part without texts, and another class than 01 in the next."""
    content = "label,a,b\n" + "01,1.25,123456\n" * 70_000 + "x,2,2\n01,1,1\n"
    found = read(tmp_path, content.encode(), examples=examples)
    assert set(found.label_names) <= {"01", "x"}
    assert found.labels.tolist() == [0] * 70_000 + [1, 0] if examples is None else len(found.labels) == 70_000
