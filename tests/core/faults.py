"""A disk that fails at the n-th thing that is done to the files of one folder."""

import builtins
import io
import os
from pathlib import Path

WRITING = ("replace", "mkdir", "unlink", "rmdir", "rename")


class Disk:
    """Counts what is done below a folder, and fails the ``fails_at``-th time, counted from 0; -1 never.

    It counts opened files, each write into them, and ``os.replace``, ``mkdir``, ``unlink``, ``rmdir``, ``os.open``.
    """

    def __init__(self, monkeypatch, folder, fails_at=-1, error=None, lasting=False):
        self.folder, self.fails_at, self.error, self.lasting = Path(folder).resolve(), fails_at, error, lasting
        self.done = []
        for name in WRITING:
            monkeypatch.setattr(os, name, self.counted(name, getattr(os, name)))
        monkeypatch.setattr(os, "open", self.counted("os.open", os.open))
        opened = self.opening(io.open)
        monkeypatch.setattr(io, "open", opened)
        monkeypatch.setattr(builtins, "open", opened)

    def step(self, what, path):
        """One more thing is done to a file of ours."""
        self.done.append((what, str(path)))
        place = len(self.done) - 1
        if place == self.fails_at or (self.lasting and self.fails_at >= 0 and place > self.fails_at):
            raise self.error(path) if callable(self.error) else OSError(self.error, os.strerror(self.error), str(path))

    def ours(self, path):
        if isinstance(path, int):
            return False
        place = Path(os.path.abspath(os.fspath(path)))
        return place == self.folder or self.folder in place.parents

    def counted(self, name, real):
        def operation(path, *args, **kwargs):
            if kwargs.get("dir_fd") is None and self.ours(path):
                self.step(name, path)
            return real(path, *args, **kwargs)

        return operation

    def opening(self, real):
        def opened(path, mode="r", *args, **kwargs):
            if not self.ours(path):
                return real(path, mode, *args, **kwargs)
            self.step(f"open {mode}", path)
            file = real(path, mode, *args, **kwargs)
            return Watched(file, self, path) if set(mode) & set("wxa+") else file

        return opened


class Watched:
    """A file whose writes count; half of what is written arrives before one fails."""

    def __init__(self, file, disk, path):
        self.file, self.disk, self.path = file, disk, path

    def write(self, content):
        try:
            self.disk.step("write", self.path)
        except BaseException:
            self.file.write(content[: len(content) // 2])
            raise
        return self.file.write(content)

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.file.close()
