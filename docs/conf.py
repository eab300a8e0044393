"""How Sphinx builds the site: `make docs` writes it into out/site."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from docutils import nodes

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
os.environ["PYTHONPATH"] = str(HERE)  # for cells that import scratch.py

import docstrings  # noqa: E402 - beside this file

import macrograd  # noqa: E402 - after its path

project = "macrograd"
copyright = "the macrograd authors"  # noqa: A001 - Sphinx's name for it
version = release = macrograd.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}
default_role = "code"  # a docstring's `name` is code
smartquotes = False  # "compiled" stays what one types

# Cells run at every build, in a kernel of their page; what a cell prints on standard error, or raises, ends the build.
nb_execution_mode = "force"
nb_execution_timeout = 1200
nb_execution_raise_on_error = True
nb_output_stderr = "warn"
nb_merge_streams = True
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_typehints = "none"  # the docstrings say what each argument is
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"

html_theme = "furo"
html_title = "macrograd"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"top_of_page_buttons": []}
pygments_style, pygments_dark_style = "friendly", "github-dark"


def as_shell(app: Any, doctree: nodes.document) -> None:
    """Show the cells that a shell runs as one types them, without IPython's `%%sh`."""
    for block in doctree.findall(nodes.literal_block):
        if block.astext().startswith("%%sh\n"):
            block.rawsource = block.astext().removeprefix("%%sh\n")
            block.children = [nodes.Text(block.rawsource)]
            block["language"] = "bash"


def of_the_site(app: Any, page: str, source: list[str]) -> None:
    """Pages name the notebook by its place in the repository, where they are read, too."""
    source[0] = source[0].replace("../examples/first_walk.ipynb", "notebooks/first_walk.ipynb")


def setup(app: Any) -> None:
    notebooks = HERE / "notebooks"
    notebooks.mkdir(exist_ok=True)
    shutil.copyfile(HERE.parent / "examples" / "first_walk.ipynb", notebooks / "first_walk.ipynb")
    app.connect("source-read", of_the_site)
    app.connect("autodoc-process-docstring", docstrings.as_rst)
    app.connect("doctree-read", as_shell)
