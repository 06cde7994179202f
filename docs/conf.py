"""Settings of the documentation: ``python -m sphinx -W -b html docs docs/_build``."""

import reticule

project = "Reticule"
author = "the Reticule contributors"
copyright = "the Reticule contributors"
release = version = reticule.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown"}
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
add_module_names = False

html_theme = "alabaster"
html_theme_options = {
    "description": "A trained network in, a small running file out",
    "fixed_sidebar": True,
    "page_width": "64rem",
}
html_copy_source = False
html_show_sourcelink = False
