"""Sphinx settings."""

import sys
from pathlib import Path

from caelab import __version__

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))
from gallery_comparisons import SECTIONS
from gallery_pages import FOLDER, figures_of

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
    "sphinx_gallery.gen_gallery",
    "local_mathjax",
    "interactive_page",
    "course",
    "gallery_pages",
    "catalogue_pages",
    "sphinx_click",
]
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = [
    "_build",
    "_extensions",
    "examples",
    "gallery/**/*.py",
    "gallery/**/*.ipynb",
    "sg_execution_times.rst",
    "gallery/sg_execution_times.rst",
]
smartquotes = False  # it turns the -- of commands in help texts into a dash, which no shell takes
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
suppress_warnings = ["config.cache"]  # the gallery is configured by a function, which no cache can hold
sphinx_gallery_conf = {
    "examples_dirs": str(FOLDER),
    "gallery_dirs": "gallery",
    "filename_pattern": "plot_",
    "subsection_order": [*(str(FOLDER / key) for key in SECTIONS), "*"],
    "within_subsection_order": "FileNameSortKey",
    "image_scrapers": (figures_of,),
    "download_all_examples": False,
    "show_memory": False,
    "write_computation_times": False,
    "show_signature": False,
    "min_reported_time": 1000,
    "remove_config_comments": True,
    "plot_gallery": "True",
}
