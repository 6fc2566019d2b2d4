"""Merging a BatchNormalization into the linear map before it: its scale becomes a part of the kernel."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from tfviz.errors import warn
from tfviz.graph.graph import Graph, Step
from tfviz.graph.operations import Linear, Normalization


def batch_norm_scales(graph: Graph) -> dict[Step, Callable[[], tf.Tensor]]:
    """The scale of the channels for each linear map that is followed by a BatchNormalization of its channels alone.

    Warns of a BatchNormalization that follows a linear map alone and cannot be merged.
    """
    scales: dict[Step, Callable[[], tf.Tensor]] = {}
    left = []
    for step in graph.steps:
        readers = graph.consumers(step.outputs[0]) if isinstance(step.operation, Linear) else []
        norm = readers[0].operation if len(readers) == 1 else None
        if not isinstance(norm, Normalization) or not norm.is_batch_norm or step.outputs[0] in graph.outputs:
            continue
        if norm.channel_scale is not None and step.operation.scale_outputs is not None:
            scales[step] = norm.channel_scale
        else:
            left.append(readers[0].path)
    if left:
        warn(
            f"merge_batch_norm=True leaves {', '.join(map(repr, left))} as it is: only a BatchNormalization of the last axis, "
            "behind a Dense layer or a convolution, can be merged."
        )
    return scales
