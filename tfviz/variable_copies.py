"""Copy a model's variables for explainers whose weights never change.

TensorFlow copies on write, so a copy and its variable share memory until either is assigned.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import tensorflow as tf


class VariableCopies:
    """Copies of variables. Each copy keeps the variable's value from the time of copying.

    Args:
        variables: the variables to copy immediately. Others are copied when they are first read.
    """

    def __init__(self, variables: Iterable[tf.Variable]) -> None:
        self._copies: dict[int, tuple[tf.Variable, tf.Variable]] = {}
        for variable in variables:
            self.of(variable)

    def of(self, variable: tf.Variable) -> tf.Variable:
        """Return a variable's copy, creating it if needed."""
        if id(variable) not in self._copies:
            with tf.init_scope():
                copy = tf.Variable(variable.read_value(), trainable=False, dtype=variable.dtype)
            self._copies[id(variable)] = variable, copy
        return self._copies[id(variable)][1]

    def copied(self) -> VariableCopies:
        """Return a duplicate of these copies on the current device."""
        new = VariableCopies([])
        for variable, copy in self._copies.values():
            new._copies[id(variable)] = variable, tf.Variable(copy.read_value(), trainable=False, dtype=copy.dtype)
        return new

    @contextmanager
    def read_in_place(self) -> Iterator[None]:
        """Within the block, read the copies instead of the variables."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)


_current: ContextVar[VariableCopies | None] = ContextVar("variable_copies", default=None)


def variable_to_read(variable: tf.Variable) -> tf.Variable:
    """Return the variable's current copy if there is one, otherwise the variable itself."""
    copies = _current.get()
    return variable if copies is None else copies.of(variable)
