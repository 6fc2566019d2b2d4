"""Make reStructuredText of docstrings, whose formulas are plain text."""

from __future__ import annotations

import re

from sphinx.application import Sphinx

# Characters of formulas that reStructuredText would read as markup, outside of `code`.
_CODE = re.compile(r"(`[^`]*`)")
_MARKUP = re.compile(r"(?<!\\)([*|]|_\b(?![A-Za-z]))")

# Dicts have no docstring of their own.
REGISTRIES = {
    "tfviz.METHODS": 'All methods: ``tfviz.METHODS["grad_cam"]`` is `tfviz.GradCAM`.',
    "tfviz.SINKS": "All sinks of `tfviz.SnapshotCallback` by their keys.",
    "tfviz.METRICS": "All metrics by their keys, as `tfviz.evaluate` takes them.",
}


def setup(app: Sphinx) -> dict[str, bool]:
    # Before napoleon, which makes markup of its own.
    app.connect("autodoc-process-docstring", escape, priority=400)
    return {"parallel_read_safe": True}


def escape(app: Sphinx, what: str, name: str, value: object, options: object, lines: list[str]) -> None:
    lines[:] = [REGISTRIES[name], ""] if name in REGISTRIES else [escaped(line) for line in lines]


def escaped(line: str) -> str:
    """Escape the characters of a line that would be read as markup."""
    if line.lstrip().startswith(">>>") or re.match(r"\s*\*+\w+[,:]", line):
        return line
    parts = _CODE.split(line)
    return "".join(part if part.startswith("`") else _MARKUP.sub(r"\\\1", part) for part in parts)
