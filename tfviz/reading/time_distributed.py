"""Convert a TimeDistributed layer's inner steps to steps over batch and time.

A TimeDistributed layer runs its inner layer on each time step of a tensor of shape (N, time, …),
that is, on N · time images. The inner values keep the shape (N, time, …): each step merges the
first two axes before it runs and splits them afterward. Time is therefore an axis like height and
width. A CAM at an inner layer has the shape (N, time, h, w), and per-image operations, such as
excitation backprop's image shift or the scaling of a mask, apply to each series separately.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import tensorflow as tf

from tfviz.graph.graph import Shape, Step
from tfviz.graph.operations import Kernel, Linear, LinearMap


def time_distributed_shape(shape: Shape, time: int | None) -> Shape:
    """Return the outer shape (N, time, …) for an inner shape (N · time, …)."""
    return (shape[0], time, *shape[1:])


def time_distributed(step: Step) -> Step:
    """Convert a step that runs on shape (N · time, …) to one that runs on shape (N, time, …)."""
    compute, operation = step.compute, step.operation
    if isinstance(operation, Linear):
        operation = replace(operation, apply=_time_distributed_map(operation.apply))
    return replace(
        step,
        operation=operation,
        compute=lambda tensors: _split_all(compute([merged(x) for x in tensors]), tensors[0]),
        time_axes=step.time_axes + 1,
    )


def _time_distributed_map(apply: LinearMap) -> LinearMap:
    def apply_per_step(x: tf.Tensor, kernel: Kernel) -> tf.Tensor:
        return split(apply(merged(x), kernel), x)

    return apply_per_step


def _split_all(outputs: Sequence[tf.Tensor], like: tf.Tensor) -> list[tf.Tensor]:
    return [split(y, like) for y in outputs]


def merged(x: tf.Tensor) -> tf.Tensor:
    """Reshape a tensor of shape (N, time, …) to (N · time, …)."""
    return tf.reshape(x, [-1, *_sizes(x)[2:]])


def split(y: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """Reshape a tensor of shape (N · time, …) to (N, time, …), taking N and time from `like`."""
    return tf.reshape(y, [_sizes(like)[0], _sizes(like)[1], *_sizes(y)[1:]])


def _sizes(x: tf.Tensor) -> list[int | tf.Tensor]:
    """Return a tensor's size along each axis, as a number if it is known, otherwise as a tensor."""
    shape = tf.shape(x)
    return [shape[axis] if size is None else size for axis, size in enumerate(x.shape)]
