"""Excitation backprop's rules: how a neuron passes its winning probability to its inputs.

The rules compute the marginal winning probability of Zhang et al., 2016, "Top-down Neural Attention
by Excitation Backprop" (below, "the paper"). Let p be the probability at the output, a = max(x, 0),
and f the linear map with only the positive weights W⁺. The rule for each operation type is:

    Linear, Window (average)     p_in = a · fᵀ(p / f(a)), 0 where the divisor is 0;
                                 the bias is ignored
    Window (max), Choice         winner takes all: the operation's own derivative
    Sum                          input i gets p · a_i / Σ a
    Product, Normalization       the signal gets p, the gate gets 0
    Relu, Elementwise, Identity  p passes unchanged, as in the authors' code
        with sign −1             p passes unchanged before the first linear map; elsewhere there is
                                 no rule, because the paper does not define inhibition
    Move                         the operation's own derivative

Each rule's docstring states the reason for the rule and its source. All rules are linear in p. The
first linear map reads the image, which can have negative values. There, a is the image shifted so
that its smallest value is 0, and padding stays 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from tfviz import keras_internals
from tfviz.errors import UnsupportedModelError
from tfviz.graph.attention import is_attention
from tfviz.graph.backprop import Rules, inputs_of, run
from tfviz.graph.graph import Graph, Step, Value
from tfviz.graph.logits import has_two_classes
from tfviz.graph.operations import (
    Choice,
    Elementwise,
    Identity,
    Linear,
    Move,
    Normalization,
    Opaque,
    Product,
    Relu,
    Sum,
    Window,
)
from tfviz.numerics import safe_divide
from tfviz.rules.batch_norm import batch_norm_scales
from tfviz.rules.last_linear_maps import averaged_maps, last_linear_maps
from tfviz.rules.positive_map import PositiveKernels, divided_by_all_positions, precise_dtype, through_positive_map
from tfviz.rules.redirect import redirect
from tfviz.rules.sums_before_relus import divided_among, sums_before_relus

Tensors = Sequence[tf.Tensor]
Backward = Callable[[tf.Tensor], list[tf.Tensor]]

# In these operations, each output element has a single parent, which wins with probability 1. For a
# maximum, the parent is the largest element, as in the paper. Moves only change positions.
# Probability that reaches padding is lost. Resizing is treated as copying fractions of elements.
_OWN_DERIVATIVE = (Move, Choice)
_SINGLE_PARENT = (Relu, Elementwise, Identity, Normalization, Product)
_PIXELWISE = (Relu, Elementwise, Identity, Normalization, Choice)


class Excitation:
    """The excitation backprop rules for one graph.

    Args:
        graph: the graph to which the rules apply.
        merge_batch_norm: whether to fold a BatchNormalization that directly follows a linear map
            into the map's weights W before computing their positive part W⁺.
        contrastive: whether to subtract the result for −W from the result for W at the last linear
            maps.
    """

    def __init__(self, graph: Graph, *, merge_batch_norm: bool = False, contrastive: bool = False) -> None:
        self.graph = graph
        self.reads_image = _values_before_first_linear_map(graph)
        self.last_maps, self.above_last_maps = last_linear_maps(graph)
        self.contrastive = contrastive
        self.averaged = averaged_maps(graph, self.last_maps) if contrastive else set()
        # For a single sigmoid unit, class 0 has the gradient −p, so its evidence needs −W.
        self.has_two_signs = has_two_classes(graph)
        self.batch_norms = batch_norm_scales(graph) if merge_batch_norm else {}
        self._sums = sums_before_relus(graph, self.reads_image, self.averaged)
        self.positive_kernels = PositiveKernels(self.batch_norms)

    def require_rules(self, at: Sequence[Value]) -> None:
        """Raise UnsupportedModelError if an operation between `at` and the outputs has no rule."""
        path = self.graph.signal_path(at)
        if attention := next((step for step in path if is_attention(step)), None):
            raise UnsupportedModelError(
                f"Excitation backprop is not defined for attention ({attention.label}). Use gradient_attention, legrad or a "
                "class activation map such as grad_cam, or explain a layer above the attention."
            )
        for step in path:
            is_negated = isinstance(step.operation, Elementwise) and step.operation.sign < 0
            if is_negated and step.outputs[0] not in self.reads_image:
                raise UnsupportedModelError(
                    f"Excitation backprop has no rule for {step.label}, because this operation negates its input. Fold the "
                    "sign into the preceding layer's weights, explain a layer above this operation, or use a gradient method "
                    "such as saliency or guided_backprop."
                )
            if not _has_rule(step):
                why = f", because it {step.operation.reason}" if isinstance(step.operation, Opaque) else ""
                raise UnsupportedModelError(
                    f"Excitation backprop has no rule for {step.label}{why}. Rules exist for linear layers, pooling, "
                    "activations, normalization, sums, products with a gate and reshaping. Explain a layer above this "
                    "operation, or use a gradient method such as saliency or guided_backprop."
                ) from getattr(step.operation, "cause", None)

    def is_below_last_map(self, at: Sequence[Value]) -> bool:
        """Return whether each value in `at` is unused or feeds into one of the last linear maps."""
        behind = [self.graph.after([value]) for value in at]
        used = [values for values in behind if values.intersection(self.graph.outputs)]
        return all(any(values.intersection(last.inputs) for last in self.last_maps) for values in used)

    def rules(self, images: Tensors) -> Rules:
        """Return the rules for one batch.

        Args:
            images: one tensor per graph input.
        """

        kept: dict[Value, tf.Tensor] = {}  # the ReLU outputs

        def relu(step: Step, inputs: Tensors, output: tf.Tensor) -> tf.Tensor:
            kept[step.outputs[0]] = output
            return _to_carrier(step, inputs, output)

        def linear(step: Step, inputs: Tensors, output: tf.Tensor) -> tf.Tensor:
            """Apply P(a_j | a_i) = Z_i · a_j · w_ji if w_ji ≥ 0, or 0 otherwise.

            Z_i normalizes the sum over j to 1.

            An excitatory neuron is more likely to win if its response is larger and its connection
            is stronger. The paper assumes nonnegative responses, so a is clipped at 0. The bias is
            ignored, because it is not a neuron's response.
            """
            return redirect(output, inputs, lambda p: [self._through_linear(step, self._response(step, inputs[0], images), p)])

        def window(step: Step, inputs: Tensors, output: tf.Tensor) -> tf.Tensor:
            """Divide p in proportion to a. An average is a linear map with equal weights."""
            if step.operation.is_max or step in self.averaged:
                return output

            def backward(p: tf.Tensor, x: tf.Tensor) -> list[tf.Tensor]:
                return [through_positive_map(self._response(step, x, images), p, lambda a: step.compute([a])[0])]

            return redirect(output, inputs, self._for_both_signs(step, inputs, backward))

        def total(step: Step, inputs: Tensors, output: tf.Tensor) -> tf.Tensor:
            """Treat a sum as a linear map with equal weights, as in TorchRay's `EltwiseSum`."""
            known = self._sums.get(step)
            has_one_sign = not (self.has_two_signs and step in self.above_last_maps)
            if known is not None and has_one_sign and known.fits(inputs, output):
                return redirect(output, inputs, lambda p: known.divided(inputs, kept[known.behind], p))
            return redirect(output, inputs, self._for_both_signs(step, inputs, lambda p, *x: divided_among(step, x, p)))

        return {**dict.fromkeys(_SINGLE_PARENT, _to_carrier), Relu: relu, Linear: linear, Window: window, Sum: total}

    def _response(self, step: Step, x: tf.Tensor, images: Tensors) -> tf.Tensor:
        """Return max(x, 0), or for a step that reads the image, x shifted to a minimum of 0."""
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
        """Return a mask that is 1 where a value comes from the image and 0 in the padding."""
        keep = dict.fromkeys(_PIXELWISE, lambda step, inputs, output: inputs[step.operation.signal or 0])
        steps = self.graph.before([value])
        fills = [list(map(fill, images)) for fill in (tf.ones_like, tf.zeros_like)]
        ones, zeros = (run(inputs_of(self.graph, fill), steps, keep)[value] for fill in fills)
        return ones - zeros  # nonzero padding cancels, because it is equal in both runs

    def _for_both_signs(self, step: Step, inputs: Tensors, backward: Callable[..., list[tf.Tensor]]) -> Backward:
        """Return a backward function for a step.

        Above the last linear map of a model with a single sigmoid unit, p may be negative, so the
        function handles both signs.
        """
        if not (self.has_two_signs and step in self.above_last_maps):
            return lambda p: backward(p, *inputs)

        def backward_for_both_signs(p: tf.Tensor) -> list[tf.Tensor]:
            negated = [keras_internals.with_mask_of(x, -x) for x in inputs]
            pairs = zip(backward(tf.nn.relu(p), *inputs), backward(tf.nn.relu(-p), *negated), strict=True)
            return [evidence - against for evidence, against in pairs]

        return backward_for_both_signs

    def _through_linear(self, step: Step, a: tf.Tensor, p: tf.Tensor) -> tf.Tensor:
        if step in self.last_maps and self.contrastive:
            return self._through_signed(step, a, p, 1) - self._through_signed(step, a, p, -1)
        if step in self.last_maps and self.has_two_signs:
            return self._through_signed(step, a, tf.nn.relu(p), 1) + self._through_signed(step, a, tf.nn.relu(-p), -1)
        return self._through_signed(step, a, p, 1)

    def _through_signed(self, step: Step, a: tf.Tensor, p: tf.Tensor, sign: int) -> tf.Tensor:
        """Propagate p through the positive part of `sign` · W."""
        is_half = self.graph.compute_dtype is not None and a.dtype == tf.as_dtype(self.graph.compute_dtype)
        dtype = a.dtype if is_half else precise_dtype(a)
        positive = self.positive_kernels.read(step, dtype.name, sign)
        divide = divided_by_all_positions if step in self.averaged else safe_divide
        return through_positive_map(a, p, lambda a: step.operation.apply(a, positive), divide, dtype)


def _has_rule(step: Step) -> bool:
    if isinstance(step.operation, Elementwise):
        return step.operation.sign != 0
    return isinstance(step.operation, (*_SINGLE_PARENT, *_OWN_DERIVATIVE, Linear, Window, Sum))


def _to_carrier(step: Step, inputs: Tensors, output: tf.Tensor) -> tf.Tensor:
    """Pass p to each neuron's single parent: P(a_j | a_i) = 1. Gates and constants get 0.

    In an activation or an elementwise affine map, each output element has one input element. The
    authors' code skips such layers (ReLU, dropout, normalization) in the backward pass. All
    normalizations are treated this way, and so is LayerScale: they scale each element, and a
    normalization's mean and variance are not responses. A negative activation (silu, gelu, a
    residual sum without ReLU) does not excite the linear map that reads it. If all inputs to an
    output are negative, the output has no parent, and its probability is lost.

    In the rule for linear maps, a weight scales a response and is not itself a response.
    Squeeze-and-excitation (Hu et al., 2018) computes such a weight, between 0 and 1, for each
    channel. The excitation backprop paper does not cover products. This rule follows relevance
    propagation, which treats gates the same way (Arras et al., 2017, "Explaining Recurrent Neural
    Network Predictions in Sentiment Analysis").
    """
    carrier = step.operation.signal or 0
    return redirect(
        output, inputs, lambda p: [_sum_to(p, x) if i == carrier else tf.zeros_like(x) for i, x in enumerate(inputs)]
    )


def _sum_to(p: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """Sum p over the axes along which `like` was broadcast.

    When a Keras layer combines shapes (N, C) and (N, height, width, C), it treats the first as
    (N, 1, 1, C).
    """
    missing = len(p.shape) - len(like.shape)
    p = tf.reduce_sum(p, axis=list(range(1, 1 + missing))) if missing > 0 else p
    axes = [axis for axis, (n, m) in enumerate(zip(p.shape, like.shape, strict=True)) if m == 1 and n != 1]
    return tf.cast(tf.reduce_sum(p, axis=axes, keepdims=True) if axes else p, like.dtype)


def _keeps_image(step: Step) -> bool:
    """Return whether a step only moves pixels or transforms them individually."""
    is_pixelwise = isinstance(step.operation, _PIXELWISE) and _has_rule(step) and len(step.signal_inputs) == 1
    return is_pixelwise or isinstance(step.operation, Move)


def _values_before_first_linear_map(graph: Graph) -> set[Value]:
    """Return the graph inputs and all values computed from them without a linear map or pooling."""
    found = set(graph.inputs)
    for step in graph.steps:
        signals = set(step.signal_inputs) - graph.constants
        if _keeps_image(step) and signals and found.issuperset(signals):
            found.update(step.outputs)
    return found
