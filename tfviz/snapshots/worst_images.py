"""Replace a run's images with those that the model currently gets most wrong."""

from __future__ import annotations

from collections.abc import Callable

import keras
from keras import tree

from tfviz.errors import OptionError, UnsupportedModelError
from tfviz.metrics.forward_passes import ForwardPasses
from tfviz.snapshots.fixed_images import FixedImages
from tfviz.snapshots.image_choice import ImageChoice


class WorstImages:
    """Reselects images from the pool of an ImageChoice.

    Args:
        choice: the first choice, with its pool.
        fixed: a function that returns the images for a snapshot, given a choice and the model.
    """

    def __init__(self, choice: ImageChoice, fixed: Callable[[ImageChoice, keras.Model], FixedImages]) -> None:
        self._choice, self._fixed = choice, fixed
        self._inputs = tree.flatten(choice.pool.images) if choice.pool is not None else []
        self._model: keras.Model | None = None

    def choose(self, model: keras.Model) -> FixedImages:
        """Return the images that the model gets most wrong. This recompiles only for a new model.

        Raises:
            OptionError: the model is not a classifier with one input.
            LabelsError: a label is not one of the model's classes.
        """
        try:
            if self._model is not model:
                self._passes, self._model = ForwardPasses(model), model
            logits, _ = self._passes.all_classes(self._inputs[0])
        except UnsupportedModelError as error:
            raise OptionError(
                "images_from(worst=True) requires a classifier with one input and one output of shape (N, classes). The model "
                f"'{model.name}' does not meet these requirements. Use per_class=True instead."
            ) from error
        self._choice = self._choice.worst(logits)
        return self._fixed(self._choice, model)
