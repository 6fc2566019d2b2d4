"""Write tables as Parquet with an explicit type for each column."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from tfviz.jobs.schema import arrow, parquet_of, schema_of
from tfviz.row_columns import PREDICTION_COLUMNS, Row

_ROWS_AT_ONCE = 1000


def content_of(rows: Iterable[Row]) -> bytes:
    """Convert rows to the bytes of a Parquet file.

    Raises:
        MissingPackageError: pyarrow is not installed.
    """
    schema = schema_of(PREDICTION_COLUMNS)
    left = iter(rows)
    parts = iter(lambda: list(islice(left, _ROWS_AT_ONCE)), [])
    return parquet_of((arrow().Table.from_pylist([_valid(row) for row in part], schema=schema) for part in parts), schema)


def _valid(row: Row) -> Row:
    """Replace invalid Unicode in a row's texts, such as file names."""
    texts = {name: value for name, value in row.items() if isinstance(value, str)}
    return row | {name: value.encode("utf-8", "replace").decode() for name, value in texts.items()}
