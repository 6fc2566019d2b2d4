"""Convert Sphinx roles to plain Markdown in the downloadable notebooks.

sphinx-gallery converts the text of a tutorial to Markdown, but leaves `:doc:` and `:class:` in it.
"""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx
from sphinx_gallery import notebook

_TUTORIAL = re.compile(r":doc:`(?:/tutorials/)?(\w+)`")
_PAGE = re.compile(r":doc:`/(\w+)`")
_OTHER_ROLE = re.compile(r":[a-z]+:(?=`)")


def setup(app: Sphinx) -> dict[str, bool]:
    convert = notebook.rst2md

    def converted(text: str, *args: Any, **options: Any) -> str:
        return convert(without_roles(text), *args, **options)

    notebook.rst2md = converted
    return {"parallel_read_safe": True}


def without_roles(text: str) -> str:
    """Replace links to pages with the files' paths, and other roles with code."""
    text = _TUTORIAL.sub(r"`examples/tutorials/\1.py`", text)
    return _OTHER_ROLE.sub("", _PAGE.sub(r"`docs/\1.md`", text))
