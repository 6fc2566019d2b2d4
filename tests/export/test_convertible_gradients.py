"""Gradients built from LiteRT's operations equal TensorFlow's for all windows, strides and ties."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.tape import compiled

from tfviz.export.lowering.graph_copy import lowered, traced
from tfviz.export.lowering.litert_operations import REPLACEMENTS
from tfviz.export.lowering.windows import Windows

PADDINGS = st.sampled_from(["SAME", "VALID"])
FEW = settings(max_examples=25, deadline=None)
SIDES, SIZES = st.integers(1, 4), st.integers(4, 11)


def numbers(*shape: int, ties: bool = False) -> np.ndarray:
    random = np.random.default_rng(0)
    return random.integers(0, 3, shape).astype("float32") if ties else random.normal(size=shape).astype("float32")


def gradient_of(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return x -> the gradient of a function at x for random p, to be compiled."""

    def gradient(x: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x)
        return tape.gradient(y, x, output_gradients=tf.constant(numbers(*y.shape)))

    return gradient


def assert_same(function: Callable[[Any], Any], x: np.ndarray, share: float = 1e-6, replaced: str | None = None) -> None:
    """Check that lowering a function keeps its results and replaces the operation `replaced`."""
    original = traced(function, [tf.TensorSpec(x.shape, x.dtype)])
    convertible = lowered(original, REPLACEMENTS)
    if replaced:
        before, after = ({op.type for op in f.graph.get_operations()} for f in (original, convertible))
        assert replaced in before
        assert replaced not in after
    want, got = original(tf.constant(x)), convertible(tf.constant(x))
    np.testing.assert_allclose(got, want, rtol=0, atol=share * max(abs(want.numpy()).max(), 1e-30))


@FEW
@given(kernel=st.tuples(SIDES, SIDES), strides=st.tuples(SIDES, SIDES), size=st.tuples(SIZES, SIZES), padding=PADDINGS)
def test_the_first_of_equal_maxima_receives_the_whole_gradient(kernel: Any, strides: Any, size: Any, padding: str) -> None:
    x = numbers(2, *size, 3, ties=True)
    assert_same(gradient_of(lambda x: tf.nn.max_pool(x, kernel, strides, padding)), x, replaced="MaxPoolGrad")


@FEW
@given(kernel=st.tuples(SIDES, SIDES), strides=st.tuples(SIDES, SIDES), size=st.tuples(SIZES, SIZES), padding=PADDINGS)
def test_the_gradient_of_average_pooling(kernel: Any, strides: Any, size: Any, padding: str) -> None:
    x = numbers(2, *size, 3)
    assert_same(gradient_of(lambda x: tf.nn.avg_pool(x, kernel, strides, padding)), x, replaced="AvgPoolGrad")


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("pool", [tf.nn.max_pool3d, tf.nn.avg_pool3d])
@pytest.mark.parametrize(("kernel", "strides"), [((2, 2, 2), (2, 2, 2)), ((3, 2, 1), (1, 2, 3))])
def test_pooling_in_three_dimensions_and_its_gradient(pool: Any, padding: str, kernel: Any, strides: Any) -> None:
    x = numbers(1, 5, 6, 7, 2)
    assert_same(lambda x: pool(x, kernel, strides, padding), x)
    assert_same(gradient_of(lambda x: pool(x, kernel, strides, padding)), x)


@FEW
@given(
    kernel=st.tuples(SIDES, SIDES),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 3),
    size=st.tuples(SIZES, SIZES),
    padding=PADDINGS,
    multiplier=st.integers(1, 2),
)
def test_the_gradient_of_depthwise_convolutions(
    kernel: Any, stride: int, dilation: int, size: Any, padding: str, multiplier: int
) -> None:
    assume(stride == 1 or dilation == 1)  # TensorFlow supports no others
    assume(all(n >= dilation * (k - 1) + 1 for n, k in zip(size, kernel, strict=True)))
    weights = numbers(*kernel, 3, multiplier)

    def function(x: Any) -> Any:
        return tf.nn.depthwise_conv2d(x, weights, (1, stride, stride, 1), padding, dilations=(dilation, dilation))

    assert_same(gradient_of(function), numbers(2, *size, 3), replaced="DepthwiseConv2dNativeBackpropInput")


@FEW
@given(
    kernel=st.tuples(SIDES, SIDES),
    strides=st.tuples(SIDES, SIDES),
    size=st.tuples(SIZES, SIZES),
    padding=st.one_of(PADDINGS, st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=2, max_size=2)),
)
def test_the_gradient_of_a_convolution_is_a_convolution_over_its_dilated_output(
    kernel: Any, strides: Any, size: Any, padding: Any
) -> None:
    assume(all(n >= k for n, k in zip(size, kernel, strict=True)))
    weights, x = numbers(*kernel, 3, 4), numbers(2, *size, 3)
    given = padding if isinstance(padding, str) else [(0, 0), *padding, (0, 0)]
    function = traced(lambda x: tf.nn.conv2d(x, weights, strides, given), [tf.TensorSpec(x.shape)])
    (convolution,) = [op for op in function.graph.get_operations() if op.type == "Conv2D"]
    windows = Windows.of(convolution, size, kernel)
    p = tf.constant(numbers(*function.outputs[0].shape))
    got = tf.nn.conv2d(windows.spread(p), tf.transpose(tf.reverse(weights, [0, 1]), [0, 1, 3, 2]), 1, "VALID")
    want = compiled(gradient_of(lambda x: tf.nn.conv2d(x, weights, strides, given)), x)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-6 * max(abs(want.numpy()).max(), 1e-30))


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_grouped_convolutions_and_their_gradients(dilation: int, padding: str) -> None:
    import keras

    layer = keras.layers.Conv2D(6, 3, 3 - dilation, padding, groups=3, dilation_rate=dilation)
    layer.build((None, 9, 8, 6))
    assert_same(lambda x: layer(x), numbers(2, 9, 8, 6))
    assert_same(gradient_of(layer), numbers(2, 9, 8, 6))


ACTIVATIONS = {
    "ReluGrad": tf.nn.relu,
    "Relu6Grad": lambda x: tf.nn.relu6(4 * x),
    "LeakyReluGrad": lambda x: tf.nn.leaky_relu(x, 0.3),
    "EluGrad": tf.nn.elu,
    "SeluGrad": tf.nn.selu,
    "SoftsignGrad": tf.nn.softsign,
    "SigmoidGrad": tf.nn.sigmoid,
    "TanhGrad": tf.nn.tanh,
    "SqrtGrad": lambda x: tf.sqrt(abs(x) + 0.1),
    "RsqrtGrad": lambda x: tf.math.rsqrt(abs(x) + 0.1),
    "ReciprocalGrad": lambda x: tf.math.reciprocal(abs(x) + 0.1),
    "LRNGrad": lambda x: tf.nn.local_response_normalization(x, 2, 1.5, 0.3, 0.6),
}


@pytest.mark.parametrize("replaced", ACTIVATIONS)
def test_the_gradient_of_an_activation(replaced: str) -> None:
    assert_same(gradient_of(ACTIVATIONS[replaced]), 2 * numbers(2, 4, 4, 9), replaced=replaced)


@pytest.mark.parametrize("function", [tf.math.erf, tf.math.erfc])
def test_the_error_function_is_accurate_to_single_precision(function: Any) -> None:
    assert_same(function, np.linspace(-6, 6, 2001, dtype="float32"), share=5e-7)
    assert_same(gradient_of(function), np.linspace(-6, 6, 2001, dtype="float32"))


def test_the_gradient_of_a_fused_batch_norm_at_inference() -> None:
    scale, offset, mean, variance = numbers(4, 5)

    def function(x: Any) -> Any:
        return tf.compat.v1.nn.fused_batch_norm(x, scale, offset, mean, abs(variance), 1e-3, is_training=False)[0]

    assert_same(gradient_of(function), numbers(2, 4, 3, 5), replaced="FusedBatchNormGradV3")


RESIZES = {
    "ResizeBilinearGrad": tf.raw_ops.ResizeBilinear,
    "ResizeNearestNeighborGrad": tf.raw_ops.ResizeNearestNeighbor,
    "ResizeBicubicGrad": tf.raw_ops.ResizeBicubic,
}


@pytest.mark.parametrize("replaced", RESIZES)
@pytest.mark.parametrize("options", [{}, {"align_corners": True}, {"half_pixel_centers": True}])
@pytest.mark.parametrize("size", [(9, 5), (3, 12), (7, 6)])
def test_the_gradient_of_resizing(replaced: str, options: dict[str, bool], size: Any) -> None:
    function = gradient_of(lambda x: RESIZES[replaced](images=x, size=size, **options))
    assert_same(function, numbers(2, 7, 6, 3), replaced=replaced)


@pytest.mark.parametrize("mode", ["REFLECT", "SYMMETRIC"])
@pytest.mark.parametrize("pads", [[(0, 0), (2, 1), (0, 3), (0, 0)], [(1, 1), (0, 0), (3, 3), (1, 0)]])
def test_the_gradient_of_mirror_padding(mode: str, pads: Any) -> None:
    assert_same(gradient_of(lambda x: tf.pad(x, pads, mode)), numbers(2, 5, 6, 3), replaced="MirrorPadGrad")


SLICES = {
    "cropped": np.s_[:, 1:-1, 2:, :],
    "each second": np.s_[:, ::2, 1::3],
    "backwards": np.s_[:, ::-1, 4:1:-2],
    "one channel": np.s_[..., 1],
    "one row, a new axis": np.s_[:, 3, None, 1:4],
}


@pytest.mark.parametrize("name", SLICES)
def test_the_gradient_of_slicing(name: str) -> None:
    assert_same(gradient_of(lambda x: x[SLICES[name]]), numbers(2, 7, 6, 3), replaced="StridedSliceGrad")


def test_a_sum_over_some_of_many_axes() -> None:
    assert_same(gradient_of(lambda x: tf.repeat(tf.repeat(x, 3, axis=1), 2, axis=3)), numbers(1, 4, 5, 3))
    assert_same(lambda x: tf.reduce_sum(x, axis=(0, 2, 4, 5)), numbers(1, 2, 3, 1, 2, 2))
    assert_same(lambda x: tf.reduce_sum(x, axis=-1, keepdims=True), numbers(2, 2, 3, 1, 2))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_precisions_become_single(dtype: str) -> None:
    constant = tf.constant([[0.5, 2.0], [1.0, -3.0]], dtype)
    x = tf.constant([[1.0, 3.0]])
    function = traced(lambda x: tf.matmul(tf.cast(x, dtype), constant) + tf.ones([2], dtype), [tf.TensorSpec([1, 2])])
    convertible = lowered(function, {})
    assert convertible.outputs[0].dtype == tf.float32
    np.testing.assert_array_equal(convertible(x), tf.cast(function(x), tf.float32))


def test_variables_become_constants_and_inner_functions_are_inlined() -> None:
    variable = tf.Variable(3.0)

    @tf.function
    def inside(x: Any) -> Any:
        return variable * x + variable

    function = lowered(traced(lambda x: inside(inside(x)), [tf.TensorSpec([])]), {})
    variable.assign(100.0)
    assert function(tf.constant(2.0)).numpy() == 3 * (3 * 2 + 3) + 3
    assert not function.captured_inputs
    assert not tf.config.functions_run_eagerly()
