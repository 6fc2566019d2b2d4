"""Store several copies of a batch as the rows of one larger batch, one copy after another."""

from __future__ import annotations

import tensorflow as tf


def as_rows(x: tf.Tensor) -> tf.Tensor:
    """Reshape a tensor of shape (copies, N, …) to a batch of shape (copies · N, …)."""
    return tf.reshape(x, tf.concat([[-1], tf.shape(x)[2:]], 0)) if None in x.shape[2:] else tf.reshape(x, [-1, *x.shape[2:]])


def as_copies(rows: tf.Tensor, copies: int | tf.Tensor) -> tf.Tensor:
    """Reshape a batch of shape (copies · N, …) to (copies, N, …)."""
    return tf.reshape(rows, tf.concat([[copies, -1], tf.shape(rows)[1:]], 0))
