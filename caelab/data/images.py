"""A folder of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from caelab.data.samples import FilePath, Samples, describes
from caelab.errors import CaelabError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".pgm", ".ppm", ".webp"})
GREY, COLOUR = ("1", "L"), ("LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")


@describes(
    "as in the folder", "height x width [x 3]", "image files of one size; a subfolder per label, if any", "FOLDER"
)
def images(path: FilePath, greyscale: bool = False) -> Samples:
    """Image files of one size, pixels in [0, 1]; each subfolder is a label, numbered in the order of their names.

    Grey where all files are grey or ``greyscale`` is set (luminance of ITU-R 601), colour otherwise, without alpha.
    Hidden files and those without an image's suffix are left out.
    """
    folder = Path(path).expanduser()
    files, labels = _labelled_files(folder)
    modes = [_mode(file) for file in files]
    grey = greyscale or all(mode in GREY for mode in modes)
    first = _pixels(files[0], grey)
    pixels = np.empty((len(files), *first.shape), np.uint8)
    for place, file in zip(pixels, files, strict=True):
        place[...] = _same_size(file, _pixels(file, grey), files[0], first)
    return Samples(pixels.reshape(len(files), -1) / np.float32(255), labels, first.shape)


def _labelled_files(folder: Path) -> tuple[list[Path], NDArray[np.int64] | None]:
    if not folder.is_dir():
        raise CaelabError(f"no folder at {folder}; give a folder of images, or of one subfolder per label")
    loose = _image_files(folder)
    groups = [group for sub in _subfolders(folder) if (group := _image_files(sub))]
    if loose and groups:
        raise CaelabError(
            f"{folder} holds both images ({loose[0].name}) and subfolders of images ({groups[0][0].parent.name}); "
            "put every image into the subfolder of its label, or all into one folder"
        )
    if groups:
        labels = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
        return [file for group in groups for file in group], labels
    if not loose:
        raise CaelabError(f"{folder} holds no images: expected files with one of {', '.join(sorted(SUFFIXES))}")
    return loose, None


def _subfolders(folder: Path) -> list[Path]:
    return sorted(sub for sub in folder.iterdir() if sub.is_dir() and not sub.name.startswith("."))


def _image_files(folder: Path) -> list[Path]:
    return sorted(
        file
        for file in folder.iterdir()
        if file.is_file() and file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
    )


def _mode(file: Path) -> str:
    try:
        with Image.open(file) as image:
            mode = image.mode
    except OSError as error:
        raise _unreadable(file, error) from error
    if mode not in GREY + COLOUR:
        raise CaelabError(
            f"{file}: expected 8 bits a channel, but its pixels are of kind {mode}; convert it, or use npz:FILE"
        )
    return mode


def _pixels(file: Path, grey: bool) -> NDArray[np.uint8]:
    """(height, width) or (height, width, 3)."""
    try:
        with Image.open(file) as image:
            return np.asarray(image.convert("L" if grey else "RGB"))
    except OSError as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: OSError) -> CaelabError:
    return CaelabError(f"{file} is no image that can be read ({error}); replace or remove it")


def _same_size(file: Path, pixels: NDArray[np.uint8], first_file: Path, first: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if pixels.shape != first.shape:
        raise CaelabError(
            f"expected images of one size, but {file} is {pixels.shape[0]} x {pixels.shape[1]} and "
            f"{first_file} {first.shape[0]} x {first.shape[1]} (height x width); scale or crop them"
        )
    return pixels
