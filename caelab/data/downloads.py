"""Data sets downloaded by name, each file checked against its SHA-256, and kept."""

from __future__ import annotations

import logging
import tarfile
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pooch
from numpy.typing import NDArray

from caelab.data.idx import idx
from caelab.data.samples import Samples, describes
from caelab.errors import CaelabError


@dataclass(frozen=True)
class Remote:
    """Where the files of a data set are, and their SHA-256."""

    name: str
    mirror: str
    files: Mapping[str, str]


MNIST = Remote(
    "mnist",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    {
        "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
)
FASHION_MNIST = Remote(
    "fashion-mnist",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    {
        "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    },
)
CIFAR10 = Remote(
    "cifar10-bw",
    "https://www.cs.toronto.edu/~kriz/",
    {"cifar-10-binary.tar.gz": "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"},
)

DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
CIFAR_BATCHES = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")
CIFAR_RECORD = 1 + 3 * 32 * 32


@describes("70 000", "28 x 28", "download (11 MB): handwritten digits, LeCun, Cortes and Burges 1998")
def mnist(mirror: str | None = None, folder: str | None = None) -> Samples:
    """Handwritten digits, pixels in [0, 1]; the last 10 000 are the official test part.

    ``mirror`` is another address to fetch the files from, ``folder`` another place to keep them.
    """
    return idx(str(fetch(MNIST, mirror, folder)))


@describes("70 000", "28 x 28", "Debian's dataset-fashion-mnist, or download (31 MB): clothes, Xiao et al. 2017")
def fashion_mnist(mirror: str | None = None, folder: str | None = None) -> Samples:
    """Pictures of clothes, pixels in [0, 1]; the last 10 000 are the official test part.

    Read where Debian's package dataset-fashion-mnist puts them, if it is installed; otherwise as ``mnist``.
    """
    installed = mirror is None and folder is None and DEBIAN_FASHION_MNIST.is_dir()
    return idx(str(DEBIAN_FASHION_MNIST if installed else fetch(FASHION_MNIST, mirror, folder)))


@describes("60 000", "32 x 32", "download (170 MB): grey CIFAR-10 photographs, Krizhevsky 2009")
def cifar10_bw(mirror: str | None = None, folder: str | None = None) -> Samples:
    """Photographs of ten kinds of things, made grey, in [0, 1]; the last 10 000 are the official test part.

    Grey is the luminance of ITU-R 601, 0.299 R + 0.587 G + 0.114 B. Options as ``mnist``.
    """
    (archive,) = CIFAR10.files
    records = _cifar_records(fetch(CIFAR10, mirror, folder) / archive)
    everything = np.concatenate(list(records.values()))
    inputs = np.concatenate([_luminance(batch[:, 1:]) for batch in records.values()])
    return Samples(inputs, everything[:, 0], (32, 32), official_test=len(records[CIFAR_BATCHES[-1]]))


def fetch(remote: Remote, mirror: str | None = None, folder: str | None = None) -> Path:
    """The folder that holds a data set's files, after fetching those that are not there yet or are damaged.

    Raises:
        CaelabError: a file cannot be had; the sentence says which files to put where.
    """
    place = Path(folder).expanduser() if folder else Path(pooch.os_cache("caelab")) / remote.name
    base = (mirror or remote.mirror).rstrip("/")
    pooch.get_logger().setLevel(logging.WARNING)  # one sentence is enough where it fails
    new = [folder for folder in (place, *place.parents) if not folder.exists()]
    for file, digest in remote.files.items():
        damaged = "the one there has another checksum, and " if (place / file).is_file() else ""
        try:
            pooch.retrieve(f"{base}/{file}", f"sha256:{digest}", fname=file, path=place)
        except (OSError, ValueError) as error:  # requests' errors are OSErrors, a wrong checksum is a ValueError
            remove_empty(new)
            raise CaelabError(
                f"data set {remote.name!r}: {file} cannot be fetched from {base} ({damaged}{_reason(error)}); "
                f"put {_needed(remote, place)} into {place}, or name another mirror by the option mirror"
            ) from error
    return place


def remove_empty(folders: Iterable[Path]) -> None:
    """Take folders away, the innermost first, as far as nothing is in them."""
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()


def _reason(error: Exception) -> str:
    from requests import ConnectionError, HTTPError, Timeout

    if isinstance(error, HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code}"
    if isinstance(error, Timeout):
        return "the server does not answer"
    return "no connection" if isinstance(error, ConnectionError) else str(error).split(". ")[0]


def _needed(remote: Remote, place: Path) -> str:
    def there(file: str, digest: str) -> bool:
        return (place / file).is_file() and pooch.file_hash(str(place / file)) == digest

    return ", ".join(file for file, digest in remote.files.items() if not there(file, digest))


def _cifar_records(archive: Path) -> dict[str, NDArray[np.uint8]]:
    """The records of every batch, (n, 1 + 3072): the label, then the red, green and blue planes."""
    found = {}
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                stream = tar.extractfile(member) if Path(member.name).name in CIFAR_BATCHES else None
                if stream:
                    found[Path(member.name).name] = _records(archive, member.name, stream.read())
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise CaelabError(f"{archive} cannot be read ({error}): expected a tar archive; get it again") from error
    missing = [name for name in CIFAR_BATCHES if name not in found]
    if missing:
        raise CaelabError(f"{archive} lacks {', '.join(missing)}; get the binary version of CIFAR-10 again")
    return {name: found[name] for name in CIFAR_BATCHES}


def _records(archive: Path, name: str, content: bytes) -> NDArray[np.uint8]:
    if not content or len(content) % CIFAR_RECORD:
        raise CaelabError(
            f"{name} in {archive}: expected records of {CIFAR_RECORD} bytes, found {len(content)} bytes; get it again"
        )
    return np.frombuffer(content, np.uint8).reshape(-1, CIFAR_RECORD)


def _luminance(planes: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(n, 3072) bytes, plane by plane, to (n, 1024) in [0, 1]."""
    red, green, blue = planes.reshape(len(planes), 3, -1).swapaxes(0, 1).astype(np.int32)
    return ((299 * red + 587 * green + 114 * blue) / np.float32(255_000)).astype(np.float32)
