"""MathJax as a part of the site, so that equations are rendered without a network.

The package ``sphinx-mathjax-offline`` carries MathJax. Of it the site needs one file, which holds every part of MathJax
that TeX needs, and draws equations as SVG, which need no fonts.
"""

from importlib.metadata import files
from pathlib import Path
from shutil import copyfile

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

PACKAGE = "sphinx-mathjax-offline"
SCRIPT = "tex-svg-full.js"


def installed_script() -> Path:
    """Where MathJax lies among the installed packages."""
    for file in files(PACKAGE) or ():
        if file.name == SCRIPT:
            return Path(str(file.locate()))
    raise ExtensionError(
        f"expected {SCRIPT} in the package {PACKAGE}, but it has no such file; install its pinned version"
    )


def copy_script(app: Sphinx, error: Exception | None) -> None:
    """Put MathJax among the static files of a finished site."""
    if error is None and app.builder.format == "html":
        copyfile(installed_script(), Path(app.outdir) / "_static" / SCRIPT)


def setup(app: Sphinx) -> dict[str, bool]:
    """Point every page to the local file."""
    app.config.mathjax_path = SCRIPT
    app.config.mathjax3_config = {"svg": {"fontCache": "global"}, "options": {"enableMenu": False}}
    app.connect("build-finished", copy_script)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
