"""What is explained: a class, a weighting of the classes, or a function of the outputs.

Whatever the user gives becomes a seed: an array like the outputs, which starts the way back. For a class it is 1 at that
class and 0 elsewhere; for a function it is the function's gradient. The score of the target is Σ seed · outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from keras import tree

from tfviz.errors import TargetError

Target = Any  # None, int, (N,) ints, (N, classes) floats, or outputs -> (N,)
Seed = Callable[[Any], Any]

_FORMS = (
    "None (the top class), an int, (N,) ints, a float array (N, classes) that weights the outputs, or a function "
    "outputs -> (N,)"
)


def prepare(target: Target, outputs: Any, batch_size: int | None) -> Any:
    """Checks a target against a batch and brings it to one of four forms.

    Args:
        target: as the user gave it.
        outputs: the shapes of the model's outputs, in its structure (a tuple for one output).
        batch_size: N, or None while tracing.

    Returns:
        None, a function, an int32 tensor (N,) or (1,), or a float32 tensor (N, classes).

    Raises:
        TargetError: when it does not fit.
    """
    if target is None or callable(target):
        _require_one_output(target, outputs)
        return target
    _require_one_output(target, outputs)
    array = target if tf.is_tensor(target) else _as_array(target)
    is_whole = tf.as_dtype(array.dtype).is_integer
    return _classes(array, outputs, batch_size) if is_whole else _weights(array, outputs, batch_size)


def _as_array(target: Target) -> np.ndarray:
    try:
        array = np.asarray(target)
    except (ValueError, TypeError):
        array = np.asarray(None)
    if not np.issubdtype(array.dtype, np.number):
        raise TargetError(f"expected a target as {_FORMS}; got {type(target).__name__} {str(target)[:60]!r}")
    return array


def _require_one_output(target: Target, outputs: Any) -> None:
    if callable(target):
        return
    if not isinstance(outputs, tuple) or any(isinstance(part, (tuple, list, dict)) for part in outputs):
        raise TargetError(
            f"the model has several outputs ({_shown(outputs)}); say what to explain by a function of them, such as "
            "target=lambda outputs: outputs[0][:, 3]"
        )
    if len(outputs) not in (0, 2):
        raise TargetError(
            f"the model's output is {outputs}, not (N, classes); say what to explain by a function of it, such as "
            "target=lambda outputs: tf.reduce_sum(outputs[..., 3], axis=(1, 2))"
        )


def _shown(outputs: Any) -> str:
    return f"{len(outputs)} of them" if isinstance(outputs, (list, dict)) else "nested"


def _classes(array: Any, outputs: tuple[int | None, ...], batch_size: int | None) -> tf.Tensor:
    classes = outputs[-1] if outputs else None
    if len(array.shape) > 1:
        raise TargetError(f"expected one class for each image, (N,) ints; got an int array of shape {tuple(array.shape)}")
    if len(array.shape) == 1 and None not in (batch_size, array.shape[0]) and array.shape[0] not in (1, batch_size):
        raise TargetError(f"expected {batch_size} targets, one for each image; got {array.shape[0]}")
    values = None if _is_symbolic(array) else np.asarray(array)
    if values is not None and classes is not None and values.size and not 0 <= values.min() <= values.max() < classes:
        wrong = values.min() if values.min() < 0 else values.max()
        raise TargetError(f"target {wrong} is out of range: the model has {classes} classes, 0 to {classes - 1}")
    if values is None:
        return tf.reshape(tf.cast(array, tf.int32), [-1])
    return tf.constant(values.reshape(-1), tf.int32)


def _weights(array: Any, outputs: tuple[int | None, ...], batch_size: int | None) -> tf.Tensor:
    classes = outputs[-1] if outputs else None
    shape = tuple(array.shape)
    has_all_classes = len(shape) == 2 and (classes is None or shape[1] in (classes, None))
    has_all_rows = None in (batch_size, *shape[:1]) or shape[:1] in ((1,), (batch_size,))
    if not has_all_classes or not has_all_rows:
        raise TargetError(
            f"expected weights of shape ({batch_size or 'N'}, {classes or 'classes'}), one for each image and output; got "
            f"a float array of shape {shape}"
        )
    if not _is_symbolic(array) and not np.isfinite(np.asarray(array)).all():
        raise TargetError("expected finite weights for the outputs; got NaN or infinity among them")
    return tf.cast(array, tf.float32)


def _is_symbolic(array: Any) -> bool:
    return tf.is_tensor(array) and not hasattr(array, "numpy")


def seed_for(target: Any) -> Seed:
    """The seed of a prepared target, as a function of the outputs."""
    if callable(target):
        return lambda outputs: _gradient_of(target, outputs)
    return lambda outputs: tf.broadcast_to(tf.cast(_distribution(target, outputs), outputs.dtype), tf.shape(outputs))


def _distribution(target: Any, outputs: tf.Tensor) -> tf.Tensor:
    classes = tf.shape(outputs)[-1]
    if target is None:
        return tf.one_hot(tf.argmax(outputs, axis=-1), classes)
    return tf.one_hot(target, classes) if target.dtype == tf.int32 else target


def _gradient_of(function: Callable[[Any], Any], outputs: Any) -> Any:
    flat = tree.flatten(outputs)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(flat)
        score = function(outputs)
    if not tf.is_tensor(score) or len(score.shape) != 1:
        came = f"shape {tuple(score.shape)}" if tf.is_tensor(score) else type(score).__name__
        raise TargetError(
            f"the target function must return one number for each image, shape (N,); it returned {came}. "
            "For one class of a classifier: lambda outputs: outputs[:, 3]"
        )
    gradients = tape.gradient(score, flat)
    if all(gradient is None for gradient in gradients):
        raise TargetError("the target function does not depend on the model's outputs; return a number made from them")
    gradients = [tf.zeros_like(x) if g is None else g for x, g in zip(flat, gradients, strict=True)]
    return tree.pack_sequence_as(outputs, gradients)
