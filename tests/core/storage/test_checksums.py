"""Every change of a record or a file is noticed."""

import hashlib
import json

import pytest

from caelab.errors import DamagedFile
from caelab.storage.checksums import FILES, SEAL, check_file, checksum_of, sealed, unsealed

FACTS = {"config": {"label": "‖cae‖", "hidden": (30, 10), "weight": 0.1}, FILES: {"w": "00"}, "none": None, "n": {2: 1}}


def test_a_record_comes_back():
    assert unsealed(sealed(FACTS)) == json.loads(json.dumps(FACTS))


def test_the_seal_is_the_sha256_of_the_sorted_content():
    found = json.loads(sealed({"b": 1, "a": [2]}))
    assert found.pop(SEAL) == hashlib.sha256(b'{"a": [2], "b": 1}').hexdigest()


def test_every_flipped_bit_of_a_record_is_noticed_or_changes_nothing():
    content = sealed(FACTS).encode()
    accepted = 0
    for place in range(len(content)):
        for bit in range(8):
            flipped = bytearray(content)
            flipped[place] ^= 1 << bit
            try:
                found = unsealed(flipped.decode())
            except (DamagedFile, UnicodeDecodeError):
                continue
            assert found == unsealed(content.decode())
            accepted += 1
    assert accepted < len(content) // 100  # \\u2016 in capitals, for instance


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is not JSON"),
        ("{", "it is not JSON"),
        ("[" * 100_000, "it is not JSON"),
        ("[1]", "a JSON object is expected, but a list came"),
        ("null", "a JSON object is expected, but a NoneType came"),
        (json.dumps({"config": 1, FILES: {}}), "its checksum is another"),
        (json.dumps({"config": 1, SEAL: 5}), "its checksum is another"),
    ],
)
def test_what_is_no_record_is_told(text, reason):
    with pytest.raises(DamagedFile, match=reason):
        unsealed(text)


def test_a_record_from_before_there_were_checksums_is_read():
    assert unsealed('{"config": {}, "record": {}}') == {"config": {}, "record": {}}


def test_a_file_is_what_was_written(tmp_path):
    path = tmp_path / "w"
    path.write_bytes(b"weights" * 1000)
    sum_ = checksum_of(path)
    assert sum_ == hashlib.sha256(b"weights" * 1000).hexdigest()
    check_file(path, sum_)
    path.write_bytes(b"weightt" + b"weights" * 999)
    with pytest.raises(DamagedFile, match="its content is not what was written"):
        check_file(path, sum_)
    check_file(path, None)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        check_file(path, None)
    path.mkdir()
    with pytest.raises(DamagedFile, match="is a folder, where a file was written"):
        check_file(path, None)
