"""Sphinx settings."""

import sys
from pathlib import Path

from caelab import __version__

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "caelab"
author = "The caelab developers"
project_copyright = "2026, the caelab developers"
version = release = __version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
    "sphinx_design",
    "local_mathjax",
    "interactive_page",
    "course",
]
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "examples"]
html_theme = "furo"
html_title = "caelab"
html_static_path = ["_static"]
html_css_files = ["caelab.css"]
html_show_sourcelink = False
autodoc_typehints = "description"
autodoc_member_order = "bysource"
copybutton_prompt_text = "$ "
copybutton_line_continuation_character = "\\"
nitpicky = False
