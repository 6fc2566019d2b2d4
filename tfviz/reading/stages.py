"""What a translator makes of one call: a chain of typed operations, and how each is run."""

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
        operation: what it computes.
        compute: takes tensors and returns a flat list of them; None runs the recorded call itself.
        reads: what it is given, as positions in the list of the call's inputs followed by the outputs of earlier stages.
            None is the output of the stage before, or all inputs of the call for the first stage.
    """

    operation: Operation
    compute: Compute | None = None
    reads: tuple[int, ...] | None = None
