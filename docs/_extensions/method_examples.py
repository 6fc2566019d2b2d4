"""Write an example for each registered method, with its description from docs/methods.md."""

from __future__ import annotations

import re
from pathlib import Path

from reference_page import write_changed

from tfviz.methods import METHODS
from tfviz.methods.explainer import Explainer

HEADER = """\
Methods
=======

Each method explains the same scenes with its default settings. If the method accepts a target, the
maps explain the two classes with the highest scores.
"""

EXAMPLE = '''\
r"""
{title}
{underline}

{question}

Source: {paper}. Returns: {returns}. Cost: {cost}. When it misleads: {misleads}.

The reference describes all arguments: :class:`tfviz.{name}`.
"""

import tfviz
from tfviz.shapes import SAMPLES_DIR

{model}
images = tfviz.load_images([SAMPLES_DIR / "heart_star.png", SAMPLES_DIR / "ring_cross.png"], {loaded_for})
explainer = tfviz.{name}(model{arguments})
attribution = explainer(images{target})
figure = tfviz.plot(images, {{"{key}": attribution}})
figure
'''
PACKAGED = 'model = tfviz.load_model("shapes")'
TRANSFORMER = """\
from shape_transformer import preprocessing, trained_transformer  # in the project's scripts folder

model = trained_transformer()  # a small vision transformer, trained on the same scenes"""

# Arguments that a method requires, or that make it fast.
ARGUMENTS = {
    "expected_gradients": ", backgrounds=tfviz.load_images(SAMPLES_DIR, model)",
    "rise": ", samples=1000, seed=0",
}


def write_method_examples(table: Path, folder: Path) -> None:
    """Write the examples of all methods, and remove examples of deleted methods.

    Args:
        table: the page with a row for each method.
        folder: the folder for the examples.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = rows_of(table.read_text(encoding="utf-8"))
    texts = {f"{key}.py": example(cls, rows[key]) for key, cls in METHODS.items()} | {"GALLERY_HEADER.rst": HEADER}
    for path in folder.iterdir():
        if path.is_file() and path.name not in texts:
            path.unlink()
    for name, text in texts.items():
        write_changed(folder / name, text)


def rows_of(page: str) -> dict[str, dict[str, str]]:
    """Return the cells of a page's first table as {method key: {column: text}}."""
    header, _, *lines = (line for line in page.splitlines() if line.startswith("|"))
    columns = cells_of(header)
    found: dict[str, dict[str, str]] = {}
    for line in lines:
        key = re.match(r"\| `(\w+)` \|", line)
        if key and key[1] in METHODS:
            found.setdefault(key[1], dict(zip(columns, cells_of(line), strict=False)))
    return found


def cells_of(line: str) -> list[str]:
    return [cell.strip().replace("*", r"\*") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def example(cls: type[Explainer], row: dict[str, str]) -> str:
    """Return the source code of a method's example."""
    name = cls.__name__
    return EXAMPLE.format(
        title=name,
        underline="=" * len(name),
        name=name,
        key=cls.key,
        question=row["question it answers"],
        paper=row["paper"],
        returns=row["returns"],
        cost=row["cost"],
        misleads=row["when it misleads"],
        model=TRANSFORMER if cls.needs_attention else PACKAGED,
        loaded_for="preprocessing()" if cls.needs_attention else "model",
        arguments=ARGUMENTS.get(cls.key, ""),
        target=', target="top2"' if cls.takes_target else "",
    )
