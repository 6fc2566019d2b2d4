"""Descriptions of what a step computes.

The translators in `tfviz.reading` describe each operation of a model by one of these types.
Everything else (rules, layer search, export) dispatches on the type, so only the translators
contain names of layer classes and operations.

A description holds what rules need and nothing else: how to apply a linear map with another kernel,
how a window slides, and which of several inputs carries the signal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import tensorflow as tf

Sizes = tuple[int, ...]
Kernel: TypeAlias = tf.Tensor
LinearMap = Callable[[tf.Tensor, Kernel], tf.Tensor]  # (x, W) -> y


@dataclass(frozen=True, eq=False, kw_only=True)
class Operation:
    """The base class of all descriptions.

    Attributes:
        name: the layer class or the name of the operation, for messages only.
    """

    name: str

    @property
    def signal(self) -> int | None:
        """The index of the input that carries the signal, or None if all inputs do."""
        return None


@dataclass(frozen=True, eq=False, kw_only=True)
class Extent:
    """How a window slides over its input, along each spatial axis.

    Attributes:
        size: the window size in elements.
        strides: the distance between two windows.
        padding: "valid", "same", "causal" (one axis), or the padding before the first element of
            each axis.
        dilation: the distance between two elements of the window.
        is_transposed: whether the window belongs to a transposed convolution, which slides over the
            output.
    """

    size: Sizes
    strides: Sizes
    padding: str | Sizes
    dilation: Sizes
    is_transposed: bool = False


@dataclass(frozen=True, eq=False, kw_only=True)
class Linear(Operation):
    """y = f(x; W) + b, linear in x and in W.

    Attributes:
        apply: f.
        read_kernel: returns the current W in the dtype of the given name.
        scale_outputs: (W, s) -> the kernel whose output channels are scaled by s, or None if the
            kernel's output channels are not known.
        extent: the window of a convolution, or None for a product along the last axis.
        mixes_pixels: whether the product also runs along height or width.
        read_bias: returns the current b, or None if there is none, in the dtype of the given name.
            Without this function, the step may compute something other than f(x; W) + b.
        is_constant: whether W never changes, so what follows from it can be computed once.
    """

    apply: LinearMap
    read_kernel: Callable[[str], Kernel]
    scale_outputs: Callable[[Kernel, tf.Tensor], Kernel] | None = None
    extent: Extent | None = None
    mixes_pixels: bool = False
    read_bias: Callable[[str], tf.Tensor | None] | None = None
    is_constant: bool = False


@dataclass(frozen=True, eq=False, kw_only=True)
class Relu(Operation):
    """0 below a threshold, the identity above it, up to an optional cap."""

    max_value: float | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Elementwise(Operation):
    """A function of each element.

    Attributes:
        function: the name of the function, for messages only.
        sign: 1 if a larger input gives a larger output wherever it excites anything, -1 if it gives
            a smaller one, and 0 if neither is known, as for a comparison or a function of several
            inputs.
        is_affine: whether the function is a·x + b.
        bounds: the range of a bounded function, such as (0, 1) for a sigmoid.
        carrier: the input that carries the signal if the others are constants.
        is_activation: whether networks use the function as an activation, like silu, rather than
            as a part of a formula, like log.
    """

    function: str
    sign: int = 1
    is_affine: bool = False
    is_activation: bool = False
    bounds: tuple[float, float] | None = None
    carrier: int | None = None

    @property
    def signal(self) -> int | None:
        return self.carrier


class Softmax(Elementwise):
    """exp(x) divided by its sum along an axis: class probabilities that sum to 1."""


class Attention(Softmax):
    """The softmax of an attention over its keys.

    Its output is P, the attention probabilities (N, heads, queries, keys) before any dropout, or
    (N, queries, keys) of a single head. `graph.attention` marks it.
    """


class Sigmoid(Elementwise):
    """1 / (1 + exp(−x)): a probability per element."""


class Activation(Elementwise):
    """An activation other than ReLU, of one operation or several (see `graph.activations`)."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Normalization(Operation):
    """Each element shifted and scaled by statistics or by a function of the others.

    Attributes:
        channel_scale: returns the inference factor per channel of the last axis, if it depends on
            no input.
        channel_shift: returns what is added to each channel after that factor.
        is_batch_norm: whether it is a BatchNormalization, which can be folded into a linear map
            before it.
    """

    channel_scale: Callable[[], tf.Tensor] | None = None
    channel_shift: Callable[[], tf.Tensor] | None = None
    is_batch_norm: bool = False

    @property
    def signal(self) -> int:
        return 0


@dataclass(frozen=True, eq=False, kw_only=True)
class Identity(Operation):
    """An operation that returns its input at inference, such as Dropout or a cast."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Window(Operation):
    """The maximum or the average over a window, or over whole axes.

    Attributes:
        is_max: whether it is the maximum.
        extent: the window, or None if it spans whole axes.
    """

    is_max: bool
    extent: Extent | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Sum(Operation):
    """The sum or the average of its inputs."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Difference(Operation):
    """The first input minus the second."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Choice(Operation):
    """The largest or the smallest of the inputs, per element."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Product(Operation):
    """signal · gates, element by element.

    Attributes:
        carrier: the index of the signal. The other inputs are gates.
    """

    carrier: int = 0

    @property
    def signal(self) -> int:
        return self.carrier


@dataclass(frozen=True, eq=False, kw_only=True)
class Move(Operation):
    """An operation that moves, copies or drops elements, or adds constant ones, such as
    a reshape.
    """


@dataclass(frozen=True, eq=False, kw_only=True)
class Reshape(Move):
    """Another shape for the same elements in the same order. Further inputs only give sizes."""

    @property
    def signal(self) -> int:
        return 0


@dataclass(frozen=True, eq=False, kw_only=True)
class Pad(Move):
    """Padding with a constant. `amounts` holds (before, after) for each spatial axis."""

    amounts: tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class Crop(Move):
    """Cropping. `amounts` holds (before, after) for each spatial axis."""

    amounts: tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class Upsample(Move):
    """Copying of each element by an integer factor per spatial axis."""

    factors: Sizes


@dataclass(frozen=True, eq=False, kw_only=True)
class Resize(Move):
    """Interpolation to another size."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Concatenate(Move):
    """Concatenation along `axis`, which may be negative."""

    axis: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Transpose(Move):
    """A permutation: axis i of the output is axis order[i] of the input, batch axis first."""

    order: Sizes


@dataclass(frozen=True, eq=False, kw_only=True)
class Constant(Operation):
    """An operation that reads only the sizes of its inputs, not their contents, such as
    zeros_like.
    """


@dataclass(frozen=True, eq=False, kw_only=True)
class Contraction(Operation):
    """A product of several computed tensors along some axes, such as matmul or einsum."""


class Contents(Protocol):
    """What tracing reveals about an opaque operation."""

    @property
    def may_hide_relu(self) -> bool:
        """Whether a ReLU is, or could be, inside."""

    @property
    def mixes_pixels(self) -> bool:
        """Whether an output pixel depends on other pixels, or False if that is not known."""

    @property
    def last_operation(self) -> Elementwise | None:
        """The operation that computes the first output, as an elementwise function, if known."""


@dataclass(frozen=True, eq=False)
class BuiltIn:
    """The body of a built-in Keras or TensorFlow operation, without user code."""

    mixes_pixels: bool = True
    may_hide_relu: bool = False
    last_operation: Elementwise | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Opaque(Operation):
    """An operation that cannot be traced, or that has no description.

    Attributes:
        reason: why it is opaque, phrased as the rest of a sentence that starts with "it".
        contents: what tracing reveals about it, computed on demand.
        runs_functions: whether it runs functions that the user wrote, like a loop or a condition.
        cause: the error that stopped the trace.
        holds_attention: whether one of its layers is attention between positions.
    """

    reason: str = "is unknown to tfviz"
    contents: Contents = BuiltIn()
    runs_functions: bool = False
    cause: BaseException | None = None
    holds_attention: bool = False


@dataclass(frozen=True, eq=False, kw_only=True)
class OpaqueAttention(Opaque):
    """Attention between positions whose code cannot be traced."""

    holds_attention: bool = True
