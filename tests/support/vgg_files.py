"""The vgg16.npy and vgg19.npy of TensorFlow 1: files like them, and what such a network computes,
in NumPy alone.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

COUNTS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
Layers = Mapping[str, Sequence[np.ndarray]]


def random_vgg(
    name: str, channels: Sequence[int] = (4, 5, 6, 7, 8), units: Sequence[int] = (12, 11), classes: int = 9
) -> dict[str, list[np.ndarray]]:
    """Random layers by their names in such a file, which keep activations at about 1."""
    rng, layers, source = np.random.default_rng(0), {}, 3

    def random(*shape: int) -> list[np.ndarray]:
        kernel = rng.standard_normal(shape, np.float32)
        kernel *= np.float32(np.sqrt(2 / np.prod(shape[:-1])))
        return [kernel, rng.uniform(-0.1, 0.1, shape[-1]).astype(np.float32)]

    for block, (count, width) in enumerate(zip(COUNTS[name], channels, strict=True), 1):
        for number in range(1, count + 1):
            layers[f"conv{block}_{number}"] = random(3, 3, source, width)
            source = width
    layers["fc6"], layers["fc7"] = random(49 * source, units[0]), random(*units)
    return layers | {"fc8": random(units[1], classes)}


def logits(layers: Layers, images: np.ndarray) -> np.ndarray:
    """For images (N, 224, 224, 3), of their own type of number."""
    x = images
    for block in range(1, 6):
        for name in sorted(name for name in layers if name.startswith(f"conv{block}_")):
            x = np.maximum(_convolved(x, *layers[name]), 0)
        n, height, width, channels = x.shape
        x = x.reshape(n, height // 2, 2, width // 2, 2, channels).max((2, 4))
    x = x.reshape(len(x), -1)
    for name in ("fc6", "fc7"):
        x = np.maximum(x @ layers[name][0] + layers[name][1], 0)
    return x @ layers["fc8"][0] + layers["fc8"][1]


def _convolved(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    height, width = x.shape[1:3]
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return sum(padded[:, i : i + height, j : j + width] @ kernel[i, j] for i in range(3) for j in range(3)) + bias


def write_npy(path: Path, content: Any) -> Path:
    """As numpy.save does it today."""
    np.save(path, np.array(content, dtype=object), allow_pickle=True)
    return path


class _Python2Pickler(pickle._Pickler):
    """Writes as Python 2 and its NumPy did: bytes as text of 8 bits, numpy.core rather than
    numpy._core.
    """

    dispatch: ClassVar[dict[type, Any]] = dict(pickle._Pickler.dispatch)

    def save_text(self, text: str | bytes) -> None:
        data = text.encode("latin1") if isinstance(text, str) else text
        self.write(pickle.BINSTRING + len(data).to_bytes(4, "little") + data)
        self.memoize(text)

    dispatch[str] = dispatch[bytes] = save_text

    def save_global(self, obj: Any, name: str | None = None) -> None:
        module = obj.__module__.replace("numpy._core", "numpy.core")
        self.write(pickle.GLOBAL + f"{module}\n{name or obj.__name__}\n".encode())
        self.memoize(obj)

    dispatch[type(np.array)] = dispatch[type] = save_global


def write_python_2_npy(path: Path, content: Any) -> Path:
    """As numpy.save did it under Python 2, which is what the files that people have come from."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
        _Python2Pickler(file, protocol=2).dump(np.array(content, dtype=object))
    return path
