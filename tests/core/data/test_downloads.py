import functools
import http.server
import io
import logging
import tarfile
import threading
from hashlib import sha256

import numpy as np
import pooch
import pytest

from caelab.data import downloads, load_dataset, memory
from caelab.data.cifar import BATCHES, luminance, read_records
from caelab.data.downloads import Remote, cifar10_bw, fashion_mnist, fetch, mnist
from caelab.data.idx import idx
from caelab.errors import CaelabError


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def send_head(self):
        self.server.asked.append(self.path)
        return super().send_head()


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A server on loopback: the folder it serves, its address, and the paths it was asked for."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    pooch.get_logger().setLevel(logging.WARNING)
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.asked = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}", server.asked
        server.shutdown()


@pytest.fixture
def closed_port():
    """An address on loopback at which nobody listens."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        port = server.server_port
    return f"http://127.0.0.1:{port}"


def checksums(folder):
    return {file.name: sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


@pytest.fixture
def small_mnist(served, family, monkeypatch):
    """A small MNIST on the server, with the checksums that belong to it."""
    folder, address, _ = served
    for file in family[0].iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(downloads, "MNIST", Remote("mnist", f"{address}/", checksums(folder)))
    monkeypatch.setattr(downloads, "FASHION_MNIST", Remote("fashion-mnist", address, checksums(folder)))


@pytest.mark.usefixtures("small_mnist")
def test_what_is_downloaded_is_what_is_read(family, tmp_path):
    dataset = load_dataset("mnist", folder=str(tmp_path / "cache"), splits=(6, 4, 5))
    np.testing.assert_array_equal(dataset.inputs.numpy(), idx(str(family[0])).inputs)
    assert dataset.name == "mnist"
    assert dataset.test.min() == 12


@pytest.mark.usefixtures("small_mnist")
def test_files_that_are_there_are_not_fetched_again(served, tmp_path):
    asked = served[2]
    mnist(folder=str(tmp_path / "cache"))
    assert len(asked) == 4
    mnist(folder=str(tmp_path / "cache"))
    assert len(asked) == 4
    (tmp_path / "cache" / "train-labels-idx1-ubyte.gz").write_bytes(b"damaged")
    mnist(folder=str(tmp_path / "cache"))
    assert asked[4:] == ["/train-labels-idx1-ubyte.gz"]


@pytest.mark.usefixtures("small_mnist")
def test_files_put_into_the_folder_by_hand_need_no_network(family, closed_port):
    assert len(mnist(mirror=closed_port, folder=str(family[0])).inputs) == 17


@pytest.mark.usefixtures("small_mnist")
def test_files_are_kept_in_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / project)
    mnist()
    assert len(list((tmp_path / "caelab" / "mnist").iterdir())) == 4


@pytest.mark.usefixtures("small_mnist")
def test_debians_fashion_mnist_is_used_where_it_is_installed(family, served, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "DEBIAN_FASHION_MNIST", family[0])
    assert len(fashion_mnist().inputs) == 17
    assert served[2] == []
    fashion_mnist(folder=str(tmp_path / "cache"))
    assert len(served[2]) == 4


def refused(call, folder):
    with pytest.raises(CaelabError) as caught:
        call(folder=str(folder))
    message = str(caught.value)
    assert "\n" not in message
    assert f"into {folder}" in message
    return message


@pytest.mark.usefixtures("small_mnist")
def test_without_a_network_one_sentence_says_what_to_put_where(closed_port, tmp_path):
    message = refused(functools.partial(mnist, mirror=closed_port), tmp_path / "cache")
    assert message == (
        f"data set 'mnist': t10k-images-idx3-ubyte.gz cannot be fetched from {closed_port} (no connection); "
        "put t10k-images-idx3-ubyte.gz, t10k-labels-idx1-ubyte.gz, train-images-idx3-ubyte.gz, "
        f"train-labels-idx1-ubyte.gz into {tmp_path / 'cache'}, or name another mirror by the option mirror"
    )


@pytest.mark.usefixtures("small_mnist")
def test_only_what_lacks_is_asked_for(family, closed_port):
    (family[0] / "t10k-labels-idx1-ubyte.gz").unlink()
    message = refused(functools.partial(mnist, mirror=closed_port), family[0])
    assert "put t10k-labels-idx1-ubyte.gz into" in message


@pytest.mark.usefixtures("small_mnist")
def test_a_wrong_checksum_is_refused_and_leaves_nothing(served, tmp_path):
    path = served[0] / "t10k-images-idx3-ubyte.gz"
    expected = sha256(path.read_bytes()).hexdigest()
    path.write_bytes(b"something else")
    message = refused(mnist, tmp_path / "cache")
    assert expected in message
    assert sha256(b"something else").hexdigest() in message
    assert not (tmp_path / "cache").exists()


@pytest.mark.usefixtures("small_mnist")
def test_a_file_that_the_server_lacks_is_named(served, tmp_path):
    (served[0] / "t10k-images-idx3-ubyte.gz").unlink()
    message = refused(mnist, tmp_path / "cache")
    assert "t10k-images-idx3-ubyte.gz cannot be fetched" in message
    assert "the server answered 404" in message


@pytest.mark.usefixtures("small_mnist")
def test_an_address_that_is_none_and_a_folder_that_is_a_file_are_refused(tmp_path):
    for mirror in ("/some/folder", "file:///some/folder", "ftp://127.0.0.1", "http://"):
        assert "expected an address that begins with http" in refused(
            functools.partial(mnist, mirror=mirror), tmp_path / "cache"
        )
    (tmp_path / "file").write_text("")
    refused(mnist, tmp_path / "file")


PIXELS = np.random.default_rng(0).integers(0, 256, (6, 2, 3, 32, 32), dtype=np.uint8)
CLASSES = np.arange(12, dtype=np.uint8).reshape(6, 2) % 10


def cifar_tar(path, change=None):
    """A small archive in the manner of CIFAR-10: six batches of two records, the test batch first."""
    with tarfile.open(path, "w:gz") as tar:
        for i in (5, 0, 1, 2, 3, 4):
            content = b"".join(bytes([CLASSES[i, j]]) + PIXELS[i, j].tobytes() for j in range(2))
            name, content = change(BATCHES[i], content) if change else (BATCHES[i], content)
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def serve_cifar(served, monkeypatch, **tar):
    folder, address, _ = served
    cifar_tar(folder / "cifar-10-binary.tar.gz", **tar)
    monkeypatch.setattr(downloads, "CIFAR10", Remote("cifar10-bw", address, checksums(folder)))


def test_cifar_is_read_in_order_and_made_grey(served, tmp_path, monkeypatch):
    serve_cifar(served, monkeypatch)
    dataset = load_dataset("cifar10-bw", folder=str(tmp_path / "cache"))
    assert dataset.image_shape == (32, 32)
    assert dataset.labels.tolist() == CLASSES.ravel().tolist()
    assert sorted(dataset.test.tolist()) == [10, 11]
    grey = np.tensordot(PIXELS.reshape(12, 3, 1024), [0.299, 0.587, 0.114], axes=([1], [0])) / 255
    np.testing.assert_allclose(dataset.inputs.numpy(), grey, rtol=0, atol=6e-8)  # half a unit of float32 below 1


def test_white_is_exactly_1():
    assert luminance(np.full((1, 3072), 255, np.uint8)).tolist() == [[1.0] * 1024]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda name, content: (name, content[:-1]), "expected records of 3073 bytes, found 6145 bytes"),
        (lambda name, content: (name, b""), "found 0 bytes"),
        (lambda name, content: (name.replace("test", "tset"), content), "lacks test_batch.bin"),
    ],
)
def test_a_wrong_cifar_archive_is_refused(served, tmp_path, monkeypatch, change, sentence):
    serve_cifar(served, monkeypatch, change=change)
    with pytest.raises(CaelabError, match=sentence):
        cifar10_bw(folder=str(tmp_path / "cache"))


@pytest.mark.parametrize("damage", [lambda content: b"no archive at all", lambda content: content[: len(content) // 2]])
def test_a_damaged_cifar_archive_is_refused(served, tmp_path, monkeypatch, damage):
    serve_cifar(served, monkeypatch)
    path = served[0] / "cifar-10-binary.tar.gz"
    path.write_bytes(damage(path.read_bytes()))
    monkeypatch.setattr(downloads, "CIFAR10", Remote("cifar10-bw", served[1], checksums(served[0])))
    with pytest.raises(CaelabError, match="cannot be read"):
        cifar10_bw(folder=str(tmp_path / "cache"))


def test_a_part_of_cifar_is_a_part_of_both_its_parts(served, tmp_path, monkeypatch):
    serve_cifar(served, monkeypatch)
    samples = cifar10_bw(folder=str(tmp_path / "cache"), examples=4)
    everything = cifar10_bw(folder=str(tmp_path / "cache"))
    np.testing.assert_array_equal(samples.inputs, everything.inputs[[0, 2, 5, 7, 10, 11]])
    assert samples.labels.tolist() == [CLASSES.ravel()[place] for place in (0, 2, 5, 7, 10, 11)]
    assert samples.official_test == 2


@pytest.mark.parametrize(
    "add",
    [
        lambda tar: tar.addfile(member("another", 2**20), io.BytesIO(bytes(2**20))),
        lambda tar: tar.addfile(member("cifar-10-batches-bin/test_batch.bin", 2**20), io.BytesIO(bytes(2**20))),
        lambda tar: [tar.addfile(member(f"cifar-10-batches-bin/{place}", 0)) for place in range(2000)],
        lambda tar: tar.addfile(member("long", 0, pax_headers={"comment": "x" * 2**20})),
    ],
    ids=["a large file", "a large batch", "many files", "a large header"],
)
def test_an_archive_that_unpacks_to_more_than_cifar_is_refused(tmp_path, add):
    with tarfile.open(tmp_path / "bomb.tar.gz", "w:gz", format=tarfile.PAX_FORMAT) as tar:
        add(tar)
    assert (tmp_path / "bomb.tar.gz").stat().st_size < 40_000
    with pytest.raises(CaelabError, match=r"bomb.tar.gz cannot be read \(it holds more than CIFAR-10 does\)"):
        read_records(tmp_path / "bomb.tar.gz", most=2**19)


def member(name, size, **options):
    info = tarfile.TarInfo(name)
    info.size = size
    for key, value in options.items():
        setattr(info, key, value)
    return info


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE])
def test_links_and_devices_in_an_archive_are_no_batches_and_nothing_is_unpacked(tmp_path, kind):
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as tar:
        tar.addfile(member("../../test_batch.bin", 0, type=kind, linkname="/etc/passwd"))
    with pytest.raises(CaelabError, match=r"lacks data_batch_1.bin, .*, test_batch.bin"):
        read_records(tmp_path / "x.tar.gz")
    assert [file.name for file in tmp_path.iterdir()] == ["x.tar.gz"]


def test_an_archive_that_memory_does_not_hold_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 2**28)
    with pytest.raises(CaelabError, match=r"60000 photographs, would take 703.1 MiB of memory, but 256 MiB .*examples"):
        read_records(tmp_path / "x.tar.gz")


@pytest.mark.parametrize("remote", [downloads.MNIST, downloads.FASHION_MNIST, downloads.CIFAR10], ids=lambda r: r.name)
def test_checksums_are_whole(remote):
    assert all(len(digest) == 64 and int(digest, 16) for digest in remote.files.values())
    assert len(set(remote.files.values())) == len(remote.files)


def test_fetch_joins_addresses_with_one_slash(served, tmp_path):
    folder, address, asked = served
    (folder / "a").write_bytes(b"a")
    for place, mirror in (("without", address), ("with", f"{address}/")):
        fetch(Remote("any", mirror, {"a": sha256(b"a").hexdigest()}), folder=str(tmp_path / place))
    assert asked == ["/a", "/a"]


@pytest.mark.usefixtures("small_mnist")
def test_a_file_of_another_content_is_called_so_where_it_cannot_be_replaced(closed_port, tmp_path):
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(b"another")
    with pytest.raises(CaelabError, match=r"\(the one there has another checksum, and no connection\)"):
        mnist(mirror=closed_port, folder=str(tmp_path))


@pytest.mark.usefixtures("small_mnist")
def test_what_cannot_be_fetched_leaves_one_sentence_and_no_folder(closed_port, tmp_path, capfd):
    pooch.get_logger().setLevel(logging.INFO)
    with pytest.raises(CaelabError, match="cannot be fetched"):
        mnist(mirror=closed_port, folder=str(tmp_path / "cache" / "mnist"))
    assert not (tmp_path / "cache").exists()
    assert capfd.readouterr() == ("", "")
