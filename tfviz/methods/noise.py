"""The base class for methods that explain noisy copies of each image with another method."""

from __future__ import annotations

import abc
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import tree

from tfviz.errors import ImageError, OptionError
from tfviz.graph.backprop import Values
from tfviz.graph.conversion import is_traced_for_conversion
from tfviz.graph.graph import Value
from tfviz.methods.baselines import first_image, interpolates
from tfviz.methods.copies import as_copies, as_rows
from tfviz.methods.explainer import Explainer
from tfviz.methods.lookup import method_named
from tfviz.methods.perturbation import Context, SampledExplainer, Sums
from tfviz.models.labels import LabelSource
from tfviz.nesting import Nested
from tfviz.numeric_options import checked_seed, finite_array, positive_integer
from tfviz.seeds import FixedSeed, copied

_STEP_OF_SEED = 2**20  # the difference between the seeds for consecutive model inputs


class NoiseExplainer(SampledExplainer):
    """A method that combines a base method's maps for noisy copies of each image.

    Attributes:
        base: the base method's explainer.
    """

    accepts_opaque = True

    def __init__(
        self,
        model: keras.Model,
        method: str = "saliency",
        *,
        samples: int = 25,
        noise: float = 0.15,
        draws: np.ndarray | None = None,
        seed: int = 0,
        batch_size: int = 32,
        score: str = "logits",
        output: str | int | None = None,
        class_names: LabelSource = None,
        **options: Any,
    ) -> None:
        """Prepare the explainer.

        Args:
            model: a built keras.Model.
            method: the base method's key, such as "saliency" or "grad_cam".
            samples: the number of noisy copies of each image.
            noise: the standard deviation of the noise, relative to each image's value range.
            draws: an array of shape (samples, H, W, C) to use instead of random standard normal
                noise. It is used for all images and overrides `samples`.
            seed: the noise seed. Sample k gets the same noise for all images and batches.
            batch_size: the maximum number of rows to run at once in a call.
            score: "logits" explains the outputs before the final softmax or sigmoid; "outputs"
                explains them after it.
            output: the name, dict key or index of the output to explain. If None, all outputs are
                kept, so that a target function can use them.
            class_names: class names for targets such as "goldfish": a sequence in output order, or
                a labels file. If None, the explainer uses the names from `load_model`, or
                ImageNet's names for a keras.applications network with 1000 classes.
            **options: the base method's options, such as layer="conv4_block6_out".

        Raises:
            UnsupportedModelError: the base method cannot explain the model.
            UnknownMethodError: there is no such method.
            OptionError: an option has an invalid value.
        """
        cls = method_named(method)
        self.base = cls(model, score=score, output=output, **options) if cls.takes_target else cls(model, **options)
        self.takes_target = self.base.takes_target  # type: ignore[misc]
        self.reads_kernels = self.base.reads_kernels
        super().__init__(model, score=score, output=output, class_names=class_names)
        self.use_batch_size(batch_size)
        if isinstance(noise, bool) or not isinstance(noise, (int, float, np.number)) or not 0 <= noise < np.inf:
            raise OptionError(f"`noise` must be a non-negative number. Received: {noise!r}.")
        self._noise, self._seed = float(noise), checked_seed(seed)
        self._draws = None if draws is None else np.atleast_1d(finite_array("draws", draws))
        self._samples = positive_integer("samples", samples if self._draws is None else len(self._draws))
        self._image = first_image(self.graph)
        self.style = self.style_for(self.base)  # type: ignore[misc]
        if hasattr(self.base, "layer_path"):
            self.layer_path = self.base.layer_path

    @property
    def explained(self) -> list[Value]:
        return self.base.explained

    def style_for(self, base: Explainer) -> str:
        """Return the style for drawing the maps.

        Args:
            base: the base method's explainer.

        Returns:
            The style.
        """
        return type(self).style

    def copies_per_image(self, images: list[tf.Tensor]) -> int:
        return self._samples

    def start(self, images: list[tf.Tensor], values: Values, fixed: FixedSeed) -> tuple[Context, Sums]:
        deviations = {}
        for i, value in enumerate(self.graph.inputs):
            if interpolates(value):
                axes = list(range(1, len(images[i].shape)))
                spread = tf.reduce_max(images[i], axes, keepdims=True) - tf.reduce_min(images[i], axes, keepdims=True)
                deviations[str(i)] = tf.cast(self._noise, spread.dtype) * spread
        return deviations, self.nothing(self._empty_maps(images))

    def add(self, images: list[tf.Tensor], context: Context, sums: Sums, numbers: tf.Tensor, fixed: FixedSeed) -> Sums:
        rows = [copied(x, fixed.copies) for x in images]
        for name, deviation in context.items():
            x = images[int(name)]
            noise = tf.cast(self._noise_of(int(name), numbers, x), x.dtype)
            rows[int(name)] = as_rows(x[None] + deviation[None] * noise[:, None])
        maps, _ = self.base.attribute(rows, fixed)
        return self.with_maps(sums, tree.map_structure(lambda m: tf.cast(as_copies(m, fixed.copies), tf.float32), maps))

    def nothing(self, empty: Nested[tf.Tensor]) -> Sums:
        """Return the initial sums, before any copy is added.

        Args:
            empty: zero maps, with shape (N, …).

        Returns:
            The sums.
        """
        return empty

    @abc.abstractmethod
    def with_maps(self, sums: Sums, maps: Nested[tf.Tensor]) -> Sums:
        """Add the maps of some copies to the sums.

        Args:
            sums: the sums so far.
            maps: the maps of some copies, with shape (copies, N, …).

        Returns:
            The new sums.
        """

    def _noise_of(self, number: int, numbers: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
        """Return standard normal noise of shape (copies, …) for some copies of an input."""
        if self._draws is not None and number == self._image:
            if tuple(self._draws.shape[1:]) != tuple(images.shape[1:]):
                raise ImageError(
                    f"Each sample in `draws` must have the shape of an image, {tuple(images.shape[1:])}. Received: `draws` of "
                    f"shape {self._draws.shape}."
                )
            return tf.gather(tf.constant(self._draws), numbers)
        shape = tf.shape(images)[1:] if None in images.shape[1:] else images.shape[1:]

        def draw(k: tf.Tensor) -> tf.Tensor:
            return tf.random.stateless_normal(shape, [(self._seed + number * _STEP_OF_SEED) % 2**31, k], alg="philox")

        if is_traced_for_conversion():
            with tf.init_scope():  # other runtimes would draw different numbers
                drawn = tf.stack([draw(tf.constant(k)) for k in range(self._samples)]).numpy()
            return tf.gather(tf.constant(drawn), numbers)
        if numbers.shape[0] is not None:
            return tf.stack([draw(k) for k in tf.unstack(numbers)])
        return tf.map_fn(draw, numbers, fn_output_signature=tf.TensorSpec(images.shape[1:], tf.float32))

    def _empty_maps(self, images: list[tf.Tensor]) -> Nested[tf.Tensor]:
        """Return zero maps with the same shape as the base method's maps."""
        compute = lambda *given: self.base._attribution(list(given), _total if self.takes_target else None)  # noqa: E731
        specs = [tf.TensorSpec((None, *x.shape[1:]), x.dtype) for x in images]
        maps = tf.function(compute, autograph=False).get_concrete_function(*specs).structured_outputs
        if any(None in m.shape[1:] for m in tree.flatten(maps)):
            # If the image size is unknown at compile time, only a run reveals the map size.
            return tree.map_structure(tf.zeros_like, compute(*images))
        return tree.map_structure(lambda m: tf.zeros(tf.concat([tf.shape(images[0])[:1], m.shape[1:]], 0)), maps)


def _total(outputs: Nested[tf.Tensor]) -> tf.Tensor:
    """Sum the outputs for each image. This target function works for any model."""
    rows = [tf.reshape(tf.cast(x, tf.float32), [tf.shape(x)[0], -1]) for x in tree.flatten(outputs)]
    return tf.add_n([tf.reduce_sum(row, axis=1) for row in rows])
