"""Define table columns and write Parquet files.

Column types are explicit. Otherwise, a table without errors would get an error column of type null,
and the parts could not be read as one dataset.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from tfviz.errors import MissingPackageError, install_command
from tfviz.row_columns import COLUMNS

if TYPE_CHECKING:
    import pyarrow as pa


def arrow() -> pa:
    """Import and return pyarrow.

    Raises:
        MissingPackageError: pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingPackageError(
            f"Parquet files need pyarrow, which is not installed. Run: {install_command('jobs')}"
        ) from error
    return pyarrow


def schema_of(columns: Mapping[str, str]) -> pa.Schema:
    """Return the schema for columns whose types are given in words, such as "list of int32"."""
    return arrow().schema([(name, _type_of(words)) for name, words in columns.items()])


def _type_of(words: str) -> pa.DataType:
    of_list = words.removeprefix("list of ")
    alias = arrow().type_for_alias(of_list)
    return arrow().list_(alias) if of_list != words else alias


def input_schema() -> pa.Schema:
    """Return the schema of input tables: each image's unique path and where to find its bytes."""
    return schema_of({"path": "string", "source": "string", "offset": "int64", "length": "int64"})


def result_schema() -> pa.Schema:
    """Return the schema of result tables, which have one row per image, method and target.

    A failed image has one row with its error and no method.
    """
    return schema_of(COLUMNS | {"map": "binary", "map_shape": "list of int32", "overlay": "binary"})


def parquet_of(tables: Iterable[pa.Table], schema: pa.Schema) -> bytes:
    """Return the bytes of a Parquet file with the rows of all tables."""
    pa = arrow()
    content = pa.BufferOutputStream()
    with pa.parquet.ParquetWriter(content, schema, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table)
    return bytes(content.getvalue().to_pybytes())
