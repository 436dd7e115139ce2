"""Data sets downloaded by name, each file checked against its SHA-256, and kept."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pooch

from caelab.data.cifar import luminance, read_records
from caelab.data.idx import idx
from caelab.data.samples import Examples, Samples, describes
from caelab.data.transfer import Limits, TransferError, download
from caelab.errors import CaelabError


@dataclass(frozen=True)
class Remote:
    """Where the files of a data set are, their SHA-256 and, where they are known, their sizes in bytes."""

    name: str
    mirror: str
    files: Mapping[str, str]
    sizes: Mapping[str, int] = field(default_factory=dict)


MNIST = Remote(
    "mnist",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    {
        "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
    {
        "train-images-idx3-ubyte.gz": 9_912_422,
        "train-labels-idx1-ubyte.gz": 28_881,
        "t10k-images-idx3-ubyte.gz": 1_648_877,
        "t10k-labels-idx1-ubyte.gz": 4_542,
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
    {
        "train-images-idx3-ubyte.gz": 26_421_880,
        "train-labels-idx1-ubyte.gz": 29_515,
        "t10k-images-idx3-ubyte.gz": 4_422_102,
        "t10k-labels-idx1-ubyte.gz": 5_148,
    },
)
CIFAR10 = Remote(
    "cifar10-bw",
    "https://www.cs.toronto.edu/~kriz/",
    {"cifar-10-binary.tar.gz": "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"},
    {"cifar-10-binary.tar.gz": 170_052_171},
)

DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")


@describes("70 000", "28 x 28", "download (11 MB): handwritten digits, LeCun, Cortes and Burges 1998")
def mnist(mirror: str | None = None, folder: str | None = None, examples: Examples = None) -> Samples:
    """Handwritten digits, pixels in [0, 1]; the last 10 000 are the official test part.

    ``mirror`` is another address to fetch the files from, ``folder`` another place to keep them; ``examples`` reads so
    many of either part, evenly spread.
    """
    return idx(str(fetch(MNIST, mirror, folder)), examples)


@describes("70 000", "28 x 28", "Debian's dataset-fashion-mnist, or download (31 MB): clothes, Xiao et al. 2017")
def fashion_mnist(mirror: str | None = None, folder: str | None = None, examples: Examples = None) -> Samples:
    """Pictures of clothes, pixels in [0, 1]; the last 10 000 are the official test part.

    Read where Debian's package dataset-fashion-mnist puts them, if it is installed; otherwise as ``mnist``.
    """
    installed = mirror is None and folder is None and DEBIAN_FASHION_MNIST.is_dir()
    return idx(str(DEBIAN_FASHION_MNIST if installed else fetch(FASHION_MNIST, mirror, folder)), examples)


@describes("60 000", "32 x 32", "download (170 MB): grey CIFAR-10 photographs, Krizhevsky 2009")
def cifar10_bw(mirror: str | None = None, folder: str | None = None, examples: Examples = None) -> Samples:
    """Photographs of ten kinds of things, made grey, in [0, 1]; the last 10 000 are the official test part.

    Grey is the luminance of ITU-R 601, 0.299 R + 0.587 G + 0.114 B. Options as ``mnist``.
    """
    (archive,) = CIFAR10.files
    batches = read_records(fetch(CIFAR10, mirror, folder) / archive, examples)
    inputs = np.concatenate([luminance(batch[:, 1:]) for batch in batches])
    labels = np.concatenate([batch[:, 0] for batch in batches])
    return Samples(inputs, labels, (32, 32), official_test=len(batches[-1]))


def fetch(remote: Remote, mirror: str | None = None, folder: str | None = None, limits: Limits | None = None) -> Path:
    """The folder that holds a data set's files, after fetching those that are not there yet or are damaged.

    Raises:
        CaelabError: a file cannot be had; the sentence says which files to put where.
    """
    place = Path(folder).expanduser() if folder else Path(pooch.os_cache("caelab")) / remote.name
    base = (mirror or remote.mirror).rstrip("/")
    new = [folder for folder in (place, *place.parents) if not folder.exists()]
    try:
        for file in _lacking(remote, place):
            place.mkdir(parents=True, exist_ok=True)
            download(f"{base}/{file}", place / file, remote.files[file], remote.sizes.get(file), limits)
    except TransferError as error:
        damaged = "the one there has another checksum, and " if (place / file).is_file() else ""
        raise CaelabError(
            f"data set {remote.name!r}: {file} cannot be fetched from {base} ({damaged}{error}); "
            f"put {', '.join(_lacking(remote, place))} into {place}, or name another mirror by the option mirror"
        ) from error
    except OSError as error:
        raise CaelabError(
            f"data set {remote.name!r}: its files cannot be written into {place} ({error.strerror or error}); "
            "make room there, or give another place by the option folder"
        ) from error
    finally:
        _remove_empty(new)
    return place


def _lacking(remote: Remote, place: Path) -> list[str]:
    """The files that are not in the folder, or not with the right content."""
    return [file for file, digest in remote.files.items() if not _is_there(place / file, digest)]


def _is_there(path: Path, digest: str) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == digest


def _remove_empty(folders: Iterable[Path]) -> None:
    """Take folders away, the innermost first, as far as nothing is in them."""
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()
