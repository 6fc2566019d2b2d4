"""Prose fits 100 columns: comments and docstrings, and pages of Markdown outside tables
and output.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("tfviz", "tests", "scripts", "examples", ".ci")
COLUMNS = 100
_PRAGMAS = ("noqa", "type: ignore", "fmt:", "codespell:")
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def is_python(path: Path) -> bool:
    return path.suffix == ".py" or (
        not path.suffix and path.is_file() and path.read_bytes().startswith(b"#!/usr/bin/env python")
    )


SOURCES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*")) if is_python(path)]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "examples").glob("*.md"))]


def long_prose(source: str) -> Iterator[int]:
    """The numbers of lines of comments and docstrings that are too long."""
    lines = source.splitlines()
    numbers: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and not any(pragma in token.string for pragma in _PRAGMAS):
            numbers.add(token.start[0])
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node) is not None:
            numbers.update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    yield from sorted(number for number in numbers if len(lines[number - 1]) > COLUMNS)


def long_paragraphs(page: str) -> Iterator[int]:
    """The numbers of lines of a page that are too long. Tables, images and output can't
    be wrapped.
    """
    block = ""
    for number, line in enumerate(page.splitlines(), 1):
        if line.startswith("```"):
            block = "" if block else line[3:] or "text"
        elif len(line) > COLUMNS and block != "text" and not line.startswith(("|", "![")):
            yield number


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_comments_and_docstrings_fit(path: Path) -> None:
    assert not list(long_prose(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_pages_fit(path: Path) -> None:
    assert not list(long_paragraphs(path.read_text(encoding="utf-8")))


def test_long_lines_are_found() -> None:
    long = "word " * 21
    source = f'"""Short.\n\n{long}\n"""\nx = 1  # {long}\n# {long}\ny = "{long}"\nz = 2  # noqa: {long}\n'
    assert list(long_prose(source)) == [3, 5, 6]
    page = f"{long}\n| {long} |\n![{long}](a.png)\n```text\n{long}\n```\n```python\n{long}\n```\n"
    assert list(long_paragraphs(page)) == [1, 8]
