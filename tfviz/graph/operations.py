"""What a step computes, described once.

The translators of `tfviz.reading` describe each operation of a model by one of these types, and everything else (rules,
layer search, export) dispatches on the type: no other code knows the name of a layer class or of an operation.

A description holds what rules need and nothing else: how to apply a linear map with another kernel, how a window slides,
which of several inputs carries the signal.
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
    """The base of all descriptions.

    Attributes:
        name: the class of the layer or the name of the operation, for messages only.
    """

    name: str

    @property
    def signal(self) -> int | None:
        """The one input that carries the signal, where the others only weight it; None where all inputs carry it."""
        return None


@dataclass(frozen=True, eq=False, kw_only=True)
class Extent:
    """How a window slides over its input, per spatial axis.

    Attributes:
        size: the window's size in elements.
        strides: the step between two windows.
        padding: "valid", "same", "causal" (one axis), or the padding before the first element of each axis.
        dilation: the distance between two elements of the window.
        is_transposed: whether this is the window of a transposed convolution, which slides over the output.
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
        read_kernel: reads W as it is now, in the dtype of this name.
        scale_outputs: (W, s) -> the kernel whose outputs are s times as large, channel by channel; None where the kernel's
            output channels are not known.
        extent: the window of a convolution; None for a product along the last axis.
        mixes_pixels: whether a product runs along height or width, too.
    """

    apply: LinearMap
    read_kernel: Callable[[str], Kernel]
    scale_outputs: Callable[[Kernel, tf.Tensor], Kernel] | None = None
    extent: Extent | None = None
    mixes_pixels: bool = False


@dataclass(frozen=True, eq=False, kw_only=True)
class Relu(Operation):
    """0 below a threshold, the identity above it, up to a cap if there is one."""

    max_value: float | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Elementwise(Operation):
    """A function of each element.

    Attributes:
        function: the name of the function, for messages only.
        sign: 1 where a larger input gives a larger output wherever it excites anything; -1 where it gives a smaller one; 0
            where nothing is known, as of a comparison or of a function of several inputs.
        is_affine: whether it is a·x + b.
        bounds: the range of its outputs where it is bounded, as (0, 1) of a sigmoid.
        carrier: the input that carries the signal where the others are constants.
    """

    function: str
    sign: int = 1
    is_affine: bool = False
    bounds: tuple[float, float] | None = None
    carrier: int | None = None

    @property
    def signal(self) -> int | None:
        return self.carrier


class Softmax(Elementwise):
    """exp(x) over its sum along an axis: class probabilities that sum to 1."""


class Sigmoid(Elementwise):
    """1 / (1 + exp(−x)): a probability for each element."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Normalization(Operation):
    """Each element shifted and scaled by statistics or by a function of the others: BatchNormalization, x / g(x) …

    Attributes:
        channel_scale: reads the factor of each channel of the last axis at inference, where it depends on no input.
        is_batch_norm: whether it is a BatchNormalization, which a linear map before it could absorb.
    """

    channel_scale: Callable[[], tf.Tensor] | None = None
    is_batch_norm: bool = False

    @property
    def signal(self) -> int:
        return 0


@dataclass(frozen=True, eq=False, kw_only=True)
class Identity(Operation):
    """Returns its input at inference: Dropout, random augmentation, a cast …"""


@dataclass(frozen=True, eq=False, kw_only=True)
class Window(Operation):
    """The maximum or the average over a window, or over whole axes.

    Attributes:
        is_max: whether it is the maximum.
        extent: the window; None where it spans whole axes.
    """

    is_max: bool
    extent: Extent | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Sum(Operation):
    """The sum of its inputs, or their average."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Difference(Operation):
    """The first input minus the second."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Choice(Operation):
    """For each element one of the inputs: the largest or the smallest."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Product(Operation):
    """signal · gates, element by element.

    Attributes:
        carrier: the input that is the signal; the others are gates, which weight it.
    """

    carrier: int = 0

    @property
    def signal(self) -> int:
        return self.carrier


@dataclass(frozen=True, eq=False, kw_only=True)
class Move(Operation):
    """Moves, copies or drops elements, or adds constant ones: reshape, slice, stack, flip …"""


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
    """Upsampling by whole factors, one for each spatial axis."""

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
    """A permutation of the axes: axis i of the output is axis order[i] of the input, the batch first."""

    order: Sizes


@dataclass(frozen=True, eq=False, kw_only=True)
class Constant(Operation):
    """Does not depend on the values of its inputs, at most on their sizes: zeros_like, shape …"""


@dataclass(frozen=True, eq=False, kw_only=True)
class Contraction(Operation):
    """A product of several computed tensors along axes: matmul, einsum."""


class Contents(Protocol):
    """What an opaque operation holds, as far as a trace of it shows."""

    @property
    def may_hide_relu(self) -> bool:
        """Whether a ReLU is, or could be, inside."""

    @property
    def mixes_pixels(self) -> bool:
        """Whether an output pixel reads other pixels than its own; False where that cannot be seen."""

    @property
    def ending(self) -> Elementwise | None:
        """The operation that gives the first output, as if it were a function of each element; None where it is unknown."""


@dataclass(frozen=True, eq=False)
class BuiltIn:
    """The contents of an operation of Keras or TensorFlow: no code of the user's."""

    mixes_pixels: bool = True
    may_hide_relu: bool = False
    ending: Elementwise | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Opaque(Operation):
    """An operation that cannot be traced, or for which there is no description.

    Attributes:
        reason: why it is opaque, as the end of a sentence that begins with "it".
        contents: what it holds, looked at only when it is asked for.
        runs_functions: whether it runs functions of the user's, as a loop or a condition does.
        cause: the error that stopped the trace.
        holds_attention: whether one of the layers in it is attention among positions.
    """

    reason: str = "has no description"
    contents: Contents = BuiltIn()
    runs_functions: bool = False
    cause: BaseException | None = None
    holds_attention: bool = False


@dataclass(frozen=True, eq=False, kw_only=True)
class Attention(Opaque):
    """Attention among positions."""

    holds_attention: bool = True
