"""Downloading one file over HTTP; it is stopped, and removed, where it is too large, too slow or without end."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Generator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Full, Queue
from threading import Event, Thread

BLOCK = 2**16  # bytes


@dataclass(frozen=True)
class Limits:
    """The limits of a transfer: bytes, seconds, and the least rate.

    Args:
        window: seconds over which the rate is looked at; so long, too, may the server be silent.
        slowest: bytes a second, on average over a window.
        largest: bytes of a file whose size is not known.
    """

    window: float = 30.0
    slowest: float = 10_000.0
    largest: int = 2**30


class TransferError(Exception):
    """Why a file was not fetched, as a clause: the server's fault, or the network's."""


def download(url: str, target: Path, sha256: str, size: int | None = None, limits: Limits | None = None) -> None:
    """Fetch a file whose SHA-256 is known; it appears whole under its name, or not at all.

    Args:
        url: an address that begins with http:// or https://.
        target: the file, in a folder that exists.
        sha256: in hexadecimal.
        size: its bytes, more of which are not read; where it is not known, the limits say.
        limits: of time and size.

    Raises:
        TransferError: the server or the network fails, a limit is passed, or the content is another.
        OSError: the file cannot be written.
    """
    limits = limits or Limits()
    _sweep(target)
    partial = target.with_name(f".{target.name}.{os.getpid()}-{os.urandom(4).hex()}.part")
    digest = hashlib.sha256()
    try:
        with partial.open("xb") as file, closing(arriving(url, size or limits.largest, limits)) as blocks:
            for block in blocks:
                digest.update(block)
                file.write(block)
        if digest.hexdigest() != sha256:
            raise TransferError(f"the server sent another file: expected SHA-256 {sha256}, found {digest.hexdigest()}")
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _sweep(target: Path) -> None:
    """Remove what a process that was killed left of this file."""
    import psutil

    for partial in target.parent.glob(f".{target.name}.*.part"):
        owner = re.fullmatch(r"(\d+)-[0-9a-f]+", partial.name.removeprefix(f".{target.name}.").removesuffix(".part"))
        if owner and not psutil.pid_exists(int(owner[1])):
            with suppress(OSError):
                partial.unlink()


def arriving(url: str, most: int, limits: Limits) -> Generator[bytes, None, None]:
    """The blocks of a file as they come.

    Another thread waits for the server: whatever that does, a window without enough bytes ends the transfer here.

    Raises:
        TransferError: the server or the network fails, or a limit is passed.
    """
    queue: Queue[bytes | Exception] = Queue(maxsize=16)
    stopped = Event()
    Thread(target=_bring, args=(url, most, queue, stopped, limits.window), daemon=True).start()
    came = lately = 0
    since = time.monotonic()
    try:
        while True:
            item = _next(queue, since + limits.window)
            if isinstance(item, Exception):
                raise TransferError(_reason(item)) from item
            if item == b"":
                return
            if time.monotonic() >= since + limits.window:
                _check_rate(lately, limits)
                since, lately = time.monotonic(), 0
            if item:
                came, lately = came + len(item), lately + len(item)
                if came > most:
                    raise TransferError(f"the server sends more than {most} bytes")
                yield item
    finally:
        stopped.set()


def _next(queue: Queue[bytes | Exception], until: float) -> bytes | Exception | None:
    try:
        return queue.get(timeout=max(until - time.monotonic(), 0))
    except Empty:
        return None


def _check_rate(lately: int, limits: Limits) -> None:
    if lately < limits.slowest * limits.window:
        raise TransferError(
            f"{lately} bytes came in {limits.window:g} seconds, less than {limits.slowest:g} bytes a second"
        )


def _bring(url: str, most: int, queue: Queue[bytes | Exception], stopped: Event, timeout: float) -> None:
    """Put the blocks of a file into the queue, at last an empty one, or the exception that ended it."""
    import requests

    try:
        # the file itself, even where a server would pack or unpack it on the way
        packed_as_it_is = {"Accept-Encoding": "identity"}
        with requests.get(url, stream=True, timeout=timeout, headers=packed_as_it_is) as response:
            response.raise_for_status()
            announced = response.headers.get("Content-Length", "")
            if announced.isdecimal() and int(announced) > most:
                raise TransferError(f"the server offers {announced} bytes, more than {most}")
            block = b"?"
            while block and not stopped.is_set():
                block = response.raw.read1(BLOCK, decode_content=False) or b""
                _put(queue, block, stopped)
    except Exception as error:  # it is told where the blocks are awaited
        _put(queue, error, stopped)


def _put(queue: Queue[bytes | Exception], item: bytes | Exception, stopped: Event) -> None:
    while not stopped.is_set():
        with suppress(Full):
            queue.put(item, timeout=0.1)
            return


def _reason(error: Exception) -> str:
    from requests import ConnectionError, HTTPError, Timeout
    from requests.exceptions import InvalidSchema, InvalidURL, MissingSchema, TooManyRedirects
    from urllib3.exceptions import ProtocolError, TimeoutError

    if isinstance(error, TransferError):
        return str(error)
    if isinstance(error, HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code}"
    if isinstance(error, (Timeout, TimeoutError)):
        return "the server does not answer"
    if isinstance(error, TooManyRedirects):
        return "the server redirects without end"
    if isinstance(error, (InvalidSchema, InvalidURL, MissingSchema)):
        return "expected an address that begins with http:// or https://"
    if isinstance(error, ProtocolError):
        return "the connection broke off"
    return "no connection" if isinstance(error, ConnectionError) else f"{type(error).__name__}: {error}"
