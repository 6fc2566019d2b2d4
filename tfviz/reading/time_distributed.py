"""TimeDistributed: the layer inside it, as steps over batch and time.

A TimeDistributed runs its layer on each time step of (N, time, …). That is the layer's own steps on the N · time images of the
batch. Their values keep the shape (N, time, …) all the same: what a step inside computes is merged and split around it. So
time is one more axis beside height and width, a CAM at a layer inside is (N, time, h, w), and what a rule does per image (the
shift of the image in excitation backprop, the range of a mask) is done per series, never across a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import tensorflow as tf

from tfviz.graph.graph import Shape, Step
from tfviz.graph.operations import Kernel, Linear, LinearMap


def shape_over_time(shape: Shape, time: int | None) -> Shape:
    """The shape of a value inside: (N, time, …) for the (N · time, …) of the layer."""
    return (shape[0], time, *shape[1:])


def over_time(step: Step) -> Step:
    """The step on (N, time, …) for a step on (N · time, …)."""
    compute, operation = step.compute, step.operation
    if isinstance(operation, Linear):
        operation = replace(operation, apply=_map_over_time(operation.apply))
    return replace(
        step,
        operation=operation,
        compute=lambda tensors: _split_all(compute([merged(x) for x in tensors]), tensors[0]),
        time_axes=step.time_axes + 1,
    )


def _map_over_time(apply: LinearMap) -> LinearMap:
    def apply_over_time(x: tf.Tensor, kernel: Kernel) -> tf.Tensor:
        return split(apply(merged(x), kernel), x)

    return apply_over_time


def _split_all(outputs: Sequence[tf.Tensor], like: tf.Tensor) -> list[tf.Tensor]:
    return [split(y, like) for y in outputs]


def merged(x: tf.Tensor) -> tf.Tensor:
    """(N, time, …) as (N · time, …)."""
    return tf.reshape(x, [-1, *_sizes(x)[2:]])


def split(y: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """(N · time, …) as (N, time, …), with the time steps of `like`."""
    return tf.reshape(y, [_sizes(like)[0], _sizes(like)[1], *_sizes(y)[1:]])


def _sizes(x: tf.Tensor) -> list[int | tf.Tensor]:
    """Each size as a number where it is known, else as a tensor."""
    shape = tf.shape(x)
    return [shape[axis] if size is None else size for axis, size in enumerate(x.shape)]
