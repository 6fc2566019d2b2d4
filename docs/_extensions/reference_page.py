"""Write the index of the API reference, which groups all public names by purpose."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import tfviz
from tfviz.methods import METHODS

# Each group's module prefixes, in page order. A public name belongs to the first group whose prefix
# matches its module.
GROUPS = {
    "Methods": ("tfviz.methods.",),
    "Explaining": ("tfviz.explanations", "tfviz.methods", "tfviz.panels"),
    "Targets": ("tfviz.targets", "tfviz.against", "tfviz.target_functions"),
    "Models and images": ("tfviz.models", "tfviz.images"),
    "Drawing": ("tfviz.render", "tfviz.film"),
    "Training": ("tfviz.snapshots",),
    "Evaluation": ("tfviz.metrics",),
    "Export": ("tfviz.export",),
    "Errors": ("tfviz.errors",),
    "More": ("",),
}
TITLE = "API reference"
INTRODUCTION = """\
Every public name is an attribute of the package: ``import tfviz``. Other modules are private and
change without notice, except those that a page of this documentation imports.

All methods share the same constructor and call arguments. `Explaining in Python
<../python.html>`__ describes them.
"""


def write_reference_page(folder: Path) -> None:
    """Write index.rst with a table of names for each group. autosummary writes each page."""
    folder.mkdir(parents=True, exist_ok=True)
    text = "\n".join([TITLE, "=" * len(TITLE), "", INTRODUCTION, *sections()])
    write_changed(folder / "index.rst", text)


def sections() -> Iterator[str]:
    for group, names in grouped().items():
        yield from (group, "-" * len(group), "", ".. autosummary::", "   :toctree: .", "")
        yield from (f"   ~tfviz.{name}" for name in names)
        yield ""


def grouped() -> dict[str, list[str]]:
    """Return the public names by group, without empty groups."""
    methods = {cls.__name__ for cls in METHODS.values()}
    found: dict[str, list[str]] = {group: [] for group in GROUPS}
    for name in tfviz.__all__:
        if name.startswith("__"):
            continue
        home = "tfviz.methods." if name in methods else tfviz._HOME_OF.get(name) or getattr(tfviz, name).__module__
        found[next(group for group, starts in GROUPS.items() if home.startswith(starts))].append(name)
    return {group: names for group, names in found.items() if names}


def write_changed(path: Path, text: str) -> None:
    """Write a file only if its text changes, to keep the second build fast."""
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
