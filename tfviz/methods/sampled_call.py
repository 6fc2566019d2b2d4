"""Call a sampled explainer by running compiled parts one by one, and report progress."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from keras import tree

from tfviz.methods.compilation import given_specs, with_given
from tfviz.methods.inputs import has_fixed_batch
from tfviz.nesting import Nested
from tfviz.targets import Prepared

if TYPE_CHECKING:
    from tfviz.methods.perturbation import SampledExplainer

Advance = Callable[[int], None]  # called with the number of rows processed


def _ignore(rows: int) -> None:
    """Ignore progress reports."""


class SampledCall:
    """A call to a sampled explainer for one image size and target kind.

    Inside a `tf.function`, the call runs as a single graph, which is compiled on first use.

    Args:
        explainer: the explainer.
        specs: one tensor spec per input.
        target: a prepared target. Its value matters only if it is not a tensor.
        with_outputs: whether to return an `Explanation` with the outputs.
        compile_whole: a function that compiles the computation as a single function.
    """

    def __init__(
        self,
        explainer: SampledExplainer,
        specs: list[tf.TensorSpec],
        target: Prepared,
        with_outputs: bool,
        compile_whole: Callable[[], Callable[..., Any]],
    ) -> None:
        self._explainer, self._specs, self._target = explainer, specs, target
        self._with_outputs, self._compile_whole = with_outputs, compile_whole
        if tf.executing_eagerly():
            self._parts  # noqa: B018 - compiles in this thread; another may make the call

    @cached_property
    def _whole(self) -> Callable[..., Any]:
        return self._compile_whole()

    @cached_property
    def _parts(self) -> tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]:
        explainer, target = self._explainer, self._target

        def begin(images: list[tf.Tensor], given: list[tf.Tensor]) -> Any:
            explainer._functions.traces += 1
            return explainer.begin(images, with_given(target, given), self._with_outputs)

        def add(images: list[tf.Tensor], given: list[tf.Tensor], *state: Any) -> Any:
            return explainer.continue_with(images, with_given(target, given), *state)

        targets = given_specs(target)
        first = _concrete(begin, self._specs, targets)
        choice, context, sums, explanation = _specs_of(first)
        number = tf.TensorSpec([], tf.int32)
        more = _concrete(add, self._specs, targets, choice, context, sums, number, number)
        return first, more, _concrete(explainer.end, self._specs, context, sums, explanation)

    def __call__(
        self, images: list[tf.Tensor], given: list[tf.Tensor], *, batch_size: int | None = None, advance: Advance = _ignore
    ) -> Nested[tf.Tensor]:
        """Run all copies, at most `batch_size` rows at a time.

        Args:
            images: one tensor per input.
            given: the target's tensors.
            batch_size: the maximum number of rows; None means the explainer's batch size.
            advance: a function that is called after each batch with its number of rows.
        """
        if not tf.executing_eagerly():
            return self._whole(images, given)
        most, count = batch_size or self._explainer.batch_size, int(images[0].shape[0])
        if count <= most or self._needs_all_images() or has_fixed_batch(self._explainer.graph):
            return self._run(images, given, most, advance)
        parts = []
        for first in range(0, count, most):
            rows = slice(first, first + most)
            self._explainer.start_at(first)
            here = [x[rows] if x.shape[0] == count else x for x in given]
            parts.append(self._run([x[rows] for x in images], here, most, advance))
        self._explainer.start_at(None)
        return tree.map_structure(lambda *each: None if each[0] is None else tf.concat(each, 0), *parts)

    def _needs_all_images(self) -> bool:
        """Return whether the target is a function that may need the whole batch at once."""
        return callable(self._target) and getattr(self._target, "rows", 0) is not None

    def _run(self, images: list[tf.Tensor], given: list[tf.Tensor], most: int, advance: Advance) -> Nested[tf.Tensor]:
        begin, add, end = self._parts
        total, count = int(self._explainer.copies_per_image(images)), int(images[0].shape[0])
        most = self._explainer.copies_at_once(count, most)
        choice, context, sums, explanation = begin(images, given)
        for first in range(0, total, most):
            copies = min(most, total - first)
            sums = add(images, given, choice, context, sums, tf.constant(first), tf.constant(copies))
            advance(copies * count)
        return end(images, context, sums, explanation)


def _concrete(function: Callable[..., Any], *specs: Any) -> Callable[..., Any]:
    return tf.function(function, autograph=False).get_concrete_function(*specs)


def _specs_of(function: Any) -> Any:
    """Return specs for a compiled function's outputs, nested like the outputs."""
    return tree.map_structure(
        lambda x: tf.TensorSpec(x.shape, x.dtype) if isinstance(x, (tf.Tensor, tf.TensorSpec)) else x,
        function.structured_outputs,
    )
