"""The base class for methods that average gradients along paths from baselines to the image."""

from __future__ import annotations

import abc

import tensorflow as tf

from tfviz.graph.backprop import Values, backpropagate, inputs_of
from tfviz.methods.baselines import interpolates
from tfviz.methods.copies import as_copies, as_rows
from tfviz.methods.explainer import like_inputs
from tfviz.methods.perturbation import Context, SampledExplainer, Sums
from tfviz.nesting import Nested
from tfviz.seeds import FixedSeed, copied


class PathExplainer(SampledExplainer):
    """Averages (x − x′) ⊙ ∂S/∂x, taken at x′ + α (x − x′), over baselines x′ and positions α."""

    style = "signed"
    accepts_opaque = True

    @abc.abstractmethod
    def baselines(self, number: int, images: tf.Tensor) -> tf.Tensor:
        """Return the baselines for one model input.

        Args:
            number: the input's index.
            images: the input, with shape (N, …).

        Returns:
            The baselines, with shape (B, N or 1, …).

        Raises:
            ImageError: the baselines' shape does not match the images.
        """

    @abc.abstractmethod
    def path(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the baseline and the position on the path for each copy.

        Returns:
            The int32 baseline numbers and the float32 positions α, both of shape (copies,).
        """

    def copies_per_image(self, images: list[tf.Tensor]) -> int:
        return self.path()[1].shape[0]

    def start(self, images: list[tf.Tensor], values: Values, fixed: FixedSeed) -> tuple[Context, Sums]:
        moved = [i for i, value in enumerate(self.graph.inputs) if interpolates(value)]
        return {str(i): self.baselines(i, images[i]) for i in moved}, [tf.zeros(tf.shape(x)) for x in images]

    def add(self, images: list[tf.Tensor], context: Context, sums: Sums, numbers: tf.Tensor, fixed: FixedSeed) -> Sums:
        chosen, positions = (tf.gather(each, numbers) for each in self.path())
        differences: list[tf.Tensor | None] = [None] * len(images)
        rows = [copied(x, fixed.copies) for x in images]
        for name, baselines in context.items():
            x = images[int(name)][None]
            # A single baseline needs no copies.
            differences[int(name)] = x - (baselines if baselines.shape[0] == 1 else tf.gather(baselines, chosen))
            alpha = tf.cast(tf.reshape(positions, [-1] + [1] * (len(x.shape) - 1)), x.dtype)
            rows[int(name)] = as_rows(x - (1 - alpha) * differences[int(name)])
        gradients = backpropagate(self.graph, inputs_of(self.graph, rows), fixed, self.graph.inputs).gradients
        return [
            total if d is None else total + _sum_of_products(d, as_copies(g, fixed.copies))
            for total, d, g in zip(sums, differences, gradients, strict=True)
        ]

    def finish(self, images: list[tf.Tensor], context: Context, sums: Sums) -> Nested[tf.Tensor]:
        return like_inputs(self.graph, [total / self.copies_per_image(images) for total in sums])


def _sum_of_products(d: tf.Tensor, g: tf.Tensor) -> tf.Tensor:
    """Compute Σ_k d_k g_k over the copies k. If `d` has only one row, it is used for every copy."""
    d, g = tf.cast(d, tf.float32), tf.cast(g, tf.float32)
    return d[0] * tf.reduce_sum(g, 0) if d.shape[0] == 1 else tf.reduce_sum(d * g, 0)
