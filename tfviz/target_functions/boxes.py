"""Convert object detection boxes from other formats or anchor offsets, and compare boxes."""

from __future__ import annotations

import tensorflow as tf

BOX_FORMATS = ("yxyx", "xyxy", "xywh", "center_xywh")


def corners(boxes: tf.Tensor, box_format: str) -> tf.Tensor:
    """Convert boxes to left, top, right, bottom coordinates.

    Args:
        boxes: the boxes, with shape (…, 4).
        box_format: "yxyx" is top, left, bottom, right; "xyxy" is left, top, right, bottom; "xywh"
            is left, top, width, height; "center_xywh" is center x, center y, width, height.

    Returns:
        The converted boxes, with shape (…, 4).
    """
    first, second, third, fourth = tf.unstack(boxes, axis=-1)
    if box_format == "yxyx":
        return tf.stack([second, first, fourth, third], -1)
    if box_format == "xyxy":
        return boxes
    if box_format == "center_xywh":
        first, second = first - third / 2, second - fourth / 2
    return tf.stack([first, second, first + third, second + fourth], -1)


def from_offsets(offsets: tf.Tensor, anchors: tf.Tensor) -> tf.Tensor:
    """Compute boxes from offsets relative to anchors (Ren et al., 2015, "Faster R-CNN", eq. 2).

    Args:
        offsets: the offsets, with shape (…, 4): the center's shift (x, y) as a fraction of the
            anchor's size, and the logarithms of the width and height ratios.
        anchors: the anchors as left, top, right, bottom, with shape (…, 4).

    Returns:
        The boxes as left, top, right, bottom, with shape (…, 4).
    """
    low, high = anchors[..., :2], anchors[..., 2:]
    size = high - low
    center = (low + high) / 2 + offsets[..., :2] * size
    half = tf.exp(offsets[..., 2:]) * size / 2
    return tf.concat([center - half, center + half], -1)


def closeness(boxes: tf.Tensor, box: tf.Tensor) -> tf.Tensor:
    """Rate how close boxes are to a given box: by overlap or, if they don't overlap, by distance.

    Args:
        boxes: the boxes as left, top, right, bottom, with shape (N, A, 4).
        box: one box per image in the same format, with shape (N or 1, 4).

    Returns:
        The ratings, with shape (N, A): the intersection over union if the boxes overlap, otherwise
        the negative distance between the centers.
    """
    box = box[:, None, :]
    both = tf.minimum(boxes[..., 2:], box[..., 2:]) - tf.maximum(boxes[..., :2], box[..., :2])
    shared = tf.reduce_prod(tf.maximum(both, 0), -1)
    overlap = tf.math.divide_no_nan(shared, _area(boxes) + _area(box) - shared)
    distance = tf.norm((boxes[..., :2] + boxes[..., 2:] - box[..., :2] - box[..., 2:]) / 2, axis=-1)
    return tf.where(overlap > 0, overlap, -distance)


def _area(boxes: tf.Tensor) -> tf.Tensor:
    return tf.reduce_prod(tf.maximum(boxes[..., 2:] - boxes[..., :2], 0), -1)
