"""Detect handwritten ReLUs: `maximum(x, 0)`, `where(x > 0, x, 0)`, `x * cast(x > 0)` …

The translators map Keras and TensorFlow operations to the same primitives, so one matcher handles
both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from itertools import permutations
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops


class Primitive(Enum):
    """The operations that make up handwritten ReLUs."""

    MAXIMUM = auto()
    MINIMUM = auto()
    WHERE = auto()
    MULTIPLY = auto()
    CLIP = auto()
    CAST = auto()
    GREATER = auto()  # or equal
    LESS = auto()  # or equal


@dataclass(frozen=True)
class Expression:
    """An expression of the form `primitive(*operands)`.

    Attributes:
        primitive: the primitive, or None for any other operation.
        operands: the operands. Constants are given as values, all others as (symbolic) tensors.
        made_by: a function that maps a tensor to the expression that computes it, or to None for an
            input.
    """

    primitive: Primitive | None
    operands: tuple[Any, ...]
    made_by: Callable[[Any], Expression | None]


@dataclass(frozen=True)
class ReluPattern:
    """A handwritten ReLU.

    Attributes:
        x: the input, a symbolic tensor.
        function: a function that computes the same ReLU.
        max_value: the maximum output, or None if the output is unbounded.
    """

    x: Any
    function: Callable[[tf.Tensor], tf.Tensor]
    max_value: float | None = None


def relu_of(expression: Expression) -> ReluPattern | None:
    """Return the ReLU that an expression computes, or None for any other expression."""
    primitive, operands = expression.primitive, expression.operands
    if primitive is Primitive.CLIP and _is_number(operands[1], 0) and _is_number(operands[2], 6):
        # Clips to other ranges are not activations. Most of them limit pixel values.
        return ReluPattern(operands[0], ops.relu6, 6.0)
    if primitive in (Primitive.MAXIMUM, Primitive.MINIMUM) and (limits := _clip(expression)):
        return ReluPattern(limits[0], ops.relu6, 6.0) if limits[1:] == (0, 6) else None
    x = None
    if primitive is Primitive.MAXIMUM:
        x = _of_maximum(expression)
    elif primitive is Primitive.WHERE:
        x = _of_choice(expression)
    elif primitive is Primitive.MULTIPLY:
        x = _of_product(expression)
    return None if x is None else ReluPattern(x, ops.relu)


def _clip(expression: Expression) -> tuple[Any, float, float] | None:
    """Return (x, low, high) if an expression clips x, otherwise None.

    The expression may be maximum(minimum(x, high), low) or minimum(maximum(x, low), high).
    """
    is_outer_low = expression.primitive is Primitive.MAXIMUM
    inner_primitive = Primitive.MINIMUM if is_outer_low else Primitive.MAXIMUM
    for inner, number in permutations(expression.operands, 2):
        limit, maker = _number(number), None if _is_constant(inner) else expression.made_by(inner)
        if limit is not None and maker is not None and maker.primitive is inner_primitive:
            for x, second in permutations(maker.operands, 2):
                other = _number(second)
                if other is not None and not _is_constant(x):
                    return (x, limit, other) if is_outer_low else (x, other, limit)
    return None


def _of_maximum(expression: Expression) -> Any:
    return next((x for x, zero in permutations(expression.operands, 2) if _is_number(zero, 0) and not _is_number(x, 0)), None)


def _of_choice(expression: Expression) -> Any:
    """Return x if an expression is where(x > 0, x, 0) or where(x < 0, 0, x), otherwise None."""
    if len(expression.operands) != 3:  # where(x > 0) returns positions
        return None
    condition, first, second = expression.operands
    comparison = expression.made_by(condition)
    if _is_number(second, 0) and _is_above_zero(comparison, first):
        return first
    return second if _is_number(first, 0) and _is_above_zero(comparison, second, below=True) else None


def _of_product(expression: Expression) -> Any:
    """Return x if an expression is x · cast(x > 0), otherwise None."""
    for x, gate in permutations(expression.operands, 2):
        cast = expression.made_by(gate)
        if cast and cast.primitive is Primitive.CAST and _is_above_zero(cast.made_by(cast.operands[0]), x):
            return x
    return None


def _is_above_zero(comparison: Expression | None, x: Any, *, below: bool = False) -> bool:
    """Return whether a comparison tests x > 0 or, with `below`, x < 0."""
    if comparison is None or comparison.primitive not in (Primitive.GREATER, Primitive.LESS):
        return False
    is_first_larger = (comparison.primitive is Primitive.GREATER) != below
    first, second = comparison.operands if is_first_larger else comparison.operands[::-1]
    return first is x and _is_number(second, 0)


def _is_number(value: Any, number: float) -> bool:
    """Return whether a value is a constant whose elements all equal the given number."""
    return _number(value) == number


def _number(value: Any) -> float | None:
    """Return the value shared by all elements of a constant, or None if they differ.

    For a tensor without a known value, the result is also None.
    """
    if value is None or isinstance(value, (keras.KerasTensor, keras.Variable, tf.Variable)):
        return None
    if tf.is_tensor(value) and not hasattr(value, "numpy"):
        return None
    array = np.asarray(value)
    is_one = array.size > 0 and np.issubdtype(array.dtype, np.number) and bool(np.all(array == array.flat[0]))
    return float(array.flat[0]) if is_one else None


def _is_constant(value: Any) -> bool:
    return _number(value) is not None
