"""The rules of excitation backprop: how a neuron's winning probability is shared among its inputs.

Marginal winning probability: Zhang et al., 2016, "Top-down Neural Attention by Excitation Backprop" (below, "the
paper"). For each kind of operation, with p what comes back to the output and a = max(x, 0):

    Linear, Window (average)    p_in = a · fᵀ(W⁺, p / f(a; W⁺)), 0 where the divisor is 0; the bias takes no part
    Window (max), Choice        the winner takes all: its own derivative
    Sum                         input i gets p · a_i / Σ a
    Product, Normalization      a gate is a weight: the signal gets p, the gate gets nothing
    Relu, Elementwise, Identity p passes unchanged, as in the authors' own code
      of sign −1                at the image p passes unchanged; further on there is no rule: what excites −x inhibits x, and
                                the paper has no inhibition
    Move                        its own derivative

The reason for each, and its source, stand at the function that is the rule. What these rules give is linear in p. The first
linear map reads the image, which may be negative: there a is the image shifted so that its smallest value is 0, and padding
added on the way stays 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from tfviz import keras_internals
from tfviz.errors import UnsupportedModelError
from tfviz.graph.backprop import Rules, inputs_of, run
from tfviz.graph.graph import Graph, Step, Value
from tfviz.graph.logits import has_two_classes
from tfviz.graph.operations import Choice, Elementwise, Identity, Linear, Move, Normalization, Product, Relu, Sum, Window
from tfviz.numerics import safe_divide
from tfviz.rules.batch_norm import batch_norm_scales
from tfviz.rules.redirect import redirect

Tensors = Sequence[tf.Tensor]
Backward = Callable[[tf.Tensor], list[tf.Tensor]]

# Each element of these outputs is one element of the input, which is its only parent: the winner with certainty. Of a maximum
# it is the largest, as in the paper. Moving, copying and dropping elements only changes where they stand; elements of a
# padding are nobody's, and what reaches them ends there. Interpolation (resizing) is taken as copying by halves.
_OWN_DERIVATIVE = (Move, Choice)
_CARRIED = (Relu, Elementwise, Identity, Normalization, Product)
_PIXELWISE = (Relu, Elementwise, Identity, Normalization, Choice)


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
        self.has_two_signs = has_two_classes(graph)
        self.batch_norms = batch_norm_scales(graph) if merge_batch_norm else {}

    def require_rules(self, at: Sequence[Value]) -> None:
        """Raises UnsupportedModelError for the first operation on the way from the outputs to `at` that has no rule."""
        for step in self.graph.signal_path(at):
            is_negated = isinstance(step.operation, Elementwise) and step.operation.sign < 0
            if is_negated and step.outputs[0] not in self.reads_image:
                raise UnsupportedModelError(
                    f"Excitation backprop has no rule for {step.label}: it negates its input, and there is no rule for "
                    "inhibition. Put the sign into the weights of the layer before, use a gradient method such as saliency or "
                    "guided_backprop, or explain a layer above it."
                )
            if not _has_rule(step):
                raise UnsupportedModelError(
                    f"Excitation backprop has no rule for {step.label}. It has rules for linear layers, pooling, activations, "
                    "normalization, sums, products with a gate and reshaping. Use a gradient method such as saliency or "
                    "guided_backprop, or explain a layer above it."
                ) from getattr(step.operation, "cause", None)

    def is_below_last_map(self, at: Sequence[Value]) -> bool:
        """Whether each of these values goes through a last linear map on its way to the outputs, if it is on any."""
        behind = [self.graph.after([value]) for value in at]
        used = [values for values in behind if values.intersection(self.graph.outputs)]
        return all(any(values.intersection(last.inputs) for last in self.last_maps) for values in used)

    def rules(self, images: Tensors) -> Rules:
        """The rules for one batch of images (flat, as the graph takes them)."""

        def linear(step: Step, inputs: Tensors, output: tf.Tensor) -> tf.Tensor:
            """The paper's P(a_j | a_i) = Z_i · a_j · w_ji where w_ji is 0 or more, otherwise 0; Z_i makes the sum 1.

            An excitatory neuron is a likelier parent the more it fires and the stronger its link. a is cut at 0, since the
            paper takes responses not to be negative. The bias is nobody's response.
            """
            return redirect(output, inputs, lambda p: [self._share(step, self._response(step, inputs[0], images), p)])

        def window(step: Step, inputs: Tensors, output: tf.Tensor) -> tf.Tensor:
            """An average is a linear map with weights that are all alike: p is shared out by a, as in the paper."""
            if step.operation.is_max:
                return output

            def backward(p: tf.Tensor, x: tf.Tensor) -> list[tf.Tensor]:
                return [_share_of(self._response(step, x, images), p, lambda a: step.compute([a])[0])]

            return redirect(output, inputs, self._of_each_sign(step, inputs, backward))

        def total(step: Step, inputs: Tensors, output: tf.Tensor) -> tf.Tensor:
            """A sum is a linear map whose links all weigh the same: p is shared out by a. So TorchRay's `EltwiseSum`."""
            return redirect(output, inputs, self._of_each_sign(step, inputs, lambda p, *x: _share_of_sum(step, x, p)))

        return {**dict.fromkeys(_CARRIED, _carried), Linear: linear, Window: window, Sum: total}

    def _response(self, step: Step, x: tf.Tensor, images: Tensors) -> tf.Tensor:
        """a for a linear map: max(x, 0), and for one that reads the image, x shifted to start at 0."""
        value = step.inputs[0]
        if value not in self.reads_image:
            return keras_internals.with_mask_of(x, tf.nn.relu(x))
        axes = list(range(1, len(x.shape)))
        if not any(isinstance(other.operation, Move) for other in self.graph.before([value])):
            return x - tf.reduce_min(x, axis=axes, keepdims=True)
        mask = self._mask(value, images)
        smallest = tf.reduce_min(tf.where(mask > 0, x, x.dtype.max), axis=axes, keepdims=True)
        return (x - smallest) * mask

    def _mask(self, value: Value, images: Tensors) -> tf.Tensor:
        """1 where the value comes from the image, 0 where it was padded."""
        keep = dict.fromkeys(_PIXELWISE, lambda step, inputs, output: inputs[step.operation.signal or 0])
        steps = self.graph.before([value])
        fills = [list(map(fill, images)) for fill in (tf.ones_like, tf.zeros_like)]
        ones, zeros = (run(inputs_of(self.graph, fill), steps, keep)[value] for fill in fills)
        return ones - zeros  # a padding of another value than 0 is the same in both

    def _of_each_sign(self, step: Step, inputs: Tensors, backward: Callable[..., list[tf.Tensor]]) -> Backward:
        """`backward(p, *inputs)`; p may be negative above the linear map of one sigmoid unit: the evidence against it."""
        if not (self.has_two_signs and step in self.above_last_maps):
            return lambda p: backward(p, *inputs)

        def backward_of_each(p: tf.Tensor) -> list[tf.Tensor]:
            negated = [keras_internals.with_mask_of(x, -x) for x in inputs]
            pairs = zip(backward(tf.nn.relu(p), *inputs), backward(tf.nn.relu(-p), *negated), strict=True)
            return [evidence - against for evidence, against in pairs]

        return backward_of_each

    def _share(self, step: Step, a: tf.Tensor, p: tf.Tensor) -> tf.Tensor:
        if step in self.last_maps and self.contrastive:
            return self._share_of_sign(step, a, p, 1) - self._share_of_sign(step, a, p, -1)
        if step in self.last_maps and self.has_two_signs:
            return self._share_of_sign(step, a, tf.nn.relu(p), 1) + self._share_of_sign(step, a, tf.nn.relu(-p), -1)
        return self._share_of_sign(step, a, p, 1)

    def _share_of_sign(self, step: Step, a: tf.Tensor, p: tf.Tensor, sign: int) -> tf.Tensor:
        """What comes through the positive part of `sign` · W."""
        linear = step.operation
        kernel = linear.read_kernel(_precise(a).name)
        if step in self.batch_norms:
            kernel = linear.scale_outputs(kernel, self.batch_norms[step]())
        positive = tf.nn.relu(kernel if sign > 0 else -kernel)
        return _share_of(a, p, lambda a: linear.apply(a, positive))


def _has_rule(step: Step) -> bool:
    if isinstance(step.operation, Elementwise):
        return step.operation.sign != 0
    return isinstance(step.operation, (*_CARRIED, *_OWN_DERIVATIVE, Linear, Window, Sum))


def _share_of(a: tf.Tensor, p: tf.Tensor, positive_map: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """a · fᵀ(p / f(a)) for a linear f with weights that are not negative, in float32 where the model computes in less."""
    dtype, precise = a.dtype, _precise(a)
    a, p = keras_internals.with_mask_of(a, tf.cast(a, precise)), tf.cast(p, precise)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(a)
        z = positive_map(a)
    return tf.cast(a * tape.gradient(z, a, output_gradients=safe_divide(p, tf.cast(z, precise))), dtype)


def _precise(a: tf.Tensor) -> tf.DType:
    return tf.float64 if a.dtype == tf.float64 else tf.float32


def _carried(step: Step, inputs: Tensors, output: tf.Tensor) -> tf.Tensor:
    """A neuron with one parent gets all of it: P(a_j | a_i) = 1; gates and constants get nothing.

    An activation, and an affine map of each element, has one input for each output. The authors' own code leaves such
    layers out of the way back: ReLU, dropout, normalization. Normalizations of all kinds and LayerScale are read alike: they
    scale each element, and the mean and variance that they subtract and divide by are no responses. Where an activation is
    negative (silu, gelu, a residual sum without a ReLU) it excites nothing in the map that reads it: an output all of
    whose inputs are such has no parent, and what comes to it ends there.

    In the rule of a linear map a weight scales a response and is no response itself; squeeze-and-excitation (Hu et al.,
    2018) computes such a weight for each channel, between 0 and 1. The paper has no products: this is a reading of it,
    and what relevance propagation does with gates (Arras et al., 2017, "Explaining Recurrent Neural Network
    Predictions in Sentiment Analysis").
    """
    carrier = step.operation.signal or 0
    return redirect(
        output, inputs, lambda p: [_sum_to(p, x) if i == carrier else tf.zeros_like(x) for i, x in enumerate(inputs)]
    )


def _share_of_sum(step: Step, inputs: Tensors, p: tf.Tensor) -> list[tf.Tensor]:
    """What each of the inputs of a sum gets of p."""
    excited = [tf.nn.relu(x) for x in inputs]
    with tf.GradientTape(watch_accessed_variables=False) as tape:  # of a sum that may broadcast, and cast
        tape.watch(excited)
        total = step.compute(excited)[0]
    # Of a sum of a tensor with itself one of the two takes all.
    zero = tf.UnconnectedGradients.ZERO
    parts = tape.gradient(total, excited, output_gradients=safe_divide(p, total), unconnected_gradients=zero)
    return [a * part for a, part in zip(excited, parts, strict=True)]


def _sum_to(p: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """p summed over the axes along which `like` was broadcast, so that nothing of it is lost.

    Keras' layers take (N, C) beside (N, height, width, C) as (N, 1, 1, C).
    """
    missing = len(p.shape) - len(like.shape)
    p = tf.reduce_sum(p, axis=list(range(1, 1 + missing))) if missing > 0 else p
    axes = [axis for axis, (n, m) in enumerate(zip(p.shape, like.shape, strict=True)) if m == 1 and n != 1]
    return tf.cast(tf.reduce_sum(p, axis=axes, keepdims=True) if axes else p, like.dtype)


def _keeps_image(step: Step) -> bool:
    """Whether a step gives image values for image values: a function of one pixel, or a move."""
    is_pixelwise = isinstance(step.operation, _PIXELWISE) and _has_rule(step) and len(step.signal_inputs) == 1
    return is_pixelwise or isinstance(step.operation, Move)


def _values_before_first_linear_map(graph: Graph) -> set[Value]:
    """The image, and all that is made of it without a linear map or a pooling."""
    found = set(graph.inputs)
    for step in graph.steps:
        signals = set(step.signal_inputs) - graph.constants
        if _keeps_image(step) and signals and found.issuperset(signals):
            found.update(step.outputs)
    return found


def _last_linear_maps(graph: Graph) -> tuple[set[Step], set[Step]]:
    """The linear maps with no other behind them on the way to the outputs, and what is on that way.

    What a gate is computed from is not on the way: nothing goes back through it.
    """
    found: set[Step] = set()
    way: set[Step] = set()
    needed = set(graph.outputs)
    for step in reversed(graph.steps):
        if needed.isdisjoint(step.outputs):
            continue
        if isinstance(step.operation, Linear):
            found.add(step)
        else:
            way.add(step)
            needed.update(step.signal_inputs)
    read = {value for step in found for value in step.inputs}
    return {step for step in found if graph.after(step.outputs).isdisjoint(read)}, way
