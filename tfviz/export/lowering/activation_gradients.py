"""Express the gradients of activations and other elementwise functions as arithmetic.

x is the activation's input, y its output, and p the gradient with respect to its output.
`litert_operations` describes the format of REPLACEMENTS.
"""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from tfviz.errors import ExportError
from tfviz.export.lowering.graph_copy import Replacement

_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


def _relu(operation: tf.Operation, p: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    return _where(x > 0, p)


def _relu6(operation: tf.Operation, p: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    return _where(tf.logical_and(x > 0, x < 6), p)


def _leaky_relu(operation: tf.Operation, p: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    return tf.where(x > 0, p, operation.get_attr("alpha") * p)


def _elu(operation: tf.Operation, p: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    return tf.where(y < 0, (y + 1) * p, p)


def _selu(operation: tf.Operation, p: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    return tf.where(y < 0, (y + _SELU_SCALE * _SELU_ALPHA) * p, _SELU_SCALE * p)


def _softsign(operation: tf.Operation, p: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    return p / tf.square(1 + tf.abs(x))


def _error_function(operation: tf.Operation, x: tf.Tensor) -> tf.Tensor:
    """Approximate erf (Abramowitz & Stegun, 7.1.26) with an error of at most 1.5e-7.

    This is about the precision of float32 near 1.
    """
    t = 1 / (1 + 0.3275911 * tf.abs(x))
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return tf.sign(x) * (1 - series * tf.exp(-tf.square(x)))


def _batch_norm(
    operation: tf.Operation,
    p: tf.Tensor,
    x: tf.Tensor,
    scale: tf.Tensor,
    mean: tf.Tensor,
    variance: tf.Tensor,
    *unused: tf.Tensor,
) -> list[tf.Tensor]:
    if operation.get_attr("is_training"):
        raise ExportError(
            f"'{operation.name}' is a BatchNormalization in training mode. It normalizes with batch statistics, and the "
            "gradient of this operation cannot be exported. Call the layer with training=False, or export with "
            "format='saved_model'."
        )
    return [p * scale * tf.math.rsqrt(variance + operation.get_attr("epsilon")), scale, scale, mean, mean]


def _response_norm(operation: tf.Operation, p: tf.Tensor, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Compute the gradient of local response normalization.

    For y = x · s^−β with s = bias + α Σ x², summed over nearby channels, the gradient is p · s^−β −
    2αβ · x · Σ (p · y / s).
    """
    radius, beta = operation.get_attr("depth_radius"), operation.get_attr("beta")
    alpha, bias = operation.get_attr("alpha"), operation.get_attr("bias")
    s = bias + alpha * _sum_nearby(tf.square(x), radius)
    return p * tf.pow(s, -beta) - 2 * alpha * beta * x * _sum_nearby(p * y / s, radius)


def _sum_nearby(x: tf.Tensor, radius: int) -> tf.Tensor:
    channels = x.shape[-1]
    padded = tf.pad(x, [(0, 0), (0, 0), (0, 0), (radius, radius)])
    return tf.add_n([padded[..., i : i + channels] for i in range(2 * radius + 1)])


def _where(condition: tf.Tensor, p: tf.Tensor) -> tf.Tensor:
    return tf.where(condition, p, tf.zeros_like(p))


REPLACEMENTS: Mapping[str, Replacement] = {
    "ReluGrad": _relu,
    "Relu6Grad": _relu6,
    "LeakyReluGrad": _leaky_relu,
    "EluGrad": _elu,
    "SeluGrad": _selu,
    "SoftsignGrad": _softsign,
    "SigmoidGrad": lambda operation, y, p: p * y * (1 - y),
    "TanhGrad": lambda operation, y, p: p * (1 - tf.square(y)),
    "SqrtGrad": lambda operation, y, p: p * 0.5 / y,
    "RsqrtGrad": lambda operation, y, p: p * -0.5 * y * y * y,
    "ReciprocalGrad": lambda operation, y, p: -p * tf.square(y),
    "Erf": _error_function,
    "Erfc": lambda operation, x: 1 - _error_function(operation, x),
    "FusedBatchNormGradV3": _batch_norm,
    "LRNGrad": _response_norm,
}
