"""The type of a model's inputs or outputs: a single item, or nested lists, tuples and dicts."""

from __future__ import annotations

from typing import TypeAlias, TypeVar, Union

T = TypeVar("T")

Nested: TypeAlias = Union[T, "list[Nested[T]]", "tuple[Nested[T], ...]", "dict[str, Nested[T]]"]
