"""The base class of the CAMs that weigh each channel by a run of the network of its own."""

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
from tfviz.methods.numeric_options import positive_integer
from tfviz.methods.perturbation import Context, SampledExplainer, Sums
from tfviz.models.labels import LabelSource
from tfviz.seeds import FixedSeed


class ChannelExplainer(SampledExplainer, LayerExplainer):
    """relu(Σ_k w_k A_k) with one copy of the image per channel k, over all layers of a list."""

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
                None means the last layer with height and width that every path to the output goes
                through. Pooling layers don't count. A list of layers combines their maps.
            combine: "mean", "max" or "product" of the maps of a list of layers, each resized to the
                image and scaled to [0, 1] by its minimum and maximum.
            channels: how many channels of each layer to use, those with the highest standard
                deviation over the positions. None means all.
            batch_size: the largest number of rows to run at once in a call.
            score: "logits" explains the outputs before their final softmax or sigmoid; "outputs"
                explains them with it.
            output: the output to explain, by name, dict key or number. None keeps all outputs, so
                that the target can be a function of them.
            class_names: the names of the classes, for targets such as "goldfish": a sequence in the
                order of the outputs, or a labels file. None means the names that `load_model`
                found, or ImageNet's for a keras.applications network with 1000 classes.

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
                f"The number of channels of '{self.layer_path}' is unknown until the model is called, so {self.key} cannot "
                "count its runs. Use grad_cam."
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
        """Compute what else all copies share.

        Args:
            images: one tensor per input, N rows.
            values: the known values of the graph.
            fixed: the score for these images.

        Returns:
            More entries of the context.
        """
        return {}

    def add(self, images: list[tf.Tensor], context: Context, sums: Sums, numbers: tf.Tensor, fixed: FixedSeed) -> Sums:
        found = as_copies(self.measure(images, context, numbers, fixed), fixed.copies)
        return sums + tf.tensordot(found, tf.one_hot(numbers, sum(self.widths)), [[0], [0]])

    @abc.abstractmethod
    def measure(self, images: list[tf.Tensor], context: Context, numbers: tf.Tensor, fixed: FixedSeed) -> tf.Tensor:
        """Run one copy per channel.

        Args:
            images: one tensor per input, N rows.
            context: "maps" holds the channels of each layer, (N, channels, h, w).
            numbers: the channels, counted over all layers, int32 (copies,).
            fixed: the score for the rows.

        Returns:
            What each row gives, (rows,).
        """

    def weights(self, context: Context, sums: Sums) -> tf.Tensor:
        """Return the weight of each channel from what its run gave.

        Args:
            context: what `start` returned.
            sums: what the runs gave, (N, channels).

        Returns:
            (N, channels).
        """
        return sums

    def finish(self, images: list[tf.Tensor], context: Context, sums: Sums) -> tf.Tensor:
        weights = tf.split(self.weights(context, sums), self.widths, axis=1)
        maps = [tf.nn.relu(_weighted(w, A)) for w, A in zip(weights, context["maps"], strict=True)]
        return self.combined(maps, inputs_of(self.graph, images))

    def within(self, numbers: tf.Tensor, number: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the channels of one layer.

        Args:
            numbers: channels, counted over all layers, int32 (copies,).
            number: the number of the layer.

        Returns:
            The channels within the layer, and whether each belongs to it, as 0 or 1.
        """
        own = numbers - sum(self.widths[:number])
        is_own = tf.cast((own >= 0) & (own < self.widths[number]), tf.float32)
        return tf.clip_by_value(own, 0, self.widths[number] - 1), is_own


def _by_deviation(A: tf.Tensor, count: int) -> tf.Tensor:
    """Return the channels whose values vary most over the positions, (N, count) int32, in order."""
    if count == A.shape[-1]:
        return tf.tile(tf.range(count)[None], [tf.shape(A)[0], 1])
    deviation = tf.math.reduce_std(A, axis=_positions(A))
    return tf.sort(tf.math.top_k(deviation, count).indices, axis=-1)


def _channels_first(A: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
    """Return the chosen channels (N, channels, h, w)."""
    rank = len(A.shape)
    first = tf.transpose(A, [0, rank - 1, *range(1, rank - 1)])
    return first if chosen.shape[1] == first.shape[1] else tf.gather(first, chosen, axis=1, batch_dims=1)


def _positions(A: tf.Tensor) -> Sequence[int]:
    return list(range(1, len(A.shape) - 1))


def _weighted(weights: tf.Tensor, A: tf.Tensor) -> tf.Tensor:
    """Return Σ_k w_k A_k for channels (N, K, h, w)."""
    return tf.reduce_sum(tf.reshape(weights, tf.concat([tf.shape(weights), [1] * (len(A.shape) - 2)], 0)) * A, axis=1)
