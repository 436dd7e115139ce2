"""Sphinx settings."""

from caelab import __version__

project = "caelab"
author = "The caelab developers"
project_copyright = "2026, the caelab developers"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "examples"]
html_theme = "furo"
html_title = "caelab"
autodoc_typehints = "description"
autodoc_member_order = "bysource"
nitpicky = False
