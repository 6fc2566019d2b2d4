"""Seeds are the scores defined by targets, with the gradients that start the backward pass.

Methods that perturb an image must explain the same class for every copy. A seed therefore chooses
its class for the unperturbed images and reuses that choice for the copies.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import tensorflow as tf
from keras import tree

from tfviz.errors import TargetError
from tfviz.nesting import Nested

Outputs: TypeAlias = Nested[tf.Tensor]
TargetFunction = Callable[[Outputs], tf.Tensor]  # outputs -> (N,)
Choice: TypeAlias = Sequence[tf.Tensor]  # each tensor has one row per image


class ChoosingTarget(abc.ABC):
    """A target function that first makes a choice for the unperturbed images, such as a class."""

    @abc.abstractmethod
    def choose(self, outputs: tf.Tensor) -> Choice:
        """Make the choice that also applies to perturbed copies of the images.

        Args:
            outputs: the model's outputs for the unperturbed images, with shape (N, classes).

        Returns:
            Tensors with one row per image.
        """

    @abc.abstractmethod
    def score(self, outputs: tf.Tensor, choice: Choice) -> tf.Tensor:
        """Compute each row's score for a given choice.

        Args:
            outputs: the outputs, with shape (N, classes).
            choice: the tensors from `choose`, with as many rows as the outputs.

        Returns:
            The scores, with shape (N,).
        """

    def explained_classes(self, outputs: tf.Tensor) -> tf.Tensor | None:
        """Return the class that is explained for each image.

        Args:
            outputs: the outputs, with shape (N, classes).

        Returns:
            An int32 array of N classes, or None if the target is not a single class per image.
        """
        return None

    @property
    def rows(self) -> int | None:
        """The number of images that the target has rows for, or None if it fits any number."""
        return None

    def part(self, rows: slice) -> ChoosingTarget:
        """Return the target for a slice of images.

        Args:
            rows: the slice.

        Returns:
            The target for these images.
        """
        return self

    @abc.abstractmethod
    def check(self, count: int | None, classes: int | None) -> None:
        """Check the target against a batch.

        Args:
            count: the number of images, or None if unknown.
            classes: the model's number of classes, or None if unknown.

        Raises:
            TargetError: the target does not fit the batch.
        """

    def __call__(self, outputs: tf.Tensor) -> tf.Tensor:
        """Make the choice for the given outputs and compute the score of each image.

        Args:
            outputs: the outputs, with shape (N, classes).

        Returns:
            The scores, with shape (N,).
        """
        return self.score(outputs, self.choose(outputs))


class Seed(abc.ABC):
    """A target expressed as a score.

    Calling a seed returns the score's gradient with respect to the outputs.
    """

    @abc.abstractmethod
    def choose(self, outputs: Outputs, count: int | tf.Tensor | None = None) -> Choice:
        """Make the choice that also applies to perturbed copies, as tensors with one row per image.

        Args:
            outputs: the model's outputs for the unperturbed images.
            count: the number of images. If None, it is read from the outputs. If `count` is given
                and the choice does not depend on the outputs, TensorFlow does not compute the
                outputs.
        """

    @abc.abstractmethod
    def score(self, outputs: Outputs, choice: Choice, copies: int | tf.Tensor = 1) -> tf.Tensor:
        """Compute scores of shape (copies · N,) for copies of N images.

        Args:
            outputs: the model's outputs for the copies, with shape (copies · N, …). All first
                copies come before all second copies.
            choice: the choice for the N images, from `choose`.
            copies: the number of copies.
        """

    @abc.abstractmethod
    def gradient(self, outputs: Outputs, choice: Choice, copies: int | tf.Tensor = 1) -> Outputs:
        """Compute the gradient of `score` with respect to the outputs.

        The gradient has the same nesting and shapes as the outputs.
        """

    def __call__(self, outputs: Outputs) -> Outputs:
        return self.gradient(outputs, self.choose(outputs))


@dataclass(frozen=True)
class FixedSeed(Seed):
    """A seed that is applied to copies of images and reuses the choice made for the originals.

    The choice also applies to copies of the copies.
    """

    seed: Seed
    choice: Choice
    copies: int | tf.Tensor

    def choose(self, outputs: Outputs, count: int | tf.Tensor | None = None) -> Choice:
        return [copied(x, self.copies) for x in self.choice]

    def score(self, outputs: Outputs, choice: Choice | None = None, copies: int | tf.Tensor = 1) -> tf.Tensor:
        return self.seed.score(outputs, self.choice, copies * self.copies)

    def gradient(self, outputs: Outputs, choice: Choice | None = None, copies: int | tf.Tensor = 1) -> Outputs:
        return self.seed.gradient(outputs, self.choice, copies * self.copies)


class WeightsSeed(Seed):
    """A seed whose score is a weighted sum of the outputs. For a class, the weights are one-hot.

    Args:
        target: None for the top class, an int32 array of classes with shape (N,) or (1,), or an
            array of weights with shape (N or 1, …, classes).
    """

    def __init__(self, target: tf.Tensor | None) -> None:
        self._target = target

    def choose(self, outputs: tf.Tensor, count: int | tf.Tensor | None = None) -> Choice:
        classes = outputs.shape[-1] or tf.shape(outputs)[-1]
        if self._target is None:
            weights = tf.one_hot(tf.argmax(outputs, axis=-1), classes)
        else:
            weights = tf.one_hot(self._target, classes) if self._target.dtype == tf.int32 else self._target
        has_fixed_shape = count is not None and None not in outputs.shape[1:]
        shape = [count, *outputs.shape[1:]] if has_fixed_shape else tf.shape(outputs)
        return [tf.broadcast_to(tf.cast(weights, outputs.dtype), shape)]

    def score(self, outputs: tf.Tensor, choice: Choice, copies: int | tf.Tensor = 1) -> tf.Tensor:
        weighted = tf.cast(outputs * self.gradient(outputs, choice, copies), tf.float32)
        return tf.reduce_sum(weighted, axis=list(range(1, len(outputs.shape))))

    def gradient(self, outputs: tf.Tensor, choice: Choice, copies: int | tf.Tensor = 1) -> tf.Tensor:
        return tf.cast(copied(choice[0], copies), outputs.dtype)


class FunctionSeed(Seed):
    """A seed whose score is any function of the outputs.

    A plain function may combine the outputs with an array that has one row per image, so it is
    called with one copy of the batch at a time.
    """

    def __init__(self, function: TargetFunction) -> None:
        self._function = function

    def choose(self, outputs: Outputs, count: int | tf.Tensor | None = None) -> Choice:
        return self._function.choose(outputs) if hasattr(self._function, "choose") else []

    def score(self, outputs: Outputs, choice: Choice, copies: int | tf.Tensor = 1) -> tf.Tensor:
        if isinstance(self._function, ChoosingTarget):
            return self._function.score(outputs, [copied(x, copies) for x in choice])
        if isinstance(copies, int) and copies == 1:
            return self._of_batch(outputs, choice)
        batches = tree.map_structure(lambda x: tf.reshape(x, tf.concat([[copies, -1], tf.shape(x)[1:]], 0)), outputs)
        if isinstance(copies, int):
            parts = [tree.map_structure(lambda x: x[k], batches) for k in range(copies)]  # noqa: B023
            return tf.concat([self._of_batch(part, choice) for part in parts], 0)
        one = lambda part: tf.cast(self._of_batch(part, choice), tf.float32)  # noqa: E731
        return tf.reshape(tf.map_fn(one, batches, fn_output_signature=tf.float32), [-1])

    def _of_batch(self, outputs: Outputs, choice: Choice) -> tf.Tensor:
        score = getattr(self._function, "score", None)
        return self._function(outputs) if score is None or not choice else score(outputs, choice)

    def gradient(self, outputs: Outputs, choice: Choice, copies: int | tf.Tensor = 1) -> Outputs:
        # Two outputs may be the same tensor, such as logits beside a removed softmax. Copying the
        # tensors separates their gradients.
        flat = [tf.identity(x) for x in tree.flatten(outputs)]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(flat)
            score = self.score(tree.pack_sequence_as(outputs, flat), choice, copies)
        _require_one_number_per_image(score)
        try:
            gradients = tape.gradient(score, flat)
        except LookupError as error:
            raise TargetError(
                f"TensorFlow cannot differentiate an operation in the target function ({error}). Use operations that have a "
                "gradient."
            ) from error
        if all(gradient is None for gradient in gradients):
            raise TargetError("The target function does not depend on the model's outputs. Compute its return value from them.")
        gradients = [tf.zeros_like(x) if g is None else g for x, g in zip(flat, gradients, strict=True)]
        return tree.pack_sequence_as(outputs, gradients)


def copied(x: tf.Tensor, copies: int | tf.Tensor) -> tf.Tensor:
    """Repeat a batch of shape (N, …) along its first axis, giving shape (copies · N, …)."""
    if isinstance(copies, int) and copies == 1:
        return x
    return tf.tile(x, tf.concat([[copies], tf.ones(len(x.shape) - 1, tf.int32)], 0))


def _require_one_number_per_image(score: object) -> None:
    if not tf.is_tensor(score) or len(score.shape) != 1:  # type: ignore[attr-defined]
        received = f"shape {tuple(score.shape)}" if tf.is_tensor(score) else type(score).__name__  # type: ignore[attr-defined]
        raise TargetError(
            f"The target function must return one number per image, shape (N,). Received: {received}. For one class of a "
            "classifier, pass lambda outputs: outputs[:, 3]."
        )
