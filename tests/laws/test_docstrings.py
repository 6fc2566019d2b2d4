"""Public names are documented, their examples run, and prose keeps to its width and vocabulary."""

from __future__ import annotations

import ast
import doctest
import inspect
import io
import re
import textwrap
import tokenize
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import pytest
from support.package_source import MODULES, tree_of

import tfviz

WIDTH = 100
CHECKED = list(MODULES)
PUBLIC = [name for name in tfviz.__all__ if callable(getattr(tfviz, name))]
DOCUMENTED = [name for name in PUBLIC if getattr(tfviz, name).__module__ in CHECKED]
CALLABLES = [name for name in DOCUMENTED if not (inspect.isclass(getattr(tfviz, name)) and name.endswith(("Error", "Warning")))]

# Words that a native speaker would not use here, and old names of concepts that have another one
# now.
_BANNED = (
    "anew",
    "of a sort",
    "written out",
    "seen into",
    "taken off",
    "as they are",
    "run as a whole",
    "col" + "our",
    "cent" + "re",
)


def functions_of(value: Any) -> Iterator[tuple[str, Callable[..., Any], str]]:
    """Yield name, function and documentation of a function, or of a class's constructor and public
    methods.
    """
    if not inspect.isclass(value):
        yield value.__name__, value, inspect.getdoc(value) or ""
        return
    for name, member in inspect.getmembers(value, inspect.isfunction):
        is_own = str(member.__module__).startswith("tfviz.")
        if name == "__init__" and is_own:
            yield name, member, f"{inspect.getdoc(value)}\n{inspect.getdoc(member)}"
        elif is_own and (not name.startswith("_") or name == "__call__"):
            yield name, member, inspect.getdoc(member) or ""


def missing_parts(function: Callable[..., Any], doc: str) -> list[str]:
    """Return the parts that a function's documentation lacks."""
    signature = inspect.signature(function)
    parameters = [name for name in signature.parameters if name != "self"]
    sections = {m[1]: m[2] for m in re.finditer(r"^(\w+):\n((?:[ ]{4}.*\n?|\n)+)", doc, re.MULTILINE)}
    documented = [
        name.lstrip("*")
        for line in re.findall(r"^ {4}([\w*, ]+):", sections.get("Args", ""), re.M)
        for name in line.split(", ")
    ]
    missing = [name for name in parameters if name not in documented]
    is_constructor = function.__name__ == "__init__"
    if not is_constructor and signature.return_annotation not in (None, "None", inspect.Signature.empty):
        missing += [] if "Returns" in sections else ["Returns"]
    if raises(function) and "Raises" not in sections:
        missing.append("Raises")
    return missing


def raises(function: Callable[..., Any]) -> bool:
    if function.__code__.co_filename == "<string>":  # the generated constructor of a dataclass
        return False
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    return any(isinstance(node, ast.Raise) for node in ast.walk(tree))


@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_public_name_has_a_summary_of_one_line(name: str) -> None:
    summary, *rest = (inspect.getdoc(getattr(tfviz, name)) or "").splitlines()
    assert len(summary.split()) > 3
    assert summary.endswith((".", "?"))
    assert not rest or not rest[0]


@pytest.mark.parametrize("name", CALLABLES)
def test_a_public_name_documents_its_arguments_results_and_errors(name: str) -> None:
    found = {part: missing_parts(function, doc) for part, function, doc in functions_of(getattr(tfviz, name)) if doc}
    assert found
    assert not {part: missing for part, missing in found.items() if missing}


def test_a_missing_part_is_found() -> None:
    def example(a: int, b: int) -> int:
        """Add.

        Args:
            a: a number.
        """
        if a < 0:
            raise ValueError
        return a + b

    assert missing_parts(example, inspect.getdoc(example) or "") == ["b", "Returns", "Raises"]


@pytest.mark.parametrize("name", [cls.__name__ for cls in tfviz.METHODS.values()])
def test_every_method_shows_an_example(name: str) -> None:
    assert ">>>" in (inspect.getdoc(getattr(tfviz, name)) or "")


@pytest.mark.parametrize("name", [name for name in PUBLIC if ">>>" in (inspect.getdoc(getattr(tfviz, name)) or "")])
def test_the_examples_run(name: str) -> None:
    scope = {"tfviz": tfviz, "np": np, "keras": keras}
    doc = inspect.getdoc(getattr(tfviz, name)) or ""
    test = doctest.DocTestParser().get_doctest(doc, scope, name, None, None)
    output: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=output.append)
    assert not output, "".join(output)


def prose_of(module: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of a module's docstrings and of its comments that have a line of
    their own.
    """
    lines = MODULES[module].read_text(encoding="utf-8").splitlines()
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield from ((number, lines[number - 1]) for number in range(node.lineno, (node.end_lineno or 0) + 1))
    for token in tokenize.generate_tokens(io.StringIO("\n".join(lines)).readline):
        if token.type == tokenize.COMMENT and not token.line[: token.start[1]].strip():
            yield token.start[0], lines[token.start[0] - 1]


@pytest.mark.parametrize("module", CHECKED)
def test_docstrings_and_comments_are_at_most_100_columns_wide(module: str) -> None:
    assert not [number for number, line in prose_of(module) if len(line) > WIDTH]


@pytest.mark.parametrize("module", CHECKED)
def test_prose_keeps_to_the_vocabulary(module: str) -> None:
    assert not [(number, word) for number, line in prose_of(module) for word in _BANNED if re.search(rf"\b{word}\b", line)]


@pytest.mark.parametrize("name", PUBLIC)
def test_no_letter_follows_a_closing_backtick(name: str) -> None:
    """Sphinx would not find the end of the literal, as in a plural's `s`."""
    doc = inspect.getdoc(getattr(tfviz, name)) or ""
    assert not [word for word in re.findall(r"`[^`]+`(\w*)", doc) if word]
