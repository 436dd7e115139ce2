import hashlib
import struct

import numpy as np
import pytest
import torch

from caelab.data import Dataset, Samples, describe, load_dataset, make_dataset
from caelab.data.dataset import content_hash
from caelab.errors import CaelabError
from caelab.hookspecs import hookimpl
from caelab.registry.catalogue import Catalogue, catalogue

NUMBERED = Samples(np.arange(100.0).reshape(50, 2) / 100, np.arange(50))


def numbered(splits=(20, 10, 15), seed=0, **changes):
    """Fifty examples (2i, 2i + 1) / 100 with label i."""
    return make_dataset("numbered", Samples(NUMBERED.inputs, NUMBERED.labels, **changes), splits=splits, seed=seed)


def test_parts_have_the_asked_sizes_are_disjoint_and_keep_their_labels():
    dataset = numbered()
    parts = {
        "train": (dataset.train, dataset.train_inputs, dataset.train_labels),
        "valid": (dataset.valid, dataset.valid_inputs, dataset.valid_labels),
        "test": (dataset.test, dataset.test_inputs, dataset.test_labels),
    }
    assert [len(indices) for indices, _, _ in parts.values()] == [20, 10, 15]
    assert len(set(torch.cat([indices for indices, _, _ in parts.values()]).tolist())) == 45
    for _, inputs, labels in parts.values():
        torch.testing.assert_close(inputs[:, 0] * 50, labels.float())  # the input tells its own number


def test_splits_depend_on_the_seed_and_on_nothing_else():
    torch.manual_seed(1)
    first = numbered(seed=3)
    torch.manual_seed(2)
    again, other = numbered(seed=3), numbered(seed=4)
    assert torch.equal(first.train, again.train)
    assert torch.equal(first.test, again.test)
    assert not torch.equal(first.train, other.train)


def test_every_example_reaches_every_part_over_the_seeds():
    seen = [set(), set(), set()]
    for seed in range(40):
        dataset = numbered(seed=seed)
        for part, indices in zip(seen, (dataset.train, dataset.valid, dataset.test), strict=True):
            part.update(indices.tolist())
    assert seen == [set(range(50))] * 3


@pytest.mark.parametrize(
    ("count", "official", "expected"),
    [
        (5000, 0, (3000, 500, 1500)),
        (1797, 0, (1079, 179, 539)),
        (3, 0, (1, 1, 1)),
        (70_000, 10_000, (50_000, 10_000, 10_000)),
        (60_000, 10_000, (40_000, 10_000, 10_000)),
    ],
)
def test_default_splits(count, official, expected):
    dataset = make_dataset("any", Samples(np.zeros((count, 1)), official_test=official))
    assert (len(dataset.train), len(dataset.valid), len(dataset.test)) == expected


@pytest.mark.parametrize("splits", [None, (30, 5, 8)])
def test_tests_come_from_the_official_part_alone(splits):
    dataset = numbered(splits, official_test=10)
    assert dataset.test.min() >= 40
    assert max(dataset.train.max(), dataset.valid.max()) < 40
    assert len(dataset.test) == (8 if splits else 10)


@pytest.mark.parametrize(
    ("splits", "official", "sentence"),
    [
        ((30, 10, 11), 0, "has 50 examples, but the splits ask for 51"),
        ((30, 11, 5), 10, "has 40 examples outside the official test part, but the splits ask for 41"),
        ((10, 10, 11), 10, "has 10 examples in the official test part, but the splits ask for 11"),
        ((10, 10), 0, "three whole numbers of at least 1"),
        ((10, 0, 10), 0, "three whole numbers of at least 1"),
        ((10, -1, 10), 0, "three whole numbers of at least 1"),
        ((0.6, 0.1, 0.3), 0, "three whole numbers of at least 1"),
        ("abc", 0, "'abc' came"),
    ],
)
def test_impossible_splits_are_refused(splits, official, sentence):
    with pytest.raises(CaelabError, match=sentence):
        numbered(splits, official_test=official)


@pytest.mark.parametrize(
    ("samples", "sentence"),
    [
        (Samples(np.zeros(5)), r"expected inputs of shape \(n, d\), but \(5,\) came"),
        (Samples(np.zeros((0, 5))), r"but \(0, 5\) came"),
        (Samples(np.zeros((2, 5))), "has 2 examples, but the splits ask for 3"),
        (Samples([["a", "b"]]), "expected inputs that are numbers"),
        (Samples(np.zeros((5, 2)), np.zeros(4, int)), r"expected 5 labels .* but int64 of shape \(4,\) came"),
        (Samples(np.zeros((5, 2)), np.zeros(5)), "float64 of shape"),
        (Samples(np.zeros((5, 2)), ["a"] * 5), "whole numbers"),
        (Samples(np.zeros((5, 6)), image_shape=(2, 2)), r"of 6 values, but \(2, 2\) came"),
        (Samples(np.zeros((5, 6)), image_shape=(6,)), r"but \(6,\) came"),
        (np.zeros((5, 2)), "must return Samples, but ndarray came"),
    ],
)
def test_samples_that_do_not_fit_are_refused(samples, sentence):
    with pytest.raises(CaelabError, match=sentence):
        make_dataset("bad", samples)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_what_is_not_finite_is_refused_with_count_and_place(bad):
    values = np.zeros((6, 4))
    values[2, 3] = values[5, 0] = bad  # 1e300 is finite until it becomes float32
    with pytest.raises(CaelabError, match="but 2 of 24 values are NaN or infinite, the first in example 2, input 3"):
        make_dataset("bad", Samples(values))


def test_inputs_become_float32_and_labels_int64():
    dataset = make_dataset("any", Samples(torch.eye(4, dtype=torch.float64), torch.arange(4, dtype=torch.uint8)))
    assert (dataset.inputs.dtype, dataset.labels.dtype) == (torch.float32, torch.int64)
    assert make_dataset("any", Samples(np.eye(4, dtype=">f4").T)).inputs.equal(torch.eye(4))


def test_without_labels_there_are_none():
    dataset = make_dataset("any", Samples(np.eye(4)))
    assert dataset.train_labels is dataset.valid_labels is dataset.test_labels is dataset.labels is None


def test_value_range():
    assert make_dataset("any", Samples([[-1.5, 0], [0.25, 3], [0, 0]])).value_range == (-1.5, 3.0)


def test_a_dataset_cannot_be_changed():
    with pytest.raises(AttributeError):
        numbered().name = "another"


def test_content_hash_is_that_of_the_documented_bytes():
    inputs, labels = [0.0, 0.5, 1.0, 0.25, 0.75, 1.0], [7, 0, 1]
    text = b"((3, 2), True, (2, 1))" + struct.pack("<6f", *inputs) + struct.pack("<3q", *labels)
    found = content_hash(torch.tensor(inputs).reshape(3, 2), torch.tensor(labels), (2, 1))
    assert found == hashlib.sha256(text).hexdigest()


def test_content_hash_tells_contents_apart_but_not_splits():
    plain = numbered()
    assert plain.content_hash == numbered((10, 10, 10), seed=5).content_hash
    changed = [
        Samples(NUMBERED.inputs),
        Samples(NUMBERED.inputs[::-1], NUMBERED.labels),
        Samples(NUMBERED.inputs.reshape(25, 4), NUMBERED.labels[:25]),
        Samples(NUMBERED.inputs, NUMBERED.labels[::-1]),
        Samples(NUMBERED.inputs, NUMBERED.labels, (1, 2)),
        Samples(NUMBERED.inputs, NUMBERED.labels, (2, 1)),
    ]
    hashes = {make_dataset("any", samples).content_hash for samples in changed}
    assert len(hashes | {plain.content_hash}) == len(changed) + 1


class Plugin:
    @hookimpl
    def register_datasets(self, register):
        register("ones", lambda count=3: Samples(np.ones((count, 2))))
        register("broken", "no.such.module:loader")


@pytest.fixture
def with_plugin(monkeypatch):
    offers = Catalogue(dict(catalogue().offers))
    offers.add("a plugin", Plugin())
    monkeypatch.setattr("caelab.data.dataset.catalogue", lambda: offers)
    monkeypatch.setattr("caelab.data.listing.catalogue", lambda: offers)


@pytest.mark.usefixtures("with_plugin")
def test_a_plugins_loader_gets_its_options():
    assert load_dataset("ones", count=7).inputs.shape == (7, 2)


@pytest.mark.usefixtures("with_plugin")
def test_the_list_holds_plugins_too_whole_or_broken():
    rows = {row["name"]: row for row in describe()}
    assert rows["ones"]["source"] == "?"
    assert rows["broken"]["source"].startswith("broken: the dataset 'broken'")


def test_the_list_states_every_built_in_data_set():
    rows = {row["name"]: row for row in describe()}
    assert {
        "mnist5k",
        "digits",
        "idx:FOLDER",
        "npz:FILE[#KEY]",
        "parquet:FILE",
        "hf:FOLDER",
        "circle",
        "spiral",
        "mnist",
    } <= set(rows)
    assert all(list(row) == ["name", "size", "shape", "source"] and all(row.values()) for row in rows.values())
    assert all("?" not in row["source"] for row in rows.values())


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("mnist5", {}, "unknown dataset 'mnist5'; did you mean 'mnist5k'"),
        ("mnist5k:x", {}, "mnist5k: unknown option 'path'"),
        ("idx", {}, "idx.path is missing"),
        ("npz:", {}, "npz.path: string should have at least 1 character"),
        ("circle", {"noise": -1}, "circle.noise: .* greater than or equal to 0, but -1 came"),
        ("circle", {"nois": 1}, "unknown option 'nois'; did you mean 'noise'"),
        ("circle", {"samples": 0}, "circle.samples"),
        ("spiral", {"sigma": 0}, "spiral.sigma"),
    ],
)
def test_wrong_names_and_options_are_told(name, options, sentence):
    with pytest.raises(CaelabError, match=sentence):
        load_dataset(name, **options)


def test_the_name_says_the_path(tmp_path):
    np.save(tmp_path / "x.npy", np.eye(5))
    path = str(tmp_path / "x.npy")
    by_name, by_option = load_dataset(f"npy:{path}"), load_dataset("npy", path=path)
    assert by_name.name == by_option.name == f"npy:{path}"
    assert isinstance(by_name, Dataset)
    assert by_name.content_hash == by_option.content_hash


@pytest.mark.parametrize("make", [np.asarray, lambda labels: torch.from_numpy(labels)])
def test_labels_that_int64_does_not_hold_are_refused(make):
    with pytest.raises(CaelabError, match=r"expected labels below 2\*\*63, but 9223372036854775808 came"):
        make_dataset("any", Samples(np.eye(4), make(np.array([0, 1, 2**63, 3], "u8"))))
    kept = make_dataset("any", Samples(np.eye(4), make(np.array([0, 1, 2**63 - 1, 3], "u8"))))
    assert kept.labels.tolist() == [0, 1, 2**63 - 1, 3]


@pytest.mark.parametrize(
    "labels",
    [
        [2**70, 1, 2, 3],
        [0.5, 1, 2, 3],
        [np.nan, 1, 2, 3],
        [1j, 1, 2, 3],
        ["a", None, "b", "c"],
        torch.ones(4, dtype=torch.bfloat16),
    ],
)
def test_labels_that_are_no_whole_numbers_are_refused(labels):
    with pytest.raises(CaelabError, match="expected 4 labels that are whole numbers"):
        make_dataset("any", Samples(np.eye(4), labels))


def test_sparse_labels_are_read():
    assert make_dataset("any", Samples(np.eye(4), torch.arange(4).to_sparse())).labels.tolist() == [0, 1, 2, 3]
