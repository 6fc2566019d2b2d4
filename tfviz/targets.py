"""Targets define what to explain: a class, class weights, or a function of the outputs.

Every target becomes a seed: an array of the same shape as the outputs, which starts the backward
pass. For a class, the seed is one-hot. For a function, the seed is the function's gradient. The
score is Σ seed · outputs for a class or weights, and the return value for a function.

A function is traced on first use. After that, captured values such as `k` in
`lambda outputs: outputs[:, k]` are fixed. To use another k, pass a new function.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, cast

import numpy as np
import tensorflow as tf
from keras import tree

from tfviz.errors import TargetError, first_line
from tfviz.nesting import Nested
from tfviz.seeds import Choice, ChoosingTarget, FunctionSeed, Seed, TargetFunction, WeightsSeed
from tfviz.target_functions.array_target import ArrayTarget

# The top class, a class, a class per image, output weights, a class at positions, or a function.
Target: TypeAlias = "int | Sequence[int] | Sequence[Sequence[float]] | np.ndarray | tf.Tensor | At | TargetFunction | None"
# The top class, int32 (N,) or (1,), float32 (N or 1, …, classes), or a function.
Prepared: TypeAlias = "tf.Tensor | TargetFunction | None"

_FORMS = (
    "None (the top class), an int, (N,) ints, a float array (N, classes) that weights the outputs, or a function "
    "outputs -> (N,)"
)


@dataclass(frozen=True)
class At:
    """A target for networks with one output per pixel: a class at given positions.

    The score is the sum of the class's outputs over the mask. An array of classes or masks has one
    entry per image.

    Args:
        class_index: an int for all images, or an array of N ints with one class per image.
        where: a bool or float mask of shape (h, w) or (N, h, w), at the output's resolution, or one
            pixel as (row, column).
    """

    class_index: Any
    where: Any


@dataclass(frozen=True)
class Rank(ChoosingTarget):
    """A target that explains the class with a given rank in each image.

    Attributes:
        place: the rank, where 0 is the top class.
    """

    place: int

    def check(self, count: int | None, classes: int | None) -> None:
        if classes is not None and self.place >= classes:
            raise TargetError(
                f"No class has rank {self.place + 1}, because the model has only {classes} classes. Choose a smaller rank."
            )

    def choose(self, outputs: tf.Tensor) -> Choice:
        return [self.explained_classes(outputs)]

    def score(self, outputs: tf.Tensor, choice: Choice) -> tf.Tensor:
        return tf.gather(outputs, choice[0], batch_dims=1)

    def explained_classes(self, outputs: tf.Tensor) -> tf.Tensor:
        """Return the class with this rank for each image. Ties go to the lower class number."""
        return tf.math.top_k(outputs, self.place + 1).indices[:, self.place]


def prepare(target: Target, outputs: Any, batch_size: int | None) -> Prepared:
    """Check a target against a batch and convert it to one of four forms.

    Args:
        target: the target that the user passed.
        outputs: the shapes of the model's outputs, nested like the outputs. The shape of a single
            output is a tuple.
        batch_size: N, or None while tracing.

    Returns:
        None, a function, an int32 tensor of shape (N,) or (1,), or a float32 tensor of shape (N or
        1, …, classes).

    Raises:
        TargetError: the target does not fit the batch.
    """
    if isinstance(target, ChoosingTarget):
        _require_one_output(outputs)
        _require_classes(outputs)
        target.check(batch_size, outputs[-1] if outputs else None)
    if isinstance(target, ArrayTarget):
        target.require_rows(batch_size)
        target.require_fit(outputs)
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
    """Return the number of images that a target has rows for, or None if it fits any number.

    Args:
        target: the target that the user passed.
        outputs: as for `prepare`.
    """
    if isinstance(target, (ChoosingTarget, ArrayTarget)):
        return target.rows
    if target is None or callable(target):
        return None
    if isinstance(target, At):
        counts = {len(part) for part in _for_each_image(target, outputs).values()} - {1}
        if len(counts) > 1:
            raise TargetError(
                f"Expected as many masks as classes. Received: {len(target.where)} masks and {len(target.class_index)} "
                "classes. Pass one mask and one class per image, or a single mask or class for all images."
            )
        return counts.pop() if counts else None
    array: tf.Tensor = target if tf.is_tensor(target) else _as_array(target)
    return len(array) if len(array.shape) > 0 and len(array) != 1 else None


def rows_from(target: Target, outputs: Any, start: int, count: int) -> Target:
    """Return a target's rows for the `count` images from `start`.

    A target that fits any number of images is returned unchanged.

    Args:
        target: the target that the user passed.
        outputs: as for `prepare`.
        start, count: the first image's index and the number of images.

    Returns:
        The target for these images.

    Raises:
        TargetError: the target has too few rows.
    """
    total = rows(target, outputs)
    if total is None:
        return target
    if total < start + count:
        raise TargetError(
            f"Expected one target per image. Received: {total} targets for at least {start + count} images. Pass a single "
            "target to use it for all images."
        )
    here = slice(start, start + count)
    if isinstance(target, ChoosingTarget):
        return target.part(here)
    if isinstance(target, At):
        parts = _for_each_image(target, outputs).items()
        return replace(target, **{name: part[here] for name, part in parts if len(part) > 1})
    return cast("tf.Tensor", target)[here]


def _for_each_image(target: At, outputs: Any) -> dict[str, Any]:
    """Return the target's attributes that have one row per image, keyed by name."""
    _require_one_output(outputs)
    _require_known_size(outputs)
    ranks = {"class_index": 1, "where": len(outputs) - 1}
    return {name: getattr(target, name) for name, rank in ranks.items() if np.ndim(getattr(target, name)) == rank}


def _weights_at(target: At, outputs: tuple[int | None, ...], batch_size: int | None) -> np.ndarray:
    """Convert a class and a mask to output weights of shape (N or 1, …, classes)."""
    count = rows(target, outputs)
    if None not in (count, batch_size) and count != batch_size:
        raise TargetError(f"Expected {batch_size} masks or classes, one per image, or one for all images. Received: {count}.")
    sizes, classes = outputs[1:-1], outputs[-1]
    where = np.asarray(target.where)
    if where.shape == (len(sizes),) and np.issubdtype(where.dtype, np.integer) and None not in sizes:
        pixel = where
        if not all(0 <= i < (n or 0) for i, n in zip(pixel, sizes, strict=True)):
            raise TargetError(
                f"Pixel {tuple(map(int, pixel))} is outside the output, which has size {sizes}. Pass a pixel inside it."
            )
        where = np.zeros(sizes, "float32")  # type: ignore[arg-type]
        where[tuple(pixel)] = 1
    where = where[None] if where.ndim == len(sizes) else where
    if where.ndim != len(sizes) + 1 or any(n not in (None, m) for n, m in zip(sizes, where.shape[1:], strict=True)):
        raise TargetError(
            f"`where` must be a single pixel, or a mask of the output's size {sizes} (one for all images or one per image). "
            f"Received: shape {np.shape(target.where)}."
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
        raise TargetError(f"Expected a target as {_FORMS}. Received: {type(target).__name__} {str(target)[:60]!r}.")
    return array


def _require_one_output(outputs: Any) -> None:
    if not isinstance(outputs, tuple) or any(isinstance(part, (tuple, list, dict)) for part in outputs):
        what = f"has {len(outputs)} outputs" if isinstance(outputs, (list, dict)) else "has several outputs"
        if isinstance(outputs, dict) and len(outputs) == 1:
            what = f"returns a dict with one output, {str(next(iter(outputs)))!r}"
        raise TargetError(
            f"The model {what}. Choose an output when you create the explainer (output=0, or its name), or pass a "
            "function of all outputs, such as target=lambda outputs: outputs[0][:, 3]."
        )


def _require_known_size(outputs: tuple[int | None, ...]) -> None:
    if not outputs:
        raise TargetError(
            "The output size is unknown until the model is called. Pass a function as the target: "
            "target=lambda outputs: tf.reduce_sum(mask * outputs[..., 3], axis=(1, 2))."
        )


def _require_classes(outputs: tuple[int | None, ...]) -> None:
    if len(outputs) not in (0, 2):
        raise TargetError(
            f"The model's output has shape {outputs}, not (N, classes). To explain a class at certain positions, pass "
            "target=tfviz.At(3, mask). To explain another score, pass a function, such as target=lambda outputs: "
            "tf.reduce_sum(outputs[..., 3], axis=(1, 2))."
        )


def _classes(array: Any, outputs: tuple[int | None, ...], batch_size: int | None) -> tf.Tensor:
    classes = outputs[-1] if outputs else None
    if len(array.shape) > 1:
        raise TargetError(
            f"Expected one class per image, an int array of shape (N,). Received: an int array of shape {tuple(array.shape)}. "
            "To weight the outputs, pass floats."
        )
    if len(array.shape) == 1 and None not in (batch_size, array.shape[0]) and array.shape[0] not in (1, batch_size):
        raise TargetError(
            f"Expected {batch_size} targets, one per image. Received: {array.shape[0]}. Pass a single target to use it for all "
            "images."
        )
    values = None if _is_symbolic(array) else np.asarray(array)
    if values is not None and classes is not None and values.size and not 0 <= values.min() <= values.max() < classes:
        wrong = values.min() if values.min() < 0 else values.max()
        raise TargetError(f"Target {wrong} is out of range. The model has {classes} classes (0 to {classes - 1}).")
    if values is None:
        return tf.reshape(tf.cast(_checked_when_run(array, classes), tf.int32), [-1])
    return tf.constant(values.reshape(-1), tf.int32)


def _checked_when_run(array: tf.Tensor, classes: int | None) -> tf.Tensor:
    """Add a range check for symbolic classes to the graph. XLA drops this check."""
    if classes is None:
        return array
    wide = tf.cast(array, tf.int64)
    message = f"The target is out of range. The model has {classes} classes (0 to {classes - 1}). Received:"
    is_in_range = tf.reduce_all((wide >= 0) & (wide < classes))
    with tf.control_dependencies([tf.debugging.Assert(is_in_range, [message, array])]):
        return tf.identity(array)


def _weights(array: Any, outputs: tuple[int | None, ...], batch_size: int | None) -> tf.Tensor:
    expected = (batch_size, *outputs[1:]) if outputs else (batch_size, None)
    shape = tuple(array.shape)
    fits = len(shape) == len(expected) and all(None in (n, m) or n == m for n, m in zip(expected[1:], shape[1:], strict=True))
    if not fits or (None not in (batch_size, *shape[:1]) and shape[0] not in (1, batch_size)):
        raise TargetError(
            f"Expected weights of shape ({', '.join(str(n or 'N') for n in expected)}), one per image and output. Received: a "
            f"float array of shape {shape}."
        )
    if not _is_symbolic(array) and not np.isfinite(np.asarray(array)).all():
        raise TargetError(
            "Expected finite weights for the outputs. Received: NaN or infinity. Replace them with finite values."
        )
    return tf.cast(array, tf.float32)


def _is_symbolic(array: Any) -> bool:
    return tf.is_tensor(array) and not hasattr(array, "numpy")


def check_function(function: TargetFunction, outputs: Nested[tf.TensorSpec]) -> None:
    """Check a target function by tracing it on a batch's outputs, without running it.

    Args:
        function: a function that maps the outputs to one number per image.
        outputs: the tensor specs of the outputs for one batch, nested like the model's outputs.

    Raises:
        TargetError: the function does not return one number per image, or fails for this batch
            size.
    """
    count = tree.flatten(outputs)[0].shape[0]
    returned: list[Any] = []
    try:
        tf.function(lambda given: returned.append(function(given)), autograph=False).get_concrete_function(outputs)
    except (ValueError, TypeError, NotImplementedError, tf.errors.OpError) as error:
        # The function does not fit the output shapes.
        raise TargetError(
            f"The target function failed for a batch of {count} ({first_line(error)}). It must return one number per image, "
            "shape (N,), for batches of any size."
        ) from error
    # Other invalid results raise an error during compilation.
    shape = returned[0].shape if tf.is_tensor(returned[0]) else None
    if shape is not None and shape.rank == 1 and shape[0] not in (None, count):
        raise TargetError(
            f"The target function must return one number per image. Received: {shape[0]} numbers for a batch of {count}, "
            "possibly because the function combines the outputs with an array of a different length. In explain(), set "
            "batch_size to that length."
        )


def seed_for(target: Prepared) -> Seed:
    """Create the seed for a prepared target."""
    return FunctionSeed(target) if callable(target) else WeightsSeed(target)
