"""TimeDistributed: the layer inside it, as places over batch and time.

A TimeDistributed runs its layer on each step of (N, steps, …). That is the layer's own places on the N · steps pictures of
the batch. Their values are kept as (N, steps, …) all the same: what a place inside computes is merged and split around it.
So time is one more axis beside height and width, a CAM at a layer inside is (N, steps, h, w), and whatever a rule does for
each image (the shift of the image in excitation backprop, the range of a mask) is done for a whole series, never across
those of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import keras
import tensorflow as tf

from tfviz.graph import keras_graph
from tfviz.graph.linear import Map
from tfviz.graph.places import Place

Shape = tuple[int | None, ...]


def inside(node: Any) -> Any | None:
    """The graph of the layer inside a TimeDistributed, for one step; None for any other call, and for one with a mask."""
    layer = node.operation
    if not isinstance(layer, keras.layers.TimeDistributed) or type(layer).call is not keras.layers.TimeDistributed.call:
        return None
    if len(node.input_tensors) != 1:  # A mask, computed along the way.
        return None
    (series,) = node.input_tensors
    step = keras.KerasTensor((None, *series.shape[2:]), dtype=series.dtype)
    return keras_graph.traced(layer, [step], lambda: layer.layer(step))


def shape_over_time(shape: Shape, steps: int | None) -> Shape:
    """The shape of a value inside: (N, steps, …) for the (N · steps, …) of the layer."""
    return (shape[0], steps, *shape[1:])


def over_time(place: Place) -> Place:
    """The place on (N, steps, …) for a place on (N · steps, …)."""
    compute, linear_map = place.compute, place.linear_map
    return replace(
        place,
        compute=lambda tensors: _split_all(compute([merged(x) for x in tensors]), tensors[0]),
        linear_map=replace(linear_map, apply=_map_over_time(linear_map.apply)),
        series_axes=place.series_axes + 1,
    )


def _map_over_time(apply: Map) -> Map:
    return lambda layer, x, kernel: split(apply(layer, merged(x), kernel), x)


def _split_all(outputs: Sequence[Any], like: Any) -> list[Any]:
    return [split(y, like) for y in outputs]


def merged(x: Any) -> Any:
    """(N, steps, …) as (N · steps, …)."""
    return tf.reshape(x, [-1, *_sizes(x)[2:]])


def split(y: Any, like: Any) -> Any:
    """(N · steps, …) as (N, steps, …), with the steps of `like`."""
    return tf.reshape(y, [_sizes(like)[0], _sizes(like)[1], *_sizes(y)[1:]])


def _sizes(x: Any) -> list[Any]:
    """Each size as a number where it is known, else as a tensor."""
    shape = tf.shape(x)
    return [shape[axis] if size is None else size for axis, size in enumerate(x.shape)]
