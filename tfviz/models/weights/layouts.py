"""Describe how weights files from other tools store arrays, and check whether a file fits.

A layout lists every array that a file must contain, with its name, its layer and weight, and the
meaning of each axis. With a layout, layer widths can be inferred from a file, arrays that do not
fit can be reported by name, and each array can be transposed to Keras' axis order.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from tfviz.errors import WeightsError
from tfviz.images.preprocessing import Preprocessing, Size

Shape = tuple[int, ...]
# The length of an axis is the product of its terms. A term is a number or the name of a width.
Axis = tuple[int | str, ...]
_MAX_LISTED = 8


@dataclass(frozen=True)
class StoredArray:
    """One array in a weights file.

    Attributes:
        name: the array's name in the file.
        layer: the layer that the array belongs to, such as "block1_conv1".
        weight: the layer's weight, such as "kernel".
        axes: the terms of each axis, such as (("fc1",), ("block5_conv3", 7, 7)) for a matrix with a
            row per unit and a column per element of the flattened map.
        order: the order of the terms in Keras, as indices into all terms in `axes`. In the example,
            (2, 3, 1, 0) means (7, 7, channels, units).
    """

    name: str
    layer: str
    weight: str
    axes: tuple[Axis, ...]
    order: tuple[int, ...]

    def shape(self, widths: Mapping[str, int]) -> Shape:
        """Return the shape that the array must have in the file."""
        return tuple(math.prod(_terms(axis, widths)) for axis in self.axes)

    def to_keras_order(self, array: np.ndarray, widths: Mapping[str, int]) -> np.ndarray:
        """Return a view of an array with one axis per term, in Keras' order.

        The view's elements are in the same order as the elements of the Keras weight.
        """
        terms = [n for axis in self.axes for n in _terms(axis, widths)]
        return array.reshape(terms).transpose(self.order)


def _terms(axis: Axis, widths: Mapping[str, int]) -> list[int]:
    return [widths[term] if isinstance(term, str) else term for term in axis]


@dataclass(frozen=True)
class Layout:
    """Describes how one file format stores the arrays of one network.

    Attributes:
        network: a name that `networks.build` accepts.
        arrays: the arrays in the file.
        fixed_size: the only supported image size, (height, width) in pixels. None means any size.
        preprocessing: a function from an image size to the preprocessing that these weights need.
    """

    network: str
    arrays: tuple[StoredArray, ...]
    fixed_size: Size | None
    preprocessing: Callable[[Size], Preprocessing]

    def widths(self, shapes: Mapping[str, Shape], standard: Mapping[str, int]) -> dict[str, int]:
        """Infer each layer's width by a majority vote among the arrays whose shapes depend on it.

        A layer without such an array keeps its standard width.
        """
        votes: dict[str, Counter[int]] = defaultdict(Counter)
        for stored in self.arrays:
            shape = shapes.get(stored.name, ())
            if len(shape) == len(stored.axes):
                for axis, length in zip(stored.axes, shape, strict=True):
                    _vote(votes, axis, length)
        return {
            name: max(votes[name], key=lambda width: (votes[name][width], width == default_width), default=default_width)
            for name, default_width in standard.items()
        }

    def require_fit(self, shapes: Mapping[str, Shape], widths: Mapping[str, int], file: str, hint: str = "") -> None:
        """Raise WeightsError unless a file's arrays have the required names and shapes.

        The message lists missing, unexpected and mis-shaped arrays.
        """
        expected = {stored.name: stored.shape(widths) for stored in self.arrays}
        missing = [f"{name} {shape}" for name, shape in expected.items() if name not in shapes]
        unexpected = [f"{name} {shape}" for name, shape in shapes.items() if name not in expected]
        misshaped = [
            f"{name} {shapes[name]} (expected {shape})"
            for name, shape in expected.items()
            if name in shapes and shapes[name] != shape
        ]
        found = (("Missing", missing), ("Unexpected", unexpected), ("Mis-shaped", misshaped))
        if parts := [f"{kind}: {_listed(names)}." for kind, names in found if names]:
            raise WeightsError(f"The weights in {file} do not match {self.network}. {' '.join(parts)} {hint}")

    def has_names(self, names: Iterable[str]) -> bool:
        """Return whether the names are exactly those of the arrays in this layout."""
        return {stored.name for stored in self.arrays} == set(names)


def _vote(votes: dict[str, Counter[int]], axis: Axis, length: int) -> None:
    name = next((term for term in axis if isinstance(term, str)), None)
    factor = math.prod(term for term in axis if isinstance(term, int))
    if name is not None and length and length % factor == 0:
        votes[name][length // factor] += 1


def _listed(names: list[str]) -> str:
    rest = len(names) - _MAX_LISTED
    return ", ".join(names[:_MAX_LISTED]) + (f" and {rest} more" if rest > 0 else "")
