"""Determine which class an evaluation explains for each image."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tfviz import targets
from tfviz.errors import TargetError
from tfviz.models.labels import Labels
from tfviz.target_words import in_numbers


class ClassTargets:
    """The classes to explain: one for all images, one per image, or each image's top class.

    Attributes:
        count: the number of targets in a per-image list; None if a single target applies to all
            images.
    """

    def __init__(self, given: targets.Target | str, labels: Callable[[], Labels], classes: int) -> None:
        """Check the targets and convert them to class numbers.

        Args:
            given: the targets passed by the user.
            labels: a function that returns the class names, called only if needed.
            classes: the number of classes.

        Raises:
            TargetError: the targets are not classes, or the model does not have these classes.
        """
        self._outputs = (None, classes)
        target = in_numbers(given, labels, classes)
        if isinstance(target, (dict, targets.At)) or callable(target):
            raise _not_classes(given)
        self._target = target
        self.count = targets.rows(target, self._outputs)

    def rows(self, start: int, count: int) -> np.ndarray | None:
        """Return the classes for `count` images from `start` on, or None to use the top classes.

        Raises:
            TargetError: there are fewer targets than images, or the model does not have these
                classes.
        """
        prepared = targets.prepare(targets.rows_from(self._target, self._outputs, start, count), self._outputs, count)
        if prepared is None:
            return None
        classes = np.asarray(prepared)
        if classes.ndim != 1:
            raise _not_classes(self._target)
        return np.broadcast_to(classes, (count,))


def _not_classes(given: object) -> TargetError:
    return TargetError(
        f"Metrics need one class per image. Received: targets={str(given)[:60]}. Pass None (the top class), a class number or "
        "name, or a list with one class per image."
    )
