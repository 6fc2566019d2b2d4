"""The state of an explorer: a model, images, and the maps computed so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import keras
import numpy as np

from tfviz.errors import shown
from tfviz.explorer.image_store import ImageStore
from tfviz.explorer.limits import ExplorerLimits
from tfviz.explorer.map_cache import ComputedMap, MapCache
from tfviz.explorer.network import Network
from tfviz.explorer.python_lines import ModelCode, python_lines
from tfviz.explorer.turns import Turn, Turns
from tfviz.images.folders import FoundImage
from tfviz.models import is_preprocessing_known, preprocessing_of


class Session:
    """The state of an explorer: a model, images, and the maps computed so far.

    Args:
        model: the model.
        found: the images in a folder.
        name: the model's name on the page.
        code: expressions that load the model.
        backgrounds: the baseline images for `expected_gradients`.
        limits: limits on sizes and counts.

    Attributes:
        limits: the limits.
        images: the images.
        maps: the cache that computes and keeps maps.
        turns: the worker thread. Only this thread runs the model and uses `maps`.
    """

    def __init__(
        self,
        model: keras.Model,
        found: Sequence[FoundImage],
        *,
        name: str,
        code: ModelCode,
        backgrounds: np.ndarray | None,
        limits: ExplorerLimits,
    ) -> None:
        self.limits, self.name, self._code = limits, name, code
        self._preprocessing = preprocessing_of(model)
        self._is_preprocessing_known = is_preprocessing_known(model)
        self.images = ImageStore(found, self._preprocessing, limits)
        self._network = Network(model, backgrounds)
        self._methods: list[dict[str, Any]] | None = None
        self.maps = MapCache(self._network, self.images, limits)
        self.turns = Turns(limits.waiting)

    def described(self) -> dict[str, Any]:
        """Return a description of the model and the folder for the page."""
        size = self._preprocessing.output_size
        return {
            "name": shown(self.name),
            "size": None if size is None else list(size),
            "classes": self._network.classes,
            "kind": self._network.kind,
            "is_preprocessing_known": self._is_preprocessing_known,
            "images": self.images.listed(),
            "left_out": self.images.left_out,
            "image_bytes": self.limits.image_bytes,
        }

    def warm_up(self) -> None:
        """Compile the forward pass before the first image. Call this only through `turns`."""
        self.methods()
        size = self._preprocessing.output_size
        if size is not None:
            self._network.scores(self._preprocessing.tensor(np.zeros((*size, 3), np.uint8))[None])

    def methods(self) -> list[dict[str, Any]]:
        """Describe all methods (see `Network.methods`). Call this only through `turns`."""
        if self._methods is None:
            self._methods = self._network.methods()
        return self._methods

    def layers(self, method: str) -> dict[str, Any]:
        """Return the layers of a method and its default layer. Call this only through `turns`."""
        layers = [asdict(layer) for layer in self._network.layers(method)]
        return {"default": self._network.default_layer(method), "layers": layers}

    def classes(self, image: str) -> dict[str, Any]:
        """Return the highest-scoring classes for an image. Call this only through `turns`."""
        return {"classes": self._network.best(self.maps.scored(image)[1])}

    def described_map(self, computed: ComputedMap, turn: Turn) -> dict[str, Any]:
        """Return a description of a map for the page."""
        recipe, classes = computed.recipe, self._network.classes
        turn.require_wanted()

        def described(index: int | str | None) -> dict[str, Any] | None:
            return self._network.described(index, computed.scores) if isinstance(index, int) else None

        return {
            "method": recipe.method,
            "layer": computed.layer,
            "class": described(recipe.target),
            "against": described(recipe.against) or recipe.against,
            "shape": list(computed.values.shape),
            "style": computed.style,
            "words": computed.strength.words,
            "is_empty": computed.strength.own_limit == 0,
            "is_nearly_empty": computed.strength.is_nearly_empty,
            "limit": computed.strength.limit,
            "note": computed.note,
            "compute_s": round(computed.compute_s, 4),
            "python": python_lines(recipe, self.images.path_of(recipe.image), self._code, classes),
        }
