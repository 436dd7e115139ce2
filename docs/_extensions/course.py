"""The notebooks of the course as pages of the site."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from myst_parser.parsers.sphinx_ import MystParser
from notebooks import COURSE, SUFFIX, executed, scripts


def page_of(notebook: Any, name: str) -> str:
    """The executed notebook as the text of a page in MyST Markdown."""
    first, *others = notebook["cells"]
    title, _, rest = "".join(first["source"]).partition("\n")
    parts = [title, _downloads(name), rest.strip()]
    for cell in others:
        parts += [_linked("".join(cell["source"]))] if cell["cell_type"] == "markdown" else _code(cell)
    return "\n\n".join(parts) + "\n"


def _linked(text: str) -> str:
    """Markdown whose links to another notebook's script lead to its page.

    >>> _linked("see [notebook 2](2-denoising.py)")
    'see {doc}`notebook 2 <2-denoising>`'
    """
    return re.sub(r"\[([^\]]+)\]\((\d-[\w-]+)\.py\)", r"{doc}`\1 <\2>`", text)


def _downloads(name: str) -> str:
    return f"{{download}}`Download as a script <{name}.py>` · {{download}}`as a notebook <{name}{SUFFIX}>`"


def _code(cell: Any) -> Iterator[str]:
    """A cell of code and what it shows."""
    source = "".join(cell["source"])
    if source.strip():
        yield _fenced(source, "{code-block} python")
    for output in cell["outputs"]:
        yield _shown(output)


def _fenced(text: str, kind: str) -> str:
    fence = "`" * max(3, 1 + max((len(run) for run in text.replace("\n", " ").split() if set(run) == {"`"}), default=2))
    return f"{fence}{kind}\n{text.rstrip()}\n{fence}"


def _shown(output: Any) -> str:
    """One output: a picture, a table, or text."""
    if output["output_type"] == "stream":
        return _fenced("".join(output["text"]), "text")
    data = {kind: "".join(each) for kind, each in output["data"].items() if isinstance(each, str | list)}
    if "image/png" in data:
        return f"![what the cell above draws](data:image/png;base64,{data['image/png'].replace(chr(10), '')})"
    if "text/html" in data:
        table = data["text/html"].replace('border="1" class="dataframe"', 'class="docutils dataframe"')
        return _fenced(f'<div class="table-wrapper" style="margin: 1rem 0">\n{table}\n</div>', "{raw} html")
    return _fenced(data["text/plain"], "text")


class NotebookParser(MystParser):
    """Parse an executed notebook as the page that it becomes."""

    supported = ("executed-notebook",)

    def parse(self, inputstring: str, document: Any) -> None:
        """Parse the notebook's JSON."""
        name = Path(document["source"]).name.removesuffix(SUFFIX)
        super().parse(page_of(json.loads(inputstring), name), document)


def _execute_all(app: Any) -> None:
    for path in COURSE.glob(f"*{SUFFIX}"):  # of a script that is gone or has another name
        if not path.with_name(path.name.removesuffix(SUFFIX) + ".py").is_file():
            path.unlink()
    for script in scripts():
        executed(script)


def setup(app: Any) -> dict[str, Any]:
    """Add the pages of the course to a build."""
    app.add_source_suffix(SUFFIX, "executed-notebook")
    app.add_source_parser(NotebookParser)
    app.connect("builder-inited", _execute_all)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
