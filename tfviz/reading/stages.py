"""The result of translating one call: a chain of typed operations and their computations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import tensorflow as tf

from tfviz.graph.operations import Operation

Compute = Callable[[Sequence[tf.Tensor]], list[tf.Tensor]]


@dataclass(frozen=True)
class Stage:
    """One of the operations that make up a call.

    Attributes:
        operation: the description of what the stage computes.
        compute: a function from tensors to a flat list of tensors. If None, the stage runs the
            recorded call itself.
        reads: the inputs of the stage, as indices into a list of the call's inputs followed by the
            outputs of all earlier stages. None selects the previous stage's output or, for the
            first stage, all of the call's inputs.
    """

    operation: Operation
    compute: Compute | None = None
    reads: tuple[int, ...] | None = None
