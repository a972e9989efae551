"""Sphinx: the Markdown pages of this folder and the reference made from the docstrings."""

project = "vqkit"
author = "The vqkit authors"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build"]
myst_enable_extensions = ["dollarmath"]
html_theme = "alabaster"
myst_heading_anchors = 3
autodoc_typehints = "description"
autodoc_member_order = "bysource"
nitpicky = False
napoleon_use_ivar = True
