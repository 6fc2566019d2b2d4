"""Sanity checks: do a method's maps depend on the learned weights and on the class?

The check randomizes layers in a copy of the model and compares the copy's maps with the original
maps (Adebayo et al., 2018). Both maps explain the same class, the original model's target. A map
that does not change cannot show what the model has learned. Layers are randomized in three orders:

* top_down: cumulatively from the output to the input, until all layers are random.
* bottom_up: cumulatively from the input to the output.
* independent: one layer at a time, while all others keep their trained weights.

The random-logit test compares the target's map with the map for a random other class. eMPRT is
(H_random − H)/H, where H is the original map's histogram entropy and H_random is the entropy of the
map when all layers are random (Hedström et al., 2023). A trained model's map should be simpler than
a random model's, so eMPRT should be positive.

Structural similarities such as SSIM are high for any two smooth maps (Binder et al., 2023). The
report therefore also shows each similarity between the unrelated maps of two different images. The
verdict states only whether the maps depend on the weights or the class. A method that depends on
the weights can still be wrong, so do not rank methods by these numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from tfviz.class_scores import predictions
from tfviz.errors import ImageError, OptionError, TargetError, near_matches
from tfviz.methods.explainer import Explainer
from tfviz.methods.lookup import method_named, takes
from tfviz.metrics.histogram_entropy import histogram_entropy
from tfviz.metrics.pixel_maps import pixel_maps
from tfviz.metrics.random_clone import RandomClone
from tfviz.metrics.sanity_result import SanityCheck
from tfviz.metrics.sanity_score import EMPRT, RANDOM_LOGIT, TOP_DOWN, UNRELATED, SanityScore
from tfviz.metrics.similarities import blank, similarity
from tfviz.reading.read_model import read_model

ORDERS = (TOP_DOWN, "bottom_up", "independent")
COMPARED = ("spearman", "spearman_abs", "ssim", "hog")


def sanity_check(
    model: keras.Model,
    images: np.ndarray,
    methods: str | Explainer | Sequence[str | Explainer] = "grad_cam",
    *,
    targets: int | Sequence[int] | np.ndarray | None = None,
    layer: str | None = None,
    orders: Sequence[str] = (TOP_DOWN,),
    randomization: str = "permute",
    steps: int = 8,
    batch_size: int = 32,
    seed: int = 0,
) -> SanityCheck:
    """Check whether maps depend on the model's learned weights and on the class.

    Args:
        model: a classifier, or any model if the methods need no target. The check works on a copy
            and leaves the model unchanged.
        images: preprocessed images of shape (N, H, W, C); 8 to 32 images are enough.
        methods: keys of `METHODS`, or explainers of this model.
        targets: one class per image, or one for all images; None selects the model's top class.
            Maps for the randomized copies explain the same classes.
        layer: the layer for methods with a `layer` option; None selects each method's default.
        orders: one or more of "top_down", "bottom_up" and "independent"; see
            `tfviz.metrics.sanity`. The verdict needs "top_down".
        randomization: "permute" shuffles each layer's weights; "initializer" draws new ones.
        steps: the number of depths at which maps are compared, evenly spaced over the layers.
        batch_size: the maximum number of images to run at once.
        seed: the seed for random weights and classes.

    Returns:
        The similarities by method, order and depth, and the verdicts.

    Raises:
        UnsupportedModelError: the model cannot be copied, or a method cannot explain it.
        UnknownMethodError: there is no such method.
        OptionError: an option has an invalid value.
        TargetError: a target does not fit the model.
        ImageError: the images do not match the model's input.

    Example:

        >>> model = tfviz.load_model("shapes")
        >>> images = tfviz.load_images("tfviz/shapes/samples", model)[:2]
        >>> check = tfviz.sanity_check(model, images, "grad_cam", steps=2)
        >>> [verdict["verdict"] for verdict in check.verdicts]
        ['depends', 'depends', 'depends']
    """
    options: dict[str, Any] = {"targets": targets, "layer": layer, "orders": orders, "randomization": randomization}
    chosen = [methods] if isinstance(methods, (str, Explainer)) else methods
    found = scores_by_method(model, images, chosen, **options, steps=steps, batch_size=batch_size, seed=seed)
    return SanityCheck([score for scores in found for score in scores])


def scores_by_method(
    model: keras.Model,
    images: np.ndarray,
    methods: Sequence[str | Explainer],
    *,
    targets: int | Sequence[int] | np.ndarray | None = None,
    layer: str | None = None,
    orders: Sequence[str] = (TOP_DOWN,),
    randomization: str = "permute",
    steps: int = 8,
    batch_size: int = 32,
    seed: int = 0,
) -> Iterator[list[SanityScore]]:
    """Yield the scores of one method at a time. The arguments are those of `sanity_check`."""
    _check_options(orders, steps, batch_size)
    images = np.asarray(images)
    if images.ndim != 4 or not len(images):
        raise ImageError(
            f"Expected images of shape (N, H, W, C). Received: shape {images.shape}. Pass a batch of at least one image."
        )
    clone = RandomClone(model, images, randomization=randomization, seed=seed)
    classes = _Classes.of(clone.model, images, targets, batch_size, seed)
    for method in methods:
        one = _Check(_on(clone.model, method, layer), clone, images, classes, batch_size)
        yield list(one.scores(orders, steps))


def _check_options(orders: Sequence[str], steps: int, batch_size: int) -> None:
    for order in [orders] if isinstance(orders, str) else orders:
        if order not in ORDERS:
            raise OptionError(f"Unknown randomization order {order!r}. {near_matches(str(order), ORDERS)}")
    for name, value in (("steps", steps), ("batch_size", batch_size)):
        if not isinstance(value, (int, np.integer)) or value < 1:
            raise OptionError(f"`{name}` must be a positive integer. Received: {value!r}.")


def _on(model: keras.Model, method: str | Explainer, layer: str | None) -> Explainer:
    """Build an explainer for the copied model."""
    if isinstance(method, Explainer):
        options = dict(method.options)
        if options.get("layer") is not None:
            options["layer"] = getattr(method, "layer_path", options["layer"])
        return type(method)(model, **options)
    cls = method_named(method)
    at_layer: dict[str, Any] = {"layer": layer} if layer is not None and takes(cls, "layer") else {}
    return cls(model, **at_layer)


@dataclass(frozen=True)
class _Classes:
    """For each image, the class to explain and a random other class, as int32 arrays of shape (N,).

    Either is None if the model has no such classes.
    """

    own: np.ndarray | None
    other: np.ndarray | None

    @classmethod
    def of(
        cls,
        clone: keras.Model,
        images: np.ndarray,
        targets: int | Sequence[int] | np.ndarray | None,
        batch_size: int,
        seed: int,
    ) -> _Classes:
        tops, count = _top_classes(clone, images, batch_size)
        own = tops if targets is None else _one_per_image(targets, len(images))
        if own is None or count < 2:
            return cls(own, None)
        drawn = np.random.default_rng(seed).integers(0, count - 1, len(images))
        return cls(own, (drawn + (drawn >= own)).astype(np.int32))


def _top_classes(model: keras.Model, images: np.ndarray, batch_size: int) -> tuple[np.ndarray | None, int]:
    """Return the top class of each image, as an int32 array, and the number of classes.

    If the model has no classes or its scores are not finite, return None and 0.
    """
    batches = (images[start : start + batch_size] for start in range(0, len(images), batch_size))
    outputs = [keras.tree.map_structure(np.asarray, model(batch, training=False)) for batch in batches]
    graph = read_model(model, accept_opaque=True).graph
    tops = [top for one in outputs for top in predictions(one, graph)]
    if any(top is None for top in tops):
        return None, 0
    width = keras.tree.flatten(outputs[0])[0].shape[1]
    return np.array([top[0] for top in tops if top is not None], np.int32), 2 if width == 1 else width


def _one_per_image(targets: int | Sequence[int] | np.ndarray, count: int) -> np.ndarray:
    array = np.asarray(targets)
    if not np.issubdtype(array.dtype, np.integer) or array.shape not in ((), (count,)):
        raise TargetError(
            f"Expected one class per image ({count} integers), or a single class for all images. Received: {targets!r:.80}."
        )
    return np.broadcast_to(array, (count,)).astype(np.int32)


@dataclass(frozen=True)
class _Check:
    """Checks one method on one copy of a model."""

    explainer: Explainer
    clone: RandomClone
    images: np.ndarray
    classes: _Classes
    batch_size: int

    def scores(self, orders: Sequence[str], steps: int) -> Iterator[SanityScore]:
        self.clone.randomize([])
        own = self._maps(self.classes.own)
        if len(own) > 1:
            yield from self._compared(own, np.roll(own, 1, axis=0), UNRELATED, "", 0)
        if self.explainer.takes_target and self.classes.other is not None:
            yield from self._compared(own, self._maps(self.classes.other), RANDOM_LOGIT, "", 0)
        for order in [orders] if isinstance(orders, str) else orders:
            for depth, numbers in _depths(order, len(self.clone.groups), steps):
                self.clone.randomize(numbers)
                maps = self._maps(self.classes.own)
                name = self.clone.groups[numbers[-1]].path
                yield from self._compared(own, maps, order, name, depth)
                if order == TOP_DOWN and len(numbers) == len(self.clone.groups):
                    yield from self._emprt(own, maps, name, depth)
        self.clone.randomize([])

    def _maps(self, classes: np.ndarray | None) -> np.ndarray:
        size = self.images.shape[1:3]
        found: list[np.ndarray] = []
        for start in range(0, len(self.images), self.batch_size):
            rows = slice(start, start + self.batch_size)
            target = classes[rows] if classes is not None and self.explainer.takes_target else None
            # Random weights sometimes lead to blank maps. The scores count these, so skip the
            # warning.
            call = self.explainer.prepare(self.images[rows], target)
            found += [one.resized(size) for one in pixel_maps(np.asarray(call.run()))]
        return np.stack(found)

    def _compared(self, own: np.ndarray, maps: np.ndarray, test: str, name: str, depth: int) -> Iterator[SanityScore]:
        is_blank = blank(own) | blank(maps)
        for measure in COMPARED:
            yield from self._rows(similarity(measure, own, maps), is_blank, test, name, depth, measure)

    def _emprt(self, own: np.ndarray, maps: np.ndarray, name: str, depth: int) -> Iterator[SanityScore]:
        before, after = histogram_entropy(own), histogram_entropy(maps)
        rise = np.where(before == 0, 0, (after - before) / np.where(before == 0, 1, before))
        yield from self._rows(rise, blank(own) | blank(maps), TOP_DOWN, name, depth, EMPRT)

    def _rows(
        self, values: np.ndarray, is_blank: np.ndarray, test: str, name: str, depth: int, measure: str
    ) -> Iterator[SanityScore]:
        layer = getattr(self.explainer, "layer_path", "")
        share = depth / len(self.clone.groups)
        for image, (value, is_empty) in enumerate(zip(values.tolist(), is_blank.tolist(), strict=True)):
            yield SanityScore(self.explainer.key, layer, test, name, share, measure, image, value, is_empty)


def _depths(order: str, count: int, steps: int) -> Iterator[tuple[int, list[int]]]:
    """Yield each depth and the groups to randomize, with the most recently added group last.

    The depths are evenly spaced and always include half of the groups and all groups.
    """
    depths = sorted({*np.linspace(1, count, min(steps, count)).round().astype(int).tolist(), (count + 1) // 2, count})
    from_output = list(range(count))[::-1]
    for depth in depths:
        if order == TOP_DOWN:
            yield depth, from_output[:depth]
        elif order == "bottom_up":
            yield depth, from_output[::-1][:depth]
        else:
            yield depth, [from_output[depth - 1]]
