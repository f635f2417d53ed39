"""Sphinx: `make docs` builds docs/ into build/docs, and a warning is an error."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "sphinx"))

import bpcore  # noqa: E402  the pages are made from the package that is installed

project = "bpcore"
author = "The bpcore developers"
copyright = "The bpcore developers; MIT licence"
version = release = bpcore.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "commands", "docstrings", "interface"]
extensions += ["mathml", "neighbours", "tables", "tree"]
exclude_patterns = ["sphinx", "README.md"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
smartquotes_action = "qe"  # not the dashes: --resume is an option
nitpicky = True
# Signatures name types of NumPy and of typing, and this site refers to no other. Everything else has to be here.
nitpick_ignore_regex = [(r"py:(class|obj|data|attr|exc)", r".*")]

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 90
add_module_names = False

html_theme = "furo"
html_title = f"bpcore {release}"
html_math_renderer = "mathml"
html_static_path = ["style"]
html_css_files = ["bpcore.css"]
html_search_scorer = str(HERE / "style" / "search.js")
html_copy_source = False
html_show_sphinx = False
pygments_style = "friendly"
pygments_dark_style = "monokai"
