"""Compute the first principal component of a layer's activations, without centering."""

from __future__ import annotations

import math

import tensorflow as tf

from tfviz.numerics import safe_divide

# This is enough even if the second singular value is 0.97 times the first, because
# 0.97 ** (2 * 2 ** 8) is 2e-7.
_SQUARINGS = 8


def first_component(A: tf.Tensor) -> tf.Tensor:
    """Project each position onto the first right singular vector of a layer's activation matrix.

    The vector is computed by repeatedly squaring the smaller Gram matrix. Unlike an SVD, this works
    in every export format. The vector's sign is chosen so that the sum of its elements is
    nonnegative.

    Args:
        A: the activations, with shape (N, h, w, K), interpreted as N matrices of positions ×
            channels.

    Returns:
        The projections, with shape (N, h, w). They are 0 for a zero matrix.
    """
    shape = tf.shape(A)
    matrix = tf.reshape(A, [shape[0], -1, A.shape[-1]])  # (N, positions, K)
    sizes = A.shape[1:-1]
    has_fewer_positions = None not in sizes and math.prod(sizes) < A.shape[-1]
    if has_fewer_positions:
        u = _dominant_vector(tf.matmul(matrix, matrix, transpose_b=True))
        v = tf.matmul(matrix, u, transpose_a=True)  # (N, K, 1)
    else:
        v = _dominant_vector(tf.matmul(matrix, matrix, transpose_a=True))
    v = safe_divide(v, tf.sqrt(tf.reduce_sum(v * v, axis=1, keepdims=True)))
    v = tf.where(tf.reduce_sum(v, axis=1, keepdims=True) < 0, -v, v)
    return tf.reshape(tf.matmul(matrix, v), shape[:-1])


def _dominant_vector(gram: tf.Tensor) -> tf.Tensor:
    """Return a multiple of each matrix's dominant eigenvector, with shape (N, n, 1).

    The result is 0 for a zero matrix.
    """
    identity = tf.eye(tf.shape(gram)[-1])  # LiteRT and ONNX have no operation that reads a diagonal
    for _ in range(_SQUARINGS):
        gram = safe_divide(gram, tf.reduce_sum(gram * identity, axis=(1, 2), keepdims=True))
        gram = tf.matmul(gram, gram)
    gram = safe_divide(gram, tf.reduce_sum(gram * identity, axis=(1, 2), keepdims=True))
    largest = tf.argmax(tf.reduce_sum(gram * identity, axis=2), axis=1)
    return tf.matmul(gram, tf.one_hot(largest, tf.shape(gram)[-1])[..., None])
