"""Seeded damage to folders: bits, lengths, values and types that tfviz never writes."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 3, 10**30, 10**400, 2**63, 1.5, 1e308, float("nan"), float("inf"),
    "", "../../x", "/etc/passwd", "\x1b[2J\n", "\ud800", "\0", "x" * 100_000,
    [], [None], [10**12], {}, {"a": 1}, [[[[]]]], [1] * 5000,
)  # fmt: skip
BYTES = (b"", b"null", b"[]", b"\xff\xfe", b"\0" * 50, b"NaN", b"[" * 100_000, b'{"a":' * 100_000, b"1" * 10_000)


def damage(folder: Path, documents: list[str], seed: str) -> str:
    """Damage one file of a folder, usually one of its JSON documents, and describe the damage."""
    chance = random.Random(seed)
    document = folder / chance.choice(documents)
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    kind = chance.choice(["value"] * 8 + ["bytes", "deep", "bits", "bits", "cut", "gone", "pipe", "folder", "link"])
    if kind in ("value", "deep"):
        return f"{document.name} {_edit(document, chance, kind == 'deep')}"
    file = document if kind == "bytes" else chance.choice(files)
    content = bytearray(file.read_bytes())
    file.unlink()
    if kind == "bytes":
        file.write_bytes(chance.choice(BYTES))
    elif kind == "bits":
        for _ in range(chance.choice([1, 10, 100])):
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        file.write_bytes(content)
    elif kind == "cut":
        file.write_bytes(content[: chance.randrange(len(content))])
    elif kind == "pipe":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    elif kind == "link":
        file.symlink_to(file)
    return f"{file.name} {kind}"


def _edit(document: Path, chance: random.Random, is_deep: bool) -> str:
    """Replace or delete one value of a JSON document, or of one line of it."""
    lines = document.read_text().splitlines() if document.suffix == ".jsonl" else [document.read_text()]
    number = chance.randrange(len(lines))
    content = json.loads(lines[number])
    key = chance.choice(list(content))  # all fields are equally likely, regardless of their size
    *path, last = chance.choice([place for place in _places(content) if place[:1] == (key,)])
    holder = content
    for step in path:
        holder = holder[step]
    value = chance.choice(VALUES)
    if is_deep:
        holder[last] = "deep"
    elif chance.random() < 0.15:
        del holder[last]
    else:
        holder[last] = value
    depth = chance.choice([100, 900, 5000])
    lines[number] = json.dumps(content).replace('"deep"', "[" * depth + "]" * depth)
    document.write_text("".join(f"{line}\n" for line in lines))
    return f"{[*path, last]}: {repr(value)[:40]}"


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    steps = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for step in steps:
        yield from _places(value[step], (*path, step))
