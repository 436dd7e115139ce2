"""What is written is complete or not there, and what cannot be written is told truly."""

import errno
import os
import pickle
import stat

import pandas as pd
import pytest

from caelab.errors import CaelabError, StorageError
from caelab.storage.files import REASONS, parquet_bytes, publish, storage_error, write_bytes, write_text, written_aside

SAID = {
    errno.ENOSPC: "the disk is full: out/w cannot be written; make room, the same command then goes on from what is",
    errno.EDQUOT: "your quota on this disk is used up: out/w cannot be written; make room",
    errno.EFBIG: "out/w would be larger than a file may be here (see: ulimit -f)",
    errno.EROFS: "out/w cannot be written: its file system is read-only",
    errno.EACCES: "out/w may not be written (Permission denied)",
    errno.EPERM: "out/w may not be written (Operation not permitted)",
    errno.ENAMETOOLONG: "the name of out/w is longer than the file system allows",
    errno.EIO: "the disk failed (Input/output error): out/w cannot be written",
    errno.EMFILE: "out/w cannot be written: too many files are open (see: ulimit -n)",
    errno.ENFILE: "out/w cannot be written: too many files are open on this machine",
    errno.ENOTDIR: "out/w cannot be used: Not a directory",
    errno.ELOOP: "out/w cannot be used: Too many levels of symbolic links",
}


@pytest.mark.parametrize("number", SAID, ids=errno.errorcode.get)
def test_the_reason_is_the_systems(number):
    error = storage_error(OSError(number, os.strerror(number), "elsewhere"), "out/w")
    assert str(error).startswith(SAID[number])
    assert isinstance(error, CaelabError)
    assert "\n" not in str(error)
    back = pickle.loads(pickle.dumps(error))  # as it comes from a worker
    assert (str(back), back.errno) == (str(error), number)
    assert set(REASONS) <= set(SAID)


def test_a_reason_without_a_number_is_told_as_it_came():
    assert str(storage_error(OSError("the tape tore"))).startswith("a file cannot be used: the tape tore")


@pytest.mark.parametrize("number", SAID, ids=errno.errorcode.get)
@pytest.mark.parametrize("operation", ["write_bytes", "replace"])
def test_a_file_that_cannot_be_written_leaves_the_earlier_one(operation, number, tmp_path, monkeypatch):
    def fails(*_):
        raise OSError(number, os.strerror(number))

    target = tmp_path / "w"
    write_bytes(target, b"good")
    with monkeypatch.context() as patch:
        patch.setattr(*((os, "replace") if operation == "replace" else ("pathlib.Path.write_bytes",)), fails)
        with pytest.raises(StorageError, match="w "):
            write_bytes(target, b"new")
    assert target.read_bytes() == b"good"
    assert [path.name for path in tmp_path.iterdir()] == ["w"]
    write_text(target, "‖J‖ ± 1")
    assert target.read_bytes() == "‖J‖ ± 1".encode()


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_a_file_has_the_rights_of_the_umask(umask, mode, tmp_path):
    before = os.umask(umask)
    try:
        write_bytes(tmp_path / "w", b"weights")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "w").stat().st_mode) == mode


def test_what_stops_the_writing_leaves_nothing(tmp_path):
    def interrupted():
        with written_aside(tmp_path / "w") as partial:
            partial.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_a_table_comes_back(tmp_path):
    table = pd.DataFrame({"a": [1.0, float("nan")], "b": ["x", None]})
    write_bytes(tmp_path / "t.parquet", parquet_bytes(table))
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "t.parquet"), table)


def test_a_folder_that_is_there_already_stays(tmp_path):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    publish(tmp_path / "second", tmp_path / "first")
    assert [path.name for path in tmp_path.rglob("*")] == ["first", "first"]
    (tmp_path / "third").mkdir()
    with pytest.raises(StorageError, match="No such file"):
        publish(tmp_path / "third", tmp_path / "nowhere" / "run")
