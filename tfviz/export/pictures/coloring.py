"""Draw maps in color over images with TensorFlow operations, as `tfviz.overlay` does.

The color maps are constants in the graph. See `render.colors` for the three styles and their
scales.
"""

from __future__ import annotations

import tensorflow as tf

from tfviz.export.pictures.resampling import resized_map
from tfviz.render.colors import PERCENTILES, ramp

ALPHA = 0.5  # the command line's default


def overlaid(picture: tf.Tensor, values: tf.Tensor, style: str) -> tf.Tensor:
    """Draw a map over a uint8 image of shape (H, W, 3), or return a gray map without the image.

    The map has shape (h, w, C). For a map without channels, C must be 1.
    """
    colors = colored(values, style, tf.shape(picture)[:2])
    if style == "grey":
        return colors
    blended = tf.cast(colors, tf.float32) * ALPHA + tf.cast(picture, tf.float32) * (1 - ALPHA)
    return tf.cast(tf.round(blended), tf.uint8)


def colored(values: tf.Tensor, style: str, size: tf.Tensor) -> tf.Tensor:
    """Draw a map of shape (h, w, C) in the colors of its style.

    The result is a uint8 image of shape (height, width, 3).
    """
    resized = resized_map(tf.cast(scaled(values, style), tf.float32), size)
    if style == "grey":
        gray = tf.cast(tf.round(128 + 127 * resized), tf.uint8)
        return tf.broadcast_to(gray, [size[0], size[1], 3])
    position = resized if style == "heatmap" else (resized + 1) / 2
    return tf.gather(tf.constant(ramp(style)), tf.cast(tf.round(position[..., 0] * 255), tf.int32))


def scaled(values: tf.Tensor, style: str) -> tf.Tensor:
    """Scale a map of shape (h, w, C) in float64: to [0, 1] for a heatmap, otherwise to [-1, 1].

    The channels are kept only for gray maps of RGB images. Otherwise, they are reduced to one
    channel.
    """
    values = tf.debugging.check_numerics(values, "The attribution contains NaN or infinity and cannot be drawn")
    values = _divided(tf.cast(values, tf.float64), tf.reduce_max(tf.abs(tf.cast(values, tf.float64))))
    if style == "heatmap":
        values = tf.reduce_max(tf.abs(values), axis=2, keepdims=True)
    elif style == "signed":
        values = tf.reduce_sum(values, axis=2, keepdims=True)
    elif values.shape[2] not in (1, 3):
        values = tf.reduce_mean(values, axis=2, keepdims=True)
    limit = _limit(values, PERCENTILES[style])
    return _divided(tf.clip_by_value(values, -limit, limit), limit)


def _limit(values: tf.Tensor, percentile: float) -> tf.Tensor:
    """Return the given percentile of the nonzero magnitudes, or 0 if all values are zero.

    A percentile between two magnitudes is rounded up to the larger one.
    """
    sizes = tf.abs(tf.boolean_mask(values, values != 0))
    count = tf.size(sizes)
    number = tf.math.ceil(tf.cast(count - 1, tf.float64) * (percentile / 100))
    largest = tf.math.top_k(tf.concat([sizes, [0]], 0), tf.maximum(count - tf.cast(number, tf.int32), 1)).values
    return largest[-1]


def _divided(values: tf.Tensor, largest: tf.Tensor) -> tf.Tensor:
    return tf.math.divide_no_nan(values, largest)
