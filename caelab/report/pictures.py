"""Small pictures of single runs, which analyses make of their tables by ``preview``, as PNG."""

from __future__ import annotations

import logging
from base64 import b64encode
from collections.abc import Iterator, Mapping
from io import BytesIO
from statistics import mean
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from caelab.analysis.base import by_itself, named_failure, shortened
from caelab.analysis.contract import load_analysis, whose_analysis
from caelab.errors import CaelabError, ContractError
from caelab.report.run_keys import RunKey, by_run
from caelab.study.outcomes import Problem

log = logging.getLogger(__name__)

Pixels = NDArray[np.float64]

SHADES = 16  # of a picture: half a byte for each pixel, and a page of many runs stays small
LARGEST = 512  # pixels, either side
BUDGET = 2_500_000  # bytes of all pictures; beyond it they have half as many pixels either way
TRIED = 20  # pictures of each kind, by which the size of all is judged


def pictures(
    tables: Mapping[str, pd.DataFrame], runs: pd.DataFrame
) -> tuple[dict[str, dict[RunKey, str]], int, list[Problem]]:
    """Every picture of every run, as text in base64.

    Args:
        tables: by analysis, over all runs.
        runs: one row per run.

    Returns:
        By analysis and run the pictures; how many pixels either way became one; the analyses that failed.
    """
    drawn, problems = {}, []
    for name, table in tables.items():
        try:
            if found := dict(_previews(name, table, runs)):
                drawn[name] = found
        except CaelabError as error:  # the others go on
            log.debug("previews of %s", name, exc_info=True)
            problems.append(Problem("all", name, str(error), applies=True))
    step = _step_for(drawn)
    texts = {
        name: {run: b64encode(png(reduced(p, step))).decode() for run, p in of.items()} for name, of in drawn.items()
    }
    return texts, step, problems


def _step_for(drawn: Mapping[str, Mapping[RunKey, Pixels]]) -> int:
    """How many pixels are to become one, so that all pictures keep to the budget; judged by the first of each kind."""
    for step in (1, 2, 4):
        sizes = [
            len(of) * mean(len(png(reduced(pixels, step))) for pixels in [*of.values()][:TRIED])
            for of in drawn.values()
        ]
        if sum(sizes) <= BUDGET:
            return step
    return 8


def _previews(name: str, table: pd.DataFrame, runs: pd.DataFrame) -> Iterator[tuple[RunKey, Pixels]]:
    """The picture of each run, from its rows of the table; nothing where the analysis makes none.

    Raises:
        CaelabError: it fails, or returns something else.
    """
    try:
        preview = getattr(load_analysis(name), "preview", None)
    except CaelabError:  # it is not there any more; where its figure is drawn says so
        return
    if not callable(preview):
        return
    with by_itself(name), named_failure(name, "failed in preview"):
        found = [(run, preview(rows)) for run, rows in by_run(table, runs)]
    for run, pixels in found:
        yield run, checked_pixels(pixels, f"preview of {whose_analysis(name)}")


def checked_pixels(found: Any, who: str) -> Pixels:
    """A picture as colours, shape (height, width, 3), if that is what ``preview`` returned.

    Args:
        found: what it returned: shape (height, width), or (height, width, 3) for red, green and blue; from 0 to 1.
        who: is named, as "preview of the analysis 'mine'".

    Raises:
        ContractError: it is no such picture.
    """
    expected = f"expected numbers from 0 to 1 of shape (height, width) or (height, width, 3) from {who}"
    try:
        pixels = np.asarray(found, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ContractError(f"{expected}, but {shortened(found)} came") from error
    if pixels.ndim not in (2, 3) or pixels.size == 0 or (pixels.ndim == 3 and pixels.shape[2] != 3):
        raise ContractError(f"{expected}, but the shape {pixels.shape} came")
    if max(pixels.shape[:2]) > LARGEST:
        raise ContractError(f"{expected}, at most {LARGEST} either way, but the shape {pixels.shape} came")
    if not ((pixels >= 0) & (pixels <= 1)).all():
        raise ContractError(f"{expected}, but they lie in [{pixels.min():.3g}, {pixels.max():.3g}]")
    return pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)


def reduced(pixels: Pixels, step: int) -> Pixels:
    """The picture with blocks of ``step`` times ``step`` pixels replaced by their mean; a remainder is cut off."""
    height, width = (max(size // step, 1) for size in pixels.shape[:2])
    tall, wide = min(height * step, pixels.shape[0]), min(width * step, pixels.shape[1])
    blocks = pixels[:tall, :wide].reshape(height, tall // height, width, wide // width, 3)
    return np.asarray(blocks.mean(axis=(1, 3)))


def png(pixels: Pixels) -> bytes:
    """A picture of at most ``SHADES`` colours as a PNG file."""
    image = Image.fromarray(np.rint(pixels * 255).astype(np.uint8), "RGB")
    if (pixels[:, :, :1] == pixels).all():
        levels = np.rint(pixels[:, :, 0] * (SHADES - 1)).astype(np.uint8)
        few = Image.fromarray(levels, "P")
        few.putpalette([round(255 * shade / (SHADES - 1)) for shade in range(SHADES) for _ in "rgb"])
    else:
        few = image.quantize(SHADES, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    file = BytesIO()
    few.save(file, format="png", optimize=True, bits=4)
    return file.getvalue()
