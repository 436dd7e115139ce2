"""Files that belong together change together, whatever interrupts the change."""

import errno
import shutil

import pytest

from caelab.errors import StorageError
from caelab.storage.checksums import FILES, checksum_of
from caelab.storage.transactions import change, is_ours, read_record, unchanging, write_record
from tests.core.faults import Disk

MANIFEST = "record.json"
OURS = ("data/*.csv", "figures/*.pdf", "page.html")
OLD = {"data/a.csv": "old a", "data/b.csv": "old b", "figures/a.pdf": "old figure", "page.html": "old page"}
NEW = {"data/a.csv": "new a", "data/c.csv": "new c", "page.html": "new page", "figures/c.pdf": "new figure"}


def change_to(folder, files, kept=()):
    with change(folder, MANIFEST, OURS) as place:
        before = read_record(folder, MANIFEST)[FILES] if kept else {}
        for name, text in files.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(text.encode())
        write_record(place, MANIFEST, {"holds": sorted(files)}, {name: before[name] for name in kept})


def content(folder):
    """Everything that lies there but the record, read as a reader does."""
    with unchanging(folder, MANIFEST, OURS):
        found = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST}
        record = read_record(folder, MANIFEST)
        assert record[FILES] == {name: checksum_of(path) for name, path in found.items() if ".partial" not in name}
        return {name: path.read_text() for name, path in found.items() if ".partial" not in name}


@pytest.fixture
def old(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    change_to(folder, OLD)
    return folder


def test_new_files_replace_the_old_ones_and_the_others_go(old):
    assert content(old) == OLD
    (old / "figures" / "mine.txt").write_text("a note")
    change_to(old, NEW)
    assert {path.name for path in old.iterdir()} == {"data", "figures", "page.html", MANIFEST}
    assert (old / "figures" / "mine.txt").read_text() == "a note"
    (old / "figures" / "mine.txt").unlink()
    assert content(old) == NEW


def test_some_files_stay(old):
    change_to(old, {"page.html": "newer"}, kept=["data/a.csv", "data/b.csv"])
    assert content(old) == {"data/a.csv": "old a", "data/b.csv": "old b", "page.html": "newer"}


FAULTS = [KeyboardInterrupt, errno.ENOSPC]


@pytest.mark.parametrize("error", FAULTS, ids=str)
@pytest.mark.parametrize("lasting", [False, True])
def test_an_interruption_at_any_step_leaves_all_old_or_all_new(error, lasting, old, tmp_path, monkeypatch):
    outcomes, step = [], 0
    while True:
        folder = shutil.copytree(old, tmp_path / str(step))
        with monkeypatch.context() as patch:
            disk = Disk(patch, folder, step, error if isinstance(error, int) else lambda path: error(), lasting)
            try:
                change_to(folder, NEW)
            except (StorageError, KeyboardInterrupt, OSError):
                outcomes.append("told")
            else:
                outcomes.append("done")
        if len(disk.done) <= step:
            break
        found = content(folder)
        assert found in (OLD, NEW), disk.done[step]
        if outcomes[-1] == "done":
            assert found == NEW
        change_to(folder, NEW)
        assert content(folder) == NEW
        assert {path.name for path in folder.iterdir()} == {"data", "figures", "page.html", MANIFEST}
        step += 1
    assert step > 20
    assert "told" in outcomes


def test_damaged_new_files_are_left_out(old, caplog):
    (old / ".partial-ready").mkdir()
    (old / ".partial-ready" / MANIFEST).write_text("[]")
    assert content(old) == OLD
    assert "are damaged and left out" in caplog.text


def test_a_record_cannot_name_what_lies_elsewhere():
    for name in (
        "data/../../x.csv",
        "/data/x.csv",
        "data/x.txt",
        "x.csv",
        "data//x.csv",
        "data/./x.csv",
        "data/b/x.csv",
    ):
        assert not is_ours(name, OURS), name
    assert all(is_ours(name, OURS) for name in [*OLD, *NEW])


def test_reading_makes_no_folder(tmp_path):
    with unchanging(tmp_path / "nowhere", MANIFEST, OURS):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_may_not_be_written_can_be_read(old, monkeypatch):
    monkeypatch.setattr("os.open", lambda *args: (_ for _ in ()).throw(PermissionError(errno.EACCES, "no", "x")))
    with unchanging(old, MANIFEST, OURS):
        assert (old / "page.html").read_text() == "old page"
