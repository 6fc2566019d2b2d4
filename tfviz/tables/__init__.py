"""Tables of predictions for programs. A format is one file and one row of `TABLES`."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tfviz.row_columns import Row
from tfviz.tables import csv_lines, json_lines, parquet

# The file extension of each format, and the function from rows to the content of the file.
TABLES: dict[str, Callable[[Iterable[Row]], bytes]] = {
    "csv": csv_lines.content_of,
    "jsonl": json_lines.content_of,
    "parquet": parquet.content_of,
}
