"""The package's own source code, for the laws about it."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path

import tfviz

ROOT = Path(tfviz.__file__).parent
MODULES = {
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}

Function = ast.FunctionDef | ast.AsyncFunctionDef
_WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_NO_CODE = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)


def tree_of(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def functions_of(tree: ast.AST) -> list[Function]:
    return [node for node in ast.walk(tree) if isinstance(node, Function)]


def imports_of(module: str, tree: ast.Module | None = None) -> Iterator[str]:
    """Yield the tfviz modules that a module imports, also in functions and by name in strings.

    Imports for types only don't count.
    """
    for node in _walk_without_types(tree or tree_of(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("tfviz."))
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "tfviz":
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else node.module for name in inside)
        elif isinstance(node, ast.Constant) and node.value in MODULES and node.value != "tfviz":
            yield node.value


def _walk_without_types(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    is_for_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    for child in node.orelse if is_for_types else ast.iter_child_nodes(node):
        yield from _walk_without_types(child)


def body_lines(function: Function) -> int:
    """Count the lines of a function's body, without its docstring."""
    body = function.body[1:] if _docstring(function) else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def code_lines(source: str, *, with_imports: bool = True) -> int:
    """Count the lines of code, without docstrings, comments and blank lines."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if not with_imports and isinstance(node, ast.Import | ast.ImportFrom):
            lines -= _lines(node)
        elif isinstance(node, _WITH_DOCSTRING) and (docstring := _docstring(node)):
            lines -= _lines(docstring)
    return len(lines)


def _docstring(node: ast.Module | ast.ClassDef | Function) -> ast.Expr | None:
    first = node.body[0] if node.body else None
    return first if isinstance(first, ast.Expr) and ast.get_docstring(node) is not None else None


def _lines(node: ast.stmt) -> set[int]:
    return set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
