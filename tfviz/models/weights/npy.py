"""Read the .npy files for TensorFlow 1 without running code in them.

These files contain pickles. A pickle is a program that may call any function by name. This reader
allows only the names that occur in NumPy's pickles, and maps each to a harmless substitute, such as
the small classes below, which record the contents. The arrays are then built from these records.
Any other name raises an error before it is looked up.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from tfviz.errors import WeightsError
from tfviz.images.files import shown
from tfviz.models.weights.files import TRUNCATED, beginning

_MAGIC = b"\x93NUMPY"
_EXPECTED = "Expected a dictionary that maps layers to [kernel, bias]."
_NUMBER_TYPES = re.compile(r"[fiu][1248]")


class _Dtype:
    """Records a pickled numpy.dtype."""

    def __init__(self, code: str | bytes, *_: object) -> None:
        self.code, self.byte_order = _text(code), "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.byte_order = _text(state[1])

    def dtype(self) -> np.dtype:
        if not _NUMBER_TYPES.fullmatch(self.code) or self.byte_order not in "<>=|":
            raise WeightsError(
                f"It contains an array of type {self.code!r} instead of numbers. Save the arrays again as floats."
            )
        return np.dtype(self.byte_order.replace("|", "=") + self.code)


class _Array:
    """Records a pickled numpy.ndarray.

    The array contains numbers or objects. NumPy stores a dictionary as an array of objects.
    """

    def __init__(self, *_: object) -> None:
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state

    def content(self) -> Any:
        """Return the contents as an array of numbers or a list of objects."""
        _, shape, dtype, is_fortran, data = self.state
        if isinstance(data, list):
            return data
        return np.frombuffer(data, dtype.dtype()).reshape(shape, order="F" if is_fortran else "C")


def _bytes(text: str, codec: str | bytes) -> bytes:
    """Convert text to bytes, because old pickle protocols store bytes as text."""
    if _text(codec) != "latin1":
        raise WeightsError(f"It uses the codec {codec!r} instead of latin1. Save the file again with Python 3.")
    return text.encode("latin1")


def _text(text: str | bytes) -> str:
    return text.decode("latin1") if isinstance(text, bytes) else text


_ALLOWED: Mapping[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("_codecs", "encode"): _bytes,
    ("collections", "OrderedDict"): dict,
}


class _BoundedFile:
    """A file that rejects reads beyond its end, so that a pickle cannot exhaust memory."""

    def __init__(self, file: Any) -> None:
        self._file, self.readline = file, file.readline
        start = file.tell()
        self._end = file.seek(0, 2)
        file.seek(start)

    def read(self, count: int) -> bytes:
        if count > self._end - self._file.tell():
            raise EOFError
        return self._file.read(count)


class _Unpickler(pickle._Unpickler):  # type: ignore[name-defined,misc]
    """An unpickler that looks up only allowed names.

    It is based on the pure-Python unpickler, whose memo is a dictionary. The C implementation would
    allocate memory up to the highest memo index in the pickle.
    """

    dispatch: ClassVar[dict[int, Any]] = {
        code: run for code, run in pickle._Unpickler.dispatch.items() if code != pickle.BYTEARRAY8[0]
    }  # type: ignore[attr-defined]

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise WeightsError(
                f"It refers to {module}.{name}, but only NumPy arrays are allowed. No code from the file was run. Do not use "
                "the file unless you trust its source."
            )
        return _ALLOWED[module, name]


def read_npy(path: str | Path) -> dict[str, np.ndarray]:
    """Read a .npy file containing a dictionary that maps layer names to [kernel, bias].

    Args:
        path: the file to read.

    Returns:
        The arrays, named "<layer> kernel" and "<layer> bias".

    Raises:
        WeightsError: the file is not a .npy file, is truncated or damaged, or contains something
            other than names and arrays.
    """
    with Path(path).open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise WeightsError(f"{shown(path)} is not a NumPy file. {beginning(path)}. Pass a .npy file.")
        file.seek(0)
        try:
            return _arrays(_content(file))
        except WeightsError as error:
            raise WeightsError(f"{shown(path)} cannot be used. {error}") from error
        except Exception as error:  # a damaged pickle can raise anything
            raise WeightsError(f"{shown(path)} {TRUNCATED}") from error


def _content(file: Any) -> Any:
    """Return the single object in the file, which NumPy stores in a zero-dimensional array."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype != np.dtype(object):
        raise WeightsError(f"It contains an array of type {dtype} and shape {shape}. {_EXPECTED}")
    # Python 2 pickled array contents as text. encoding="bytes" prevents decoding.
    objects = _Unpickler(_BoundedFile(file), encoding="bytes").load().content()
    return objects[0] if len(objects) == 1 else objects


def _arrays(content: Any) -> dict[str, np.ndarray]:
    if not isinstance(content, dict) or not content:
        received = "nothing" if content in ({}, None) else type(content).__name__
        raise WeightsError(f"It contains {received}. {_EXPECTED}")
    arrays: dict[str, np.ndarray] = {}
    while content:  # each pair is released as soon as it is converted
        layer, pair = content.popitem()
        pair = pair.content() if isinstance(pair, _Array) else pair
        if not isinstance(pair, (list, tuple)) or not all(isinstance(one, _Array) for one in pair) or len(pair) != 2:
            raise WeightsError(f"Layer {_text(layer)!r} does not contain the arrays [kernel, bias]. {_EXPECTED}")
        arrays |= {f"{_text(layer)} bias": pair[1].content(), f"{_text(layer)} kernel": pair[0].content()}
    return dict(reversed(arrays.items()))
