"""Reading the .npy files of the TensorFlow-1 world, which are pickles, without running what a
pickle may ask for.

A pickle is a program: it may call any function it names. So none is called here. Of all names, the
few that NumPy's own pickles use are known, and each stands for a small class of this file that
takes down what the pickle says; the arrays are made of that afterwards. Any other name is refused
before it is looked up.
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
from tfviz.models.weights.files import CUT_SHORT, beginning

_MAGIC = b"\x93NUMPY"
_NUMBERS = re.compile(r"[fiu][1248]")


class _Dtype:
    """What a pickle says of a numpy.dtype."""

    def __init__(self, code: str | bytes, *_: object) -> None:
        self.code, self.byte_order = _text(code), "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.byte_order = _text(state[1])

    def dtype(self) -> np.dtype:
        if not _NUMBERS.fullmatch(self.code) or self.byte_order not in "<>=|":
            raise WeightsError(f"it holds an array of the type {self.code!r}; expected numbers.")
        return np.dtype(self.byte_order.replace("|", "=") + self.code)


class _Array:
    """What a pickle says of a numpy.ndarray: of numbers, or of objects (as which dictionaries are
    stored).
    """

    def __init__(self, *_: object) -> None:
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state

    def content(self) -> Any:
        """The array, or the list of the objects."""
        _, shape, dtype, is_fortran, data = self.state
        if isinstance(data, list):
            return data
        return np.frombuffer(data, dtype.dtype()).reshape(shape, order="F" if is_fortran else "C")


def _bytes(text: str, codec: str | bytes) -> bytes:
    """As pickles of old protocols spell bytes."""
    if _text(codec) != "latin1":
        raise WeightsError(f"it asks for the codec {codec!r}; expected latin1.")
    return text.encode("latin1")


def _text(text: str | bytes) -> str:
    return text.decode("latin1") if isinstance(text, bytes) else text


_KNOWN: Mapping[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("_codecs", "encode"): _bytes,
    ("collections", "OrderedDict"): dict,
}


class _Bounded:
    """A file that never allocates room for more than it holds, whatever length the
    pickle claims.
    """

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
    """Python's own, whose memo is a dictionary: the one in C makes room for every number up to the
    one that is named.
    """

    dispatch: ClassVar[dict[int, Any]] = {
        code: run for code, run in pickle._Unpickler.dispatch.items() if code != pickle.BYTEARRAY8[0]
    }  # type: ignore[attr-defined]

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise WeightsError(
                f"it asks for {module}.{name}, where only NumPy arrays are allowed. Nothing in it was run. Do not use "
                "it unless you know where it comes from."
            )
        return _KNOWN[module, name]


def read_npy(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a .npy file that holds a dictionary, layer -> [kernel, bias], as "<layer>
    kernel", "<layer> bias".

    Raises WeightsError for a file that is none, is cut short or damaged, or holds anything but
    names and arrays.
    """
    with Path(path).open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise WeightsError(f"{shown(path)} is not a NumPy file, whatever its name: {beginning(path)}.")
        file.seek(0)
        try:
            return _arrays(_content(file))
        except WeightsError as error:
            raise WeightsError(f"{shown(path)} cannot be used: {error}") from error
        except Exception as error:  # a damaged pickle fails in whatever its last bytes ask for
            raise WeightsError(f"{shown(path)} {CUT_SHORT}") from error


def _content(file: Any) -> Any:
    """The one object in the file, an array without axes; Python's own containers are as
    they were.
    """
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype != np.dtype(object):
        raise WeightsError(f"it holds an array of {dtype} {shape}; expected a dictionary, layer -> [kernel, bias].")
    # "bytes", because Python 2 pickled an array's content as text, which would be decoded and
    # encoded again.
    objects = _Unpickler(_Bounded(file), encoding="bytes").load().content()
    return objects[0] if len(objects) == 1 else objects


def _arrays(content: Any) -> dict[str, np.ndarray]:
    if not isinstance(content, dict) or not content:
        came = "nothing" if content in ({}, None) else type(content).__name__
        raise WeightsError(f"it holds {came}; expected a dictionary, layer -> [kernel, bias].")
    arrays: dict[str, np.ndarray] = {}
    while content:  # so that nothing is held twice
        layer, pair = content.popitem()
        pair = pair.content() if isinstance(pair, _Array) else pair
        if not isinstance(pair, (list, tuple)) or not all(isinstance(one, _Array) for one in pair) or len(pair) != 2:
            raise WeightsError(f"the layer {_text(layer)!r} holds no [kernel, bias] of arrays.")
        arrays |= {f"{_text(layer)} bias": pair[1].content(), f"{_text(layer)} kernel": pair[0].content()}
    return dict(reversed(arrays.items()))
