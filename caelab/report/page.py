"""The report page of a comparison: self-contained HTML that loads nothing from elsewhere."""

from __future__ import annotations

import re
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from caelab.analysis.contract import caption_of, title_of
from caelab.analysis.plotting import display_name, look, paper_style, plain_look, svg_of
from caelab.report.embedding import chart_library, compact, fair_share, packed, page_script, policy
from caelab.report.explorer import Explorer

LARGEST_SVG = 300_000  # bytes; beyond it pixels are smaller, and a page with many filters still opens at once
PIXELS_PER_INCH = 200
MOST_IMAGES = 200  # in a figure that is tried as vectors
MOST_MARKS = 180  # lines, patches and collections
MOST_PIXELS = 4_000_000  # of one figure
FIGURES = 2_600_000  # bytes of all figures of a page
COLORS = 64  # of a figure that is too large in all its colours
SYMBOLS = {"supported": "✓", "contradicted": "✗", "inconclusive": "?"}
CHART_DASHES = {"-": "solid", "--": "dash", "-.": "dashdot", ":": "dot"}
CHART_SYMBOLS = {
    "o": "circle", "s": "square", "^": "triangle-up", "v": "triangle-down", "<": "triangle-left", ">": "triangle-right",
    "D": "diamond", "d": "diamond-tall", "*": "star", "P": "cross", "X": "x", "p": "pentagon", "h": "hexagon",
    "H": "hexagon2", "8": "octagon", "+": "cross-thin-open", "x": "x-thin-open", ".": "circle-dot",
}  # fmt: skip
CLASSES = {"supported": "yes", "contradicted": "no", "inconclusive": "open"}


@dataclass(frozen=True)
class Picture:
    """A figure of the page."""

    name: str
    title: str
    caption: str
    markup: Markup


@dataclass(frozen=True)
class Page:
    """The content of the report page.

    Attributes:
        title: of the page.
        facts: what was run: command, data, seeds, times.
        models: names and settings.
        shared: settings that most models have.
        tables: with ``caption``, ``headings`` and ``rows`` of cells with ``text`` and ``best``.
        findings: with ``statement``, ``source``, ``verdict`` and ``evidence``.
        pictures: the figures.
        failed: problems with ``model``, ``analysis`` and ``message`` that are mistakes.
        meaningless: problems of analyses that these data or models have no meaning for.
        runs: the table of all runs.
        versions: of what the numbers depend on.
        explorers: the tables that charts can be drawn from.
        run_pages: what the page of each run says.
        looks: how charts name and draw each model.
        study: the file that the study was frozen into; empty where there is none.
    """

    title: str
    facts: Mapping[str, str]
    models: Sequence[tuple[str, str]]
    shared: Mapping[str, str]
    tables: Sequence[Any]
    findings: Sequence[Any]
    pictures: Sequence[Picture]
    failed: Sequence[Any]
    meaningless: Sequence[Any]
    runs: Any
    versions: Mapping[str, str]
    explorers: Sequence[Explorer] = ()
    run_pages: Sequence[Mapping[str, Any]] = ()
    looks: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    study: str = ""


def render(page: Page) -> str:
    """The page as HTML, with its scripts and data; every text on it is escaped."""
    surroundings = Environment(
        loader=PackageLoader("caelab.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return surroundings.get_template("report.html.j2").render(
        page=page, live=_live(page), symbols=SYMBOLS, classes=CLASSES
    )


def _live(page: Page) -> dict[str, str]:
    """What the page's script reads, and the policy that lets it run."""
    index = {
        "title": page.title,
        "explorers": {each.name: each.described() for each in page.explorers},
        "looks": page.looks,
    }
    return {
        "index": compact(index),
        "runs": packed(compact(page.run_pages)),
        "library": chart_library()[0],
        "script": page_script(),
        "policy": policy(),
    }


def chart_looks(models: Iterable[str]) -> dict[str, dict[str, str]]:
    """The name, colour, symbol and dashes of each model in an interactive chart: those of the figures."""
    with plain_look():
        looks = look(models)
    return {
        model: {
            "name": display_name(model),
            "color": to_hex(found.color),
            "symbol": CHART_SYMBOLS.get(found.marker, "circle"),
            "dash": _dashes(found.linestyle),
        }
        for model, found in looks.items()
    }


def _dashes(style: Any) -> str:
    """A line style of matplotlib, as a chart names it.

    >>> _dashes("--"), _dashes((0, (5, 1)))
    ('dash', '10px,2px')
    """
    if isinstance(style, str):
        return CHART_DASHES.get(style, "solid")
    return ",".join(f"{2 * part:g}px" for part in style[1]) or "solid"


def all_pictures(figures: Mapping[str, Figure], folder: Path) -> list[Picture]:
    """The figures for a page; where they are too large together, the largest of pixels have fewer of them.

    Args:
        figures: by name.
        folder: where each lies as PNG too, which need not be drawn again.
    """
    drawn = {name: smallest(figure, folder / f"{name}.png") for name, figure in figures.items()}
    share = fair_share([len(content) for content in drawn.values()], FIGURES)
    return [
        Picture(name, title_of(name), caption_of(name), _element(_within(content, share), figures[name], name))
        for name, content in drawn.items()
    ]


def picture(name: str, figure: Figure) -> Picture:
    """A figure with the sentence that says how to read it, as vectors, or as pixels where these are smaller."""
    title = title_of(name)
    return Picture(name, title, caption_of(name), embedded(figure, name, title))


def embedded(figure: Figure, name: str, title: str) -> Markup:
    """A figure as an element of a page: vectors, or pixels where these are smaller."""
    return _element(smallest(figure), figure, name, title)


def smallest(figure: Figure, there: Path | None = None) -> str | bytes:
    """A figure as SVG, or as PNG where that is smaller; one of many images or marks is not tried as SVG.

    Args:
        figure: what is drawn.
        there: the file in which it lies as PNG with at least as many pixels; without it, it is drawn again.
    """
    images = sum(len(axes.images) for axes in figure.axes)
    marks = sum(len([*axes.lines, *axes.collections, *axes.patches]) for axes in figure.axes)
    if images <= MOST_IMAGES and marks <= MOST_MARKS:
        svg = svg_of(figure)
        if len(svg.encode()) <= LARGEST_SVG:
            return svg
    pixels = BytesIO()
    if there is not None and there.is_file():
        image = Image.open(there).convert("RGB")
        width, height = (PIXELS_PER_INCH * inches for inches in figure.get_size_inches())
        scale = min(1.0, (MOST_PIXELS / (width * height)) ** 0.5)
        small = image.resize((round(scale * width), round(scale * height)), Image.Resampling.BOX)
        small.save(pixels, format="png")
    else:
        with plain_look(), paper_style():
            figure.savefig(pixels, format="png", dpi=PIXELS_PER_INCH)
    return pixels.getvalue()


def _within(content: str | bytes, share: float) -> str | bytes:
    """Pixels in fewer colours, and then half as many either way, until they fit; vectors stay as they are."""
    if isinstance(content, str) or len(content) <= share:
        return content
    image = Image.open(BytesIO(content)).convert("RGB")
    for step in (1, 2, 3, 4, 6):
        small = image.reduce(step).quantize(COLORS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        file = BytesIO()
        small.save(file, format="png")
        if len(file.getvalue()) <= share:
            break
    return file.getvalue()


def _element(content: str | bytes, figure: Figure, name: str, title: str | None = None) -> Markup:
    title = title_of(name) if title is None else title
    return _embedded_svg(content, name, title) if isinstance(content, str) else _embedded_png(content, figure, title)


def _embedded_svg(svg: str, name: str, title: str) -> Markup:
    """An ``<svg>`` element whose ids no other figure of the page has, with a name for screen readers."""
    scoped = re.sub(r'(\bid="|xlink:href="#|url\(#)', rf"\g<1>{name}-", svg)
    quiet = re.sub(r"<metadata>.*?</metadata>", "", scoped, flags=re.DOTALL)
    width = re.search(r'<svg[^>]*?\swidth="([\d.]+)pt"', quiet)
    size = _size(float(width[1])) if width else ""
    return Markup(quiet.replace("<svg ", f'<svg role="img" aria-label="{escape(title)}" style="{size}" ', 1))


def _embedded_png(content: bytes, figure: Figure, title: str) -> Markup:
    """An ``<img>`` element that holds its pixels."""
    size = _size(72 * figure.get_figwidth())
    data = b64encode(content).decode()
    return Markup(f'<img alt="{escape(title)}" style="{size}" src="data:image/png;base64,{data}">')


def _size(points: float) -> str:
    """As wide as its box, within bounds in which its text can be read: 9 pixels to 14."""
    return f"min-width:{points * 96 / 72:.0f}px;max-width:{2 * points:.0f}px"


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """A config's leaves by dotted key.

    >>> flat({"model": {"kind": "rbm", "hidden": [300]}})
    {'model.kind': 'rbm', 'model.hidden': '[300]'}
    """
    leaves: dict[str, str] = {}
    for key, value in config.items():
        leaves |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": str(value)}
    return leaves


def shared_settings(configs: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The value that most models have of each setting that most have, regularizers aside."""
    counts = Counter(item for config in configs for item in _settings(config).items())
    found: dict[str, str] = {}
    for (key, value), count in counts.most_common():
        if count > len(configs) / 2:
            found.setdefault(key, value)
    return {key: value for config in configs for key, value in found.items() if key in _settings(config)}


def _settings(config: Mapping[str, Any]) -> dict[str, str]:
    return flat({key: value for key, value in config.items() if key not in ("label", "seed", "regularizers")})


def model_settings(configs: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Each model's name; its regularizers with their options, and where it differs from what most models share."""
    shared = shared_settings(configs)
    settings = ["; ".join([*_regularizers(config), *_deviations(config, shared)]) for config in configs]
    names = [display_name(config["label"]) for config in configs]
    return [(name, text or "no regularizer") for name, text in zip(names, settings, strict=True)]


def _regularizers(config: Mapping[str, Any]) -> list[str]:
    return [
        " ".join([label, *(f"{key}={value}" for key, value in block.items() if key != "kind" or value != label)])
        for label, block in config.get("regularizers", {}).items()
    ]


def _deviations(config: Mapping[str, Any], shared: Mapping[str, str]) -> list[str]:
    return [f"{key}={value}" for key, value in _settings(config).items() if shared.get(key) != value]
