"""Read .safetensors files.

A file consists of the header's length in eight bytes, the header in JSON, and the arrays. The
header maps each array's name to its type, shape and offsets. The arrays are memory-mapped, so an
array uses memory only when it is read.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from tfviz.errors import WeightsError
from tfviz.images.files import shown
from tfviz.models.weights.files import TRUNCATED, beginning

_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 100_000_000  # the format's limit
_BFLOAT16 = "BF16"  # This type is the upper half of a float32. NumPy has no such type.
_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", _BFLOAT16: "<u2", "I64": "<i8", "I32": "<i4", "U8": "|u1"}


def read_safetensors(path: str | Path) -> dict[str, np.ndarray]:
    """Read the arrays in a .safetensors file.

    Args:
        path: the file to read.

    Returns:
        The arrays, keyed by name. They are read-only views of the file, except bfloat16 arrays,
        which are converted to float32.

    Raises:
        WeightsError: the file is not a safetensors file, is truncated, or contains an unsupported
            number type.
    """
    size = Path(path).stat().st_size
    with Path(path).open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        if not 2 <= length <= _MAX_HEADER_BYTES or not (start := file.read(min(length, size))).startswith(b"{"):
            raise WeightsError(f"{shown(path)} is not a safetensors file. {beginning(path)}. Pass a .safetensors file.")
    try:
        header = json.loads(start)
        data = np.memmap(path, np.uint8, "r", offset=_LENGTH_BYTES + length)
        return {name: _array(data, name, entry) for name, entry in header.items() if name != "__metadata__"}
    except WeightsError as error:
        raise WeightsError(f"{shown(path)} cannot be used. {error}") from error
    except Exception as error:  # a damaged header can raise anything
        raise WeightsError(f"{shown(path)} {TRUNCATED}") from error


def _array(data: np.ndarray, name: str, entry: dict[str, Any]) -> np.ndarray:
    if entry["dtype"] not in _TYPES:
        raise WeightsError(
            f"It stores {name} as {entry['dtype']}. Supported types: {', '.join(_TYPES)}. Convert this array to a supported "
            "type."
        )
    dtype, (begin, end) = np.dtype(_TYPES[entry["dtype"]]), entry["data_offsets"]
    if not 0 <= begin <= end <= len(data) or end - begin != math.prod(entry["shape"]) * dtype.itemsize:
        raise EOFError
    array = np.frombuffer(data[begin:end], dtype).reshape(entry["shape"])
    if entry["dtype"] == _BFLOAT16:
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array
