"""The columns in result tables, which have one row per image, method and target.

A failed image has a single row, which contains the error but no method.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

Row: TypeAlias = dict[str, Any]

EXPLAINED, FAILED = "explained", "failed"

# Every table has these columns. PREDICTION_COLUMNS also contains those that `tfviz explain` adds.
COLUMNS = {
    "path": "string",
    "status": "string",
    "error": "string",
    "height": "int32",
    "width": "int32",
    "classes": "list of int32",
    "scores": "list of float",
    "target": "int32",
    "target_name": "string",
    "method": "string",
    "layer": "string",
}
PREDICTION_COLUMNS = COLUMNS | {
    "class_names": "list of string",
    "true_class": "int32",
    "true_name": "string",
    "strength": "float",
    "file": "string",
}


def with_all_columns(row: Mapping[str, object]) -> Row:
    """Return a row with all prediction columns, using None for missing values."""
    return {name: row.get(name) for name in PREDICTION_COLUMNS}


def failure(path: str, error: Exception) -> Row:
    """Return the row for an image that could not be explained."""
    return {"path": path, "status": FAILED, "error": str(error)}
