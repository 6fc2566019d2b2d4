"""Reading .safetensors files.

Eight bytes that say how long the header is, the header in JSON, name -> type, shape and place, and then the arrays one
after another. They are not read but mapped, so that each costs memory only when it is used.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from tfviz.errors import WeightsError
from tfviz.images.files import shown
from tfviz.models.weights.files import CUT_SHORT, beginning

_LENGTH_BYTES = 8
_LONGEST_HEADER = 100_000_000  # bytes, as the format itself has it
_BFLOAT16 = "BF16"  # the upper half of a float32; NumPy has no such type
_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", _BFLOAT16: "<u2", "I64": "<i8", "I32": "<i4", "U8": "|u1"}


def read_safetensors(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a .safetensors file by name, read-only views of the file.

    Raises WeightsError for a file that is none, is cut short, or holds numbers of a type that is not known here.
    """
    size = Path(path).stat().st_size
    with Path(path).open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        if not 2 <= length <= _LONGEST_HEADER or not (start := file.read(min(length, size))).startswith(b"{"):
            raise WeightsError(f"{shown(path)} is not a safetensors file, whatever its name: {beginning(path)}.")
    try:
        header = json.loads(start)
        data = np.memmap(path, np.uint8, "r", offset=_LENGTH_BYTES + length)
        return {name: _array(data, name, about) for name, about in header.items() if name != "__metadata__"}
    except WeightsError as error:
        raise WeightsError(f"{shown(path)} {error}") from error
    except Exception as error:  # a damaged header fails in whatever its bytes ask for
        raise WeightsError(f"{shown(path)} {CUT_SHORT}") from error


def _array(data: np.ndarray, name: str, about: dict[str, Any]) -> np.ndarray:
    if about["dtype"] not in _TYPES:
        raise WeightsError(f"holds {name} as {about['dtype']}; expected one of {', '.join(_TYPES)}.")
    dtype, (begin, end) = np.dtype(_TYPES[about["dtype"]]), about["data_offsets"]
    if not 0 <= begin <= end <= len(data) or end - begin != math.prod(about["shape"]) * dtype.itemsize:
        raise WeightsError(CUT_SHORT)
    array = np.frombuffer(data[begin:end], dtype).reshape(about["shape"])
    if about["dtype"] == _BFLOAT16:
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array
