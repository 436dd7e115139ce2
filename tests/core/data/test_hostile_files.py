"""Files that claim more than memory or the file holds, are damaged, or try to run code: one true sentence each."""

import gzip
import io
import os
import resource
import struct
import zipfile

import numpy as np
import pytest

from caelab.data import load_dataset, memory, text_tables
from caelab.data.arrays import npy, npz
from caelab.data.idx import idx, read_idx
from caelab.data.text_tables import csv
from caelab.errors import CaelabError

RNG = np.random.default_rng(0)
IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


def header(shape, dtype="<f8", order="False", version=1):
    """An .npy header alone, written here independently of numpy."""
    text = f"{{'descr': {dtype!r}, 'fortran_order': {order}, 'shape': {shape}, }}"
    size = {1: "<H", 2: "<I"}[version]
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack(size, len(text) + 1) + text.encode() + b"\n"


def as_npz(path, content, name="x.npy", packed=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", packed) as archive:
        archive.writestr(name, content)


def refused(loader, path, *words, **options):
    with pytest.raises(CaelabError) as caught:
        loader(str(path), **options)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message
    return message


CLAIMS = {
    "12 GB": "(12_000_000, 125)",
    "73 TiB": "(10_000_000_000, 1003)",
    "more than 64 bits count": "(4_000_000_000, 4_000_000_000, 4_000_000_000)",
    "one huge side": f"({2**63 - 1}, 1)",
    "more than a side may have": f"({2**64}, 1)",
    "less than nothing": "(-5, 3)",
    "nothing times much": f"(0, {2**62})",
}


@pytest.mark.parametrize("order", ["False", "True"])
@pytest.mark.parametrize("shape", CLAIMS.values(), ids=CLAIMS)
def test_a_header_that_claims_more_than_its_file_holds_is_refused(tmp_path, shape, order):
    content = header(shape.replace("_", ""), order=order) + bytes(800)
    (tmp_path / "x.npy").write_bytes(content)
    refused(npy, tmp_path / "x.npy", "x.npy")
    as_npz(tmp_path / "x.npz", content)
    refused(npz, tmp_path / "x.npz", "x.npz")
    as_npz(tmp_path / "x.npz", content, packed=zipfile.ZIP_DEFLATED)
    refused(npz, tmp_path / "x.npz", "x.npz")


def test_a_file_that_is_truncated_is_told_by_both_sizes(tmp_path):
    (tmp_path / "x.npy").write_bytes(header("(10000000000, 1003)") + bytes(800))
    refused(npy, tmp_path / "x.npy", "it is truncated", "needs 72.98 TiB, found 800 bytes")


def test_a_file_that_really_is_larger_than_memory_is_refused_unread_and_a_part_of_it_is_read(tmp_path):
    start = header(f"({2**30}, 1024)", "<f4")
    with (tmp_path / "x.npy").open("wb") as file:  # 4 TiB of which nothing is on the disk
        file.write(start)
        file.truncate(len(start) + 2**42)
    message = refused(npy, tmp_path / "x.npy", "(1073741824, 1024) of float32, would take 6 TiB of memory, but")
    assert "are free; read fewer examples by the option examples, as in --set dataset.examples=1000" in message


def test_what_is_free_is_the_least_of_machine_group_and_limit(tmp_path, monkeypatch):
    (tmp_path / "memory.max").write_text("1000", encoding="ascii")
    (tmp_path / "memory.current").write_text("700", encoding="ascii")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 150\n", encoding="ascii")
    assert memory._left_in_group(tmp_path) == 450
    (tmp_path / "memory.max").write_text("max", encoding="ascii")
    assert memory._left_in_group(tmp_path) == 2**63
    assert memory._left_in_group(tmp_path / "none") == 2**63
    before = memory.free_memory()
    assert 0 < before < 2**50
    monkeypatch.setattr(resource, "getrlimit", lambda _: (10 * 2**40, 10 * 2**40))
    assert memory._left_of_addresses() < 10 * 2**40
    monkeypatch.setattr(resource, "getrlimit", lambda _: (2**20, 2**20))
    assert memory.free_memory() == 0


@pytest.mark.parametrize(("free", "ok"), [(2399, False), (2400, True)])
def test_what_an_array_takes_counts_its_values_their_float32_and_two_masks(tmp_path, monkeypatch, free, ok):
    np.save(tmp_path / "x.npy", np.zeros((20, 10), np.float32))  # 4 + 2 bytes each: 1200
    np.savez(tmp_path / "x.npz", x=np.zeros((20, 10), np.int16))  # 2 + 4 + 2
    monkeypatch.setattr(memory, "free_memory", lambda: free // 2)
    if ok:
        assert npy(str(tmp_path / "x.npy")).inputs.shape == (20, 10)
    else:
        refused(npy, tmp_path / "x.npy", "would take 1.172 KiB of memory, but 1.171 KiB are free")
    refused(npz, tmp_path / "x.npz", "would take 1.562 KiB")


@pytest.mark.parametrize("claimed", [2**20, 2**30])
def test_a_zip_bomb_is_refused_unread(tmp_path, monkeypatch, claimed):
    content = header(f"({claimed // 8}, 1)") + bytes(2**20)
    as_npz(tmp_path / "x.npz", content, packed=zipfile.ZIP_DEFLATED)
    assert (tmp_path / "x.npz").stat().st_size < 2000
    monkeypatch.setattr(memory, "free_memory", lambda: 2**19)
    refused(npz, tmp_path / "x.npz", "would take 1.75 MiB of memory" if claimed == 2**20 else "truncated")


def test_a_member_whose_size_in_the_directory_is_a_lie_is_refused(tmp_path):
    content = header("(100000, 1)") + bytes(800_000)
    as_npz(tmp_path / "x.npz", header("(100, 1)") + bytes(800))
    whole = (tmp_path / "x.npz").read_bytes()
    honest = struct.pack("<I", len(header("(100, 1)")) + 800)
    (tmp_path / "x.npz").write_bytes(whole.replace(honest, struct.pack("<I", len(content))))
    refused(npz, tmp_path / "x.npz", "cannot be read")


@pytest.mark.parametrize("length", [10_001, 2**31])
def test_a_header_of_great_length_is_refused_unread(tmp_path, length):
    content = b"\x93NUMPY\x02\0" + struct.pack("<I", length) + b"{" * 20_000
    (tmp_path / "x.npy").write_bytes(content)
    refused(npy, tmp_path / "x.npy", "cannot be read", "header of at most 10000 bytes")


CODE = {
    "a call": "{'descr': '<f8', 'fortran_order': False, 'shape': __import__('os').system('true')}",
    "nested": "(" * 5000 + ")" * 5000,
    "a dictionary of others": "{'a': 1}",
    "a shape that is a text": "{'descr': '<f8', 'fortran_order': False, 'shape': '(3, 2)'}",
    "an unknown type": "{'descr': 'zzz', 'fortran_order': False, 'shape': (3, 2)}",
    "fields": "{'descr': [('a', '<f8'), ('b', '|O')], 'fortran_order': False, 'shape': (3, 2)}",
    "nothing": "",
    "no text": "\0\xff",
}


@pytest.mark.parametrize("text", CODE.values(), ids=CODE)
def test_what_is_in_a_header_is_never_run(tmp_path, text):
    raw = text.encode("latin-1")
    content = b"\x93NUMPY\x01\0" + struct.pack("<H", len(raw)) + raw + bytes(48)
    (tmp_path / "x.npy").write_bytes(content)
    refused(npy, tmp_path / "x.npy", "x.npy")


def test_what_stands_behind_an_array_is_not_left_out_in_silence(tmp_path):
    with (tmp_path / "x.npy").open("wb") as file:
        np.save(file, np.zeros((3, 2)))
        np.save(file, np.ones((3, 2)))
    refused(npy, tmp_path / "x.npy", "it is too long", "needs 48 bytes, found")


@pytest.mark.parametrize("packed", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.99])
def test_a_truncated_or_overwritten_archive_is_refused(tmp_path, packed, share):
    content = io.BytesIO()
    np.save(content, RNG.random((50, 10)))
    as_npz(tmp_path / "x.npz", content.getvalue(), packed=packed)
    whole = (tmp_path / "x.npz").read_bytes()
    place = int(share * len(whole))
    (tmp_path / "x.npz").write_bytes(whole[:place])
    refused(npz, tmp_path / "x.npz", "cannot be read")


def test_an_archive_under_a_password_is_refused(tmp_path):
    as_npz(tmp_path / "x.npz", b"anything")
    content = bytearray((tmp_path / "x.npz").read_bytes())
    content[6] |= 1  # the flag, in the local header and in the directory
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "x.npz").write_bytes(content)
    refused(npz, tmp_path / "x.npz", "cannot be read", "password")


@pytest.mark.parametrize("loader", [npy, npz, csv])
def test_a_pipe_is_not_waited_for_and_a_folder_is_called_one(tmp_path, loader):
    os.mkfifo(tmp_path / "pipe")
    refused(loader, tmp_path / "pipe", "expected a file, but it is a pipe or a device")
    refused(loader, tmp_path, "expected a file, but it is a folder")
    refused(loader, "/dev/zero", "pipe or a device")


def test_a_name_that_stands_twice_in_an_archive_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        for name in ("x.npy", "x"):
            archive.writestr(name, header("(3, 2)") + bytes(48))
    refused(npz, tmp_path / "x.npz", "expected one array of each name, but found x, x")


def test_a_row_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(text_tables, "LONGEST_ROW", 1000)
    (tmp_path / "x.csv").write_bytes(b"1," * 600)
    refused(csv, tmp_path / "x.csv", "its first row is longer than 1000 bytes")


# --- parts of files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(17, 5), (17, 3, 2), (17, 3, 2, 3)])
@pytest.mark.parametrize("dtype", ["u1", ">f4", "<f8", ">i2", "?", "f2"])
@pytest.mark.parametrize("examples", [None, 1, 4, 16, 17, 40])
def test_a_part_of_a_file_is_evenly_spread_over_it(tmp_path, order, shape, dtype, examples):
    values = np.asarray(RNG.integers(0, 2 if dtype == "?" else 100, shape).astype(dtype), order=order)
    np.save(tmp_path / "x.npy", values)
    np.savez_compressed(tmp_path / "x.npz", x=values, y=np.arange(17))
    places = [place * 17 // examples for place in range(examples)] if examples and examples < 17 else range(17)
    expected = (values[places] / np.float32(255) if dtype == "u1" else values[places]).reshape(len(places), -1)
    for samples in (npy(str(tmp_path / "x.npy"), examples), npz(str(tmp_path / "x.npz"), examples)):
        np.testing.assert_array_equal(samples.inputs, expected)
    assert samples.labels.tolist() == list(places)


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_part_of_a_file_of_many_blocks(tmp_path, order):
    values = np.asarray(RNG.random((3000, 400)), order=order)  # 9.6 MB in blocks of 4 MiB
    np.save(tmp_path / "x.npy", values)
    np.testing.assert_array_equal(npy(str(tmp_path / "x.npy"), 7).inputs, values[[0, 428, 857, 1285, 1714, 2142, 2571]])
    np.testing.assert_array_equal(npy(str(tmp_path / "x.npy")).inputs, values)


def test_labels_and_inputs_of_two_lengths_are_refused_also_of_a_part(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.zeros((20, 3)), y=np.arange(19))
    for examples in (None, 5):
        with pytest.raises(CaelabError, match=r"expected 20 labels, one for each .* the shape \(19,\)"):
            load_dataset(f"npz:{tmp_path / 'x.npz'}", examples=examples)


# --- IDX ------------------------------------------------------------------------------------------------------------

TYPES = {8: ">u1", 9: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def idx_of(code, values):
    sizes = b"".join(struct.pack(">I", size) for size in values.shape)
    return bytes([0, 0, code, values.ndim]) + sizes + values.astype(TYPES[code]).tobytes()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("code", TYPES)
@pytest.mark.parametrize("name", ["idx3-ubyte", "idx3-any"])
def test_every_type_of_the_format_is_read(tmp_path, code, packed, name):
    low = 0 if code == 8 else -100
    values = RNG.integers(low, 100, (9, 4, 3)) + (0.5 if code > 0x0C else 0)
    labels = RNG.integers(0, 10, 9)
    pack = gzip.compress if packed else bytes
    suffix = ".gz" if packed else ""
    (tmp_path / f"train-images-{name}{suffix}").write_bytes(pack(idx_of(code, values)))
    (tmp_path / f"train-labels-{name.replace('3', '1')}{suffix}").write_bytes(pack(idx_of(0x0C, labels)))
    dataset = load_dataset(f"idx:{tmp_path}")
    expected = values / 255 if code == 8 else values
    np.testing.assert_array_equal(dataset.inputs.numpy(), expected.reshape(9, 12).astype("float32"))
    assert dataset.labels.tolist() == labels.tolist()
    assert dataset.image_shape == (4, 3)


@pytest.mark.parametrize("code", [0, 7, 0x0A, 0x0F, 0xFF])
def test_a_type_that_the_format_lacks_is_refused(family, code):
    folder, _ = family
    (folder / f"{IMAGES}.gz").write_bytes(bytes([0, 0, code, 3]) + bytes(40))
    refused(idx, folder, f"expected the magic number 2051, found {code << 8 | 3}")


def test_two_parts_of_two_types_are_refused(family):
    folder, arrays = family
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(idx_of(0x0D, arrays["t10k-images-idx3-ubyte"]))
    refused(idx, folder, "expected values of type uint8, as in the training part, but float32 came")


@pytest.mark.parametrize("shape", [(0, 28, 28), (3, 0, 28), (0, 0, 0)])
def test_an_idx_file_of_no_examples_is_refused(family, shape):
    folder, _ = family
    (folder / f"{IMAGES}.gz").write_bytes(idx_of(8, np.zeros(shape)))
    refused(idx, folder, f"holds no examples: its header says {shape}")


@pytest.mark.parametrize("examples", [None, 2, 5, 100])
def test_a_part_of_an_idx_folder_is_a_part_of_both_its_parts(family, examples):
    folder, arrays = family
    samples = idx(str(folder), examples)
    expected = []
    for part in ("train", "t10k"):
        values = arrays[f"{part}-images-idx3-ubyte"].reshape(-1, 12)
        count = min(examples or 100, len(values))
        expected.append(values[[place * len(values) // count for place in range(count)]])
    np.testing.assert_array_equal(np.rint(samples.inputs * 255), np.concatenate(expected))
    assert samples.official_test == len(expected[1])


def test_a_gzip_bomb_is_refused_unread(tmp_path, monkeypatch):
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(bytes([0, 0, 8, 1]) + struct.pack(">I", 2**20) + bytes(2**20)))
    assert path.stat().st_size < 2000
    monkeypatch.setattr(memory, "free_memory", lambda: 2**20)
    with pytest.raises(CaelabError, match=r"would take 7 MiB of memory, but 1 MiB are free; .* examples"):
        read_idx(path, 1)
    assert len(read_idx(path, 1, 100)) == 100


def test_what_a_gzip_bomb_holds_behind_its_array_is_never_unpacked_whole(tmp_path):
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(bytes([0, 0, 8, 1]) + struct.pack(">I", 10) + bytes(2**21)))
    with pytest.raises(CaelabError, match=r"is too long: its header \(10,\) needs 10 bytes, found at least 65546"):
        read_idx(path, 1)


def test_a_gzip_file_that_cannot_hold_what_it_claims_is_called_truncated(tmp_path):
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(bytes([0, 0, 0x0E, 3]) + struct.pack(">III", 60_000, 2**16, 2**16) + bytes(100)))
    with pytest.raises(CaelabError, match=r"is truncated: .* needs \d+ bytes \(1.831 PiB\), found 100"):
        read_idx(path, 3)
