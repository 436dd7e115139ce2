"""Reading one image file: which pictures it holds, and each as a person sees it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from caelab.data.memory import check_room
from caelab.errors import CaelabError

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
OF_SEVERAL = frozenset({"GIF", "PNG", "TIFF", "WEBP"})  # what else a JPEG holds are previews and maps of depth
GREY, COLOUR = ("1", "L", "LA", "La"), ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")
SUBFILE, PREVIEW_OR_MASK = 254, 0b101  # the tag of a TIFF's page that says what the page is


class Openable(Protocol):
    """A file, or what stands for one: it opens, and as a text says where it is."""

    def open(self, mode: Any) -> Any:
        """Its bytes."""


@dataclass(frozen=True)
class Picture:
    """Where one picture is: its file, and the page or the frame in it."""

    file: Openable
    page: int


@dataclass(frozen=True)
class Contents:
    """What a file holds, by its headers: pictures, their (width, height), and whether all are grey."""

    pictures: list[Picture]
    size: tuple[int, int]
    grey: bool


def contents(file: Openable) -> Contents:
    """The pictures in a file: every page of a TIFF, every frame of an animation, one of any other image.

    Raises:
        CaelabError: it is in none of the formats, too large, or not of 8 bits a channel.
    """
    with _opened(file) as image, _no_bombs():
        size, pages = image.size, _pages(image)
        check_room(f"{file}, {described(len(pages), *size)},", len(pages) * size[0] * size[1], np.dtype(np.uint8))
        looked_at = pages if image.format in ("GIF", "TIFF") else pages[:1]  # elsewhere all are of one kind
        grey = [_is_grey(_at(file, image, page), page) for page in looked_at]
    return Contents([Picture(file, page) for page in pages], size, all(grey))


def described(count: int, width: int, height: int) -> str:
    """A number of pictures and their size in words."""
    return f"{count} {'picture' if count == 1 else 'pictures'} of {height} x {width}"


def pixels(file: Openable, pages: list[int], grey: bool, background: int) -> Iterator[NDArray[np.uint8]]:
    """Those pages of a file as people see them, (height, width) or (height, width, 3) each.

    Turned as the file's orientation says, and what is transparent laid on a background of that grey level.

    Raises:
        CaelabError: a page cannot be decoded.
    """
    with _opened(file) as image:
        for page in pages:
            with _no_bombs():
                seen = _seen(_at(file, image, page), grey, background)
            yield seen


def _seen(image: Image.Image, grey: bool, background: int) -> NDArray[np.uint8]:
    turned = ImageOps.exif_transpose(image)
    if turned.has_transparency_data:
        front = turned.convert("RGBA")
        turned = Image.alpha_composite(Image.new("RGBA", front.size, (background,) * 3 + (255,)), front)
    return np.asarray(turned.convert("L" if grey else "RGB"))


def _pages(image: Image.Image) -> list[int]:
    if image.format not in OF_SEVERAL:
        return [0]
    first = 1 if getattr(image, "default_image", False) else 0  # an animated PNG's stand-in for old programs
    pages = list(range(first, int(getattr(image, "n_frames", 1))))
    return [page for page in pages if not _is_preview(image, page)] if image.format == "TIFF" else pages


def _is_preview(image: Any, page: int) -> bool:
    image.seek(page)
    return bool(image.tag_v2.get(SUBFILE, 0) & PREVIEW_OR_MASK)


def _at(file: Openable, image: Image.Image, page: int) -> Image.Image:
    """The image at one of its pages, of a kind that is read."""
    image.seek(page)
    if image.mode not in GREY + COLOUR:
        raise CaelabError(
            f"{file}: expected 8 bits a channel, grey or colour, but its pixels are of kind {image.mode}; "
            "convert it, or use npz:FILE"
        )
    return image


def _is_grey(image: Image.Image, page: int) -> bool:
    """Whether the page is stored in grey, be it by a palette of greys."""
    if image.format == "GIF" and page > 0:  # its palette is not told; Pillow gives it in colour
        colours = np.asarray(image.convert("RGB"))
        return bool((colours == colours[..., :1]).all())
    if image.mode in ("P", "PA"):
        palette = np.asarray(image.getpalette()).reshape(-1, 3)
        return bool((palette == palette[:, :1]).all())
    return image.mode in GREY


@contextmanager
def _no_bombs() -> Iterator[None]:
    """Inside, an image of more pixels than Pillow takes for sound is an error, not a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


@contextmanager
def _opened(file: Openable) -> Iterator[Image.Image]:
    """The image, opened as one of the formats and no other, so that no program is started to read it."""
    try:
        with file.open("rb") as stream:  # by its name, Pillow maps the file and garbles a TIFF that is turned
            with _no_bombs():
                image = Image.open(stream, formats=FORMATS)
            yield image
    except CaelabError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise CaelabError(
            f"{file} has more pixels than caelab reads of one image, {Image.MAX_IMAGE_PIXELS}; scale it down"
        ) from error
    except UnidentifiedImageError as error:
        raise CaelabError(
            f"{file} is no image that can be read: expected one of {', '.join(FORMATS)}; replace or remove it"
        ) from error
    except Exception as error:  # the decoder fails in many ways on what is damaged
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CaelabError(f"{file} is no image that can be read ({reason}); replace or remove it") from error
