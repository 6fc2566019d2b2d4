"""The base class for target functions that compare the outputs with arrays."""

from __future__ import annotations

import abc
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, TypeAlias, TypeVar

import numpy as np
import tensorflow as tf

from tfviz.errors import TargetError
from tfviz.nesting import Nested

Array: TypeAlias = "np.ndarray | tf.Tensor"
Shapes: TypeAlias = Any  # output shapes: a tuple for one output, otherwise nested like the outputs
T = TypeVar("T", bound="ArrayTarget")


@dataclass(frozen=True, eq=False)
class ArrayTarget(abc.ABC):
    """A target function with arrays that have one row per image, or a single row for all images.

    The arrays are inputs to the compiled function, so new arrays do not trigger recompilation.

    Attributes:
        array_fields: the fields that contain such arrays.
    """

    array_fields: ClassVar[tuple[str, ...]]

    @abc.abstractmethod
    def __call__(self, outputs: Nested[tf.Tensor]) -> tf.Tensor:
        """Compute one score per image, as a tensor of shape (N,)."""

    @abc.abstractmethod
    def require_fit(self, outputs: Shapes) -> None:
        """Check that the outputs can be compared with the arrays.

        Args:
            outputs: the output shapes, or () for an unknown shape.

        Raises:
            TargetError: the outputs do not fit the arrays.
        """

    @property
    def arrays(self) -> list[Array]:
        return [getattr(self, name) for name in self.array_fields]

    @property
    def form(self) -> Hashable:
        """The target's part of the cache key for compiled functions.

        It contains the shapes of the arrays' rows, but not their number or values.
        """
        others = (getattr(self, field.name) for field in fields(self) if field.name not in self.array_fields)
        return (type(self), *others, *(tuple(array.shape[1:]) for array in self.arrays))

    @property
    def rows(self) -> int | None:
        """The number of rows in the arrays, or None if each array has one row for all images.

        Raises:
            TargetError: the arrays have different numbers of rows.
        """
        counts = {int(array.shape[0]) for array in self.arrays} - {1}
        if len(counts) > 1:
            raise TargetError(
                f"{type(self).__name__} needs the same number of rows in each of {', '.join(self.array_fields)}: one per "
                f"image, or one for all. Received: {' and '.join(map(str, sorted(counts)))} rows."
            )
        return counts.pop() if counts else None

    def __getitem__(self: T, rows: slice | np.ndarray) -> T:
        """Return the target for the selected images."""
        return self.with_arrays([array if len(array) == 1 else array[rows] for array in self.arrays])

    def with_arrays(self: T, arrays: Sequence[Array]) -> T:
        """Return a copy of the target with other arrays.

        Args:
            arrays: one array for each of `array_fields`.

        Returns:
            The copy.
        """
        return replace(self, **dict(zip(self.array_fields, arrays, strict=True)))

    def require_rows(self, batch_size: int | None) -> None:
        """Check that the arrays have one row per image, or a single row.

        Args:
            batch_size: N, or None while tracing.

        Raises:
            TargetError: the arrays have rows for a different number of images.
        """
        if None not in (self.rows, batch_size) and self.rows != batch_size:
            raise TargetError(
                f"{type(self).__name__} has rows for {self.rows} images. Received: {batch_size} images. Pass one row per "
                "image, or a single row for all images."
            )


def require_one_output(target: ArrayTarget, outputs: Shapes) -> None:
    """Raise TargetError if a model has several outputs.

    Args:
        target: the target.
        outputs: the output shapes, nested like the outputs, or a plain tuple for one output.
    """
    if not isinstance(outputs, tuple) or any(isinstance(part, (tuple, list, dict)) for part in outputs):
        raise TargetError(
            f"{type(target).__name__} compares one output with an array, but the model has several outputs. Choose an output "
            "when you create the explainer (output=0, or its name)."
        )


def floats(given: Any, expected: str, ranks: tuple[int, ...]) -> Array:
    """Convert an argument to a float32 array with one row per image.

    Args:
        given: the array, or a single row.
        expected: a description of the expected array, for the error message.
        ranks: the accepted ranks. The lowest is the rank of a single row. () accepts any rank of at
            least 2.

    Returns:
        The array, with shape (N or 1, …).

    Raises:
        TargetError: the argument is not such an array, is empty, or contains NaN or infinity.
    """
    if _is_symbolic(given):
        array: Array = tf.cast(given, tf.float32)
    else:
        array = _finite(given, expected)
    rank = len(array.shape)
    if rank not in ranks if ranks else rank < 2:
        raise TargetError(f"Expected {expected}. Received: shape {tuple(array.shape)}.")
    return array[None] if ranks and rank == min(ranks) else array


def _finite(given: Any, expected: str) -> np.ndarray:
    try:
        array = np.asarray(given).astype(np.float32)
    except (TypeError, ValueError) as error:
        raise TargetError(f"Expected {expected}. Received: {type(given).__name__} {str(given)[:60]!r}.") from error
    if array.size == 0 or not np.isfinite(array).all():
        received = "NaN or infinity" if array.size else f"shape {array.shape}"
        raise TargetError(f"Expected {expected}, with finite values. Received: {received}.")
    return array


def _is_symbolic(given: Any) -> bool:
    """Return whether an argument is a symbolic tensor, as inside a tf.function."""
    return tf.is_tensor(given) and not hasattr(given, "numpy")
