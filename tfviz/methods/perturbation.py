"""The base class for methods that run a network on many perturbed copies of each image.

The copies are rows of a batch, sorted by copy number and then by image. At most `batch_size` rows
run at once. The results of these rows are summed immediately, so memory use does not grow with the
number of copies.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, ClassVar, TypeAlias

import tensorflow as tf
from keras import tree

from tfviz import targets
from tfviz.graph.backprop import Values, inputs_of, run
from tfviz.graph.conversion import LOOP_OVER_COPIES, is_traced_for_conversion
from tfviz.graph.probabilities import probabilities
from tfviz.methods.compilation import Computation
from tfviz.methods.explainer import Explainer
from tfviz.methods.explanation import Explanation
from tfviz.methods.inputs import has_fixed_batch
from tfviz.methods.sampled_call import SampledCall
from tfviz.nesting import Nested
from tfviz.numeric_options import positive_integer
from tfviz.seeds import Choice, FixedSeed, Seed

# `Context` is the data that all copies share, and `Sums` contains the summed results. Both consist
# of constants or of tensors with one row per image.
Context: TypeAlias = dict[str, Any]
Sums: TypeAlias = Any


class SampledExplainer(Explainer):
    """A method that sums its results over perturbed copies of each image.

    Attributes:
        batch_size: the maximum number of rows to run at once in a call. `explain` has a separate
            batch size.
    """

    takes_copies: ClassVar[bool] = True
    batch_size: int = 32

    def use_batch_size(self, batch_size: int) -> None:
        """Set the batch size for calls.

        Args:
            batch_size: the maximum number of rows to run at once in a call.

        Raises:
            OptionError: `batch_size` is not a positive integer.
        """
        self.batch_size = positive_integer("batch_size", batch_size)

    @abc.abstractmethod
    def copies_per_image(self, images: list[tf.Tensor]) -> int | tf.Tensor:
        """Return how many copies of each image the method runs.

        Args:
            images: one tensor per model input.

        Returns:
            The number of copies, or a tensor if it depends on a size unknown at compile time.
        """

    def copies_at_once(self, images: int, batch_size: int) -> int:
        """Return how many copies of each image run at once.

        Args:
            images: the number of images.
            batch_size: the maximum number of rows.

        Returns:
            The number of copies, at least 1.
        """
        return 1 if has_fixed_batch(self.graph) else max(1, batch_size // images)

    @abc.abstractmethod
    def start(self, images: list[tf.Tensor], values: Values, fixed: FixedSeed) -> tuple[Context, Sums]:
        """Compute the data shared by all copies, and the initial sums.

        Args:
            images: one tensor per model input.
            values: the graph values for these images; empty if the method has no target.
            fixed: the score for these images.

        Returns:
            The context, and the sums.
        """

    @abc.abstractmethod
    def add(self, images: list[tf.Tensor], context: Context, sums: Sums, numbers: tf.Tensor, fixed: FixedSeed) -> Sums:
        """Run some copies of each image and add their results to the sums.

        Args:
            images: one tensor per model input, each with N rows.
            context: the context from `start`.
            sums: the sums so far.
            numbers: the copy numbers, as int32 of shape (copies,).
            fixed: the score for the rows.

        Returns:
            The new sums.
        """

    @abc.abstractmethod
    def finish(self, images: list[tf.Tensor], context: Context, sums: Sums) -> Nested[tf.Tensor]:
        """Compute the attribution from the sums over all copies.

        Args:
            images: one tensor per model input, each with N rows.
            context: the context from `start`.
            sums: the sums over all copies.

        Returns:
            The attribution.
        """

    def attribute(self, images: list[tf.Tensor], seed: Seed) -> tuple[Nested[tf.Tensor], Values]:
        # This runs as one graph, with a loop if the copies don't fit in one batch.
        values, choice, context, sums = self._begun(images, seed)
        total, count = self.copies_per_image(images), images[0].shape[0]
        if isinstance(total, int) and (count is not None or is_traced_for_conversion()):
            most = self.copies_at_once(count or 1, self.batch_size)
            sums = self._added_in_equal_parts(images, seed, choice, context, sums, total, most)
        else:
            most = 1 if has_fixed_batch(self.graph) else tf.maximum(1, self.batch_size // tf.shape(images[0])[0])
            step = lambda first, sums: (  # noqa: E731
                first + most,
                self._added(images, seed, choice, context, sums, first, tf.minimum(most, total - first)),
            )
            _, sums = _loop(lambda first, _: first < total, step, sums)
        return self.finish(images, context, sums), values

    def _added_in_equal_parts(
        self, images: list[tf.Tensor], seed: Seed, choice: Choice, context: Context, sums: Sums, total: int, most: int
    ) -> Sums:
        """Run all copies, `most` at a time.

        Each part has a constant size, because export formats require constant sizes.
        """
        whole, rest = divmod(total, most)
        if whole > 1:
            step = lambda first, sums: (first + most, self._added(images, seed, choice, context, sums, first, most))  # noqa: E731
            _, sums = _loop(lambda first, _: first < whole * most, step, sums)
        elif whole:
            sums = self._added(images, seed, choice, context, sums, tf.constant(0), most)
        return self._added(images, seed, choice, context, sums, tf.constant(whole * most), rest) if rest else sums

    def _begun(self, images: list[tf.Tensor], seed: Seed) -> tuple[Values, Choice, Context, Sums]:
        values: Values = {}
        choice: Choice = []
        if self.takes_target:
            values = run(inputs_of(self.graph, images), self.graph.before(self.graph.outputs))
            choice = seed.choose(self._outputs(values), tf.shape(images[0])[0])
        context, sums = self.start(images, values, FixedSeed(seed, choice, 1))
        return values or inputs_of(self.graph, images), choice, context, sums

    def _added(
        self,
        images: list[tf.Tensor],
        seed: Seed,
        choice: Choice,
        context: Context,
        sums: Sums,
        first: tf.Tensor,
        count: int | tf.Tensor,
    ) -> Sums:
        return self.add(images, context, sums, first + tf.range(count), FixedSeed(seed, choice, count))

    def scores(self, values: Values, fixed: FixedSeed) -> tf.Tensor:
        """Compute each row's score.

        Args:
            values: the graph values computed so far.
            fixed: the score for the rows.

        Returns:
            The scores, as float32 of shape (rows,).
        """
        values = run(values, self.graph.before(self.graph.outputs, given=values))
        return tf.cast(fixed.score(self._outputs(values)), tf.float32)

    def probabilities(self, values: Values, fixed: FixedSeed) -> tf.Tensor:
        """Compute the target's probability for each row.

        Args:
            values: the graph values computed so far.
            fixed: the score for the rows.

        Returns:
            The probabilities, as float32 of shape (rows,).
        """
        values = run(values, self.graph.before(self.graph.outputs, given=values))
        return tf.cast(fixed.score(probabilities(values, self.whole, self.graph)), tf.float32)

    def rows_for(self, images: list[tf.Tensor]) -> int:
        return int(self.copies_per_image(images)) * int(images[0].shape[0])

    def _outputs(self, values: Values) -> Nested[tf.Tensor]:
        return tree.map_structure(lambda value: values[value], self.graph.output_structure)

    def _compiled(self, computation: Computation, specs: list[tf.TensorSpec], target: targets.Prepared) -> Callable[..., Any]:
        whole = super()._compiled
        return SampledCall(self, specs, target, computation == self.compute, lambda: whole(computation, specs, target))

    def begin(self, images: list[tf.Tensor], target: targets.Prepared, with_outputs: bool) -> tuple[Any, ...]:
        """Compute everything that is needed to run the copies.

        Args:
            images: one tensor per model input.
            target: the prepared target.
            with_outputs: whether to compute the outputs as well.

        Returns:
            The choice, the context, the initial sums, and an `Explanation`, or () if `with_outputs`
            is False.
        """
        with self.read.tracing():
            values, choice, context, sums = self._begun(images, targets.seed_for(target))
            explanation = self._explanation(target, values, ()) if with_outputs else ()
            return choice, context, sums, explanation

    def continue_with(
        self,
        images: list[tf.Tensor],
        target: targets.Prepared,
        choice: Choice,
        context: Context,
        sums: Sums,
        first: tf.Tensor,
        count: tf.Tensor,
    ) -> Sums:
        """Run some copies and add their results to the sums.

        Args:
            images: one tensor per model input.
            target: the prepared target.
            choice, context: the choice and the context from `begin`.
            sums: the sums so far.
            first: the first copy's number.
            count: how many copies to run.

        Returns:
            The new sums.
        """
        with self.read.tracing():
            return self._added(images, targets.seed_for(target), choice, context, sums, first, count)

    def end(self, images: list[tf.Tensor], context: Context, sums: Sums, explanation: Any) -> Nested[tf.Tensor]:
        """Compute the attribution and add it to the explanation, if there is one.

        Args:
            images: one tensor per model input.
            context: the context from `begin`.
            sums: the sums over all copies.
            explanation: an `Explanation` without its attribution, or ().

        Returns:
            The explanation, or the float32 attribution if `explanation` is ().
        """
        attribution = tree.map_structure(lambda x: tf.cast(x, tf.float32), self.finish(images, context, sums))
        return explanation._replace(attribution=attribution) if isinstance(explanation, Explanation) else attribution


def _loop(condition: Callable[..., tf.Tensor], step: Callable[..., Any], sums: Sums) -> Any:
    shapes = tree.map_structure(lambda x: x.shape, sums)

    def keep_shapes(first: tf.Tensor, sums: Sums) -> tuple[tf.Tensor, Sums]:
        first, sums = step(first, sums)
        return first, tree.map_structure(lambda x, shape: tf.ensure_shape(x, shape), sums, shapes)

    start = (tf.constant(0), sums)
    return tf.while_loop(condition, keep_shapes, start, parallel_iterations=1, name=LOOP_OVER_COPIES)
