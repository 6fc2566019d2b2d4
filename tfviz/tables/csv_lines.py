"""Write tables as UTF-8 CSV with a header. Cells with several values contain JSON lists."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable

from tfviz.row_columns import PREDICTION_COLUMNS, Row


def content_of(rows: Iterable[Row]) -> bytes:
    """Convert rows to the bytes of a CSV file."""
    text = io.StringIO()
    writer = csv.DictWriter(text, PREDICTION_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: json.dumps(value) if isinstance(value, list) else value for name, value in row.items()})
    # The bytes of file names that are not valid Unicode are kept.
    return text.getvalue().encode("utf-8", "surrogateescape")
