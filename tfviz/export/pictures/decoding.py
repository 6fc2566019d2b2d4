"""Decode JPEG and PNG files with TensorFlow operations.

The result has the same pixels as `tfviz.read_image`. Cameras store images in sensor orientation and
record in the file how to rotate them (EXIF orientation). TensorFlow's decoders ignore the
orientation, so this module applies it.
"""

from __future__ import annotations

import tensorflow as tf

from tfviz.images import MAX_SIDE_PX, MIN_SIDE_PX

_JPEG_START, _PNG_START = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
# The offset of a PNG's color type, and the type of RGB without alpha.
_PNG_COLOR_TYPE, _RGB = 25, 2
_FILL, _APP1, _START_OF_SCAN = 0xFF, 0xE1, 0xDA
_ORIENTATION_TAG = 0x0112


def decoded(data: tf.Tensor) -> tf.Tensor:
    """Decode the bytes of an image file (a scalar string) to a uint8 RGB image.

    Apply the EXIF orientation, and blend transparent pixels with white. The operation fails unless
    the file is a complete JPEG or PNG with sides of 2 to 16384 pixels.
    """
    is_jpeg = tf.equal(tf.strings.substr(data, 0, 3), _JPEG_START)
    is_png = tf.equal(tf.strings.substr(data, 0, 8), _PNG_START)
    message = "`image_bytes` must contain JPEG or PNG files. Received bytes that start with:"
    with tf.control_dependencies([tf.debugging.Assert(is_jpeg | is_png, [message, tf.strings.substr(data, 0, 8)])]):
        return tf.cond(is_jpeg, lambda: _jpeg(data), lambda: _png(data))


def _jpeg(data: tf.Tensor) -> tf.Tensor:
    with tf.control_dependencies([_require_size(tf.io.extract_jpeg_shape(data)[:2])]):
        pixels = tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")
    raw = tf.io.decode_raw(data, tf.uint8)
    return oriented(pixels, orientation(raw, _exif_of_jpeg(raw)))


def _png(data: tf.Tensor) -> tf.Tensor:
    raw = tf.io.decode_raw(data, tf.uint8)
    with tf.control_dependencies([_require_size(_number(raw, [16, 20], 4, False))]):
        # A PNG without an alpha channel may declare one color as transparent. As in read_image,
        # this declaration is applied to RGB images and ignored for gray images.
        is_rgb = tf.equal(_at(raw, _PNG_COLOR_TYPE), _RGB)
        deep = tf.cond(is_rgb, lambda: _deep_png(data, 4), lambda: _deep_png(data, 0))
    pixels = tf.cast((tf.cast(deep, tf.int32) + 128) // 257, tf.float32)  # 65535 = 255 · 257
    channels = tf.shape(pixels)[2]
    has_alpha = tf.equal(channels % 2, 0)  # gray + alpha or RGB + alpha
    color = pixels[..., : channels - tf.cast(has_alpha, tf.int32)]
    alpha = tf.where(has_alpha, pixels[..., -1:], 255)
    color = tf.broadcast_to(color, tf.concat([tf.shape(color)[:2], [3]], 0))
    on_white = tf.clip_by_value(tf.round(color * (alpha / 255) + (255 - alpha)), 0, 255)
    return oriented(tf.cast(on_white, tf.uint8), orientation(raw, _exif_of_png(raw)))


def _deep_png(data: tf.Tensor, channels: int) -> tf.Tensor:
    """Decode a PNG file to 16 bits, so that its values can be rounded to 8 bits as in read_image.

    TensorFlow's 8-bit decoder would truncate 16-bit values. If `channels` is 0, keep the file's
    channels.
    """
    return tf.io.decode_png(data, channels=channels, dtype=tf.uint16)


def _require_size(sides: tf.Tensor) -> tf.Operation:
    fits = tf.reduce_all((sides >= MIN_SIDE_PX) & (sides <= MAX_SIDE_PX))
    message = f"Images in `image_bytes` must have sides of {MIN_SIDE_PX} to {MAX_SIDE_PX} pixels. Received:"
    return tf.debugging.Assert(fits, [message, sides])


def oriented(pixels: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Apply an EXIF orientation (1 to 8): transpose, then flip vertically, then horizontally."""
    swaps = orientation >= 5
    upside_down = (orientation == 3) | (orientation == 4) | (orientation == 7) | (orientation == 8)
    mirrored = (orientation == 2) | (orientation == 3) | (orientation == 6) | (orientation == 7)
    pixels = tf.transpose(pixels, tf.where(swaps, [1, 0, 2], [0, 1, 2]))
    pixels = tf.reverse(pixels, tf.boolean_mask([0, 1], tf.stack([upside_down, mirrored])))
    return tf.ensure_shape(pixels, (None, None, 3))


def orientation(data: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    """Return the orientation (1 to 8) from the EXIF data that starts at byte `start` of a file.

    Return 1 if the data has no orientation, or if `start` is 0.
    """
    is_little = tf.equal(_at(data, start), ord("I"))

    def number(at: tf.Tensor, count: int) -> tf.Tensor:
        return _number(data, at, count, is_little)

    table = start + number(start + 4, 4)
    entries = table + 2 + 12 * tf.range(number(table, 2))
    is_it = tf.equal(number(entries, 2), _ORIENTATION_TAG)
    value = tf.reduce_max(tf.concat([tf.boolean_mask(number(entries + 8, 2), is_it), [0]], 0))
    return tf.where((start > 0) & (value >= 1) & (value <= 8), value, 1)


def _exif_of_jpeg(data: tf.Tensor) -> tf.Tensor:
    """Return the offset of the EXIF data in a JPEG file, or 0 if it has none.

    Each step of the loop skips either an entire segment or a single fill byte.
    """

    def goes_on(at: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
        return (start == 0) & (_at(data, at) == _FILL) & (_at(data, at + 1) != _START_OF_SCAN)

    def step(at: tf.Tensor, start: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        is_exif = tf.equal(_at(data, at + 1), _APP1) & tf.equal(_number(data, at + 4, 4, False), int.from_bytes(b"Exif", "big"))
        is_fill = tf.equal(_at(data, at + 1), _FILL)
        return tf.where(is_fill, at + 1, at + 2 + _number(data, at + 2, 2, False)), tf.where(is_exif, at + 10, 0)

    return tf.while_loop(goes_on, step, [_int64(2), _int64(0)])[1]


def _exif_of_png(data: tf.Tensor) -> tf.Tensor:
    """Return the offset of the EXIF data in a PNG file, or 0 if it has none.

    Each PNG chunk consists of a length, a name, content and a checksum.
    """

    def goes_on(at: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
        return (start == 0) & (at < tf.size(data, tf.int64))

    def step(at: tf.Tensor, start: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        is_exif = tf.equal(_number(data, at + 4, 4, False), int.from_bytes(b"eXIf", "big"))
        return at + 12 + _number(data, at, 4, False), tf.where(is_exif, at + 8, 0)

    return tf.while_loop(goes_on, step, [_int64(8), _int64(0)])[1]


def _int64(value: int) -> tf.Tensor:
    return tf.constant(value, tf.int64)


def _at(data: tf.Tensor, at: tf.Tensor | int) -> tf.Tensor:
    """Return the bytes at the given offsets, with 0 for offsets past the end.

    Because of these zeros, a damaged file looks like a file without EXIF data.
    """
    at, last = tf.cast(at, tf.int64), tf.size(data, tf.int64) - 1
    return tf.where(at <= last, tf.cast(tf.gather(data, tf.clip_by_value(at, 0, last)), tf.int64), 0)


def _number(data: tf.Tensor, at: tf.Tensor | list[int], count: int, is_little: tf.Tensor | bool) -> tf.Tensor:
    """Return the `count`-byte integers that start at the given offsets."""
    values = tf.constant([256**i for i in range(count)], tf.int64)
    bytes_ = _at(data, tf.cast(at, tf.int64)[..., None] + tf.range(count, dtype=tf.int64))
    return tf.reduce_sum(bytes_ * tf.where(is_little, values, values[::-1]), axis=-1)
