"""Fold a BatchNormalization into the preceding linear map's kernel."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from tfviz.errors import warn
from tfviz.graph.graph import Graph, Step
from tfviz.graph.operations import Linear, Normalization


def batch_norm_scales(graph: Graph) -> dict[Step, Callable[[], tf.Tensor]]:
    """Return the channel scales of each BatchNormalization that can be merged.

    The keys of the result are the linear maps before these normalizations, and the values are
    functions that return the scales. A warning lists each BatchNormalization that directly follows
    a linear map but cannot be merged.
    """
    scales: dict[Step, Callable[[], tf.Tensor]] = {}
    unmerged = []
    for step in graph.steps:
        readers = graph.consumers(step.outputs[0]) if isinstance(step.operation, Linear) else []
        norm = readers[0].operation if len(readers) == 1 else None
        if not isinstance(norm, Normalization) or not norm.is_batch_norm or step.outputs[0] in graph.outputs:
            continue
        if norm.channel_scale is not None and step.operation.scale_outputs is not None:
            scales[step] = norm.channel_scale
        else:
            unmerged.append(readers[0].path)
    if unmerged:
        warn(
            f"merge_batch_norm=True does not merge {', '.join(map(repr, unmerged))}. Only a BatchNormalization over the last "
            "axis that directly follows a Dense layer or a convolution can be merged."
        )
    return scales
