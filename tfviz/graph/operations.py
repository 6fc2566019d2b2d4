"""Types that describe what a step computes.

The translators in `tfviz.reading` describe each operation in a model by one of these types. All
other code (rules, layer search, export) dispatches on the type, so only the translators contain
layer class and operation names.

A description contains only what the rules need, for example how to apply a linear map with a
different kernel, how a window slides, and which input carries the signal.
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
    """The base class for all descriptions.

    Attributes:
        name: the layer class or operation name, for messages only.
    """

    name: str

    @property
    def signal(self) -> int | None:
        """The index of the input that carries the signal, or None if all inputs do."""
        return None


@dataclass(frozen=True, eq=False, kw_only=True)
class Extent:
    """Describes how a window slides along each spatial axis of its input.

    Attributes:
        size: the window size in elements.
        strides: the distance between adjacent windows.
        padding: "valid", "same", "causal" (one axis), or the padding before the first element of
            each axis.
        dilation: the distance between adjacent elements of the window.
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
    """An operation y = f(x; W) + b, where f is linear in x and in W.

    Attributes:
        apply: the function f.
        read_kernel: a function that returns the current W in a given dtype.
        scale_outputs: a function of W and s that returns the kernel with its output channels scaled
            by s. None if the kernel's output channels are unknown.
        extent: a convolution's window, or None for a product along the last axis.
        mixes_pixels: whether the product also runs along height or width.
        read_bias: a function that returns the current b in a given dtype, or None if there is no
            bias. If `read_bias` itself is None, the step may compute something other than f(x; W) +
            b.
        is_constant: whether W never changes, so that values derived from it need to be computed
            only once.
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
    """A function that is 0 below a threshold and equals x above it, up to an optional cap."""

    max_value: float | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Elementwise(Operation):
    """A function that is applied to each element.

    Attributes:
        function: the function's name, for messages only.
        sign: 1 if rules treat the function as increasing, -1 if they treat it as decreasing, and 0
            if neither applies, as for a comparison or a function of several inputs.
        is_affine: whether the function is a·x + b.
        bounds: the range of a bounded function, such as (0, 1) for a sigmoid.
        carrier: the index of the input that carries the signal if the others are constants.
        is_activation: whether networks use the function as an activation, like silu, rather than as
            part of a formula, like log.
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


class Exponential(Elementwise):
    """exp(x), or another power with a constant base."""


class Softmax(Elementwise):
    """exp(x) divided by its sum along an axis, which yields probabilities that sum to 1."""


class Attention(Softmax):
    """The softmax over the keys in attention, as marked by `graph.attention`.

    Its output P contains the attention probabilities before any dropout. P has shape (N, heads,
    queries, keys), or (N, queries, keys) for a single head.
    """


class Sigmoid(Elementwise):
    """1 / (1 + exp(−x)), which yields one probability per element."""


class Activation(Elementwise):
    """An activation other than a ReLU, made of one or more operations (see `graph.activations`)."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Normalization(Operation):
    """An operation that shifts and scales each element, based on statistics or on other elements.

    Attributes:
        channel_scale: a function that returns each channel's factor at inference. None if the
            factors depend on an input.
        channel_shift: a function that returns the term added to each channel after scaling, or
            None.
        is_batch_norm: whether this is a BatchNormalization, which can be folded into a preceding
            linear map.
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
    """The maximum or average over a window or over entire axes.

    Attributes:
        is_max: whether the operation computes the maximum rather than the average.
        extent: the window, or None if it spans entire axes.
    """

    is_max: bool
    extent: Extent | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Sum(Operation):
    """The sum or average of the inputs."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Difference(Operation):
    """The first input minus the second."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Choice(Operation):
    """The elementwise maximum or minimum of the inputs."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Product(Operation):
    """The elementwise product of a signal and its gates.

    Attributes:
        carrier: the index of the signal input. The other inputs are gates.
    """

    carrier: int = 0

    @property
    def signal(self) -> int:
        return self.carrier


@dataclass(frozen=True, eq=False, kw_only=True)
class Move(Operation):
    """An operation that moves, copies or drops elements, or adds constants, such as a reshape."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Reshape(Move):
    """A change of shape that keeps the element order. Any further inputs are sizes."""

    @property
    def signal(self) -> int:
        return 0


@dataclass(frozen=True, eq=False, kw_only=True)
class Pad(Move):
    """Constant padding. `amounts` contains a pair (before, after) for each spatial axis."""

    amounts: tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class Crop(Move):
    """Cropping. `amounts` contains a pair (before, after) for each spatial axis."""

    amounts: tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class Upsample(Move):
    """Repetition of each element an integer number of times along each spatial axis."""

    factors: Sizes


@dataclass(frozen=True, eq=False, kw_only=True)
class Resize(Move):
    """Interpolation to a different size."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Concatenate(Move):
    """Concatenation along `axis`, which may be negative."""

    axis: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Transpose(Move):
    """A permutation of axes. Output axis i is input axis order[i], counting the batch axis as 0."""

    order: Sizes


@dataclass(frozen=True, eq=False, kw_only=True)
class Constant(Operation):
    """An operation that reads only its inputs' sizes, not their contents, such as zeros_like."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Contraction(Operation):
    """A product of several computed tensors along some axes, such as matmul or einsum."""


class Contents(Protocol):
    """Describes what tracing reveals about an opaque operation."""

    @property
    def may_hide_relu(self) -> bool:
        """Whether the operation contains, or could contain, a ReLU."""

    @property
    def mixes_pixels(self) -> bool:
        """Whether an output pixel depends on other pixels; False if this is unknown."""

    @property
    def last_operation(self) -> Elementwise | None:
        """The elementwise function that computes the first output, or None if it is unknown."""


@dataclass(frozen=True, eq=False)
class BuiltIn:
    """The contents of a built-in operation, which runs no user code."""

    mixes_pixels: bool = True
    may_hide_relu: bool = False
    last_operation: Elementwise | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Opaque(Operation):
    """An operation that cannot be traced or has no description.

    Attributes:
        reason: why the operation is opaque, phrased to complete a sentence that starts with "it".
        contents: what tracing reveals about the operation, computed on demand.
        runs_functions: whether the operation runs user functions, as a loop or a conditional does.
        cause: the error that stopped the trace, or None.
        holds_attention: whether any of the operation's layers computes attention between positions.
    """

    reason: str = "is unknown to tfviz"
    contents: Contents = BuiltIn()
    runs_functions: bool = False
    cause: BaseException | None = None
    holds_attention: bool = False


@dataclass(frozen=True, eq=False, kw_only=True)
class Deviation(Opaque):
    """The variance or the standard deviation along some axes."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Moments(Opaque):
    """The mean and the variance along some axes, as two outputs."""


@dataclass(frozen=True, eq=False, kw_only=True)
class OpaqueAttention(Opaque):
    """Attention between positions whose code cannot be traced."""

    holds_attention: bool = True
