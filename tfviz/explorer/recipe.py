"""The request for a map: an image, a method, a layer and a target."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfviz.against import Against

RIVALS = "rivals"  # stands for the classes most similar to the target


@dataclass(frozen=True)
class Recipe:
    """The settings that determine a map.

    Attributes:
        image: the image id.
        method: the method key.
        layer: the layer path. None means the method's default layer.
        target: the explained class, or None for a method without a target.
        against: the class to contrast the target with, or "rivals" for the classes most similar to
            it. If None, the target alone is explained.
    """

    image: str
    method: str
    layer: str | None = None
    target: int | None = None
    against: int | str | None = None

    def target_for(self, classes: int | None) -> int | np.ndarray | Against | None:
        """Return the target in a form that explainers accept.

        The difference between two classes is expressed as a row of weights, one for each class. The
        weights are an input to the compiled explainer, so all pairs of classes share one compiled
        function.

        Args:
            classes: the number of classes in the model.
        """
        if self.target is None or self.against is None or classes is None:
            return self.target
        if self.against == RIVALS:
            return Against(self.target)
        one_hot = np.eye(classes, dtype=np.float32)
        return one_hot[[self.target]] - one_hot[[int(self.against)]]
