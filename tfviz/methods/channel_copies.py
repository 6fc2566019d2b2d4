"""The base class for CAMs that compute each channel's weight in a separate run of the network."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import ClassVar

import keras
import tensorflow as tf

from tfviz.errors import UnsupportedModelError
from tfviz.graph.backprop import Values, inputs_of, run
from tfviz.methods.copies import as_copies
from tfviz.methods.layer_maps import LayerExplainer, Layers
from tfviz.methods.perturbation import Context, SampledExplainer, Sums
from tfviz.models.labels import LabelSource
from tfviz.numeric_options import positive_integer
from tfviz.seeds import FixedSeed


class ChannelExplainer(SampledExplainer, LayerExplainer):
    """A method that computes relu(Σ_k w_k A_k) by running one copy of the image per channel k."""

    needs_layer: ClassVar[bool] = True

    def __init__(
        self,
        model: keras.Model,
        layer: Layers = None,
        *,
        combine: str = "mean",
        channels: int | None = None,
        batch_size: int = 32,
        score: str = "logits",
        output: str | int | None = None,
        class_names: LabelSource = None,
    ) -> None:
        """Prepare the explainer and find its layers.

        Args:
            model: a built keras.Model.
            layer: a name, a path into nested models such as "backbone/conv1", or the layer itself.
                None selects the last layer with height and width that every path to the output goes
                through. Pooling layers don't count. A list of layers combines their maps.
            combine: how to combine the maps for a list of layers: "mean", "max" or "product". Each
                map is first resized to the image and scaled to [0, 1] by its minimum and maximum.
            channels: the maximum number of channels to use per layer. The channels with the highest
                standard deviation over the positions are used. None means all channels.
            batch_size: the maximum number of rows to run at once in a call.
            score: "logits" explains the outputs before the final softmax or sigmoid; "outputs"
                explains them after it.
            output: the name, dict key or index of the output to explain. If None, all outputs are
                kept, so that a target function can use them.
            class_names: class names for targets such as "goldfish": a sequence in output order, or
                a labels file. If None, the explainer uses the names from `load_model`, or
                ImageNet's names for a keras.applications network with 1000 classes.

        Raises:
            UnsupportedModelError: the model cannot be traced, or it has no feature map.
            UnknownLayerError: there is no such layer, or it has no height and width.
            OptionError: an option has an invalid value.
        """
        super().__init__(model, layer, combine=combine, score=score, output=output, class_names=class_names)
        self.use_batch_size(batch_size)
        most = None if channels is None else positive_integer("channels", channels)
        self.widths = [self._width(number, most) for number in range(len(self.layers))]

    def _width(self, number: int, most: int | None) -> int:
        width = self.layers[number].shape[-1]
        if width is None:
            raise UnsupportedModelError(
                f"The number of channels in '{self.layer_path}' is unknown until the model is called, so {self.key} cannot "
                "plan its forward passes. Use grad_cam."
            )
        return width if most is None else min(most, width)

    def copies_per_image(self, images: list[tf.Tensor]) -> int:
        return sum(self.widths)

    def start(self, images: list[tf.Tensor], values: Values, fixed: FixedSeed) -> tuple[Context, Sums]:
        values = run(values or inputs_of(self.graph, images), self.graph.before(self.layers, given=values))
        found = [self.as_map(values[layer], layer, values) for layer in self.layers]
        chosen = [_by_deviation(A, n) for A, n in zip(found, self.widths, strict=True)]
        maps = [_channels_first(A, one) for A, one in zip(found, chosen, strict=True)]
        context = {"maps": maps, "chosen": chosen} | self.shared(images, values, fixed)
        return context, tf.zeros([tf.shape(images[0])[0], sum(self.widths)])

    def shared(self, images: list[tf.Tensor], values: Values, fixed: FixedSeed) -> Context:
        """Compute any additional data shared by all copies.

        Args:
            images: one tensor per input, each with N rows.
            values: the graph values computed so far.
            fixed: the score for these images.

        Returns:
            Additional context entries.
        """
        return {}

    def add(self, images: list[tf.Tensor], context: Context, sums: Sums, numbers: tf.Tensor, fixed: FixedSeed) -> Sums:
        found = as_copies(self.measure(images, context, numbers, fixed), fixed.copies)
        return sums + tf.tensordot(found, tf.one_hot(numbers, sum(self.widths)), [[0], [0]])

    @abc.abstractmethod
    def measure(self, images: list[tf.Tensor], context: Context, numbers: tf.Tensor, fixed: FixedSeed) -> tf.Tensor:
        """Run the network once per channel.

        Args:
            images: one tensor per input, each with N rows.
            context: the context; "maps" contains the channels of each layer, with shape (N,
                channels, h, w).
            numbers: channel numbers counted across all layers, as int32 of shape (copies,).
            fixed: the score for the rows.

        Returns:
            One result per row, with shape (rows,).
        """

    def weights(self, context: Context, sums: Sums) -> tf.Tensor:
        """Convert the run results to channel weights.

        Args:
            context: the context from `start`.
            sums: the run results, with shape (N, channels).

        Returns:
            The weights, with shape (N, channels).
        """
        return sums

    def finish(self, images: list[tf.Tensor], context: Context, sums: Sums) -> tf.Tensor:
        weights = tf.split(self.weights(context, sums), self.widths, axis=1)
        maps = [tf.nn.relu(_weighted(w, A)) for w, A in zip(weights, context["maps"], strict=True)]
        return self.combined(maps, inputs_of(self.graph, images))

    def within(self, numbers: tf.Tensor, number: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Convert channel numbers counted across all layers to numbers within one layer.

        Args:
            numbers: channel numbers counted across all layers, as int32 of shape (copies,).
            number: the layer's index.

        Returns:
            The channel numbers within the layer, and a mask that is 1 for the channels that belong
            to the layer and 0 for the others.
        """
        own = numbers - sum(self.widths[:number])
        is_own = tf.cast((own >= 0) & (own < self.widths[number]), tf.float32)
        return tf.clip_by_value(own, 0, self.widths[number] - 1), is_own


def _by_deviation(A: tf.Tensor, count: int) -> tf.Tensor:
    """Return the sorted indices of the channels with the highest deviation, of shape (N, count)."""
    if count == A.shape[-1]:
        return tf.tile(tf.range(count)[None], [tf.shape(A)[0], 1])
    deviation = tf.math.reduce_std(A, axis=_positions(A))
    return tf.sort(tf.math.top_k(deviation, count).indices, axis=-1)


def _channels_first(A: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
    """Return the chosen channels with shape (N, channels, h, w)."""
    rank = len(A.shape)
    first = tf.transpose(A, [0, rank - 1, *range(1, rank - 1)])
    return first if chosen.shape[1] == first.shape[1] else tf.gather(first, chosen, axis=1, batch_dims=1)


def _positions(A: tf.Tensor) -> Sequence[int]:
    return list(range(1, len(A.shape) - 1))


def _weighted(weights: tf.Tensor, A: tf.Tensor) -> tf.Tensor:
    """Compute Σ_k w_k A_k for channels of shape (N, K, h, w)."""
    return tf.reduce_sum(tf.reshape(weights, tf.concat([tf.shape(weights), [1] * (len(A.shape) - 2)], 0)) * A, axis=1)
