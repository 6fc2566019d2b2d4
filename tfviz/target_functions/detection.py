"""A target for object detectors: the class score at one box."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from tfviz.errors import OptionError, TargetError, near_matches
from tfviz.nesting import Nested
from tfviz.target_functions.array_target import Array, ArrayTarget, Shapes, floats
from tfviz.target_functions.boxes import BOX_FORMATS, closeness, corners, from_offsets

_EXPECTED = "boxes (N, A, 4) and class scores (N, A, classes)"


@dataclass(frozen=True, eq=False)
class Detection(ArrayTarget):
    """A target for object detectors: the score of one class for the prediction at a box.

    In each image, the target chooses the prediction with the highest intersection over union with
    the box, or the nearest prediction if none overlaps it. The target then returns the class score
    of that prediction. No gradient is computed through the choice.

    The model's outputs must be a dict or list with a box tensor of shape (N, A, 4) and a class
    score tensor of shape (N, A, classes) for A predictions. The boxes and `box` must have the same
    format and units, either pixels or fractions of the image. Networks that predict offsets from
    anchors, such as RetinaNet, need `anchors`. A KerasHub RetinaNet provides its anchors, and `box`
    is then in pixels.

    Args:
        box: one box for all images, with shape (4,), or one box per image, with shape (N, 4).
        class_index: an int selects one class for all images, and N ints select one class per image.
        box_format: "yxyx" (top, left, bottom, right), "xyxy" (left, top, right, bottom), "xywh"
            (left, top, width, height) or "center_xywh" (center x, center y, width, height).
        anchors: the anchors of the predictions in `box_format`, with shape (A, 4), if the network
            predicts offsets from anchors. The four numbers of an offset are the center's shift (x,
            y) as a fraction of the anchor's size, and the logarithms of the width and height
            ratios.
        read: a function that converts outputs in another form to (boxes, scores). If None, the
            boxes are found by their last axis of length 4 or, if there are 4 classes, by the word
            "box" in their key.

    Raises:
        TargetError: the box, the class or the anchors have the wrong shape or are not finite.
        OptionError: the box format is unknown.

    Example:

        >>> inputs = keras.Input((8, 8, 3))
        >>> x = keras.layers.Reshape((16, 6))(keras.layers.Conv2D(6, 2, strides=2)(inputs))
        >>> detector = keras.Model(inputs, {"boxes": x[..., :4], "classes": x[..., 4:]})
        >>> target = tfviz.Detection(box=(2, 2, 6, 6), class_index=1)
        >>> tfviz.Saliency(detector)(np.zeros((1, 8, 8, 3), "float32"), target).shape
        TensorShape([1, 8, 8, 3])
    """

    box: Any
    class_index: Any
    box_format: str = "yxyx"
    anchors: Any = None
    read: Callable[[Nested[tf.Tensor]], tuple[tf.Tensor, tf.Tensor]] | None = None

    array_fields: ClassVar[tuple[str, ...]] = ("box", "class_index", "anchors")

    def __post_init__(self) -> None:
        if self.box_format not in BOX_FORMATS:
            raise OptionError(f"Unknown box format {self.box_format!r}. {near_matches(str(self.box_format), BOX_FORMATS)}")
        boxes = floats(self.box, "a box of 4 numbers, or (N, 4) for one per image", (1, 2))
        has_anchors = self.anchors is not None and 0 not in getattr(self.anchors, "shape", ())
        anchors = floats(self.anchors, "anchors of shape (A, 4)", (2, 3)) if has_anchors else np.zeros((1, 0, 4), np.float32)
        for name, array in (("box", boxes), ("anchors", anchors)):
            if array.shape[-1] != 4:
                raise TargetError(f"`{name}` must have 4 numbers per box. Received: shape {tuple(array.shape[1:])}.")
        for name, array in (("box", boxes), ("class_index", _classes(self.class_index)), ("anchors", anchors)):
            object.__setattr__(self, name, array)

    def __call__(self, outputs: Nested[tf.Tensor]) -> tf.Tensor:
        """Compute the class score of the prediction that best matches the box.

        Args:
            outputs: the model's outputs.

        Returns:
            The scores, with shape (N,).
        """
        return self.score(outputs, self.choose(outputs))

    def choose(self, outputs: Nested[tf.Tensor]) -> list[tf.Tensor]:
        """Choose the prediction that best matches the box in each image.

        Args:
            outputs: the model's outputs.

        Returns:
            A list with a single int32 tensor of shape (N,): the index of the prediction for each
            image.
        """
        boxes, _ = self._boxes_and_scores(outputs)
        boxes = tf.cast(tf.stop_gradient(boxes), tf.float32)
        if self.anchors.shape[1] == 0:
            boxes = corners(boxes, self.box_format)
        else:
            boxes = from_offsets(boxes, corners(self.anchors, self.box_format))
        return [tf.argmax(closeness(boxes, corners(self.box, self.box_format)), axis=1, output_type=tf.int32)]

    def score(self, outputs: Nested[tf.Tensor], choice: list[tf.Tensor]) -> tf.Tensor:
        """Compute the class scores of the chosen predictions.

        The choice may come from the original images, while the outputs come from perturbed copies.

        Args:
            outputs: the model's outputs.
            choice: the result of `choose`.

        Returns:
            The scores, with shape (N,).
        """
        (chosen,) = choice
        _, scores = self._boxes_and_scores(outputs)
        of_classes = tf.gather(scores, chosen, batch_dims=1)
        classes = tf.broadcast_to(tf.cast(self.class_index, tf.int32), tf.shape(chosen))
        return tf.gather(of_classes, classes, batch_dims=1)

    def require_fit(self, outputs: Shapes) -> None:
        """Check that the outputs are boxes and class scores.

        Args:
            outputs: the output shapes, or () for an unknown shape.

        Raises:
            TargetError: the outputs have another form, or the class or the anchors do not fit them.
        """
        if self.read is not None or outputs == ():
            return
        boxes, scores = _found(outputs)
        classes = scores[-1]
        known = self.class_index.tolist() if isinstance(self.class_index, np.ndarray) else []
        if wrong := [index for index in known if classes is not None and not 0 <= index < classes]:
            raise TargetError(f"Class {wrong[0]} is out of range. The detector has {classes} classes (0 to {classes - 1}).")
        count = self.anchors.shape[1]
        if not count and (key := _key_of_offsets(outputs, boxes)):
            raise TargetError(
                f"The output {key!r} contains offsets from anchors, not boxes. Pass the anchors of the predictions, an array "
                "(A, 4), as `anchors`, or pass read=lambda outputs: (boxes, scores)."
            )
        if count and boxes[1] not in (None, count):
            raise TargetError(
                f"Expected one anchor per prediction, {boxes[1]} in total. Received: {count}. Compute the anchors for this "
                "image size."
            )

    def _boxes_and_scores(self, outputs: Nested[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        return _found(outputs) if self.read is None else self.read(outputs)


def for_detector(target: Any, model: Any, shape: tuple[int | None, ...]) -> Any:
    """Add a KerasHub detector's anchors and box format to a `Detection` without anchors.

    Args:
        target: any target.
        model: the model.
        shape: the shape of the image batch.

    Returns:
        The target. It is unchanged unless it is a `Detection` without anchors and the model has an
        anchor generator.
    """
    generator = getattr(model, "anchor_generator", None)
    if not isinstance(target, Detection) or target.read is not None or target.anchors.shape[1] or generator is None:
        return target
    if None in shape[1:]:
        raise TargetError(
            "Detection needs the image size to compute the anchors. Pass images of a fixed size, or pass `anchors`."
        )
    with tf.init_scope():
        anchors = np.concatenate([np.asarray(level) for level in generator(tf.zeros((1, *shape[1:]))).values()])
    boxes = corners(tf.constant(anchors), generator.bounding_box_format)
    given = corners(tf.convert_to_tensor(target.box), target.box_format)
    return replace(target, box=given, anchors=boxes, box_format="xyxy")


def _classes(given: Any) -> Array:
    if tf.is_tensor(given) and not hasattr(given, "numpy"):  # symbolic, as inside a tf.function
        return tf.reshape(tf.cast(given, tf.int32), [-1])
    array = np.asarray(given)
    if not np.issubdtype(array.dtype, np.integer) or array.ndim > 1 or array.size == 0:
        raise TargetError(
            "`class_index` must be an int, or an array of N ints, one per image. Received: "
            f"{type(given).__name__} {str(given)[:60]!r}."
        )
    return array.astype(np.int32).reshape(-1)


def _found(outputs: Any) -> tuple[Any, Any]:
    """Find the boxes and the class scores among the outputs or their shapes."""
    pairs = [(str(key), one) for key, one in _items(outputs) if len(_shape(one)) == 3]
    boxes = [pair for pair in pairs if _shape(pair[1])[-1] in (None, 4)]
    if len(boxes) > 1:
        boxes = [pair for pair in boxes if "box" in pair[0].lower()]
    others = [one for key, one in pairs if not boxes or key != boxes[0][0]]
    if len(boxes) != 1 or len(others) != 1:
        shapes = ", ".join(f"{key!r} {tuple(_shape(one))}" for key, one in _items(outputs))
        raise TargetError(
            f"Detection needs a dict or list of two outputs, {_EXPECTED}. Received: {shapes or 'one output'}. Pass "
            "read=lambda outputs: (boxes, scores) to compute them."
        )
    return boxes[0][1], others[0]


def _key_of_offsets(outputs: Any, boxes: Any) -> str | None:
    """Return the key of the boxes if it indicates offsets, as in RetinaNet, otherwise None."""
    keys = (str(key) for key, one in _items(outputs) if one is boxes)
    return next((key for key in keys if any(word in key.lower() for word in ("regression", "delta", "offset"))), None)


def _items(outputs: Any) -> list[tuple[Any, Any]]:
    """Return the outputs with their keys, or [] for a single output."""
    if isinstance(outputs, dict):
        return [pair for pair in outputs.items() if not isinstance(pair[1], dict | list)]
    is_several = isinstance(outputs, list | tuple) and not any(one is None or isinstance(one, int) for one in outputs)
    return list(enumerate(outputs)) if is_several else []


def _shape(output: Any) -> tuple[int | None, ...]:
    return tuple(output) if isinstance(output, tuple) else tuple(output.shape)
