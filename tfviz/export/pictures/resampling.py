"""Resize images and maps with TensorFlow operations that reproduce OpenCV's results.

Along an axis, each new pixel is a weighted sum of a few old pixels, which are called its taps.
`Taps` contains their indices and weights.

    area      the mean of the pixels under the new pixel         for shrinking images
    linear    two taps with integer weights, as in OpenCV        for enlarging images
    cubic     four taps, Keys' kernel with a = -0.75             for enlarging maps
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

_MIN_SHARE = 1e-3  # OpenCV ignores overlaps below this fraction of a pixel.
_ONE = 2048  # the integer weight that represents 1
_CUBIC = -0.75


class Taps(NamedTuple):
    """The taps for each new pixel.

    Attributes:
        places: the indices of the old pixels, an int32 tensor of shape (new, taps).
        weights: the weights of the old pixels, a float32 tensor of shape (new, taps).
    """

    places: tf.Tensor
    weights: tf.Tensor


def area_taps(old: tf.Tensor, new: tf.Tensor) -> Taps:
    """Return the taps for shrinking: the pixels under each new pixel, weighted by overlap."""
    size = tf.cast(old, tf.float64)
    step = size / tf.cast(new, tf.float64)
    begin = tf.cast(tf.range(new), tf.float64)[:, None] * step
    end, whole = begin + step, tf.minimum(step, size - begin)
    last = tf.minimum(tf.floor(end), size - 1)
    first = tf.minimum(tf.math.ceil(begin), last)
    number = tf.range(tf.cast(tf.reduce_max(last - first), tf.int32) + 2)[None]
    place = first - 1 + tf.cast(number, tf.float64)
    before, behind = first - begin, tf.minimum(tf.minimum(end - last, 1), whole)
    share = tf.where(place < first, _not_tiny(before), tf.where(place < last, tf.ones_like(whole), 0))
    share = tf.where(tf.equal(place, last), _not_tiny(behind), share)
    return Taps(tf.cast(tf.clip_by_value(place, 0, size - 1), tf.int32), tf.cast(share / whole, tf.float32))


def _not_tiny(share: tf.Tensor) -> tf.Tensor:
    return tf.where(share > _MIN_SHARE, share, 0)


def _middle(old: tf.Tensor, new: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the old pixel before each new pixel's center, and its distance from that center."""
    at = (tf.cast(tf.range(new), tf.float64) + 0.5) * (tf.cast(old, tf.float64) / tf.cast(new, tf.float64)) - 0.5
    at = tf.cast(at, tf.float32)[:, None]
    return tf.cast(tf.floor(at), tf.int32), at - tf.floor(at)


def linear_taps(old: tf.Tensor, new: tf.Tensor) -> Taps:
    """Return the taps for linear interpolation: the two nearest pixels, with edges repeated.

    The weights are integers that sum to 2048.
    """
    place, behind = _middle(old, new)
    places = tf.clip_by_value(tf.concat([place, place + 1], 1), 0, old - 1)
    return Taps(places, tf.round(tf.concat([1 - behind, behind], 1) * _ONE))


def cubic_taps(old: tf.Tensor, new: tf.Tensor) -> Taps:
    """Return the taps for cubic interpolation: the four nearest pixels, with edges repeated."""
    place, t = _middle(old, new)
    a, u = _CUBIC, 1 - t
    weights = [((a * (t + 1) - 5 * a) * (t + 1) + 8 * a) * (t + 1) - 4 * a]
    weights += [((a + 2) * x - (a + 3)) * x * x + 1 for x in (t, u)]
    weights.append(1 - tf.add_n(weights))
    return Taps(tf.clip_by_value(place + tf.range(-1, 3), 0, old - 1), tf.concat(weights, 1))


def _summed(x: tf.Tensor, taps: Taps, axis: int) -> tf.Tensor:
    """Resize x, of shape (H, W, C), along axis 0 or 1. The result is float32.

    The taps are added one at a time to save memory.
    """
    shape = [-1, 1, 1] if axis == 0 else [1, -1, 1]

    def step(number: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        part = tf.cast(tf.gather(x, taps.places[:, number], axis=axis), tf.float32)
        return number + 1, total + part * tf.reshape(taps.weights[:, number], shape)

    count = tf.shape(taps.places)[1]
    total = tf.zeros_like(tf.gather(x, taps.places[:, 0], axis=axis), tf.float32)
    return tf.while_loop(lambda number, _: number < count, step, [tf.constant(0), total])[1]


def smaller_image(pixels: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Shrink a uint8 image of shape (H, W, C) to a size that is not larger along either axis."""
    old = tf.shape(pixels)[:2]

    def shrunk() -> tf.Tensor:
        across = _summed(pixels, area_taps(old[1], size[1]), 1)
        mean = _summed(across, area_taps(old[0], size[0]), 0)
        # OpenCV rounds halves up if both sides shrink to exactly half, and to even otherwise.
        is_half = tf.reduce_all(tf.equal(old, 2 * size))
        return _eight_bits(tf.where(is_half, tf.floor(mean + 0.5), tf.round(mean)))

    return tf.cond(tf.reduce_all(tf.equal(old, size)), lambda: pixels, shrunk)


def larger_image(pixels: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Enlarge a uint8 image of shape (H, W, C) to a size that is not smaller along either axis."""
    old = tf.shape(pixels)[:2]

    def enlarged() -> tf.Tensor:
        across = tf.cast(_summed(pixels, linear_taps(old[1], size[1]), 1), tf.int32)
        places, weights = linear_taps(old[0], size[0])
        rows = tf.gather(across, tf.transpose(places)) // 16 * tf.cast(tf.transpose(weights), tf.int32)[..., None, None]
        return _eight_bits((tf.reduce_sum(rows // 65536, axis=0) + 2) // 4)

    return tf.cond(tf.reduce_all(tf.equal(old, size)), lambda: pixels, enlarged)


def resized_image(pixels: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Resize an image as `Preprocessing` does.

    Along each axis, pixels are averaged to shrink the image or interpolated to enlarge it.
    """
    return larger_image(smaller_image(pixels, tf.minimum(tf.shape(pixels)[:2], size)), size)


def resized_map(values: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Resize a float32 map of shape (h, w, C) and clip the result to the map's range.

    If neither side grows, values are averaged. Otherwise, they are interpolated cubically.
    """
    old = tf.shape(values)[:2]
    shrinks = tf.reduce_all(size <= old)

    def taps(axis: int) -> Taps:
        return Taps(*tf.cond(shrinks, lambda: area_taps(old[axis], size[axis]), lambda: cubic_taps(old[axis], size[axis])))

    found = _summed(_summed(values, taps(1), 1), taps(0), 0)
    return tf.clip_by_value(found, tf.reduce_min(values), tf.reduce_max(values))


def _eight_bits(values: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.clip_by_value(values, 0, 255), tf.uint8)
