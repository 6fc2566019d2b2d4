"""Redirect the pages' links to repository files to the corresponding pages of the site.

The links must also work in the repository, where the site's pages don't exist.
"""

from __future__ import annotations

import re

from sphinx.application import Sphinx

_PAGES = (
    (re.compile(r"\]\(\.\./examples/tutorials/GALLERY_HEADER\.rst"), "](/tutorials/index.rst"),
    (re.compile(r"\]\(\.\./examples/tutorials/(\w+)\.py"), r"](/tutorials/\1.rst"),
    (re.compile(r"\]\(\.\./examples/(models|jobs)/(\w+)\.py"), r"](/gallery/\1/\2.rst"),
    (re.compile(r"\]\(\.\./SECURITY\.md"), "](/security.md"),
)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", lead_to_pages)
    return {"parallel_read_safe": True}


def lead_to_pages(app: Sphinx, page: str, source: list[str]) -> None:
    for link, replacement in _PAGES:
        source[0] = link.sub(replacement, source[0])
