"""The type of what models take and give: one thing, or lists, tuples and dicts of such, nested to any depth."""

from __future__ import annotations

from typing import TypeAlias, TypeVar, Union

T = TypeVar("T")

Nested: TypeAlias = Union[T, "list[Nested[T]]", "tuple[Nested[T], ...]", "dict[str, Nested[T]]"]
