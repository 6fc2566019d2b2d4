"""Convert docstrings, whose formulas are plain text, to reStructuredText."""

from __future__ import annotations

import inspect
import re

from sphinx.application import Sphinx

from tfviz.methods.explainer import Explainer

# Characters in formulas that reStructuredText would treat as markup outside of `code`.
_CODE = re.compile(r"(`[^`]*`)")
_MARKUP = re.compile(r"(?<!\\)([*|]|_\b(?![A-Za-z]))")

# The explainer methods that users call.
CALLED = ("__call__", "explain", "export", "show", "freeze", "with_outputs")

# Dicts can't have docstrings.
REGISTRIES = {
    "tfviz.METHODS": 'All methods: ``tfviz.METHODS["grad_cam"]`` is `tfviz.GradCAM`.',
    "tfviz.SINKS": "All sinks of `tfviz.SnapshotCallback`, by key.",
    "tfviz.METRICS": "All metrics of `tfviz.evaluate`, by key.",
}


def setup(app: Sphinx) -> dict[str, bool]:
    # This must run before napoleon, which adds markup.
    app.connect("autodoc-process-docstring", escape, priority=400)
    app.connect("autodoc-process-signature", constructor)
    app.connect("autodoc-skip-member", is_internal)
    return {"parallel_read_safe": True}


def escape(app: Sphinx, what: str, name: str, value: object, options: object, lines: list[str]) -> None:
    lines[:] = [REGISTRIES[name], ""] if name in REGISTRIES else [escaped(line) for line in lines]


def constructor(
    app: Sphinx, what: str, name: str, value: object, options: object, signature: str | None, result: str | None
) -> tuple[str, None] | None:
    """Return the signature of a method's `__init__`, because `__new__` has (*args, **options)."""
    if what != "class" or not issubclass(value, Explainer):
        return None
    parameters = list(inspect.signature(value.__init__).parameters.values())[1:]
    return str(inspect.Signature([one.replace(annotation=inspect.Parameter.empty) for one in parameters])), None


def is_internal(app: Sphinx, what: str, name: str, value: object, skip: bool, options: object) -> bool | None:
    """Exclude members that only the methods themselves call."""
    home = getattr(value, "__module__", None) or ""
    return True if home.startswith("tfviz.methods") and callable(value) and name not in CALLED else None


def escaped(line: str) -> str:
    """Escape the characters in a line that would be treated as markup."""
    if line.lstrip().startswith(">>>") or re.match(r"\s*\*+\w+[,:]", line):
        return line
    parts = _CODE.split(line)
    return "".join(part if part.startswith("`") else _MARKUP.sub(r"\\\1", part) for part in parts)
