"""Error and warning messages are full sentences: what is wrong, what was received, what to do."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest
from support.package_source import MODULES, tree_of

VALUE = "\0"  # stands for a value in a message
# Packages whose messages still have to be rewritten.
EXEMPT = ("render", "viewer", "snapshots", "runs", "film", "cli")
CHECKED = [module for module in MODULES if module.split(".")[-1] != "tfviz" and module.split(".")[1] not in EXEMPT]

# A message may start with a name from code, which keeps its case: tfviz, predict(),
# merge_batch_norm=True.
_START = re.compile(rf"[A-Z`'\"{VALUE}]|tfviz\b|\w*[_(=]")
_END = re.compile(rf"[.?{VALUE}]$")
_FOREIGN_FORMAT = ("AttributeError",)  # Python's own wording, which tools parse


def is_message_call(node: ast.AST) -> bool:
    """Return whether a node creates an exception with a message or issues a warning."""
    if not isinstance(node, ast.Call) or not node.args:
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    is_error = bool(re.fullmatch(r"[A-Z]\w*(Error|Warning)", name)) and name not in _FOREIGN_FORMAT
    return is_error or name == "warn"


def texts_of(node: ast.expr) -> Iterator[str]:
    """Yield the message texts of an expression, with VALUE for each inserted value."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else VALUE for part in node.values)
    elif isinstance(node, ast.IfExp):
        yield from texts_of(node.body)
        yield from texts_of(node.orelse)


def messages_of(tree: ast.Module) -> list[str]:
    calls = [node for node in ast.walk(tree) if is_message_call(node)]
    return [text for node in calls for text in texts_of(node.args[0])]  # type: ignore[attr-defined]


def faults_of(message: str) -> list[str]:
    """Return what is wrong with a message."""
    faults = []
    if not _START.match(message):
        faults.append("does not start with a capital letter or a value")
    if not _END.search(message):
        faults.append("does not end with a period, a question mark or a value")
    if len(message.split()) < 2 and message.strip(VALUE + "."):
        faults.append("is a single word")
    if re.search(r"(;|,|\band) got\b", message):
        faults.append("says 'got' instead of 'Received: …'")
    if VALUE not in message and len(re.findall(r"[.?](?=\s|$)", message)) < 2:
        faults.append("has neither a value nor a second sentence that says what to do")
    return faults


@pytest.mark.parametrize("module", CHECKED)
def test_messages_are_full_sentences(module: str) -> None:
    faults = {message: faults_of(message) for message in messages_of(tree_of(module))}
    assert not {message: found for message, found in faults.items() if found}


def test_the_package_has_messages() -> None:
    assert sum(len(messages_of(tree_of(module))) for module in CHECKED) > 80


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("raise OptionError('the size is wrong. Pass 3.')", "capital letter"),
        ("raise OptionError(f'Size {n} is wrong')", "end with a period"),
        ("raise LookupError('Gone.')", "single word"),
        ("raise ImageError(f'Expected an image; got {n}.')", "instead of 'Received"),
        ("warn('The map is zero.')", "neither a value nor a second sentence"),
        ("warnings.warn(f'{a} is zero' if a else f'{b} is zero.')", "end with a period"),
        ("return UnsupportedModelError('a model')", "capital letter"),
    ],
)
def test_a_bad_message_is_found(statement: str, fault: str) -> None:
    (first, *_) = [faults for message in messages_of(ast.parse(statement)) if (faults := faults_of(message))]
    assert any(fault in one for one in first)


@pytest.mark.parametrize(
    "statement",
    [
        "raise OptionError(f'`size` must be positive. Received: {size!r}.')",
        "raise OptionError(f'Unknown key {key!r}. {near_matches(key, keys)}')",
        "warn('tfviz needs eager execution. Enable it.')",
        "raise AttributeError('module has no attribute')",
        "raise ImageError(_unreadable(name))",
    ],
)
def test_a_good_message_passes(statement: str) -> None:
    assert not any(map(faults_of, messages_of(ast.parse(statement))))
