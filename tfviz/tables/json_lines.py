"""Write tables as JSON lines, with one object per row."""

from __future__ import annotations

import json
from collections.abc import Iterable

from tfviz.row_columns import Row


def content_of(rows: Iterable[Row]) -> bytes:
    """Convert rows to the bytes of a JSON lines file."""
    return "".join(f"{json.dumps(row)}\n" for row in rows).encode()
