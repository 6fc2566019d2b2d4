"""Run the compiled explainers on the training thread and copy their results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import tree

from tfviz.errors import TargetError, TfvizError
from tfviz.snapshots.exposure import Exposure
from tfviz.snapshots.faults import Faults, reason
from tfviz.snapshots.fixed_images import FixedImages
from tfviz.snapshots.named_methods import NamedMethod
from tfviz.target_functions.array_target import ArrayTarget
from tfviz.targets import At


class Camera:
    """Runs all methods on the images. If one explainer fails, the others still return maps.

    Attributes:
        images: the current images. `rechoose` replaces them.
    """

    def __init__(self, methods: Sequence[NamedMethod], images: FixedImages, target: Any, faults: Faults) -> None:
        self._methods, self.images, self._target, self._faults = methods, images, target, faults
        self._is_first = True

    def rechoose(self, choose: Callable[[keras.Model], FixedImages]) -> None:
        """Replace the images with those that `choose` returns for the model.

        Raises:
            TfvizError: the images cannot be reselected, and no snapshot has been taken yet. Later
                calls raise errors only if `faults.strict` is set.
        """
        try:
            self.images = choose(self._methods[0].explainer.model)
        except Exception as error:
            if self._faults.strict or (self._is_first and isinstance(error, TfvizError)):
                raise
            words = f"The images could not be reselected: {type(error).__name__}: {reason(error).removesuffix('.')}."
            self._faults.add("images", words, error)

    def exposures(self) -> dict[str, Exposure]:
        """Run all methods with the current weights and return their results, keyed by name.

        Raises:
            TfvizError: on the first call, before training, if the images or the target don't fit
                the model. Later calls raise errors only if `faults.strict` is set.
        """
        found = {method.name: self._exposure(method) for method in self._methods}
        self._is_first = False
        return found

    def _exposure(self, method: NamedMethod) -> Exposure:
        target = self._target if method.explainer.takes_target else None
        try:
            explanation = method.explainer.with_outputs(self.images.inputs, target)
            maps = np.asarray(_of_shown_input(explanation.attribution, self.images.shown_input))
            explained = None if target is None or explanation.target is None else np.asarray(explanation.target)
            return Exposure(tree.map_structure(np.asarray, explanation.outputs), maps, target=explained)
        except Exception as error:  # training must continue after any error
            if self._faults.strict or (self._is_first and isinstance(error, TfvizError)):
                raise
            words = f"{type(error).__name__}: {reason(error)}"
            self._faults.add(f"method {method.name}", f"The {method.name} snapshot failed: {words.removesuffix('.')}.", error)
            return Exposure(error=words)


def _of_shown_input(attribution: Any, shown: int) -> Any:
    """Return the attribution of the drawn input. A multi-input model has one for each input."""
    flat = tree.flatten(attribution)
    return flat[shown] if len(flat) > shown else flat[0]


def checked_target(target: Any, images: FixedImages) -> Any:
    """Check the target. If it has one row per given image, keep the rows of selected images.

    Raises:
        TargetError: the target has the wrong number of rows, or is a dict of several targets.
    """
    if isinstance(target, dict):
        raise TargetError(f"A snapshot explains one target per image. Received: {', '.join(target)}. Pass a single class.")
    if isinstance(target, ArrayTarget) and target.rows is not None and target.rows == images.given:
        return target[images.numbers]
    if target is None or callable(target) or isinstance(target, At) or np.ndim(target) == 0:
        return target
    rows = len(target)
    if rows not in (1, len(images), images.given):
        raise TargetError(f"`target` must be one target, or one for each of the {len(images)} images. Received: {rows}.")
    return images.select(target) if rows == images.given else target
