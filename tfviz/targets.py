"""What is explained: a class, a weighting of the classes, or a function of the outputs.

Every target becomes a seed: an array like the outputs, with which the backward pass starts. For a class it is 1 at that
class and 0 elsewhere; for a function it is the function's gradient. The score of the target is Σ seed · outputs.

A function is traced on its first use, and what it reads from around it (`k` in `lambda outputs: outputs[:, k]`) stays as it
was then: give a new function for another k.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, cast

import numpy as np
import tensorflow as tf
from keras import tree

from tfviz.errors import TargetError, first_line
from tfviz.nesting import Nested

Outputs: TypeAlias = Nested[tf.Tensor]
TargetFunction = Callable[[Outputs], tf.Tensor]  # outputs -> (N,)
# The top class, a class, a class for each image, weights of the outputs, a class at positions, or a function.
Target: TypeAlias = "int | Sequence[int] | Sequence[Sequence[float]] | np.ndarray | tf.Tensor | At | TargetFunction | None"
# The top class, int32 (N,) or (1,), float32 (N or 1, …, classes), or a function.
Prepared: TypeAlias = "tf.Tensor | TargetFunction | None"
Seed = Callable[[Outputs], Outputs]

_FORMS = (
    "None (the top class), an int, (N,) ints, a float array (N, classes) that weights the outputs, or a function "
    "outputs -> (N,)"
)


@dataclass(frozen=True)
class At:
    """One class at some positions, as the target for a network with an output for every pixel.

    class_index: an int, or (N,) ints; or the name of a class, or (N,) names.
    where: a mask (h, w) or (N, h, w), bool or float, at the output's resolution; or one pixel as (row, column).

    The score is the sum of the class's outputs over the mask. N classes or masks are for N images, one each.
    """

    class_index: Any
    where: Any


@dataclass(frozen=True)
class Rank:
    """The class of each image whose score is in this place, 0 being the top class: a target function."""

    place: int

    def __call__(self, outputs: tf.Tensor) -> tf.Tensor:
        return tf.math.top_k(outputs, self.place + 1).values[:, self.place]

    def classes(self, outputs: tf.Tensor) -> tf.Tensor:
        """The class itself, (N,) int32. Of equal scores, the class with the lower number comes first."""
        return tf.math.top_k(outputs, self.place + 1).indices[:, self.place]


def prepare(target: Target, outputs: Any, batch_size: int | None) -> Prepared:
    """Checks a target against a batch and brings it to one of four forms.

    Args:
        target: as the user gave it.
        outputs: the shapes of the model's outputs, in its structure (a tuple for one output).
        batch_size: N, or None while tracing.

    Returns:
        None, a function, an int32 tensor (N,) or (1,), or a float32 tensor (N or 1, …, classes).

    Raises:
        TargetError: when it does not fit.
    """
    if isinstance(target, Rank):
        _require_one_output(outputs)
        _require_classes(outputs)
    if callable(target):
        return target
    _require_one_output(outputs)
    if isinstance(target, At):
        return _weights(_weights_at(target, outputs, batch_size), outputs, batch_size)
    array: tf.Tensor | None = target if target is None or tf.is_tensor(target) else _as_array(target)
    is_whole = array is None or tf.as_dtype(array.dtype).is_integer
    if is_whole:
        _require_classes(outputs)
    if array is None:
        return None
    return _classes(array, outputs, batch_size) if is_whole else _weights(array, outputs, batch_size)


def rows(target: Target, outputs: Any) -> int | None:
    """How many images a target has a row for; None where it is one for all.

    Args:
        target: as the user gave it.
        outputs: as for `prepare`.
    """
    if target is None or callable(target):
        return None
    if isinstance(target, At):
        counts = {len(part) for part in _for_each_image(target, outputs).values()} - {1}
        if len(counts) > 1:
            raise TargetError(f"expected as many masks as classes; got {len(target.where)} and {len(target.class_index)}")
        return counts.pop() if counts else None
    array: tf.Tensor = target if tf.is_tensor(target) else _as_array(target)
    return len(array) if len(array.shape) > 0 and len(array) != 1 else None


def rows_from(target: Target, outputs: Any, start: int, count: int) -> Target:
    """The rows of a target for `count` images from `start` on; all of it where it is one for all.

    Raises:
        TargetError: when it has fewer.
    """
    total = rows(target, outputs)
    if total is None:
        return target
    if total < start + count:
        raise TargetError(f"expected one target for each image; got {total} for {start + count} images or more")
    here = slice(start, start + count)
    if isinstance(target, At):
        parts = _for_each_image(target, outputs).items()
        return replace(target, **{name: part[here] for name, part in parts if len(part) > 1})
    return cast("tf.Tensor", target)[here]


def _for_each_image(target: At, outputs: Any) -> dict[str, Any]:
    """The parts of the target, by name, that hold one row for each image."""
    _require_one_output(outputs)
    _require_known_size(outputs)
    ranks = {"class_index": 1, "where": len(outputs) - 1}
    return {name: getattr(target, name) for name, rank in ranks.items() if np.ndim(getattr(target, name)) == rank}


def _weights_at(target: At, outputs: tuple[int | None, ...], batch_size: int | None) -> np.ndarray:
    """The weights (N or 1, …, classes) of the outputs that a class and a mask come to."""
    count = rows(target, outputs)
    if None not in (count, batch_size) and count != batch_size:
        raise TargetError(f"expected {batch_size} masks or classes, one for each image, or one for all; got {count}")
    sizes, classes = outputs[1:-1], outputs[-1]
    where = np.asarray(target.where)
    if where.shape == (len(sizes),) and np.issubdtype(where.dtype, np.integer) and None not in sizes:
        pixel = where
        if not all(0 <= i < (n or 0) for i, n in zip(pixel, sizes, strict=True)):
            raise TargetError(f"pixel {tuple(map(int, pixel))} lies outside the output, which is {sizes}")
        where = np.zeros(sizes, "float32")  # type: ignore[arg-type]
        where[tuple(pixel)] = 1
    where = where[None] if where.ndim == len(sizes) else where
    if where.ndim != len(sizes) + 1 or any(n not in (None, m) for n, m in zip(sizes, where.shape[1:], strict=True)):
        raise TargetError(
            f"expected `where` as a mask of the output's size {sizes}, one for all images or one for each, or one pixel of it; "
            f"got shape {np.shape(target.where)}"
        )
    index = _classes(_as_array(target.class_index), (None, classes), None).numpy()
    one_hot = np.eye(classes or index.max() + 1, dtype="float32")[index]  # (N or 1, classes)
    return where.astype("float32")[..., None] * one_hot.reshape(len(index), *(1,) * len(sizes), -1)


def _as_array(target: Target) -> np.ndarray:
    try:
        array = np.asarray(target)
    except (ValueError, TypeError):
        array = np.asarray(None)
    if not np.issubdtype(array.dtype, np.number):
        raise TargetError(f"expected a target as {_FORMS}; got {type(target).__name__} {str(target)[:60]!r}")
    return array


def _require_one_output(outputs: Any) -> None:
    if not isinstance(outputs, tuple) or any(isinstance(part, (tuple, list, dict)) for part in outputs):
        count = f"{len(outputs)} outputs" if isinstance(outputs, (list, dict)) else "several outputs"
        count = (
            f"its output in a dict, {str(next(iter(outputs)))!r}" if isinstance(outputs, dict) and len(outputs) == 1 else count
        )
        raise TargetError(
            f"the model has {count}; choose one when the explainer is built, output=0 or its name, or say what to explain by a "
            "function of them, such as target=lambda outputs: outputs[0][:, 3]"
        )


def _require_known_size(outputs: tuple[int | None, ...]) -> None:
    if not outputs:
        raise TargetError(
            "the size of the model's output is not known before it is called; say what to explain by a function: "
            "target=lambda outputs: tf.reduce_sum(mask * outputs[..., 3], axis=(1, 2))"
        )


def _require_classes(outputs: tuple[int | None, ...]) -> None:
    if len(outputs) not in (0, 2):
        raise TargetError(
            f"the model's output is {outputs}, not (N, classes); say which class and where: target=tfviz.At(3, mask), or a "
            "function, such as target=lambda outputs: tf.reduce_sum(outputs[..., 3], axis=(1, 2))"
        )


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
        return tf.reshape(tf.cast(_checked_when_run(array, classes), tf.int32), [-1])
    return tf.constant(values.reshape(-1), tf.int32)


def _checked_when_run(array: tf.Tensor, classes: int | None) -> tf.Tensor:
    """The classes, which are not known while a user's function is traced. XLA leaves the check out."""
    if classes is None:
        return array
    wide = tf.cast(array, tf.int64)
    message = f"the target is out of range: the model has {classes} classes, 0 to {classes - 1}; got"
    is_in_range = tf.reduce_all((wide >= 0) & (wide < classes))
    with tf.control_dependencies([tf.debugging.Assert(is_in_range, [message, array])]):
        return tf.identity(array)


def _weights(array: Any, outputs: tuple[int | None, ...], batch_size: int | None) -> tf.Tensor:
    wanted = (batch_size, *outputs[1:]) if outputs else (batch_size, None)
    shape = tuple(array.shape)
    fits = len(shape) == len(wanted) and all(None in (n, m) or n == m for n, m in zip(wanted[1:], shape[1:], strict=True))
    if not fits or (None not in (batch_size, *shape[:1]) and shape[0] not in (1, batch_size)):
        raise TargetError(
            f"expected weights of shape ({', '.join(str(n or 'N') for n in wanted)}), one for each image and output; got a "
            f"float array of shape {shape}"
        )
    if not _is_symbolic(array) and not np.isfinite(np.asarray(array)).all():
        raise TargetError("expected finite weights for the outputs; got NaN or infinity among them")
    return tf.cast(array, tf.float32)


def _is_symbolic(array: Any) -> bool:
    return tf.is_tensor(array) and not hasattr(array, "numpy")


def check_function(function: TargetFunction, outputs: Nested[tf.TensorSpec]) -> None:
    """Traces a target function on the outputs of a batch, without running it.

    Args:
        function: outputs -> (N,).
        outputs: the tensor specs of the outputs of a batch of N, nested as the model returns them.

    Raises:
        TargetError: when it does not return one number for each image, or cannot take a batch of this size.
    """
    count = tree.flatten(outputs)[0].shape[0]
    returned: list[Any] = []
    try:
        tf.function(lambda given: returned.append(function(given)), autograph=False).get_concrete_function(outputs)
    except (ValueError, TypeError, NotImplementedError, tf.errors.OpError) as error:  # of shapes that do not fit
        raise TargetError(
            f"The target function cannot take the outputs of a batch of {count}: {first_line(error)}. It must return one "
            "number for each image, shape (N,), for batches of any size."
        ) from error
    shape = returned[0].shape if tf.is_tensor(returned[0]) else None  # anything else is refused when it is compiled
    if shape is not None and shape.rank == 1 and shape[0] not in (None, count):
        raise TargetError(
            f"The target function must return one number for each image. It returned {shape[0]} for a batch of {count}: it may "
            "compare the outputs with an array of another length. With explain, set batch_size to that length."
        )


def seed_for(target: Prepared) -> Seed:
    """The seed of a prepared target, as a function of the outputs."""
    if callable(target):
        return lambda outputs: _gradient_of(target, outputs)

    def seed(outputs: tf.Tensor) -> tf.Tensor:
        return tf.broadcast_to(tf.cast(_distribution(target, outputs), outputs.dtype), tf.shape(outputs))

    return seed


def _distribution(target: tf.Tensor | None, outputs: tf.Tensor) -> tf.Tensor:
    classes = tf.shape(outputs)[-1]
    if target is None:
        return tf.one_hot(tf.argmax(outputs, axis=-1), classes)
    return tf.one_hot(target, classes) if target.dtype == tf.int32 else target


def _gradient_of(function: TargetFunction, outputs: Outputs) -> Outputs:
    # One tensor may be several outputs (logits beside the softmax that was removed): only copies tell them apart.
    flat = [tf.identity(x) for x in tree.flatten(outputs)]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(flat)
        score = function(tree.pack_sequence_as(outputs, flat))
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
