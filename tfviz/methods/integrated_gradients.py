"""Integrated gradients: how much each pixel contributes, compared with a baseline image.

Question: which pixels explain the score difference from a baseline?

    (x − x′) ⊙ (1/n) Σ_k ∂S/∂x at x′ + α_k (x − x′), α_k = (k − ½)/n
        Sundararajan et al., 2017, "Axiomatic Attribution for Deep Networks", equation 3, with the
        midpoint rule

The map sums to S(x) − S(x′), up to the integration error. Pixels that equal the baseline get an
attribution of 0, no matter how much the score depends on them. With the black baseline, black
objects are therefore invisible. The cost is `steps` forward and backward passes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf
from keras import tree

from tfviz import targets
from tfviz.errors import ImageError, OptionError, warn
from tfviz.graph.backprop import inputs_of, run
from tfviz.methods.baselines import Baseline, baseline_for, checked_baselines, first_image, interpolates, is_image
from tfviz.methods.compilation import CompiledFunctions
from tfviz.methods.gradient import warn_of_integers
from tfviz.methods.inputs import checked_images
from tfviz.methods.path import PathExplainer
from tfviz.models.labels import LabelSource
from tfviz.nesting import Nested
from tfviz.numeric_options import positive_integer

_MOST_ERROR = 0.05


class IntegratedGradients(PathExplainer):
    """Integrated gradients: which pixels explain the score difference from a baseline?

    The map is (x − x′) ⊙ m, where m is the mean of ∂S/∂x on the path from the baseline x′ to the
    image x (Sundararajan et al., 2017, "Axiomatic Attribution for Deep Networks"). The mean is
    computed with the midpoint rule.

    Calling the explainer returns a signed attribution of shape (N, H, W, C). The attribution sums
    to S(x) − S(x′), up to an integration error. If this error exceeds 5%, the explainer warns (see
    `completeness_error`).

    Example:

        >>> model = tfviz.load_model("shapes")
        >>> images = np.zeros((2, 96, 96, 3), "float32")
        >>> tfviz.IntegratedGradients(model, steps=8)(images, target=7).shape
        TensorShape([2, 96, 96, 3])
    """

    key: ClassVar[str] = "integrated_gradients"
    question: ClassVar[str] = "Which pixels explain the score difference from a baseline?"

    def __init__(
        self,
        model: keras.Model,
        *,
        baseline: Baseline | list[Baseline] = "black",
        steps: int = 32,
        batch_size: int = 32,
        score: str = "logits",
        output: str | int | None = None,
        class_names: LabelSource = None,
    ) -> None:
        """Prepare the explainer.

        Args:
            model: a built keras.Model.
            baseline: the start of the path: "black", "mean" (the mean color), "white" or "blur" (a
                blurred copy of each image); an array in the model's value range, with one baseline
                for all images or one per image; or a list of such baselines. The maps for all
                baselines in a list are averaged. If the model's preprocessing is unknown, black and
                the mean color are 0. If the model has several inputs, an array applies only to the
                first image input, and float inputs without a baseline start from 0.
            steps: the number of points on the path.
            batch_size: the maximum number of rows to run at once in a call.
            score: "logits" explains the outputs before the final softmax or sigmoid; "outputs"
                explains them after it.
            output: the name, dict key or index of the output to explain. If None, all outputs are
                kept, so that a target function can use them.
            class_names: class names for targets such as "goldfish": a sequence in output order, or
                a labels file. If None, the explainer uses the names from `load_model`, or
                ImageNet's names for a keras.applications network with 1000 classes.

        Raises:
            UnsupportedModelError: the model cannot be traced.
            OptionError: an option has an invalid value.
        """
        super().__init__(model, score=score, output=output, class_names=class_names)
        warn_of_integers(self.graph, self.key)
        self.use_batch_size(batch_size)
        self._steps = positive_integer("steps", steps)
        self._baselines = checked_baselines(baseline, model)
        self._checks = CompiledFunctions()
        self._image = first_image(self.graph)
        rank = self.graph.inputs[self._image].rank or 4
        counts = {len(one) for one in self._baselines if not isinstance(one, str) and one.ndim == rank} - {1}
        if len(counts) > 1:
            raise OptionError(
                f"All baselines must have the same number of rows. Received: {sorted(counts)} rows. Pass the same number of "
                "rows for each baseline."
            )
        self._rows = counts.pop() if counts else None  # for baselines with one row per image
        self._first: int | None = None
        self._first_row = tf.Variable(0, trainable=False, dtype=tf.int32) if self._rows else None

    def start_at(self, first: int | None) -> None:
        if self._first_row is not None:
            self._first = first
            self._first_row.assign(first or 0)

    def _bound(self, images: list[tf.Tensor], target: targets.Target, computation: Callable[..., Any]) -> Callable[..., Any]:
        count = images[0].shape[0]
        if self._rows and count is not None:
            needed = count if self._first is None else self._first + count
            if self._rows < needed or (self._first is None and self._rows != needed):
                at_least = "" if self._first is None else "at least "
                raise ImageError(
                    f"Expected one baseline per image. Received: {self._rows} baselines for {at_least}{needed} images. Pass "
                    "one baseline per image, or a single baseline for all images."
                )
        return super()._bound(images, target, computation)

    def baselines(self, number: int, images: tf.Tensor) -> tf.Tensor:
        found = [self._baseline(one, number, images) for one in self._baselines]
        size = tf.concat([[1], tf.shape(images)[1:]], 0)
        has_rows = any(len(one.shape) == len(images.shape) and one.shape[0] != 1 for one in found)
        return tf.stack([tf.broadcast_to(one, tf.shape(images) if has_rows else size) for one in found])

    def _baseline(self, one: Baseline, number: int, images: tf.Tensor) -> tf.Tensor:
        is_for_this = is_image(self.graph, self.graph.inputs[number]) if isinstance(one, str) else number == self._image
        return baseline_for(one, self.model, images, self._first_row) if is_for_this else tf.zeros([], images.dtype)

    def path(self) -> tuple[tf.Tensor, tf.Tensor]:
        steps, count = self._steps, len(self._baselines)
        positions = np.tile((np.arange(steps) + 0.5) / steps, count)
        return tf.constant(np.repeat(np.arange(count), steps), tf.int32), tf.constant(positions, tf.float32)

    def completeness_error(self, images: Any, attribution: Any, target: targets.Target = None) -> np.ndarray:
        """Measure how much each map's sum deviates from the score difference.

        Args:
            images: the images, as in a call.
            attribution: the attribution returned for them.
            target: the target passed in that call.

        Returns:
            |Σ attribution − (S(x) − S(x′))| / |S(x) − S(x′)|, as a float32 array of shape (N,). It
            is 0 where the numerator is 0, and infinity where only the denominator is 0.
        """
        flat = checked_images(self.graph, images)
        return self._completeness_error(flat, self.named_target(target), attribution)

    def _completeness_error(self, images: list[tf.Tensor], target: Any, attribution: Nested[Any]) -> np.ndarray:
        prepared = targets.prepare(target, self._output_shapes(), images[0].shape[0])
        difference = np.asarray(self._checks.run(self._difference_of_scores, self.graph, images, prepared))
        total = sum(np.asarray(a, np.float64).reshape(len(difference), -1).sum(1) for a in tree.flatten(attribution))
        missed = np.abs(total - difference)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(missed == 0, 0, missed / np.abs(difference)).astype(np.float32)

    def _difference_of_scores(self, images: list[tf.Tensor], target: targets.Prepared = None) -> tf.Tensor:
        """Compute S(x) minus the mean of S(x′) over the baselines, for each image."""
        seed, graph = targets.seed_for(target), self.graph
        steps = graph.before(graph.outputs)
        outputs = self._outputs(run(inputs_of(graph, images), steps))
        choice = seed.choose(outputs)
        scores = []
        for k in range(len(self._baselines)):
            start = [self._start(i, x, k) for i, x in enumerate(images)]
            scores.append(seed.score(self._outputs(run(inputs_of(graph, start), steps)), choice))
        return seed.score(outputs, choice) - tf.add_n(scores) / len(scores)

    def _start(self, number: int, images: tf.Tensor, baseline: int) -> tf.Tensor:
        if not interpolates(self.graph.inputs[number]):
            return images
        baselines = self.baselines(number, images)
        return tf.broadcast_to(baselines[min(baseline, baselines.shape[0] - 1)], tf.shape(images))

    def _check_batch(self, images: list[tf.Tensor], target: targets.Target, attribution: Nested[Any]) -> None:
        if self._has_warned_of_error:
            return
        errors = self._completeness_error(images, target, attribution)
        if errors.max() > _MOST_ERROR:
            self._has_warned_of_error = True
            warn(
                f"{int((errors > _MOST_ERROR).sum())} of {len(errors)} maps of {self.key} have a sum that differs from the "
                f"score difference by more than {_MOST_ERROR:.0%} (up to {errors.max():.0%}). Increase `steps` (now "
                f"{self._steps}), or choose a baseline whose score differs more."
            )

    _has_warned_of_error = False
