"""A second route to every method: a model whose layers are rewritten by hand, run by Keras.

No graph is read here. Each layer's `call` is replaced by one that computes the same result and has
the gradient of the method's rule. Keras runs the model on a tape, so nested, shared and subclassed
models need no special treatment. The model must be a twin of the explained one that ends in its
logits, because its layers are changed until the `with` block ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import tree

from support.reference.cams import divided, first_component
from support.tape import compiled

LINEAR = ("Dense", "EinsumDense", "Conv1D", "Conv2D", "Conv3D", "DepthwiseConv1D", "DepthwiseConv2D", "Conv2DTranspose")
SEPARABLE = ("SeparableConv1D", "SeparableConv2D")
AVERAGES = ("Mean", *(f"{scope}AveragePooling{n}D" for scope in ("", "Global") for n in (1, 2, 3)))
MAXIMA = ("Max", *(f"{scope}MaxPooling{n}D" for scope in ("", "Global") for n in (1, 2, 3)))
SUMS = ("Add", "CustomScaleLayer")
MOVING = (
    *("Flatten", "Reshape", "Permute", "RepeatVector", "Concatenate", "GetItem", "Squeeze", "ExpandDims", "Transpose", "Pad"),
    *(f"{name}{n}D" for name in ("ZeroPadding", "Cropping", "UpSampling") for n in (1, 2, 3)),
)
RESIZING = ("Resizing", "CenterCrop", "UpSampling2D")
RELU_NAMES = ("relu", "relu6", "Relu", "Relu6", "ReLU")

Share = Callable[[Any], Sequence[Any]]


def redirected(output: Any, inputs: Sequence[Any], share: Share) -> Any:
    """Return `output` with another gradient: input i receives share(p)[i]."""
    output = tf.stop_gradient(output)

    @tf.custom_gradient
    def passed(*inputs: Any) -> Any:
        return tf.identity(output), lambda p: tuple(share(p))

    return passed(*inputs)


class Rewritten:
    """A model whose layers follow one method's rule; `outputs[name]` lists a layer's outputs."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.outputs: dict[str, list[Any]] = {}
        self.calls: list[tuple[Any, set[int], Any]] = []  # operation, ids of its inputs, output
        for operation in leaves(model):
            self._rewrite(operation, operation.call)

    def __enter__(self) -> Rewritten:
        return self

    def __exit__(self, *_: Any) -> None:
        for operation in leaves(self.model):
            del operation.call

    def _rewrite(self, operation: Any, call: Callable[..., Any]) -> None:
        def rewritten(*args: Any, **kwargs: Any) -> Any:
            inputs = [x for x in tree.flatten((args, kwargs)) if tf.is_tensor(x) and x.dtype.is_floating]
            output = self.rule(operation, lambda: call(*args, **kwargs), inputs)
            self.calls.append((operation, set(map(id, inputs)), output))
            self.outputs.setdefault(operation.name, []).append(output)
            return output

        operation.call = rewritten

    def rule(self, operation: Any, call: Callable[[], Any], inputs: list[Any]) -> Any:
        """Return the result `call()` of an operation, redirected or not; here with no rule."""
        return call()

    def start(self, images: list[Any]) -> None:
        self.outputs.clear()
        self.calls.clear()

    def output_of(self, name: str) -> Any:
        """Return the last output of a layer; unnamed operations have names such as "relu6_1"."""
        return self.outputs[name if name in self.outputs else next(n for n in self.outputs if n.startswith(name))][-1]

    def cuts(self) -> list[int]:
        """Return the indices of the calls after which a single tensor carries everything."""
        last_read = {key: number for number, (_, read, _) in enumerate(self.calls) for key in read}
        found, live = [], {key for _, read, _ in self.calls for key in read} - {id(output) for *_, output in self.calls}
        for number, (_, _, output) in enumerate(self.calls):
            live = {key for key in live | {id(output)} if last_read.get(key, -1) > number}
            found += [number] if live == {id(output)} else []
        return found

    def back(self, images: Any, seed: Callable[[Any], Any], at: Sequence[str] | None = ()) -> tuple[list[Any], Any]:
        """Return the gradient of seed(outputs) at the last calls of the layers `at` and the images.

        Args:
            seed: maps the outputs to the gradient that starts there.
            at: names of layers; None means all cuts.
        """

        def way(flat: list[Any]) -> tuple[list[Any], list[Any], Any]:
            self.start(flat)
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(flat)
                outputs = run(self.model, tree.pack_sequence_as(images, flat))
            at_layers = (
                [self.calls[number][2] for number in self.cuts()] if at is None else [self.output_of(name) for name in at]
            )
            seeds = tree.map_structure(tf.convert_to_tensor, seed(outputs))
            found = tape.gradient(tree.flatten(outputs), [*at_layers, *flat], output_gradients=tree.flatten(seeds))
            return found, at_layers if at else [], self.noted()

        found, kept, noted = compiled(way, tree.flatten(images))
        self.outputs = {name: [output] for name, output in zip(at or (), kept, strict=True)}
        self.note(noted)
        count = len(found) - len(tree.flatten(images))
        return found[:count], found[count:]

    def noted(self) -> Any:
        """Return further tensors that a run collects."""
        return {}

    def note(self, noted: Any) -> None:
        """Store them once they have values."""


def run(model: Any, images: Any) -> Any:
    return model(images, training=False) if isinstance(model, keras.Model) else model(images)


def leaves(model: Any) -> list[Any]:
    """Yield the layers without sublayers, and the operations that are not layers, at any depth."""
    inside = list(model._flatten_layers(include_self=True))
    found = [layer for layer in inside if len(list(layer._flatten_layers(include_self=False))) == 0]
    for part in inside:
        found += [operation for operation in getattr(part, "operations", []) if not isinstance(operation, keras.Layer)]
    return [x for x in dict.fromkeys(found) if not isinstance(x, keras.layers.InputLayer)]


def called(operation: Any) -> str:
    return type(operation).__name__


# --- guided backprop and deconvnet ----------------------------------------------------------------


class Guided(Rewritten):
    """p → p · [p > 0] · [x > 0] at each ReLU, where x is its input, also if fused into a layer."""

    needs_open = True

    def __init__(self, model: Any) -> None:
        self.fused = {
            layer: layer.activation
            for layer in leaves(model)
            if hasattr(layer, "activation") and called(layer) != "Activation" and is_relu(layer)
        }
        super().__init__(model)
        for layer, activation in self.fused.items():
            layer.activation = self._redirected_relu(activation, relu_range(layer))

    def __exit__(self, *_: Any) -> None:
        super().__exit__()
        for layer, activation in self.fused.items():
            layer.activation = activation

    def rule(self, operation: Any, call: Callable[[], Any], inputs: list[Any]) -> Any:
        if operation in self.fused or not is_relu(operation):
            return call()
        return self._redirected_relu(lambda x: call(), relu_range(operation))(inputs[0])

    def _redirected_relu(self, function: Callable[[Any], Any], limits: tuple[float, float]) -> Callable[[Any], Any]:
        def back(p: Any, x: Any) -> Any:
            is_open = (x > limits[0]) & (x < limits[1]) if self.needs_open else tf.ones_like(x, bool)
            return tf.where((p > 0) & is_open, p, tf.zeros_like(p))

        return lambda x: redirected(function(x), [x], lambda p: [back(p, x)])


class Deconvnet(Guided):
    """p → p · [p > 0] at each ReLU."""

    needs_open = False


def is_relu(operation: Any) -> bool:
    if called(operation) in ("ReLU", "Relu", "Relu6"):
        return not getattr(operation, "negative_slope", 0)
    function = getattr(operation, "activation", None)
    return getattr(function, "__name__", "") in RELU_NAMES


def is_smooth(operation: Any) -> bool:
    """Return whether a layer is, or ends in, an activation other than ReLU and softmax."""
    if called(operation) in ("LeakyReLU", "PReLU", "ELU", "ReLU"):
        return not is_relu(operation)
    function = getattr(getattr(operation, "activation", None), "__name__", "linear")
    return function not in ("linear", "softmax", *RELU_NAMES)


def relu_range(operation: Any) -> tuple[float, float]:
    """Return the input range in which a ReLU is the identity."""
    is_six = called(operation) == "Relu6" or getattr(getattr(operation, "activation", None), "__name__", "") == "relu6"
    highest = 6.0 if is_six else getattr(operation, "max_value", None)
    return float(getattr(operation, "threshold", 0) or 0), np.inf if highest is None else float(highest)


# --- excitation -----------------------------------------------------------------------------------


class Excitation(Rewritten):
    """Marginal winning probability; `lost` is what reached unexcited outputs, by layer name."""

    contrastive_at: tuple[str, ...] = ()

    def start(self, images: list[Any]) -> None:
        super().start(images)
        self.lost: dict[str, Any] = {}
        # Values that are only moved or scaled images: 1 for the image, 0 for padding.
        self.pictures = {id(x): (x, tf.ones_like(x)) for x in images}

    def rule(self, operation: Any, call: Callable[[], Any], inputs: list[Any]) -> Any:
        kind = called(operation)
        if kind in SEPARABLE:
            return self._separable(operation, inputs[0])
        output = call()
        if kind in LINEAR:
            return redirected(output, inputs, lambda p: [self._through_kernel(operation, self._excitation(inputs[0]), p)])
        if kind in AVERAGES and any(
            layer.name in self.contrastive_at and len(layer.output.shape) > 2 for layer, *_ in self.calls
        ):
            return output
        if kind in AVERAGES:
            average = type(operation).call
            a = self._excitation(inputs[0])
            return redirected(output, inputs, lambda p: [self._share(operation, a, p, lambda a: average(operation, a))])
        if kind in SUMS and len(inputs) > 1:
            return self._sum(operation, inputs, output)
        if kind == "Multiply" and len(inputs) > 1:
            gated = gated_input(inputs)
            return redirected(
                output, inputs, lambda p: [summed_to(p, x) if i == gated else tf.zeros_like(x) for i, x in enumerate(inputs)]
            )
        if kind in MAXIMA:
            return output
        return self._passed(operation, inputs, output, is_moved=kind in MOVING)

    def _passed(self, operation: Any, inputs: list[Any], output: Any, is_moved: bool) -> Any:
        if not is_moved:
            output = redirected(output, inputs, lambda p: [p, *map(tf.zeros_like, inputs[1:])])
        if inputs and all(id(x) in self.pictures for x in inputs):
            mask = self.pictures[id(inputs[0])][1]
            self.pictures[id(output)] = (output, type(operation).call(operation, mask) if is_moved else mask)
        return output

    def _excitation(self, x: Any) -> Any:
        if id(x) not in self.pictures:
            return tf.nn.relu(x)
        mask = self.pictures[id(x)][1]
        axes = list(range(1, len(x.shape)))
        return (x - tf.reduce_min(tf.where(mask > 0, x, x.dtype.max), axis=axes, keepdims=True)) * mask

    def _through_kernel(self, layer: Any, a: Any, p: Any) -> Any:
        if layer.name not in self.contrastive_at:
            return self._share(layer, a, p, lambda a: with_kernel_part(layer, a, 1))
        share = self._share_of_all_positions if len(p.shape) > 2 else self._share
        return share(layer, a, p, lambda a: with_kernel_part(layer, a, 1)) - share(
            layer, a, p, lambda a: with_kernel_part(layer, a, -1)
        )

    def _share_of_all_positions(self, operation: Any, a: Any, p: Any, function: Callable[[Any], Any]) -> Any:
        """Divide p by the responses at all positions at once."""
        z = function(a)
        axes = list(range(1, len(p.shape) - 1))
        total = tf.math.divide_no_nan(tf.reduce_sum(p, axes, keepdims=True), tf.reduce_sum(p * z, axes, keepdims=True))
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(a)
            z = function(a)
        return a * tape.gradient(z, a, output_gradients=p * total)

    def _separable(self, layer: Any, x: Any) -> Any:
        """Apply the depthwise part, then the pointwise part."""
        same = {"strides": layer.strides, "padding": layer.padding, "dilation_rate": layer.dilation_rate}

        def depthwise(x: Any, kernel: Any) -> Any:
            return keras.ops.depthwise_conv(x, kernel, **same)

        a, first, second = self._excitation(x), layer.depthwise_kernel + 0, layer.pointwise_kernel + 0
        middle = depthwise(x, first)
        middle = redirected(middle, [x], lambda p: [self._share(layer, a, p, lambda a: depthwise(a, tf.nn.relu(first)))])
        output = keras.ops.conv(middle, second, padding="valid")
        output = layer.activation(output if layer.bias is None else output + layer.bias)
        b = tf.nn.relu(middle)
        positive = tf.nn.relu(second)
        share = lambda p: [self._share(layer, b, p, lambda b: keras.ops.conv(b, positive, padding="valid"))]  # noqa: E731
        return redirected(output, [middle], share)

    def _sum(self, operation: Any, inputs: list[Any], output: Any) -> Any:
        scales = [1, operation.scale] if called(operation) == "CustomScaleLayer" else [1] * len(inputs)
        excited = [tf.nn.relu(x * tf.cast(scale, x.dtype)) for x, scale in zip(inputs, scales, strict=True)]

        def share(p: Any) -> list[Any]:
            total = tf.add_n([tf.broadcast_to(a, p.shape) for a in excited])
            self._lose(operation, p, total)
            return [summed_to(a * tf.math.divide_no_nan(p, total), a) for a in excited]

        return redirected(output, inputs, share)

    def _share(self, operation: Any, a: Any, p: Any, positive_map: Callable[[Any], Any]) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(a)
            z = positive_map(a)
        self._lose(operation, p, z)
        return a * tape.gradient(z, a, output_gradients=tf.math.divide_no_nan(p, z))

    def _lose(self, operation: Any, p: Any, z: Any) -> None:
        lost = tf.reduce_sum(tf.where(z == 0, p, tf.zeros_like(p)))
        self.lost[operation.name] = self.lost.get(operation.name, 0.0) + lost

    def noted(self) -> Any:
        return self.lost

    def note(self, noted: Any) -> None:
        self.lost = {name: float(lost) for name, lost in noted.items() if lost}


class Contrastive(Excitation):
    """The contrastive variant, at the last linear map or the one named by `contrastive_at`."""

    def __init__(self, model: Any, images: Any, last: tuple[str, ...] = ()) -> None:
        super().__init__(model)
        if not last:
            self.start([tf.convert_to_tensor(x) for x in tree.flatten(images)])
            run(model, images)
            last = (next(layer.name for layer, *_ in reversed(self.calls) if called(layer) in LINEAR),)
        self.contrastive_at = last


def with_kernel_part(layer: Any, a: Any, sign: int) -> Any:
    """Call a layer with relu(sign · W) for W, without bias and activation."""
    kernel, bias, activation = layer.kernel + 0, layer.bias, layer.activation
    layer.kernel.assign(tf.nn.relu(sign * kernel))
    layer.activation = keras.activations.linear
    kept = None if bias is None else bias + 0
    if bias is not None:
        bias.assign(tf.zeros_like(kept))
    try:
        return type(layer).call(layer, a)
    finally:
        layer.kernel.assign(kernel)
        layer.activation = activation
        if bias is not None:
            bias.assign(kept)


def gated_input(inputs: list[Any]) -> int:
    """Return the input with the larger map, since a gate is squeezed; the first of equals."""
    return max(range(len(inputs)), key=lambda i: (np.prod(inputs[i].shape[1:-1]), -i))


def summed_to(p: Any, x: Any) -> Any:
    axes = [axis for axis, (n, m) in enumerate(zip(p.shape, x.shape, strict=True)) if m == 1 and n != 1]
    return tf.reduce_sum(p, axis=axes, keepdims=True) if axes else p


# --- VisualBackProp -------------------------------------------------------------------------------


class Masks(Rewritten):
    """VisualBackProp: every channel of the gradient carries the same mask."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.has_relu_maps = False

    def start(self, images: list[Any]) -> None:
        super().start(images)
        self.maps: list[Any] = []
        self.rank = max(len(x.shape) for x in images)

    def rule(self, operation: Any, call: Callable[[], Any], inputs: list[Any]) -> Any:
        kind, output = called(operation), call()
        is_map = len(output.shape) >= self.rank and any(n != 1 for n in output.shape[1:-1])
        if is_map and (is_relu(operation) or (not self.has_relu_maps and is_smooth(operation))):
            return self._windowed(operation, inputs, output, is_map=True)
        if kind == "Multiply" and len(inputs) > 1:
            gated = gated_input(inputs)
            return redirected(output, inputs, lambda p: [p if i == gated else tf.zeros_like(x) for i, x in enumerate(inputs)])
        if kind in RESIZING:
            return redirected(output, inputs, lambda p: [self._mean_of_readers(operation, inputs[0], p)])
        if kind in MOVING:
            return output
        return self._windowed(operation, inputs, output, is_map=False)

    def _mean_of_readers(self, operation: Any, x: Any, p: Any) -> Any:
        with tf.GradientTape(watch_accessed_variables=False, persistent=True) as tape:
            tape.watch(x)
            output = type(operation).call(operation, x)
        total, count = (tape.gradient(output, x, output_gradients=seed) for seed in (p, tf.ones_like(p)))
        return tf.math.divide_no_nan(total, count)

    def _windowed(self, operation: Any, inputs: list[Any], output: Any, is_map: bool) -> Any:
        size = getattr(operation, "kernel_size", getattr(operation, "pool_size", None))
        is_global = len(output.shape) < len(inputs[0].shape) or "Global" in called(operation)
        average = tf.reduce_mean(tf.nn.relu(output), -1, keepdims=True) if is_map else 1

        def share(p: Any) -> list[Any]:
            mask = (p * average)[..., :1]
            if is_global:
                return [tf.zeros_like(x) for x in inputs]
            if size is None:
                return [tf.broadcast_to(mask, x.shape) if x.shape[:-1] == mask.shape[:-1] else tf.zeros_like(x) for x in inputs]
            return [tf.broadcast_to(scaled_up(operation, size, mask, inputs[0]), inputs[0].shape)]

        output = redirected(output, inputs, share)
        self.maps += [output] if is_map else []
        return output

    def masks(self, images: Any) -> list[Any]:
        """Return the mask (N, h, w) of each input; None for an input that no map depends on."""

        def way(flat: list[Any]) -> list[Any]:
            self.has_relu_maps = True
            self.start(flat)
            run(self.model, tree.pack_sequence_as(images, flat))
            self.has_relu_maps = bool(self.maps)
            self.start(flat)
            with tf.GradientTape(watch_accessed_variables=False, persistent=True) as tape:
                tape.watch(flat)
                run(self.model, tree.pack_sequence_as(images, flat))
            deepest, rest = [], self.maps
            while rest:
                *rest, last = rest
                deepest.append(last)
                rest = [x for x, p in zip(rest, tape.gradient(last, rest), strict=True) if p is None]
            return tape.gradient(deepest, flat, output_gradients=[tf.ones_like(x) for x in deepest])

        found = compiled(way, tree.flatten(images))
        return [None if mask is None else unit_range(mask[..., 0].numpy()) for mask in found]


def scaled_up(operation: Any, size: Any, mask: Any, x: Any) -> Any:
    """Transpose the operation's window with ones, through the gradient of that window."""
    rank = len(x.shape) - 2
    size = size if isinstance(size, (tuple, list)) else (size,) * rank
    dilation = getattr(operation, "dilation_rate", 1)
    options = {"strides": operation.strides, "padding": operation.padding.upper(), "dilations": dilation}
    options["data_format"] = {1: "NWC", 2: "NHWC", 3: "NDHWC"}[rank]
    one = tf.zeros_like(x[..., :1])
    with tf.GradientTape() as tape:
        tape.watch(one)
        z = tf.nn.convolution(one, tf.ones((*size, 1, 1), one.dtype), **options)
    return tape.gradient(z, one, output_gradients=mask)


def unit_range(mask: np.ndarray) -> np.ndarray:
    axes = tuple(range(1, mask.ndim))
    low, high = mask.min(axes, keepdims=True), mask.max(axes, keepdims=True)
    return np.divide(mask - low, high - low, out=np.zeros_like(mask), where=high > low)


# --- class activation maps ------------------------------------------------------------------------


def cam(method: str, A: np.ndarray, G: np.ndarray) -> np.ndarray:
    """Compute a class activation map from activations and gradients at a layer, (N, ..., K)."""
    if method.startswith("eigen"):
        return first_component(A * G if method == "eigen_grad_cam" else A)
    axes = tuple(range(1, A.ndim - 1))
    mean = G.mean(axes, keepdims=True)
    if method == "grad_cam_plus_plus":
        alpha = divided(G**2, 2 * G**2 + A.sum(axes, keepdims=True) * G**3)
        weights = (alpha * np.maximum(G, 0)).sum(axes, keepdims=True)
    elif method == "xgrad_cam":
        weights = divided((A * G).sum(axes, keepdims=True), A.sum(axes, keepdims=True))
    else:
        weights = {"grad_cam": mean, "guided_grad_cam": mean, "hires_cam": G, "layer_cam": np.maximum(G, 0)}[method]
    return np.maximum((weights * A).sum(-1), 0)


def resized(maps: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Resize linearly per axis with aligned pixel centers: (N, h, w) to (N, *size), at any rank."""
    for axis, n in enumerate(size, start=1):
        m = maps.shape[axis]
        at = (np.arange(n) + 0.5) * m / n - 0.5
        weights = np.stack([np.interp(at, np.arange(m), row) for row in np.eye(m)])  # (m, n)
        maps = np.moveaxis(np.tensordot(maps, weights, (axis, 0)), -1, axis)
    return maps
