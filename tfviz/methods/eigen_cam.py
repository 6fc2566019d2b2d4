"""Eigen-CAM: the pattern that dominates a layer, independent of the class.

Answers: which positions of a layer respond most?

    A v,  v = first right singular vector of A (positions × channels), not centered, sign chosen so that Σ v ≥ 0
                          Muhammad & Yeasin, 2020, "Eigen-CAM: Class Activation Map using Principal Components"

One forward pass up to the layer; no target and no gradient. Misleading as an explanation of a decision: it shows the most
salient object whether or not the network's answer depends on it.
"""

from __future__ import annotations

import math
from typing import ClassVar

import tensorflow as tf

from tfviz import targets
from tfviz.graph.backprop import Values, inputs_of, run
from tfviz.methods.cam import CAM
from tfviz.numerics import safe_divide

_SQUARINGS = 8  # The singular values of A ⊙ G can be as close as 0.97; 0.97 ** (2 * 2 ** 8) is 2e-7.


class EigenCAM(CAM):
    """Eigen-CAM at a layer: (N, h, w) at the layer's own resolution. It takes no target.

    The map is 0 or more wherever the layer's activations are, as behind a ReLU; other layers can give negative values.
    """

    key: ClassVar[str] = "eigen_cam"
    question: ClassVar[str] = "Which positions of a layer respond most, independent of the class?"
    takes_target: ClassVar[bool] = False
    is_signed: ClassVar[bool] = True

    def attribute(self, images: list[tf.Tensor], seed: targets.Seed) -> tuple[tf.Tensor, Values]:
        values = run(inputs_of(self.graph, images), self.graph.before([self.layer]))
        return first_component(tf.cast(values[self.layer], tf.float32)), values

    def weigh(self, A: tf.Tensor, G: tf.Tensor) -> tf.Tensor:
        return first_component(A)


def first_component(A: tf.Tensor) -> tf.Tensor:
    """Projects each position onto the first right singular vector: (N, h, w, K) to (N, h, w).

    The vector comes from squaring the smaller Gram matrix, which is exact in float32 and converts to every export format.
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
    """A multiple of the eigenvector of the largest eigenvalue, (N, n, 1); 0 for a matrix of zeros."""
    for _ in range(_SQUARINGS):
        gram = safe_divide(gram, tf.linalg.trace(gram)[:, None, None])
        gram = tf.matmul(gram, gram)
    gram = safe_divide(gram, tf.linalg.trace(gram)[:, None, None])
    largest = tf.argmax(tf.linalg.diag_part(gram), axis=1)
    return tf.matmul(gram, tf.one_hot(largest, gram.shape[-1] or tf.shape(gram)[-1])[..., None])
