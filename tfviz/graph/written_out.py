"""ReLUs that people write out: `maximum(x, 0)`, `where(x > 0, x, 0)`, `x * cast(x > 0)`, `clip(x, 0, 6)`.

Keras' operations and TensorFlow's are read alike here: an expression is the name of an operation, in Keras' words, and what
it is applied to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops, tree

_POSITIVE, _NEGATIVE = ("Greater", "GreaterEqual"), ("Less", "LessEqual")


@dataclass(frozen=True)
class Expression:
    """`name(*operands)`; `made_by(operand)` is the expression that an operand comes from, None for an input."""

    name: str
    operands: tuple[Any, ...]
    made_by: Callable[[Any], Expression | None]


def relu_of(expression: Expression) -> tuple[Any, Callable[[Any], Any]] | None:
    """Of what an expression is the ReLU, and which: `ops.relu` or `ops.relu6`; None for any other expression."""
    name, operands = expression.name, expression.operands
    if name == "Clip" and _is_number(operands[1], 0) and _is_number(operands[2], 6):
        # Any other clip is no activation: most keep pixels in their range.
        return operands[0], ops.relu6
    if name in ("Maximum", "Minimum") and (limits := _clip(expression)):
        return (limits[0], ops.relu6) if limits[1:] == (0, 6) else None
    find = {"Maximum": _of_maximum, "Where": _of_choice, "Multiply": _of_product}.get(name)
    x = find(expression) if find else None
    return None if x is None else (x, ops.relu)


def _clip(expression: Expression) -> tuple[Any, float, float] | None:
    """(x, low, high) of maximum(minimum(x, high), low), as tf.clip_by_value is, and of the other way round."""
    is_outer_low = expression.name == "Maximum"
    for inner, number in permutations(expression.operands, 2):
        limit, maker = _number(number), None if _is_constant(inner) else expression.made_by(inner)
        if limit is not None and maker is not None and maker.name == ("Minimum" if is_outer_low else "Maximum"):
            for x, second in permutations(maker.operands, 2):
                other = _number(second)
                if other is not None and not _is_constant(x):
                    return (x, limit, other) if is_outer_low else (x, other, limit)
    return None


def _of_maximum(expression: Expression) -> Any:
    return next((x for x, zero in permutations(expression.operands, 2) if _is_number(zero, 0) and not _is_number(x, 0)), None)


def _of_choice(expression: Expression) -> Any:
    """x of where(x > 0, x, 0) and of where(x < 0, 0, x)."""
    if len(expression.operands) != 3:  # where(x > 0) alone says where
        return None
    condition, first, second = expression.operands
    comparison = expression.made_by(condition)
    if _is_number(second, 0) and _compares(comparison, first, _POSITIVE, _NEGATIVE):
        return first
    return second if _is_number(first, 0) and _compares(comparison, second, _NEGATIVE, _POSITIVE) else None


def _of_product(expression: Expression) -> Any:
    """x of x · cast(x > 0)."""
    for x, gate in permutations(expression.operands, 2):
        cast = expression.made_by(gate)
        if cast and cast.name == "Cast" and _compares(cast.made_by(cast.operands[0]), x, _POSITIVE, _NEGATIVE):
            return x
    return None


def _compares(comparison: Expression | None, x: Any, names: tuple[str, ...], mirrored: tuple[str, ...]) -> bool:
    """Whether x is compared with 0: by one of `names` where it comes first, of `mirrored` where 0 does."""
    if comparison is None or comparison.name not in (*names, *mirrored):
        return False
    first, second = comparison.operands if comparison.name in names else comparison.operands[::-1]
    return first is x and _is_number(second, 0)


def _is_number(value: Any, number: float) -> bool:
    """Whether a constant is this number throughout."""
    return _number(value) == number


def _number(value: Any) -> float | None:
    """The number that a constant is throughout; None for any other constant, and for a tensor of unknown values."""
    if isinstance(value, (keras.KerasTensor, keras.Variable, tf.Variable)) or value is None:
        return None
    if tf.is_tensor(value):
        is_made = not hasattr(value, "numpy")
        value = 0.0 if is_made and value.op.type == "ZerosLike" else tf.get_static_value(value)
    array = np.asarray(value if value is not None else ())
    is_one = array.size > 0 and np.issubdtype(array.dtype, np.number) and bool(np.all(array == array.flat[0]))
    return float(array.flat[0]) if is_one else None


def _is_constant(value: Any) -> bool:
    return _number(value) is not None


def expression_of_node(node: Any, made_by: Callable[[Any], Any]) -> Expression:
    """A call in a graph of Keras; `made_by(symbol)` is the call that a symbolic tensor comes from, None for an input."""
    name, arguments = type(node.operation).__name__, node.arguments
    operands = tuple(tree.flatten((arguments.args, arguments.kwargs)))
    if isinstance(node.operation, keras.Layer):
        name = ""
    elif name == "Clip":
        operands = (*operands[:1], node.operation.x_min, node.operation.x_max)

    def expression_that_made(symbol: Any) -> Expression | None:
        maker = made_by(symbol)
        return None if maker is None else expression_of_node(maker, made_by)

    return Expression(name, operands, expression_that_made)


def numbers_of(node: Any) -> list[Any]:
    """The numbers that an operation of Keras is applied to, with None for a tensor and 1 for weights."""
    operands = tree.flatten((node.arguments.args, node.arguments.kwargs))
    return [None if isinstance(x, keras.KerasTensor) else 1 if isinstance(x, keras.Variable) else x for x in operands]


def expression_of_operation(operation: Any, name_of: Callable[[Any], str]) -> Expression:
    """An operation of TensorFlow; `name_of` says what Keras calls it."""

    def made_by(tensor: Any) -> Expression:
        return expression_of_operation(tensor.op, name_of)

    return Expression(name_of(operation), tuple(operation.inputs), made_by)


def is_silu(operation: Any) -> bool:
    """Whether this is the end of `tf.nn.silu`: x · sigmoid(x), passed on together with x because of its own gradient."""
    product, x = operation.inputs[0].op, operation.inputs[1]
    factors = product.inputs
    is_product = product.type == "Mul" and factors[0] is x and factors[1].op.type == "Sigmoid"
    return is_product and len(operation.inputs) == 3 and _is_number(operation.inputs[2], 1)  # its factor beta
