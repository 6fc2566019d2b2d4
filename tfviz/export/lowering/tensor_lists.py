"""Represent the tensor lists in TensorFlow loops as Python lists of tensors while copying a graph.

An element that was never written is None, and reading it returns zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

Item = Any  # a tf.Tensor, a TensorList, or None


@dataclass(frozen=True)
class TensorList:
    """The elements of a TensorFlow tensor list.

    Attributes:
        items: the elements.
        shape: the element shape, with -1 for an unknown size.
    """

    items: tuple[Item, ...]
    shape: tf.Tensor

    def item(self, index: int, like: tf.Tensor) -> Item:
        """Return an element, or zeros if it was never written.

        `like` has the element's shape and type in the original graph.
        """
        if self.items[index] is not None:
            return self.items[index]
        other = next((one for one in self.items if one is not None), None)
        if other is not None:
            return tf.zeros_like(other)
        return tf.zeros(like.shape if like.shape.is_fully_defined() else self.shape, like.dtype)

    def with_item(self, index: int, item: Item) -> TensorList:
        """Return a copy with one element replaced. An index past the end extends the copy."""
        items = [*self.items, *[None] * (index + 1 - len(self.items))]
        items[index] = item
        return TensorList(tuple(items), self.shape)


Known = Callable[[tf.Tensor], int]  # evaluates a tensor that does not depend on the inputs


def _stack(operation: tf.Operation, given: TensorList, *_: tf.Tensor) -> tf.Tensor:
    like = operation.outputs[0]
    return tf.stack([given.item(i, _element(like)) for i in range(len(given.items))])


def _gather(operation: tf.Operation, given: TensorList, places: list[int]) -> tf.Tensor:
    return tf.stack([given.item(place, _element(operation.outputs[0])) for place in places])


def _element(stacked: tf.Tensor) -> tf.TensorSpec:
    return tf.TensorSpec(stacked.shape[1:], stacked.dtype)


def _concat(operation: tf.Operation, given: TensorList) -> list[tf.Tensor]:
    items = [given.item(i, operation.outputs[0]) for i in range(len(given.items))]
    return [tf.concat(items, axis=0), tf.stack([tf.shape(item, tf.int64)[0] for item in items])]


def _element_shape(given: TensorList) -> tf.Tensor:
    """Return the shape of an element that was written, or the declared shape if none was.

    The declared shape may lack the batch size.
    """
    written = next((item for item in given.items if tf.is_tensor(item)), None)
    return given.shape if written is None else tf.shape(written)


def _scattered(tensor: tf.Tensor, places: list[int], shape: tf.Tensor, count: int) -> TensorList:
    items: list[Item] = [None] * max(count, *(place + 1 for place in places))
    for place, item in zip(places, tf.unstack(tensor), strict=True):
        items[place] = item
    return TensorList(tuple(items), shape)


def total(lists: list[TensorList]) -> TensorList:
    """Add tensor lists element by element."""
    items = []
    for parts in zip(*(one.items for one in lists), strict=True):
        written = [part for part in parts if part is not None]
        nested = written and isinstance(written[0], TensorList)
        items.append(None if not written else total(written) if nested else tf.add_n(written))
    return TensorList(tuple(items), lists[0].shape)


# (operation, known, *inputs) -> the operation's outputs, or its only output. See `Known`.
OPERATIONS: Mapping[str, Callable[..., Any]] = {
    "EmptyTensorList": lambda operation, known, shape, most: TensorList((), shape),
    "TensorListReserve": lambda operation, known, shape, count: TensorList((None,) * known(count), shape),
    "TensorListFromTensor": lambda operation, known, tensor, shape: TensorList(tuple(tf.unstack(tensor)), shape),
    "TensorListStack": lambda operation, known, given, *shape: _stack(operation, given),
    "TensorListGetItem": lambda operation, known, given, index, *shape: given.item(known(index), operation.outputs[0]),
    "TensorListSetItem": lambda operation, known, given, index, item: given.with_item(known(index), item),
    "TensorListPushBack": lambda operation, known, given, item: TensorList((*given.items, item), given.shape),
    "TensorListPopBack": lambda operation, known, given, shape: [
        TensorList(given.items[:-1], given.shape),
        given.item(-1, operation.outputs[1]),
    ],
    "TensorListLength": lambda operation, known, given: tf.constant(len(given.items)),
    "TensorListElementShape": lambda operation, known, given: tf.cast(_element_shape(given), operation.outputs[0].dtype),
    "TensorListGather": lambda operation, known, given, places, *shape: _gather(operation, given, known(places)),
    "TensorListScatterV2": lambda operation, known, tensor, places, shape, count: _scattered(
        tensor, known(places), shape, known(count)
    ),
    "TensorListConcatV2": lambda operation, known, given, *shape: _concat(operation, given),
    "TensorListResize": lambda operation, known, given, count: TensorList(
        (*given.items, *[None] * known(count))[: known(count)], given.shape
    ),
}
