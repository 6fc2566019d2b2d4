"""Check values read from JSON against the schema.

A strict check rejects unknown fields. The viewer uses it for data that it shows, and the callback
uses it for data that it writes. A lenient check ignores unknown fields and allows longer texts,
lists and objects. It therefore accepts runs with more images than the viewer shows, and runs with
fields from a newer version. Both checks enforce the numeric limits and the characters allowed in
names, because names become parts of paths and a folder may come from an untrusted source.
"""

from __future__ import annotations

import math
import re
import types
from collections.abc import Callable
from functools import cache, partial
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

from tfviz.runs.schema import Length, Pattern, Range, Record, Run, names_of

_LENIENCE = 16  # A lenient check multiplies the maximum length by this factor.

Check = Callable[[Any], None]  # raises _SchemaError


class _SchemaError(Exception):
    """A value violates the schema. `path` lists the keys that lead to it, outermost first."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.path: list[str] = []

    def __str__(self) -> str:
        return ": ".join(filter(None, [".".join(self.path), self.args[0]]))

    def within(self, place: str) -> _SchemaError:
        """Prepend a key to the path and return the error."""
        self.path.insert(0, place)
        return self


def run_fault(value: Any, *, is_strict: bool = True) -> str | None:
    """Describe the first fault in the content of run.json in one line, or return None if valid."""
    fault = fault_of(Run, value, is_strict=is_strict)
    if fault is not None or not is_strict:
        return fault
    if len(set(names_of(value))) < len(value["methods"]):
        return f"the method names are not unique: {', '.join(names_of(value))}"
    if (count := len(value.get("true_classes", value["images"]))) != len(value["images"]):
        return f"expected {len(value['images'])} true classes, one for each image, got {count}"
    return None


def record_fault(value: Any, run: Run | None = None, *, is_strict: bool = True) -> str | None:
    """Return the first fault in a record, or None if it is valid.

    If `run` is given, also check that the record is consistent with it.
    """
    fault = fault_of(Record, value, is_strict=is_strict)
    if fault is not None or run is None:
        return fault
    if len(value["predictions"]) != len(run["images"]):
        return f"expected {len(run['images'])} predictions, one for each image, got {len(value['predictions'])}"
    optional = [(name, value.get(name)) for name in ("explained", "images", "true_classes")]
    for name, given in (*optional, *value.get("strengths", {}).items()):
        if given is not None and len(given) != len(run["images"]):
            return f"expected {len(run['images'])} entries in {name}, one for each image, got {len(given)}"
    unknown = sorted({*value["methods"], *value["errors"], *value.get("strengths", {})} - set(names_of(run)))
    return f"the run has no method {', '.join(unknown)}" if unknown else None


def size_fault(content: bytes, most: int) -> str | None:
    """Return a fault if the content is larger than `most` bytes, otherwise None."""
    return None if len(content) <= most else f"expected at most {most} bytes, got {len(content)}"


def fault_of(kind: Any, value: Any, *, is_strict: bool = True) -> str | None:
    """Return the first fault in a value, or None if the value conforms to the schema type."""
    try:
        _check_of(kind, is_strict)(value)
    except _SchemaError as error:
        return str(error)
    return None


@cache
def _check_of(kind: Any, is_strict: bool) -> Check:
    """Return the function that checks a value against a schema type."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        checks = [_check_of(arguments[0], is_strict), *(_limit(limit, is_strict) for limit in arguments[1:])]
        return _all(checks)
    if origin in (Union, types.UnionType):
        (other,) = (one for one in arguments if one is not types.NoneType)
        return _optional(_check_of(other, is_strict))
    if origin is Literal:
        return _one_of(arguments)
    if origin is list:
        return _items(_check_of(arguments[0], is_strict))
    if origin is dict:
        return _entries(_check_of(arguments[0], is_strict), _check_of(arguments[1], is_strict))
    if is_typeddict(kind):
        hints = get_type_hints(kind, include_extras=True)
        fields = {name: _check_of(hint, is_strict) for name, hint in hints.items()}
        return _fields(fields, kind.__required_keys__, is_strict)
    return _SCALARS[kind]


def _anything(value: Any) -> None:
    """Accept any JSON value."""


def _boolean(value: Any) -> None:
    if type(value) is not bool:
        raise _SchemaError("expected true or false")


def _integer(value: Any) -> None:
    if type(value) is not int:
        raise _SchemaError("expected an integer")


def _number(value: Any) -> None:
    try:
        is_finite = type(value) in (int, float) and math.isfinite(value)
    except OverflowError:  # The integer is larger than any float.
        is_finite = False
    if not is_finite:
        raise _SchemaError("expected a finite number")


def _text(value: Any) -> None:
    if type(value) is not str:
        raise _SchemaError("expected text")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise _SchemaError("expected text that UTF-8 can encode") from error


_SCALARS: dict[Any, Check] = {int: _integer, float: _number, str: _text, bool: _boolean, Any: _anything}


def _all(checks: list[Check]) -> Check:
    def check(value: Any) -> None:
        for one in checks:
            one(value)

    return check


def _limit(limit: Range | Length | Pattern, is_strict: bool) -> Check:
    if isinstance(limit, Range):
        return partial(_check_range, limit)
    if isinstance(limit, Length) and not is_strict:
        limit = Length(limit.least, _LENIENCE * limit.most)
    return partial(_check_length, limit) if isinstance(limit, Length) else partial(_check_pattern, limit)


def _check_range(limit: Range, value: float) -> None:
    if value < limit.least or (limit.most is not None and value > limit.most):
        raise _SchemaError(f"expected {limit.least}{' or more' if limit.most is None else f' to {limit.most}'}")


def _check_length(limit: Length, value: str | list | dict) -> None:
    if not limit.least <= len(value) <= limit.most:
        unit = "characters" if isinstance(value, str) else "items"
        raise _SchemaError(f"expected {limit.least} to {limit.most} {unit}, got {len(value)}")


def _check_pattern(limit: Pattern, value: str) -> None:
    if re.fullmatch(limit.expression, value) is None:
        raise _SchemaError(f"expected text that matches {limit.expression}")


def _optional(check: Check) -> Check:
    return lambda value: None if value is None else check(value)


def _one_of(values: tuple[Any, ...]) -> Check:
    def check(value: Any) -> None:
        if not any(type(value) is type(one) and value == one for one in values):
            raise _SchemaError(f"expected one of {', '.join(map(str, values))}")

    return check


def _items(check_item: Check) -> Check:
    def check(value: Any) -> None:
        if not isinstance(value, list):
            raise _SchemaError("expected a list")
        for place, item in enumerate(value):
            try:
                check_item(item)
            except _SchemaError as error:
                raise error.within(str(place)) from None

    return check


def _entries(check_key: Check, check_value: Check) -> Check:
    def check(value: Any) -> None:
        if not isinstance(value, dict):
            raise _SchemaError("expected an object")
        for key, item in value.items():
            try:
                check_key(key)
                check_value(item)
            except _SchemaError as error:
                raise error.within(ascii(key)[1:-1]) from None

    return check


def _fields(checks: dict[str, Check], required: frozenset[str], is_strict: bool) -> Check:
    def check(value: Any) -> None:
        if not isinstance(value, dict):
            raise _SchemaError("expected an object")
        for name, check_field in checks.items():
            try:
                if name in value:
                    check_field(value[name])
                elif name in required:
                    raise _SchemaError("the field is missing")
            except _SchemaError as error:
                raise error.within(name) from None
        for name in value if is_strict else ():
            if name not in checks:
                raise _SchemaError("unexpected field").within(ascii(name)[1:-1])

    return check
