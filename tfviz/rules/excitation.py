"""The rules of excitation backprop: what share of a neuron's winning probability each of its inputs gets.

Marginal winning probability: Zhang et al., 2016, "Top-down Neural Attention by Excitation Backprop" (below, "the
paper"). For each kind of operation, with p what comes back to the output and a = max(x, 0):

    linear, average_pool     p_in = a · fᵀ(W⁺, p / f(a; W⁺)), 0 where the divisor is 0; the bias takes no part
    max_pool                 the winner takes all: its own derivative
    add                      input i gets p · a_i / Σ a
    multiply                 a gate is a weight: the gated branch gets p, the gate gets nothing
    relu, activation, scale, identity
                             p passes unchanged, as in the authors' own code
    negation                 on the picture p passes unchanged; further on there is no rule: what excites −x holds x down,
                             and the paper knows no inhibition on the way
    reshape                  its own derivative

The reason for each, and its source, stand at the function that is the rule. What these rules give is linear in p. The first
linear map reads the image, which may be negative: there a is the image shifted so that its smallest value is 0, and padding
added on the way stays 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfviz.errors import UnsupportedModelError, warn
from tfviz.graph import keras_graph
from tfviz.graph.gating import gated_input
from tfviz.graph.head import TWO_CLASSES
from tfviz.graph.places import Graph, Place, Value
from tfviz.graph.walk import Rules, inputs_of, run
from tfviz.numerics import safe_divide
from tfviz.rules.redirect import redirect

_UNCHANGED = ("relu", "activation", "scale", "identity")

# Each element of these outputs is one element of the input, which is its only parent: the winner with certainty. Of a maximum
# it is the largest, as in the paper. Moving, copying and dropping elements only changes where they stand; elements of a
# padding are nobody's, and what reaches them ends there. Interpolation (resizing) is taken as copying by halves.
_OWN_DERIVATIVE = ("max_pool", "reshape")


class Excitation:
    """The rules for one graph.

    Args:
        graph: the graph that the rules are for.
        merge_batch_norm: fold a BatchNormalization that alone follows a linear map into W before W⁺ is taken.
        contrastive: at the last linear maps, subtract what −W gives from what W gives.
    """

    def __init__(self, graph: Graph, *, merge_batch_norm: bool = False, contrastive: bool = False) -> None:
        self.graph = graph
        self.reads_image = _values_before_first_linear_map(graph)
        self.last_maps, self.above_last_maps = _last_linear_maps(graph)
        self.contrastive = contrastive
        # Of one sigmoid unit, class 0 comes back as −p: the evidence for it is what −W lets through.
        self.has_two_signs = any(place.path == TWO_CLASSES and place.operation is None for place in graph.places)
        self.batch_norms = _batch_norms_to_merge(graph) if merge_batch_norm else {}
        if merge_batch_norm and (left := _batch_norms_that_stay(graph, self.batch_norms)):
            warn(
                f"merge_batch_norm=True leaves {', '.join(map(repr, left))} as it is: only a BatchNormalization of the last "
                "axis, behind a Dense layer or a convolution, can be merged"
            )

    def require_rules(self, at: Sequence[Value]) -> None:
        """Raises UnsupportedModelError for the first operation between `at` and the outputs that has no rule."""
        for place in self.graph.before(self.graph.outputs, given=at):
            if place.kind == "negation" and place.outputs[0] not in self.reads_image:
                raise UnsupportedModelError(
                    f"excitation backprop has no rule for '{place.path}' ({type(place.operation).__name__}): it turns "
                    "signs over, so that what excites its output holds its input down. Put the sign into the weights of the "
                    "layer before, use a gradient method such as saliency or guided_backprop, or explain a layer above it"
                )
            if place.kind not in (*_UNCHANGED, *_OWN_DERIVATIVE, "negation", "linear", "average_pool", "add", "multiply"):
                raise UnsupportedModelError(
                    f"excitation backprop has no rule for '{place.path}' ({type(place.operation).__name__}): it knows "
                    "linear layers, pooling, activations, normalization, Add, Multiply and reshaping. Use a gradient "
                    "method such as saliency or guided_backprop, or explain a layer above it"
                )

    def is_below_last_map(self, at: Sequence[Value]) -> bool:
        """Whether each of these values goes through a last linear map on its way to the outputs, if it is on any."""
        behind = [self.graph.after([value]) for value in at]
        used = [values for values in behind if values.intersection(self.graph.outputs)]
        return all(any(values.intersection(last.inputs) for last in self.last_maps) for values in used)

    def rules(self, images: Sequence[Any]) -> Rules:
        """The rules for one batch of images (flat, as the graph takes them)."""
        masks = _Masks(self.graph, images, self.reads_image)

        def linear(place: Place, inputs: Sequence[Any], output: Any) -> Any:
            """The paper's P(a_j | a_i) = Z_i · a_j · w_ji where w_ji is 0 or more, otherwise 0; Z_i makes the sum 1.

            An excitatory neuron is a likelier parent the more it fires and the stronger its link. a is cut at 0, for the
            paper takes responses not to be negative. The bias is nobody's response.
            """
            return redirect(output, inputs, lambda p: [self._share(place, masks.excitation_of(place, inputs[0]), p)])

        def average_pool(place: Place, inputs: Sequence[Any], output: Any) -> Any:
            """The rule of the linear map that it is, with weights that are all alike: p is shared out by a. So the paper."""

            def share(p: Any, x: Any) -> list[Any]:
                return [_share_of(masks.excitation_of(place, x), p, lambda a: place.compute([a])[0])]

            return redirect(output, inputs, self._of_each_sign(place, inputs, share))

        def add(place: Place, inputs: Sequence[Any], output: Any) -> Any:
            """The rule of a linear map whose links all weigh 1: p is shared out by a. So TorchRay's `EltwiseSum`."""
            return redirect(output, inputs, self._of_each_sign(place, inputs, lambda p, *x: _share_of_sum(place, x, p)))

        unchanged = dict.fromkeys((*_UNCHANGED, "negation"), _unchanged)
        return {**unchanged, "linear": linear, "average_pool": average_pool, "add": add, "multiply": self._multiply}

    def _of_each_sign(self, place: Place, inputs: Sequence[Any], share: Callable[..., list[Any]]) -> Callable[[Any], list[Any]]:
        """`share(p, *inputs)`, and above the linear map of one sigmoid unit, where p may be below 0, what speaks against it."""
        if not (self.has_two_signs and place in self.above_last_maps):
            return lambda p: share(p, *inputs)

        def share_of_each(p: Any) -> list[Any]:
            turned = [keras_graph.with_mask_of(x, -x) for x in inputs]
            pairs = zip(share(tf.nn.relu(p), *inputs), share(tf.nn.relu(-p), *turned), strict=True)
            return [with_it - against for with_it, against in pairs]

        return share_of_each

    def _share(self, place: Place, a: Any, p: Any) -> Any:
        if place in self.last_maps and self.contrastive:
            return self._share_of_sign(place, a, p, 1) - self._share_of_sign(place, a, p, -1)
        if place in self.last_maps and self.has_two_signs:
            for_it = self._share_of_sign(place, a, tf.nn.relu(p), 1)
            return for_it + self._share_of_sign(place, a, tf.nn.relu(-p), -1)
        return self._share_of_sign(place, a, p, 1)

    def _share_of_sign(self, place: Place, a: Any, p: Any, sign: int) -> Any:
        """What comes through the positive part of `sign` · W."""
        layer, linear_map = place.operation, place.linear_map
        kernel = linear_map.kernel(layer, _precise(a).name)
        if place in self.batch_norms:
            kernel = linear_map.scale_outputs(kernel, _scale_of(self.batch_norms[place].operation))
        positive = tf.nn.relu(kernel if sign > 0 else -kernel)
        return _share_of(a, p, lambda a: linear_map.apply(layer, a, positive))

    def _multiply(self, place: Place, inputs: Sequence[Any], output: Any) -> Any:
        """A gate is a weight of the gated signal: all of p goes to the signal.

        In the rule of a linear map a weight scales a response and is no response itself; squeeze-and-excitation (Hu et al.,
        2018) computes such a weight for each channel, between 0 and 1. The paper has no products: this is a reading of it,
        and what relevance propagation does with gates (Arras et al., 2017, "Explaining Recurrent Neural Network
        Predictions in Sentiment Analysis").
        """
        gated = gated_input(self.graph, place)
        return redirect(
            output, inputs, lambda p: [_sum_to(p, x) if i == gated else tf.zeros_like(x) for i, x in enumerate(inputs)]
        )


def _share_of(a: Any, p: Any, positive_map: Callable[[Any], Any]) -> Any:
    """a · fᵀ(p / f(a)) for a linear f with weights that are not negative, in float32 where the model computes in less."""
    dtype, precise = a.dtype, _precise(a)
    a, p = keras_graph.with_mask_of(a, tf.cast(a, precise)), tf.cast(p, precise)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(a)
        z = positive_map(a)
    return tf.cast(a * tape.gradient(z, a, output_gradients=safe_divide(p, tf.cast(z, precise))), dtype)


def _precise(a: Any) -> tf.DType:
    return tf.float64 if a.dtype == tf.float64 else tf.float32


def _unchanged(place: Place, inputs: Sequence[Any], output: Any) -> Any:
    """A neuron with one parent gets all of it: P(a_j | a_i) = 1.

    An activation, and an affine map of each element, has one input for each output. The authors' own code leaves such
    layers out of the way back: ReLU, dropout, normalization. LayerNormalization and LayerScale are read alike: they scale
    each element, and the mean and variance that they subtract and divide by are no responses. Where an activation is
    negative (silu, gelu, a residual sum without a ReLU) it excites nothing in the map that reads it: an output all of
    whose inputs are such has no parent, and what comes to it ends there.
    """
    return redirect(output, inputs, lambda p: [_sum_to(p, inputs[0]), *(tf.zeros_like(x) for x in inputs[1:])])


def _share_of_sum(place: Place, inputs: Sequence[Any], p: Any) -> list[Any]:
    """What each of the inputs of a sum gets of p."""
    excited = [tf.nn.relu(x) for x in inputs]
    with tf.GradientTape(watch_accessed_variables=False) as tape:  # of a sum that may broadcast, and cast
        tape.watch(excited)
        total = place.compute(excited)[0]
    # Of a sum of a tensor with itself one of the two takes all.
    zero = tf.UnconnectedGradients.ZERO
    parts = tape.gradient(total, excited, output_gradients=safe_divide(p, total), unconnected_gradients=zero)
    return [a * part for a, part in zip(excited, parts, strict=True)]


def _sum_to(p: Any, like: Any) -> Any:
    """p summed over the axes along which `like` was broadcast, so that nothing of it is lost.

    Keras' layers take (N, C) beside (N, height, width, C) as (N, 1, 1, C).
    """
    missing = len(p.shape) - len(like.shape)
    p = tf.reduce_sum(p, axis=list(range(1, 1 + missing))) if missing > 0 else p
    axes = [axis for axis, (n, m) in enumerate(zip(p.shape, like.shape, strict=True)) if m == 1 and n != 1]
    return tf.cast(tf.reduce_sum(p, axis=axes, keepdims=True) if axes else p, like.dtype)


def _values_before_first_linear_map(graph: Graph) -> set[Value]:
    """The image, and all that is made of it without a linear map or a pooling."""
    found = set(graph.inputs)
    for place in graph.places:
        if place.kind in (*_UNCHANGED, "negation", "reshape") and place.inputs and found.issuperset(place.inputs):
            found.update(place.outputs)
    return found


def _last_linear_maps(graph: Graph) -> tuple[set[Place], set[Place]]:
    """The linear maps with no other behind them on the way to the outputs, and what is on that way.

    What a gate is computed from is not on the way: nothing goes back through it.
    """
    found: set[Place] = set()
    way: set[Place] = set()
    needed = set(graph.outputs)
    for place in reversed(graph.places):
        if needed.intersection(place.outputs):
            if place.kind == "linear":
                found.add(place)
                continue
            way.add(place)
            needed.update([place.inputs[gated_input(graph, place)]] if place.kind == "multiply" else place.inputs)
    behind = {other for other in found if any(_leads_to(graph, other, last) for last in found if last is not other)}
    return found - behind, way


def _leads_to(graph: Graph, place: Place, other: Place) -> bool:
    return bool(graph.after(place.outputs).intersection(other.inputs))


def _batch_norms_to_merge(graph: Graph) -> dict[Place, Place]:
    """For each linear map that a BatchNormalization, and nothing else, follows: that place."""
    found = {}
    for place in graph.places:
        if place.kind == "linear" and place.outputs[0] not in graph.outputs:
            followers = graph.consumers(place.outputs[0])
            rank = len(graph.shapes[place.outputs[0]]) - place.series_axes
            # Which axes of an einsum's kernel are its outputs is for its equation to say.
            is_einsum = isinstance(place.operation, keras.layers.EinsumDense)
            if len(followers) == 1 and _scales_channels(followers[0].operation, rank) and not is_einsum:
                found[place] = followers[0]
    return found


def _batch_norms_that_stay(graph: Graph, merged: dict[Place, Place]) -> list[str]:
    """The paths of those that alone follow a linear map, and are not merged all the same."""
    lone = [graph.consumers(place.outputs[0]) for place in graph.places if place.kind == "linear" and place not in merged]
    is_norm = lambda place: type(place.operation).__name__ == "BatchNormalization"  # noqa: E731
    return [readers[0].path for readers in lone if len(readers) == 1 and is_norm(readers[0])]


def _scales_channels(operation: Any, rank: int) -> bool:
    return type(operation).__name__ == "BatchNormalization" and operation.axis in (-1, rank - 1)


def _scale_of(batch_norm: Any) -> Any:
    """What a BatchNormalization multiplies each channel by, at inference."""
    scale = tf.math.rsqrt(tf.cast(batch_norm.moving_variance, tf.float32) + batch_norm.epsilon)
    return scale * tf.cast(batch_norm.gamma, tf.float32) if batch_norm.scale else scale


_FILLS = (tf.ones_like, tf.zeros_like)


class _Masks:
    """Which elements that the first linear maps read come from the image, and which from padding."""

    def __init__(self, graph: Graph, images: Sequence[Any], reads_image: set[Value]) -> None:
        self.graph, self.images, self.reads_image = graph, images, reads_image

    def excitation_of(self, place: Place, x: Any) -> Any:
        """a for a linear map: max(x, 0), and for one that reads the image, x shifted to start at 0."""
        value = place.inputs[0]
        if value not in self.reads_image:
            return keras_graph.with_mask_of(x, tf.nn.relu(x))
        axes = list(range(1, len(x.shape)))
        moves = [other for other in self.graph.before([value]) if other.kind == "reshape"]
        if not moves:
            return x - tf.reduce_min(x, axis=axes, keepdims=True)
        mask = self._mask(value)
        smallest = tf.reduce_min(tf.where(mask > 0, x, x.dtype.max), axis=axes, keepdims=True)
        return (x - smallest) * mask

    def _mask(self, value: Value) -> Any:
        """1 where the value comes from the image, 0 where it was padded."""
        keep = dict.fromkeys((*_UNCHANGED, "negation"), lambda place, inputs, output: inputs[0])
        places = self.graph.before([value])
        found = [run(inputs_of(self.graph, list(map(fill, self.images))), places, keep)[value] for fill in _FILLS]
        return found[0] - found[1]  # a padding of another value than 0 is the same in both
