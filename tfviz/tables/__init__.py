"""Write tables of predictions for programs. Each format has a module and an entry in `TABLES`."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tfviz.row_columns import Row
from tfviz.tables import csv_lines, json_lines, parquet

# Each format's file extension, and the function that converts rows to the file's bytes.
TABLES: dict[str, Callable[[Iterable[Row]], bytes]] = {
    "csv": csv_lines.content_of,
    "jsonl": json_lines.content_of,
    "parquet": parquet.content_of,
}
