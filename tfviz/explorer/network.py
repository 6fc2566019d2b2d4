"""The model in an explorer: its classes, and the methods and layers that it supports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from tfviz.class_scores import Classifier, ClassScores
from tfviz.errors import ImageError, OptionError, shown
from tfviz.methods import METHODS
from tfviz.methods.explainer import Explainer
from tfviz.methods.lookup import method_named, takes
from tfviz.methods.map_explainer import UNSUITABLE, map_explainer
from tfviz.methods.row_counts import rows_per_image
from tfviz.models import labels_of
from tfviz.models.labels import Labels
from tfviz.reading.read_model import read_model
from tfviz.render.titles import title_of

MOST_CLASSES = 10  # listed on the page


@dataclass(frozen=True)
class Layer:
    """A layer that a method supports.

    Attributes:
        path: the layer name, preceded by the names of the enclosing models.
        shape: the height, width and number of channels, as text.
        kind: the layer's class name.
    """

    path: str
    shape: str
    kind: str


class Network:
    """Describes a model for the page and builds its explainers. Use it from one thread only.

    Args:
        model: the model, with one image input.
        backgrounds: the baseline images for `expected_gradients`.
    """

    def __init__(self, model: keras.Model, backgrounds: np.ndarray | None = None) -> None:
        self._model = model
        self._options: dict[str, object] = {} if backgrounds is None else {"backgrounds": backgrounds}
        self._classifier = Classifier(model)
        self.classes = self._classifier.classes
        self.kind = self._classifier.kind
        self._labels = labels_of(model)
        if self.classes == 1 and not self._labels.names:
            self._labels = Labels(("output",))  # A single output is not a class.
        self._layers: dict[str, list[Layer]] = {}

    def name_of(self, index: int) -> str:
        """Return the name of a class as a single line."""
        return shown(self._labels.name(index))

    def require_class(self, index: int | None) -> None:
        """Check that the model has this class. None is always valid.

        Raises:
            OptionError: the model has no class with this index.
        """
        if index is not None and (self.classes is None or not 0 <= index < self.classes):
            most = "no classes" if self.classes is None else f"{self.classes} classes (0 to {self.classes - 1})"
            raise OptionError(f"The model has {most}. Received: {index}. Choose a class on the page.")

    def scores(self, tensor: np.ndarray) -> ClassScores | None:
        """Return the class scores for an image, or None if the model is not a classifier.

        Raises:
            ImageError: the model does not accept the image, or a score is not finite.
        """
        scores = self._classifier.scores(tensor)
        if scores is None:
            return None
        if not np.isfinite(scores.values).all():
            raise ImageError(
                "The model's outputs for this image contain NaN or infinity. Check the model's weights and the image."
            )
        return scores[0]

    def best(self, scores: ClassScores | None) -> list[dict[str, Any]]:
        """Return the number, name and score of each of the highest-scoring classes."""
        if scores is None:
            return []
        return [self.described(int(index), scores) for index in scores.ranked[:MOST_CLASSES]]

    def described(self, index: int, scores: ClassScores | None) -> dict[str, Any]:
        """Return the number, name and score of a class."""
        return {"class": index, "name": self.name_of(index), "score": None if scores is None else float(scores.values[index])}

    def build(self, key: str, layer: str | None) -> Explainer:
        """Build the explainer for a method.

        Raises:
            TfvizError: there is no such method, or it does not support the model or the layer.
        """
        method = method_named(key)
        if layer is not None and not takes(method, "layer"):
            raise OptionError(f"{method.key} does not accept a layer. Received: {layer!r}. Omit the layer.")
        options = self._options if layer is None else {**self._options, "layer": layer}
        return map_explainer(method, self._model, options, self.classes)

    def methods(self) -> list[dict[str, Any]]:
        """Return a description of each method for the page.

        In each description, `reason` states why the method does not support the model, or is None.
        `needs_layer` is true if the method supports the model, but has no default layer.
        """
        return [self._described_method(key, method) for key, method in METHODS.items()]

    def _described_method(self, key: str, method: type[Explainer]) -> dict[str, Any]:
        described = {
            "key": key,
            "title": title_of(key),
            "question": method.question,
            "style": method.style,
            "takes_target": method.takes_target,
            "takes_layer": takes(method, "layer"),
        }
        try:
            return {**described, "reason": None, "needs_layer": False, "rows": rows_per_image(self.build(key, None))}
        except UNSUITABLE as error:
            # A method without a default layer may support other layers.
            has_layers = bool(self.layers(key))
            return {**described, "reason": None if has_layers else str(error), "needs_layer": has_layers, "rows": 1}

    def layers(self, key: str) -> list[Layer]:
        """Return the layers that a method supports, in model order.

        Raises:
            UnknownMethodError: there is no such method.
        """
        method = method_named(key)
        if method.key not in self._layers:
            self._layers[method.key] = self._working_layers(method) if takes(method, "layer") else []
        return self._layers[method.key]

    def default_layer(self, key: str) -> str | None:
        """Return the path of a method's default layer, "image", or None if it has no default."""
        if not takes(method_named(key), "layer"):
            return None
        try:
            return str(getattr(self.build(key, None), "layer_path", None))
        except UNSUITABLE:
            return None

    def _working_layers(self, method: type[Explainer]) -> list[Layer]:
        try:
            graph = read_model(self._model).scored("logits")
        except UNSUITABLE:
            return []
        return [
            Layer(path, _shown_shape(value.shape), type(graph.layers.get(path)).__name__)
            for path, value in graph.names.items()
            if path == shown(path) and self._works_at(method, path)
        ]

    def _works_at(self, method: type[Explainer], path: str) -> bool:
        try:
            self.build(method.key, path)
        except UNSUITABLE:
            return False
        return True


def _shown_shape(shape: Sequence[int | None]) -> str:
    return "×".join("any" if side is None else str(side) for side in shape[1:])
