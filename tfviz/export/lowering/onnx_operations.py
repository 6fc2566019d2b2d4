"""Express the gradients in an exported graph with operations that ONNX supports.

The conversion has two steps. First, operations in TensorFlow's graph are replaced as listed in
REPLACEMENTS (see `graph_copy`): activation gradients become arithmetic, and pooling gradients
become gradients of a depthwise convolution. Then, HANDLERS convert convolution gradients in tf2onnx
to ONNX's ConvTranspose, which supports groups, pads and dilations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from tfviz.errors import ExportError
from tfviz.export.lowering import activation_gradients
from tfviz.export.lowering.graph_copy import Replacement
from tfviz.export.lowering.windows import Windows

if TYPE_CHECKING:
    from tf2onnx.graph import Graph, Node


def _max_pool_gradient(operation: tf.Operation, x: tf.Tensor, y: tf.Tensor, p: tf.Tensor) -> tf.Tensor:
    windows, left, shares = _pooling(operation), p, []
    for element in windows.elements(x, x.dtype.min):
        wins = tf.equal(element, y)
        shares.append(tf.where(wins, left, tf.zeros_like(left)))
        # The first maximum receives the whole gradient, as in TensorFlow.
        left = tf.where(wins, tf.zeros_like(left), left)
    kernel = np.eye(len(shares), dtype="float32").reshape(*windows.kernel, 1, len(shares))
    return _put_back(operation, x, tf.stack(shares, axis=-1), kernel)


def _average_pool_gradient(operation: tf.Operation, size: tf.Tensor, p: tf.Tensor) -> tf.Tensor:
    windows = _pooling(operation)
    return _put_back(operation, size, (p / windows.valid_counts())[..., None], np.ones([*windows.kernel, 1, 1], "float32"))


def _pooling(operation: tf.Operation) -> Windows:
    return Windows.of(operation, operation.outputs[0].shape[1:-1], operation.get_attr("ksize")[1:-1])


def _put_back(operation: tf.Operation, x: tf.Tensor, shares: tf.Tensor, kernel: np.ndarray) -> tf.Tensor:
    """Add each window's shares of the gradient at their positions in the input.

    `shares` has shape (N, h, w, C, K), the input (N, H, W, C), and `kernel` (height, width, 1, K).
    """
    *_, channels, count = shares.shape
    return tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
        input_sizes=x if len(x.shape) == 1 else tf.shape(x),
        filter=np.tile(kernel, [1, 1, channels, 1]),
        out_backprop=tf.reshape(shares, [-1, *shares.shape[1:-2], channels * count]),
        strides=operation.get_attr("strides"),
        padding=operation.get_attr("padding").decode(),
        explicit_paddings=operation.get_attr("explicit_paddings") if operation.get_attr("padding") == b"EXPLICIT" else [],
    )


def _summed_axes(operation: tf.Operation, *shapes: tf.Tensor) -> list[tf.Tensor]:
    """For each of two broadcast operands, return the axes over which its gradient is summed.

    These are the axes that the operand lacks or along which its size is 1, unless the other
    operand's size is 1 too.
    """
    first, second = map(_sizes, shapes)
    rank = max(len(first), len(second))
    pairs = list(zip([1] * (rank - len(first)) + first, [1] * (rank - len(second)) + second, strict=True))
    axes = [i for i, (n, m) in enumerate(pairs) if n == 1 != m], [i for i, (n, m) in enumerate(pairs) if m == 1 != n]
    return [tf.constant(rows, tf.int32) for rows in axes]


def _concatenated_at(operation: tf.Operation, axis: tf.Tensor, *shapes: tf.Tensor) -> list[tf.Tensor]:
    """Return each array's offset along the concatenated axis, with 0 for all other axes."""
    is_axis = tf.equal(tf.range(shapes[0].shape[0]), axis)
    starts = [tf.zeros_like(shapes[0])]
    for shape in shapes[:-1]:
        starts.append(tf.where(is_axis, starts[-1] + shape, starts[0]))
    return starts


def _stitched(operation: tf.Operation, places: tf.Tensor, axes: tf.Tensor, sizes: tf.Tensor, ones: tf.Tensor) -> tf.Tensor:
    """Return the shape for the gradient of a sum or mean: `sizes`, with 1 for the summed axes."""
    return tf.tensor_scatter_nd_update(sizes, tf.reshape(axes, [-1, 1]), tf.reshape(ones, [-1]))


def _strided_slice_gradient(
    operation: tf.Operation, shape: tf.Tensor, begin: tf.Tensor, end: tf.Tensor, strides: tf.Tensor, p: tf.Tensor
) -> tf.Tensor:
    """Put the gradient of a slice back at the slice's position, with zeros elsewhere.

    The batch axis, whose size is unknown, must not be sliced.
    """
    free = [axis for axis, n in enumerate(operation.outputs[0].shape) if n is None]
    sizes = [2 if n is None else n for n in operation.outputs[0].shape]
    names = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")
    options = {name: operation.get_attr(name) for name in names}
    bounds = {name: tf.get_static_value(x) for name, x in (("begin", begin), ("end", end), ("strides", strides))}
    with tf.init_scope():
        numbers = tf.reshape(tf.range(np.prod(sizes)), sizes)
        taken = tf.raw_ops.StridedSlice(input=numbers, **bounds, **options).numpy()
    rows = [list(dict.fromkeys(places.tolist())) for places in np.unravel_index(taken.reshape(-1), sizes)]
    if len(free) > 1 or any(rows[axis] != [0, 1] for axis in free):
        raise ExportError(
            f"'{operation.name}' slices the batch axis, but ONNX can represent the gradient of such a slice only for a fixed "
            "batch size. Change the model to process each image independently, or export with format='saved_model'."
        )
    p = tf.reshape(p, [-1 if axis in free else len(row) for axis, row in enumerate(rows)])
    for axis, row in enumerate(rows):
        if axis not in free:
            # Append one zero, which the positions outside the slice receive.
            p = tf.pad(p, [(0, int(i == axis)) for i in range(len(sizes))])
            p = tf.gather(p, [row.index(i) if i in row else len(row) for i in range(sizes[axis])], axis=axis)
    return p


def _resize_gradient(run: Callable[..., tf.Tensor]) -> Replacement:
    """Return a function that computes the gradient of a resize operation.

    Resizing is linear and separable. Along each axis, it multiplies by an (m, n) matrix, and the
    gradient is multiplied by the transpose of this matrix.
    """

    def gradient(operation: tf.Operation, p: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        options = {name: operation.get_attr(name) for name in ("align_corners", "half_pixel_centers")}
        for axis in (1, 2):
            n, m = operation.outputs[0].shape[axis], p.shape[axis]
            with tf.init_scope():
                unit = tf.reshape(tf.eye(n), [1, n, 1, n])
                matrix = run(images=unit, size=[m, 1], **options).numpy().reshape(m, n)
            order = [0, 2, 1, 3] if axis == 1 else [0, 1, 2, 3]
            p = tf.transpose(tf.matmul(matrix.T[None, None], tf.transpose(p, order)), order)
        return p

    return gradient


def _sizes(shape: tf.Tensor) -> list[int | None]:
    """Return the static sizes in a shape tensor, with None for the batch size.

    TensorFlow infers these sizes when it creates an array of this shape, even if the shape is a
    slice of another shape.
    """
    return tf.fill(shape, 0.0).shape.as_list()


# ONNX has an Erf operation.
REPLACEMENTS: Mapping[str, Replacement] = {
    **{name: row for name, row in activation_gradients.REPLACEMENTS.items() if name != "Erf"},
    "Erfc": lambda operation, x: 1 - tf.math.erf(x),
    "MaxPoolGrad": _max_pool_gradient,
    "AvgPoolGrad": _average_pool_gradient,
    "BroadcastGradientArgs": _summed_axes,
    "ConcatOffset": _concatenated_at,
    "DynamicStitch": _stitched,
    "StridedSliceGrad": _strided_slice_gradient,
    "ResizeBilinearGrad": _resize_gradient(tf.raw_ops.ResizeBilinear),
    "ResizeNearestNeighborGrad": _resize_gradient(tf.raw_ops.ResizeNearestNeighbor),
    "ResizeBicubicGrad": _resize_gradient(tf.raw_ops.ResizeBicubic),
}


def _transposed_convolution(ctx: Graph, node: Node, name: str, args: object) -> None:
    """Convert the gradient of a convolution to ConvTranspose.

    The node's inputs are (sizes, kernel, p), and its output has shape (N, H, W, C).
    """
    _, kernel, p, *bias = node.input  # tf2onnx fuses a bias addition that follows
    size, (*sides, channels, count) = ctx.get_shape(node.output[0]), ctx.get_shape(kernel)
    windows = _windows(node, size[1:3], sides)
    groups = size[3] // channels
    if node.type.startswith("Depthwise"):
        groups, count = channels, channels * count
        kernel = _reshaped(ctx, kernel, [*sides, 1, count])
    p = ctx.make_node("Transpose", [p], attr={"perm": [0, 3, 1, 2]}).output[0]
    kernel = ctx.make_node("Transpose", [kernel], attr={"perm": [3, 2, 0, 1]}).output[0]
    before = [pad[0] for pad in windows.pads]
    # How far the windows extend beyond the input's end; negative if they do not reach it.
    after = [
        (n - 1) * s + r - b - m
        for n, s, r, b, m in zip(windows.count, windows.strides, windows.extent, before, windows.size, strict=True)
    ]
    attributes = {
        "group": groups,
        "kernel_shape": list(windows.kernel),
        "strides": list(windows.strides),
        "dilations": list(windows.dilations),
        "pads": [*before, *(max(b, 0) for b in after)],
        "output_padding": [max(-b, 0) for b in after],
    }
    shape, dtype = ctx.get_shape(node.output[0]), ctx.get_dtype(node.output[0])
    back = ctx.make_node("ConvTranspose", [p, kernel, *bias], attr=attributes)
    ctx.remove_node(node.name)
    ctx.make_node("Transpose", back.output, attr={"perm": [0, 2, 3, 1]}, outputs=node.output, shapes=[shape], dtypes=[dtype])


def _reshaped(ctx: Graph, tensor: str, shape: Sequence[int]) -> str:
    return ctx.make_node("Reshape", [tensor, ctx.make_const(f"{tensor}_shape", np.array(shape, np.int64)).output[0]]).output[0]


def _windows(node: Node, size: Sequence[int], kernel: Sequence[int]) -> Windows:
    """Return the windows of a tf2onnx node that still has its TensorFlow attributes."""
    return Windows.of(SimpleNamespace(node_def=SimpleNamespace(attr=node.attr), get_attr=node.get_attr_value), size, kernel)


_GRADIENTS = ("Conv2DBackpropInput", "DepthwiseConv2dNativeBackpropInput")
HANDLERS: dict[str, tuple[Callable[..., None], list[str]]] = {name: (_transposed_convolution, []) for name in _GRADIENTS}
