"""Reading a folder of images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from caelab.data.memory import check_room
from caelab.data.pictures import Contents, Picture, contents, described, pixels
from caelab.data.reading import spread
from caelab.data.samples import Examples, FilePath, Samples, describes, in_order_of_numbers
from caelab.errors import CaelabError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".pgm", ".ppm", ".webp"})
LONGEST_NUMBER = 18  # digits, below 2**63
LEVELS = {"black": 0, "white": 255}

Background = Literal["white", "black"] | Annotated[int, Field(ge=0, le=255)]
"""What transparent pictures are laid on: white, black, or a grey level from 0 to 255."""


@describes(
    "as in the folder", "height x width [x 3]", "image files of one size; a subfolder per label, if any", "FOLDER"
)
def images(
    path: FilePath, greyscale: bool = False, background: Background = "white", examples: Examples = None
) -> Samples:
    """Pictures of one size as people see them, pixels in [0, 1]; each subfolder is a label, in the order of the names.

    Where all are called by numbers these are the labels: pictures in the folder 7 have the label 7. Other names with
    numbers in them are in the order of these (class2, class10). Grey where all files are grey or ``greyscale`` is set
    (luminance of ITU-R 601), colour otherwise. Transparent parts show the ``background``, pictures are turned as the
    file's orientation says, and every page of a TIFF and every frame of an animation is an example. Colour profiles
    are not applied. Hidden files and those without an image's suffix are left out. ``examples`` reads so many pictures,
    evenly spread over the folder.
    """
    folder = Path(path).expanduser()
    files, classes, names = _labelled_files(folder)
    found = [contents(file) for file in files]
    grey = greyscale or all(each.grey for each in found)
    pictures = [picture for each in found for picture in each.pictures]
    kept = spread(len(pictures), examples)
    _check_room(folder, len(kept), found[0], grey)
    level = background if isinstance(background, int) else LEVELS[background]
    values = _all_pixels([pictures[place] for place in kept], grey, level)
    labels = None if classes is None else np.repeat(classes, [len(each.pictures) for each in found])[kept]
    return Samples(values.reshape(len(values), -1) / np.float32(255), labels, values.shape[1:], label_names=names)


def _check_room(folder: Path, count: int, first: Contents, grey: bool) -> None:
    width, height = first.size
    values = count * width * height * (1 if grey else 3)
    check_room(f"{folder}, {described(count, width, height)},", values, np.dtype(np.uint8))


def _all_pixels(pictures: Sequence[Picture], grey: bool, background: int) -> NDArray[np.uint8]:
    """(n, height, width) or (n, height, width, 3)."""
    out: NDArray[np.uint8] | None = None
    first = pictures[0]
    for place, (picture, seen) in enumerate(_decoded(pictures, grey, background)):
        out = np.empty((len(pictures), *seen.shape), np.uint8) if out is None else out
        _check_size(picture, seen.shape, first, out.shape[1:])
        out[place] = seen
    assert out is not None
    return out


def _decoded(pictures: Sequence[Picture], grey: bool, background: int) -> Iterator[tuple[Picture, NDArray[np.uint8]]]:
    for file, of_file in groupby(pictures, lambda picture: picture.file):
        chosen = list(of_file)
        pages = [picture.page for picture in chosen]
        yield from zip(chosen, pixels(file, pages, grey, background), strict=True)


def _check_size(picture: Picture, shape: tuple[int, ...], first: Picture, expected: tuple[int, ...]) -> None:
    if shape != expected:
        raise CaelabError(
            f"expected images of one size, but {picture.file} is {shape[0]} x {shape[1]} and "
            f"{first.file} {expected[0]} x {expected[1]} (height x width); scale or crop them"
        )


def _labelled_files(folder: Path) -> tuple[list[Path], NDArray[np.int64] | None, tuple[str, ...] | None]:
    """The files, the label of each, and what the labels 0, 1, 2, ... are called; None where there are none."""
    if not folder.is_dir():
        what = "is a file" if folder.is_file() else "does not exist"
        raise CaelabError(
            f"no folder at {folder}, which {what}; give a folder of images, or of one subfolder per label"
        )
    loose = _image_files(folder)
    subfolders = _subfolders(folder)
    groups = {sub: group for sub in subfolders if (group := _image_files(sub))}
    if loose and groups:
        raise CaelabError(
            f"{folder} holds both images ({loose[0].name}) and subfolders of images ({next(iter(groups)).name}); "
            "put every image into the subfolder of its label, or all into one folder"
        )
    _refuse_deeper(folder, subfolders)
    if groups:
        numbers, names = _named([sub.name for sub in groups])
        labels = np.repeat(numbers, [len(group) for group in groups.values()])
        return [file for group in groups.values() for file in group], labels, names
    if not loose:
        raise CaelabError(f"{folder} holds no images: expected files with one of {', '.join(sorted(SUFFIXES))}")
    return loose, None, None


def _named(folders: Sequence[str]) -> tuple[NDArray[np.int64], tuple[str, ...] | None]:
    """A label for each folder: its own number where all are called by numbers, as 0, 1, 10; else its place, and names.

    >>> _named(["7", "10"]), _named(["cat", "dog"])
    ((array([ 7, 10]), None), (array([0, 1]), ('cat', 'dog')))
    """
    if all(name.isdecimal() and name.isascii() and len(name) <= LONGEST_NUMBER for name in folders):
        numbers = [int(name) for name in folders]
        if len({*numbers}) == len(numbers):  # 1 and 01 are two folders
            return np.array(numbers, np.int64), None
    return np.arange(len(folders)), tuple(folders)


def _refuse_deeper(folder: Path, subfolders: Sequence[Path]) -> None:
    """Images two levels down have no label of their own, and must not be left out in silence."""
    for sub in subfolders:
        for deeper in _subfolders(sub):
            if _image_files(deeper):
                raise CaelabError(
                    f"expected images in {folder} or in subfolders of it, one per label, but {deeper} holds images two "
                    "levels down; move them, or give the folder above them"
                )


def _subfolders(folder: Path) -> list[Path]:
    subfolders = [sub for sub in _listed(folder) if sub.is_dir()]
    return sorted(subfolders, key=lambda sub: in_order_of_numbers(sub.name))


def _image_files(folder: Path) -> list[Path]:
    named = [entry for entry in _listed(folder) if entry.suffix.lower() in SUFFIXES]
    for entry in named:
        if entry.is_symlink() and not entry.exists():
            raise CaelabError(f"{entry} is a link to nothing; mend or remove it")
    return sorted(entry for entry in named if entry.is_file())


def _listed(folder: Path) -> list[Path]:
    """What is in a folder, except what is hidden."""
    try:
        return [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    except OSError as error:
        raise CaelabError(f"{folder} cannot be read ({error.strerror}); change its permissions, or move it") from error
