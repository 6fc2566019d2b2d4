"""Compute maps, and keep the most recently used ones."""

from __future__ import annotations

import time
import warnings
from collections import OrderedDict
from dataclasses import dataclass, replace

import numpy as np

from tfviz.class_scores import ClassScores
from tfviz.errors import ImageError
from tfviz.explorer.explainer_cache import ExplainerCache
from tfviz.explorer.image_store import ImageStore, NetworkImage, Stamp
from tfviz.explorer.limits import ExplorerLimits
from tfviz.explorer.network import Network
from tfviz.explorer.recipe import Recipe
from tfviz.explorer.turns import Turn
from tfviz.method_looks import MOST_ROWS_OF_ALL
from tfviz.methods.explainer import Explainer
from tfviz.methods.lookup import method_named
from tfviz.methods.prepared_call import PreparedCall
from tfviz.methods.row_counts import rows_per_image
from tfviz.render.pictures import Map, maps_of
from tfviz.render.strength import Strength, strengths_of

_BATCH_SIZE = 32  # perturbed copies per batch, as when calling an explainer


@dataclass(frozen=True)
class ComputedMap:
    """A map, with the details shown on the page.

    Attributes:
        recipe: the request for the map, with the explained class filled in.
        values: the map returned by the method, a float32 array of shape (h, w) or (h, w, channels).
        drawn: the same values, converted for drawing.
        style: the map's style.
        layer: the path of the explained layer, "image", or None for a method without layers.
        strength: the map's strength, for the caption and the colors.
        scores: the image's class scores, or None.
        note: the method's warnings, or "".
        compute_s: the computation time in seconds, including compilation.
    """

    recipe: Recipe
    values: np.ndarray
    drawn: Map
    style: str
    layer: str | None
    strength: Strength
    scores: ClassScores | None
    note: str
    compute_s: float


class MapCache:
    """Computes and caches maps. Use it from one thread only.

    Args:
        network: the model.
        images: the images.
        limits: the numbers of explainers and maps to keep.

    Attributes:
        explainers: the compiled explainers.
    """

    def __init__(self, network: Network, images: ImageStore, limits: ExplorerLimits) -> None:
        self._network, self._images, self._most = network, images, limits.maps
        self.explainers = ExplainerCache(network.build, limits.explainers)
        self._maps: OrderedDict[tuple[Recipe, Stamp | None], ComputedMap] = OrderedDict()
        self._scores: OrderedDict[str, tuple[NetworkImage, ClassScores | None]] = OrderedDict()

    def scored(self, id: str) -> tuple[NetworkImage, ClassScores | None]:
        """Return an image and its class scores (see `Network.scores`).

        Raises:
            TfvizError: the image cannot be read, or the model does not accept it.
            HttpError: there is no such image.
        """
        image = self._images.image(id)
        known = self._scores.get(id)
        if known is None or known[0] is not image:
            known = image, self._network.scores(image.tensor)
            self._scores[id] = known
            while len(self._scores) > self._most:
                self._scores.popitem(last=False)
        return known

    def get(self, recipe: Recipe, turn: Turn) -> ComputedMap:
        """Return a map, computing it if it is not cached.

        Args:
            recipe: the request for the map. Without a target, the top class is explained.
            turn: the turn in which to compute the map.

        Raises:
            TfvizError: the map cannot be computed.
            HttpError: the image does not exist, or a newer computation replaced this one.
        """
        image, scores = self.scored(recipe.image)
        recipe = self._completed(recipe, scores)
        key = recipe, image.stamp
        if key not in self._maps:
            computed = self._computed(recipe, image, scores, turn)
            while len(self._maps) >= self._most:
                self._maps.popitem(last=False)
            self._maps[key] = computed
        self._maps.move_to_end(key)
        return self._maps[key]

    def _completed(self, recipe: Recipe, scores: ClassScores | None) -> Recipe:
        """Return the recipe with the target filled in and any settings that don't apply removed."""
        if not method_named(recipe.method).takes_target or scores is None:
            return replace(recipe, target=None, against=None)
        target = int(scores.ranked[0]) if recipe.target is None else recipe.target
        against = None if recipe.against == target else recipe.against
        self._network.require_class(target)
        self._network.require_class(against if isinstance(against, int) else None)
        return replace(recipe, target=target, against=against)

    def _computed(self, recipe: Recipe, image: NetworkImage, scores: ClassScores | None, turn: Turn) -> ComputedMap:
        explainer = self.explainers.get(recipe.method, recipe.layer)
        start_s = time.perf_counter()
        # Record the method's warnings for the page. No other thread issues warnings meanwhile.
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            call = explainer.prepare(image.tensor, recipe.target_for(self._network.classes))
            values = _first_map(call, turn)
        compute_s = time.perf_counter() - start_s
        drawn = maps_of([values], count=1)[0]
        strength = self._strength(recipe, image, explainer, drawn, scores, turn)
        note = " ".join(dict.fromkeys(str(one.message) for one in caught if str(one.message)))
        layer = getattr(explainer, "layer_path", None)
        return ComputedMap(recipe, values, drawn, explainer.style, layer, strength, scores, note, compute_s)

    def _strength(
        self, recipe: Recipe, image: NetworkImage, explainer: Explainer, drawn: Map, scores: ClassScores | None, turn: Turn
    ) -> Strength:
        """Return a map's strength, compared with the top class unless that takes too long."""
        top = None if scores is None or recipe.target is None else int(scores.ranked[0])
        plain = replace(recipe, target=top, against=None)
        is_expensive = explainer.takes_copies and rows_per_image(explainer) > MOST_ROWS_OF_ALL
        if top is None or recipe == plain or (is_expensive and (plain, image.stamp) not in self._maps):
            reference = 0 if recipe == plain and top is not None else None
            return strengths_of(explainer.key, [drawn], [self._name(top)], explainer.style, reference)[0]
        names = [self._name(top), ""]
        return strengths_of(explainer.key, [self.get(plain, turn).drawn, drawn], names, explainer.style, 0)[1]

    def _name(self, index: int | None) -> str:
        return "" if index is None else self._network.name_of(index)


def _first_map(call: PreparedCall, turn: Turn) -> np.ndarray:
    """Run a call in batches and return its first map. Stop if the computation was replaced."""
    attribution = call.run_in_batches(_BATCH_SIZE, lambda _rows: turn.require_wanted())
    call.check(attribution)
    if not hasattr(attribution, "shape"):
        raise ImageError(
            "The model has several inputs, so its maps cannot be drawn over a single image. Explain this model in Python."
        )
    return np.asarray(attribution, np.float32)[0]
