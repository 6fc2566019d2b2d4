"""Find the image position of each token in a vision transformer.

Reshapes, class tokens and registers determine which token represents which patch. This module
therefore marks each position with its row and column, and passes the marks through the operations
that only move elements. The marks that arrive at the tokens are the tokens' positions. This works
for any patch embedding, prefix and image size, because it does not rely on sizes declared by
layers. Similarly, this module passes marked tokens through the head to determine which tokens the
head reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfviz.graph.graph import Graph, Step, Value
from tfviz.graph.operations import (
    Choice,
    Constant,
    Crop,
    Deviation,
    Difference,
    Elementwise,
    Identity,
    Linear,
    Moments,
    Move,
    Normalization,
    Opaque,
    Pad,
    Product,
    Relu,
    Resize,
    Sum,
    Upsample,
    Window,
)

Sizes = Sequence[Sequence[int]]  # each input's size without the batch axis
Marks = tuple[np.ndarray, np.ndarray]  # two numbers per element; 0 for an unmarked element

_POINTWISE = (Choice, Difference, Elementwise, Identity, Normalization, Product, Relu, Sum)
_NEW_POSITIONS = (Pad, Crop, Upsample, Resize)
_BASE = 128  # bfloat16 represents integers exactly up to 256


@dataclass(frozen=True)
class TokenGrid:
    """The patch grid in a token sequence.

    Attributes:
        rows, columns: the grid size.
        index: each patch's token index, row by row.
        count: the number of tokens, including class tokens and registers.
    """

    rows: int
    columns: int
    index: np.ndarray
    count: int

    def patches(self, tokens: tf.Tensor) -> tf.Tensor:
        """Select the patches and arrange them in the grid, giving shape (N, rows, columns, …)."""
        first, number = int(self.index[0]), len(self.index)
        if np.array_equal(self.index, np.arange(first, first + number)):
            patches = tokens[:, first : first + number]
        else:
            patches = tf.gather(tokens, self.index, axis=1)
        sizes = [tf.shape(tokens)[axis] if n is None else n for axis, n in enumerate(tokens.shape)]
        return tf.reshape(patches, [-1, self.rows, self.columns, *sizes[2:]])

    def __str__(self) -> str:
        others = self.count - len(self.index)
        return f"{self.rows} × {self.columns} patches" + (f" + {others}" if others else "")


def token_grids(graph: Graph, values: Iterable[Value], sizes: Sizes) -> dict[Value, TokenGrid]:
    """Return a token grid for each value that is a token sequence.

    An attention layer's output has the grid of the residual sum that it contributes to.

    Args:
        graph: the graph.
        values: the values.
        sizes: the size of each input.
    """
    values = [value for value in values if value.rank == 3]
    sums = {value: _sum_behind(graph, value) for value in values}
    marks = _marks_at(graph, [*values, *sums.values()], sizes)
    found = {value: marks.get(value, marks.get(sums[value])) for value in values}
    grids = {value: _grid(*one) for value, one in found.items() if one is not None}
    return {value: grid for value, grid in grids.items() if grid is not None}


def known_sizes(graph: Graph) -> list[tuple[int, ...]] | None:
    """Return each input's size without the batch axis, or None if any size is unknown."""
    sizes = [tuple(n for n in value.shape[1:] if n is not None) for value in graph.inputs]
    is_known = all(len(size) == value.rank - 1 for size, value in zip(sizes, graph.inputs, strict=True))
    return sizes if is_known else None


def position_counts(graph: Graph, values: Iterable[Value], sizes: Sizes) -> dict[Value, int]:
    """Count the distinct patches in each value, omitting values that mix patches.

    Args:
        graph: the graph.
        values: the values.
        sizes: the size of each input.
    """
    values = list(values)
    marks = _marks_at(graph, values, sizes)
    return {value: _different(*marks[value]) for value in values if value in marks}


def _different(rows: np.ndarray, columns: np.ndarray) -> int:
    """Count the distinct marks in a value."""
    if rows.strides[-1] == 0:  # a projection's channels share one mark
        rows, columns = rows[..., :1], columns[..., :1]
    pairs = np.rint(1000 * rows.astype(np.float64)) * 1e8 + np.rint(1000 * columns)
    return len(set(pairs[(rows > 0) & (columns > 0)].tolist()))


def _marks_at(graph: Graph, values: Iterable[Value], sizes: Sizes) -> dict[Value, Marks]:
    """Return the marks for the given values and all values before them."""
    marks = {value: _positions(size) for value, size in zip(graph.inputs, sizes, strict=True) if len(size) in (2, 3)}
    with tf.init_scope():
        _follow(graph.before(values), marks, {}, from_image=True)
    return marks


def _sum_behind(graph: Graph, value: Value) -> Value:
    """Return the residual sum that a value contributes to, or the value itself if there is none."""
    behind = value
    while len(readers := graph.consumers(behind)) == 1 and isinstance(readers[0].operation, _POINTWISE):
        behind = readers[0].outputs[0]
        if isinstance(readers[0].operation, Sum):
            return behind
    return value


def tokens_read(graph: Graph, tokens: Value, count: int, sizes: Sizes) -> np.ndarray:
    """Return the indices of tokens that reach the outputs.

    Args:
        graph: the graph.
        tokens: the value that contains the tokens. All paths to the outputs go through it.
        count: the number of tokens.
        sizes: the size of each input.
    """
    shape, numbers = (1, count, tokens.shape[-1] or 1), np.arange(count)[None, :, None]
    high, low = (np.broadcast_to(1.0 + part, shape) for part in divmod(numbers, _BASE))
    marks = {tokens: (high, low)}
    with tf.init_scope():
        known = {value: tf.zeros((1, *size), value.dtype) for value, size in zip(graph.inputs, sizes, strict=True)}
        mixed = _follow(graph.before(graph.outputs, given=[tokens]), marks, known, from_image=False)
    read: set[int] = set()
    for value in (*mixed, *graph.outputs):
        if value in marks:
            first, second = (np.rint(part).astype(int) for part in marks[value])
            read.update(((first - 1) * _BASE + second - 1)[(first > 0) & (second > 0)].tolist())
    return np.array(sorted(read))


def _positions(size: Sequence[int]) -> Marks:
    """Return each element's row and column in an image or map, counting from 1."""
    flat = (1, *size[:2], *[1] * (len(size) - 2))
    rows, columns = (np.broadcast_to(1.0 + part.reshape(flat), (1, *size)) for part in np.indices(size[:2]))
    return rows, columns


def _grid(rows: np.ndarray, columns: np.ndarray) -> TokenGrid | None:
    """Return the token grid of (1, tokens, channels) marks, or None if they form no grid."""
    if rows.shape[0] != 1:
        return None  # the batch axis contains windows
    is_marked = np.asarray(rows[0] > 0)
    is_patch = np.asarray(is_marked.all(axis=-1))
    if not is_patch.any() or np.any(is_marked.any(axis=-1) != is_patch):
        return None
    at = [np.unique(part[0].mean(axis=-1)[is_patch].round(3), return_inverse=True) for part in (rows, columns)]
    (heights, row), (widths, column) = at
    place = row * len(widths) + column
    if sorted(place) != list(range(len(heights) * len(widths))):
        return None
    index = np.flatnonzero(is_patch)[np.argsort(place)]
    return TokenGrid(len(heights), len(widths), index, rows.shape[1])


def _follow(steps: Iterable[Step], marks: dict[Value, Marks], known: dict[Value, tf.Tensor], *, from_image: bool) -> set[Value]:
    """Propagate the marks through the steps until a step mixes marked positions.

    Args:
        steps: the steps, in execution order.
        marks: the initial marks. Marks for later values are added to this dict.
        known: the unmarked tensors for a batch of one. Steps that move values may read them as
            sizes or constants.
        from_image: whether a convolution's output gets new positions. If False, a convolution
            counts as mixing tokens.

    Returns:
        The marked values that some step mixes.
    """
    mixed: set[Value] = set()
    for step in steps:
        try:
            made = _made(step, marks, known, from_image)
        except Exception:  # A step that fails on marks does more than move elements.
            made = None
        if made is None:
            mixed.update(value for value in step.inputs if value in marks)
        else:
            marks.update({value: one for value, one in zip(step.outputs, made, strict=True) if one is not None})
    return mixed


def _made(step: Step, marks: dict[Value, Marks], known: dict[Value, tf.Tensor], from_image: bool) -> list[Marks | None] | None:
    """Return each output's marks (None if unmarked), or None if the step mixes the marks."""
    operation, marked = step.operation, [value for value in step.inputs if value in marks]
    if isinstance(operation, Constant) or not marked:
        if all(value in known or value in marks for value in step.inputs):
            given = [known[value] if value in known else _tensor(value, marks[value][0]) for value in step.inputs]
            known.update(zip(step.outputs, step.compute(given), strict=True))
        return [None] * len(step.outputs)
    starts_anew = isinstance(operation, (Window, Opaque, *_NEW_POSITIONS)) or _extends(operation)
    if from_image and starts_anew and step.outputs[0].rank == 4:
        made = step.compute([_tensor(value, marks[value][0]) for value in step.inputs])[0]
        return [_positions(made.shape[1:])]
    if isinstance(operation, Move):
        pairs = [_moved(step, marks, known, part) for part in (0, 1)]
        return [(rows, columns) for rows, columns in zip(*pairs, strict=True)]
    if isinstance(operation, Linear) and not _extends(operation) and not operation.mixes_pixels:
        return _projected(step, marks[marked[0]], from_image)
    if isinstance(operation, (Deviation, Moments, Window)):
        return _reduced(step, marks[marked[0]])
    return _shared(step, [marks[value] for value in marked]) if isinstance(operation, _POINTWISE) else None


def _extends(operation: object) -> bool:
    return isinstance(operation, Linear) and operation.extent is not None


def _moved(step: Step, marks: dict[Value, Marks], known: dict[Value, tf.Tensor], part: int) -> list[np.ndarray]:
    """Pass the marks' rows or columns through a step. Constants that the step adds cancel out."""

    def through(scale: float) -> list[np.ndarray]:
        given = [_tensor(x, scale * marks[x][part]) if x in marks else known[x] for x in step.inputs]
        return [np.asarray(tf.cast(y, tf.float32)) for y in step.compute(given)]

    return [y - zero for y, zero in zip(through(1.0), through(0.0), strict=True)]


def _projected(step: Step, marks: Marks, from_image: bool) -> list[Marks | None] | None:
    """Return the marks after a product along the last axis, or None if the product mixes marks."""
    if not from_image and any(np.ptp(part, axis=-1).any() for part in marks):
        return None
    rank = marks[0].ndim - 1
    added = [size or 1 for size in step.outputs[0].shape[rank:]]
    means = (part.mean(axis=-1) for part in marks)
    rows, columns = (np.broadcast_to(one.reshape(*one.shape, *[1] * len(added)), (*one.shape, *added)) for one in means)
    return [(rows, columns)]


def _reduced(step: Step, marks: Marks) -> list[Marks | None] | None:
    """Return the marks after a statistic of each token's channels, or None if it mixes tokens."""
    one, shape = step.inputs[0], marks[0].shape
    if any(np.ptp(part, axis=-1).any() for part in marks):
        return None
    factors, *made = (step.compute([_tensor(one, part)]) for part in (np.ones(shape), *marks))
    for outputs in zip(factors, *made, strict=True):
        factor, *values = (np.asarray(tf.cast(y, tf.float32)) for y in outputs)
        fits = factor.shape in (shape[:-1], (*shape[:-1], 1))
        for value, part in zip(values, marks, strict=True):
            if not fits or np.any(abs(value - factor * part[..., 0].reshape(factor.shape)) > 1e-3 * max(factor.max(), 1)):
                return None
    rows, columns = (part[..., 0].reshape(factor.shape) for part in marks)
    return [(rows, columns) for _ in step.outputs]


def _shared(step: Step, marks: Sequence[Marks]) -> list[Marks | None] | None:
    """Return the marks shared by the inputs of an elementwise operation, or None if they differ."""
    largest = max(marks, key=lambda one: one[0].size)
    for one in (one for one in marks if one is not largest):
        if any(np.any(np.broadcast_to(part, whole.shape) != whole) for part, whole in zip(one, largest, strict=True)):
            return None
    return [largest] if largest[0].ndim == step.outputs[0].rank else None


def _tensor(value: Value, array: np.ndarray) -> tf.Tensor:
    return tf.constant(np.ascontiguousarray(array), value.dtype or "float32")
