"""Read JSON files and check their required fields."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfviz.errors import OptionError, shown


def read_json(path: Path) -> object:
    """Read a JSON file.

    Raises:
        OptionError: the file cannot be read, or is not valid JSON.
    """
    try:
        return json.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise OptionError(f"{shown(path)} cannot be read ({error.strerror}). Check its permissions.") from error
    except (ValueError, RecursionError) as error:
        raise OptionError(f"{shown(path)} is not valid JSON ({error}). Correct the file.") from error


def field_of(entry: object, name: str, kinds: type | tuple[type, ...], where: str) -> Any:
    """Return the value of a required field.

    Args:
        entry: the JSON object.
        name: the field's name.
        kinds: the allowed types.
        where: the entry's location, for error messages.

    Raises:
        OptionError: the entry is not an object, or the field is missing or has the wrong type.
    """
    value = entry.get(name) if isinstance(entry, Mapping) else None
    if not isinstance(value, kinds) or isinstance(value, bool):
        names = [kind.__name__ for kind in (kinds if isinstance(kinds, tuple) else (kinds,))]
        raise OptionError(f"{where} must have a field '{name}' of type {' or '.join(names)}. Received: {entry!s:.120}.")
    return value
