"""The result of translating one call: a chain of typed operations with their computations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import tensorflow as tf

from tfviz.graph.operations import Operation

Compute = Callable[[Sequence[tf.Tensor]], list[tf.Tensor]]


@dataclass(frozen=True)
class Stage:
    """One operation of a call.

    Attributes:
        operation: what the stage computes.
        compute: maps tensors to a flat list of tensors. None runs the recorded call itself.
        reads: indices into the call's inputs followed by the outputs of earlier stages. None means
            the previous stage's output or, for the first stage, all inputs of the call.
    """

    operation: Operation
    compute: Compute | None = None
    reads: tuple[int, ...] | None = None
