"""The documentation site. `scripts/docs` builds it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS.parent), str(DOCS.parent / "scripts"), str(DOCS / "_extensions")]

from method_examples import write_method_examples  # noqa: E402
from reference_page import write_reference_page  # noqa: E402

import tfviz  # noqa: E402

project = "tfviz"
version = release = tfviz.__version__
copyright = "the tfviz authors"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "docstring_markup",
    "external_links",
    "notebook_text",
    "repository_links",
]
exclude_patterns = ["_build", "_methods", "_extensions", "_templates"]
templates_path = ["_templates"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

# Types from other packages and private modules have no reference pages.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!tfviz\.\w+$).*")]

default_role = "code"
add_module_names = False
autodoc_typehints = "none"
autoclass_content = "both"
autodoc_default_options = {"members": True, "inherited-members": True, "special-members": "__call__"}
autosummary_ignore_module_all = False
napoleon_google_docstring = True
napoleon_numpy_docstring = False

sphinx_gallery_conf = {
    "examples_dirs": ["../examples/tutorials", "../examples/models", "../examples/jobs", "_methods"],
    "gallery_dirs": ["tutorials", "gallery/models", "gallery/jobs", "gallery/methods"],
    "filename_pattern": r"\.py$",
    "image_scrapers": ("figures.scrape",),
    "capture_repr": ("_repr_html_",),
    "remove_config_comments": True,
    "download_all_examples": False,
    "write_computation_times": False,
    "show_memory": False,
    "show_signature": False,
    "abort_on_example_error": True,
    "doc_module": ("tfviz",),
    "backreferences_dir": None,
}

html_theme = "pydata_sphinx_theme"
html_title = "tfviz"
html_context = {"default_mode": "auto"}
html_sidebars = {"*": []}  # top-level pages have no section to navigate
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_search_scorer = str(DOCS / "search_scorer.js")
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "header_links_before_dropdown": 6,
    "navbar_align": "left",
    "navigation_with_keys": False,
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}

write_method_examples(DOCS / "methods.md", DOCS / "_methods")
write_reference_page(DOCS / "api")
