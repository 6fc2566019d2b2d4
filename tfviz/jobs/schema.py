"""The columns of a job's tables.

They are stated in full, because a table without a single error would otherwise get a column of type
null, and the parts could not be read as one dataset.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfviz.errors import MissingPackageError, install_command

if TYPE_CHECKING:
    import pyarrow as pa

EXPLAINED, FAILED = "explained", "failed"


def arrow() -> pa:
    """Return pyarrow.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingPackageError(f"Jobs write Parquet files, which needs pyarrow. Run: {install_command('jobs')}") from error
    return pyarrow


def input_schema() -> pa.Schema:
    """Return the columns of the inputs: a unique path, and the bytes behind it."""
    pa = arrow()
    return pa.schema(
        [
            ("path", pa.string()),
            ("source", pa.string()),
            ("offset", pa.int64()),
            ("length", pa.int64()),
        ]
    )


def result_schema() -> pa.Schema:
    """Return the columns of the results: one row per image, method and target.

    An image that fails has one row, with its error and no method.
    """
    pa = arrow()
    return pa.schema(
        [
            ("path", pa.string()),
            ("status", pa.string()),
            ("error", pa.string()),
            ("height", pa.int32()),
            ("width", pa.int32()),
            ("classes", pa.list_(pa.int32())),
            ("scores", pa.list_(pa.float32())),
            ("target", pa.int32()),
            ("target_name", pa.string()),
            ("method", pa.string()),
            ("layer", pa.string()),
            ("map", pa.binary()),
            ("map_shape", pa.list_(pa.int32())),
            ("overlay", pa.binary()),
        ]
    )
