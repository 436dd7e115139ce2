"""Downloads from servers on loopback that go on without end, dribble, break off, or say one thing and send another."""

import errno
import http.server
import os
import tempfile
import threading
from hashlib import sha256

import pytest

from caelab.data import transfer
from caelab.data.downloads import Remote, fetch
from caelab.data.transfer import Limits, TransferError, download
from caelab.errors import CaelabError

CONTENT = bytes(range(256)) * 20
DIGEST = sha256(CONTENT).hexdigest()
SHORT = Limits(window=1.0, slowest=1000, largest=10_000)
LONG = Limits(largest=10_000)


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers by the path that is asked for."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        getattr(self, self.path.strip("/").partition("/")[0])()

    def head(self, status=200, **fields):
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def pour(self, piece, pause):
        try:
            while not self.server.over.wait(pause):
                self.wfile.write(piece)
        except OSError:
            pass
        self.close_connection = True

    def sound(self):
        self.head(Content_Length=len(CONTENT))
        self.wfile.write(CONTENT)

    def in_pieces(self):
        self.head(Transfer_Encoding="chunked")
        for start in range(0, len(CONTENT), 500):
            piece = CONTENT[start : start + 500]
            self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def until_closed(self):
        self.head(Connection="close")
        self.wfile.write(CONTENT)
        self.close_connection = True

    def called_gzip(self):
        self.head(Content_Length=len(CONTENT), Content_Encoding="gzip")
        self.wfile.write(CONTENT)

    def moved(self):
        self.head(302, Location="/sound", Content_Length=0)

    def endless(self):
        self.head()
        self.pour(bytes(2**14), 0)

    def byte_by_byte(self):
        self.head(Content_Length=len(CONTENT))
        self.pour(b"a", 0.02)

    def dribbling_head(self):
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        self.pour(b"X-Long: a\r\n", 0.02)

    def silent(self):
        self.pour(b"", 0.05)

    def silent_after_a_while(self):
        self.head(Content_Length=len(CONTENT))
        self.wfile.write(CONTENT[:1000])
        self.pour(b"", 0.05)

    def offers_more(self):
        self.head(Content_Length=2**40)
        self.pour(b"", 0.05)

    def breaks_off(self):
        self.head(Content_Length=len(CONTENT))
        self.wfile.write(CONTENT[:1000])
        self.close_connection = True

    def other(self):
        self.head(Content_Length=5)
        self.wfile.write(b"other")

    def in_circles(self):
        self.head(302, Location="/in_circles", Content_Length=0)

    def to_a_file(self):
        self.head(302, Location="file:///etc/passwd", Content_Length=0)

    def lacking(self):
        self.head(404, Content_Length=0)

    def broken(self):
        self.head(503, Content_Length=0)

    def gibberish(self):
        self.wfile.write(b"\0\0\0\0\r\n\r\n")
        self.close_connection = True

    def pieces_that_are_none(self):
        self.head(Transfer_Encoding="chunked")
        self.wfile.write(b"zz\r\nabc")
        self.close_connection = True


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.over = threading.Event()
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.over.set()
        server.shutdown()


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder for temporary files of the system, which must stay empty."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.parametrize("how", ["sound", "in_pieces", "until_closed", "called_gzip", "moved"])
def test_a_file_is_fetched_as_it_is(server, tmp_path, how):
    download(f"{server}/{how}", tmp_path / "file", DIGEST, len(CONTENT))
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_file_has_the_permissions_of_any_other(server, tmp_path):
    download(f"{server}/sound", tmp_path / "file", DIGEST)
    (tmp_path / "other").write_bytes(b"")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "other").stat().st_mode


TOO_SLOW = {
    "byte_by_byte": "bytes came in 1 seconds, less than 1000 bytes a second",
    "dribbling_head": "0 bytes came in 1 seconds, less than 1000 bytes a second",
    "silent": "0 bytes came in 1 seconds|the server does not answer",
    "silent_after_a_while": "bytes came in 1 seconds|the server does not answer",
}
FAULTS = {
    "endless": "the server sends more than 10000 bytes",
    "offers_more": f"the server offers {2**40} bytes, more than 10000",
    "breaks_off": "the connection broke off",
    "other": f"the server sent another file: expected SHA-256 {DIGEST}, found {sha256(b'other').hexdigest()}",
    "in_circles": "the server redirects without end",
    "to_a_file": "expected an address that begins with http:// or https://",
    "lacking": "the server answered 404",
    "broken": "the server answered 503",
    "gibberish": "no connection",
    "pieces_that_are_none": "the connection broke off",
}


@pytest.mark.parametrize(("how", "reason"), (TOO_SLOW | FAULTS).items(), ids=TOO_SLOW | FAULTS)
def test_what_goes_wrong_is_told_and_nothing_is_left(server, tmp_path, temporary, how, reason):
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(TransferError, match=reason):
        download(f"{server}/{how}", folder / "file", DIGEST, limits=SHORT if how in TOO_SLOW else LONG)
    assert list(folder.iterdir()) == list(temporary.iterdir()) == []


@pytest.mark.parametrize("how", ["endless", "byte_by_byte", "lacking"])
def test_a_data_set_that_cannot_be_fetched_leaves_no_folder(server, tmp_path, how):
    remote = Remote("any", f"{server}/{how}", {"file": DIGEST}, {"file": len(CONTENT)})
    with pytest.raises(CaelabError, match=rf"any.: file cannot be fetched from {server}/{how} \(.*\); put file into"):
        fetch(remote, folder=str(tmp_path / "cache" / "any"), limits=SHORT)
    assert not (tmp_path / "cache").exists()


def test_more_than_the_known_size_is_not_read(server, tmp_path):
    with pytest.raises(TransferError, match=r"offers 5120 bytes, more than 5119"):
        download(f"{server}/sound", tmp_path / "file", DIGEST, 5119)
    with pytest.raises(TransferError, match=r"sends more than 5119 bytes"):
        download(f"{server}/in_pieces", tmp_path / "file", DIGEST, 5119)


def test_what_was_there_is_kept_where_the_new_file_does_not_come(server, tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(TransferError):
        download(f"{server}/breaks_off", tmp_path / "file", DIGEST)
    assert (tmp_path / "file").read_bytes() == b"old"


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_full_disk_and_an_interruption_leave_nothing(tmp_path, monkeypatch, error):
    def arriving(*_):
        yield CONTENT[:1000]
        raise error

    monkeypatch.setattr(transfer, "arriving", arriving)
    remote = Remote("any", "http://127.0.0.1", {"file": DIGEST})
    expected = CaelabError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as caught:
        fetch(remote, folder=str(tmp_path / "cache" / "any"))
    if expected is CaelabError:
        assert "cannot be written into" in str(caught.value)
        assert "(No space left on device); make room there" in str(caught.value)
    assert not (tmp_path / "cache").exists()


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(server, tmp_path):
    dead = 2**22 + 1  # above the largest number that a process may have
    for owner in (dead, os.getpid()):
        (tmp_path / f".file.{owner}-0a1b.part").write_bytes(b"")
    (tmp_path / ".file.mine.part").write_bytes(b"")
    download(f"{server}/sound", tmp_path / "file", DIGEST)
    assert {file.name for file in tmp_path.iterdir()} == {"file", f".file.{os.getpid()}-0a1b.part", ".file.mine.part"}


def test_the_limits_by_themselves_bear_a_slow_line_and_no_more():
    limits = Limits()
    assert 170e6 / limits.slowest < 5 * 3600  # CIFAR-10, over the slowest line that is borne
    assert limits.window <= 60
