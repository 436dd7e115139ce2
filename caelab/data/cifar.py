"""Reading the archive of CIFAR-10 (binary version): six batches of records, a label and three colour planes each."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray

from caelab.data.memory import check_room
from caelab.data.reading import spread
from caelab.errors import CaelabError

BATCHES = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")
RECORD = 1 + 3 * 32 * 32  # bytes
LONGEST_BATCH = 10_000  # records
UNPACKED = 2**28  # bytes, above the 184 MB that the archive holds


@dataclass
class Limited:
    """A stream that fails where more comes than there may be."""

    stream: IO[bytes]
    left: int

    def read(self, size: int) -> bytes:
        """The next bytes, at most so many."""
        content = self.stream.read(size)
        self.left -= len(content)
        if self.left < 0:
            raise EOFError("it holds more than CIFAR-10 does")
        return content


def read_records(archive: Path, examples: int | None = None, most: int = UNPACKED) -> list[NDArray[np.uint8]]:
    """The records of every batch, (n, 1 + 3072), the test batch last: label, red, green and blue planes.

    ``examples`` keeps so many of all batches but the last, as one, and so many of the last, evenly spread.

    Raises:
        CaelabError: it is no such archive, is damaged, or holds more than ``most`` bytes or than the memory.
    """
    kept = LONGEST_BATCH * len(BATCHES) if examples is None else min(2 * examples, LONGEST_BATCH * len(BATCHES))
    check_room(f"{archive}, {kept} photographs,", 2 * kept * 1024, np.dtype(np.float32))
    try:
        with gzip.open(archive) as stream:
            found = _batches(archive, Limited(cast("IO[bytes]", stream), most))
    except (OSError, EOFError, ValueError, zlib.error, tarfile.TarError) as error:
        reason = " ".join(str(error).split())
        raise CaelabError(f"{archive} cannot be read ({reason}): expected a tar archive; get it again") from error
    missing = [name for name in BATCHES if name not in found]
    if missing:
        raise CaelabError(f"{archive} lacks {', '.join(missing)}; get the binary version of CIFAR-10 again")
    return _some_of([found[name] for name in BATCHES], examples)


def _batches(archive: Path, stream: Limited) -> dict[str, NDArray[np.uint8]]:
    found = {}
    with tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r|") as tar:
        for member in tar:
            name = Path(member.name).name
            batch = tar.extractfile(member) if name in BATCHES and member.isreg() else None
            if batch:
                found[name] = _records(archive, member.name, batch.read(LONGEST_BATCH * RECORD + 1))
    return found


def _records(archive: Path, name: str, content: bytes) -> NDArray[np.uint8]:
    if not content or len(content) % RECORD:
        raise CaelabError(
            f"{name} in {archive}: expected records of {RECORD} bytes, found {len(content)} bytes; get it again"
        )
    return np.frombuffer(content, np.uint8).reshape(-1, RECORD)


def _some_of(batches: list[NDArray[np.uint8]], examples: int | None) -> list[NDArray[np.uint8]]:
    if examples is None:
        return batches
    *train, test = batches
    together = np.concatenate(train)
    return [together[spread(len(together), examples)], test[spread(len(test), examples)]]


def luminance(planes: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(n, 3072) bytes, plane by plane, to (n, 1024) in [0, 1]: 0.299 R + 0.587 G + 0.114 B."""
    red, green, blue = planes.reshape(len(planes), 3, -1).swapaxes(0, 1).astype(np.int32)
    return ((299 * red + 587 * green + 114 * blue) / np.float32(255_000)).astype(np.float32)
