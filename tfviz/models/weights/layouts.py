"""How files that are not Keras' own lay out a network's arrays, and whether a file fits.

A layout lists every array that a file must hold: under which name, for which weight of which layer,
and what each of its axes counts. So the widths of the layers can be read off a file, what does not
fit can be called by its name, and each array can be transposed to Keras' order.
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
# the product of its terms; a str is the width of that name, an int itself
Axis = tuple[int | str, ...]
_MOST_LISTED = 8


@dataclass(frozen=True)
class StoredArray:
    """One array of a file.

    name: what the file calls it.
    layer, weight: where it belongs, such as "block1_conv1" and "kernel".
    axes: what its axes count, such as (("fc1",), ("block5_conv3", 7, 7)) for a matrix of units by
        flattened channels.
    order: of all the terms of `axes`, as Keras has them; (2, 3, 1, 0) makes of the above (7, 7,
        channels, units).
    """

    name: str
    layer: str
    weight: str
    axes: tuple[Axis, ...]
    order: tuple[int, ...]

    def shape(self, widths: Mapping[str, int]) -> Shape:
        """The shape that the array must have in the file."""
        return tuple(math.prod(_terms(axis, widths)) for axis in self.axes)

    def turned(self, array: np.ndarray, widths: Mapping[str, int]) -> np.ndarray:
        """The array with its terms apart and in Keras' order, a view; in memory order, it is the
        layer's weight.
        """
        terms = [n for axis in self.axes for n in _terms(axis, widths)]
        return array.reshape(terms).transpose(self.order)


def _terms(axis: Axis, widths: Mapping[str, int]) -> list[int]:
    return [widths[term] if isinstance(term, str) else term for term in axis]


@dataclass(frozen=True)
class Layout:
    """A kind of file for one network.

    network: the name that `networks.build` knows.
    arrays: what the file holds.
    fixed_size: (height, width) in pixels, the only size of image that the network can take; None:
        any.
    preprocessing: of a network with such weights, for images of a size.
    """

    network: str
    arrays: tuple[StoredArray, ...]
    fixed_size: Size | None
    preprocessing: Callable[[Size], Preprocessing]

    def widths(self, shapes: Mapping[str, Shape], standard: Mapping[str, int]) -> dict[str, int]:
        """The width of every layer, as most of the arrays that count it have it; the standard one
        where none does.
        """
        votes: dict[str, Counter[int]] = defaultdict(Counter)
        for stored in self.arrays:
            shape = shapes.get(stored.name, ())
            if len(shape) == len(stored.axes):
                for axis, length in zip(stored.axes, shape, strict=True):
                    _vote(votes, axis, length)
        return {
            name: max(votes[name], key=lambda width: (votes[name][width], width == usual), default=usual)
            for name, usual in standard.items()
        }

    def require_fit(self, shapes: Mapping[str, Shape], widths: Mapping[str, int], file: str, hint: str = "") -> None:
        """Raise WeightsError, which lists what is missing, too much, or of a wrong shape, unless
        the file fits.
        """
        expected = {stored.name: stored.shape(widths) for stored in self.arrays}
        missing = [f"{name} {shape}" for name, shape in expected.items() if name not in shapes]
        extra = [f"{name} {shape}" for name, shape in shapes.items() if name not in expected]
        wrong = [
            f"{name} {shapes[name]}, expected {shape}"
            for name, shape in expected.items()
            if name in shapes and shapes[name] != shape
        ]
        found = (("not in the file", missing), ("only there", extra), ("of another shape", wrong))
        if parts := [f"{what}: {_listed(names)}" for what, names in found if names]:
            raise WeightsError(f"{file} does not fit {self.network}; {'; '.join(parts)}.{hint}")

    def is_fit(self, names: Iterable[str]) -> bool:
        """Whether a file with arrays of these names may be of this kind."""
        return {stored.name for stored in self.arrays} == set(names)


def _vote(votes: dict[str, Counter[int]], axis: Axis, length: int) -> None:
    name = next((term for term in axis if isinstance(term, str)), None)
    factor = math.prod(term for term in axis if isinstance(term, int))
    if name is not None and length and length % factor == 0:
        votes[name][length // factor] += 1


def _listed(names: list[str]) -> str:
    rest = len(names) - _MOST_LISTED
    return ", ".join(names[:_MOST_LISTED]) + (f" and {rest} more" if rest > 0 else "")
