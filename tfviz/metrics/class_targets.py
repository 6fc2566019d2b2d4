"""The class of each image, as an evaluation takes it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tfviz import targets
from tfviz.errors import TargetError
from tfviz.models.labels import Labels
from tfviz.target_words import in_numbers


class ClassTargets:
    """One class per image, by number or name, or the top class.

    Attributes:
        count: the number of images that have a class of their own; None if one applies to all.
    """

    def __init__(self, given: targets.Target | str, labels: Callable[[], Labels], classes: int) -> None:
        """Check targets.

        Args:
            given: the targets, as the user passed them.
            labels: returns the class names; called only if they are needed.
            classes: the number of classes.

        Raises:
            TargetError: they are not classes of the model.
        """
        self._outputs = (None, classes)
        target = in_numbers(given, labels, classes)
        if isinstance(target, (dict, targets.At)) or callable(target):
            raise _not_classes(given)
        self._target = target
        self.count = targets.rows(target, self._outputs)

    def rows(self, start: int, count: int) -> np.ndarray | None:
        """Return the classes of `count` images from `start`, int (count,); None for the top class.

        Raises:
            TargetError: there are fewer, or they are not classes of the model.
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
        f"Metrics follow one class per image. Received: targets={str(given)[:60]}. Pass None (the top class), a class by "
        "number or name, or one per image."
    )
