"""Show an explainer's maps in a panel with the classes and their scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from keras import tree

from tfviz import targets
from tfviz.class_scores import predictions, scores_of
from tfviz.errors import ImageError
from tfviz.images.preprocessing import Preprocessing
from tfviz.numeric_options import positive_integer
from tfviz.render.data_kinds import kind_of_batch
from tfviz.render.overlays import Underlay
from tfviz.render.panel import MOST_IMAGES, Panel, show
from tfviz.render.pictures import Arrays, preprocessing_of_images

if TYPE_CHECKING:
    from tfviz.methods.explainer import Explainer


@dataclass(frozen=True)
class _Found:
    """An explainer's results for one target.

    Attributes:
        maps: the raw maps, with shape (N, …).
        classes: for each image, the explained class and its score, or None.
        predictions: for each image, the top class and its score, or None.
    """

    maps: npt.NDArray[np.float32]
    classes: list[tuple[int, float] | None]
    predictions: list[tuple[int, float] | None]


def panel_of(
    explainer: Explainer,
    images: npt.ArrayLike,
    target: targets.Target | str,
    *,
    batch_size: int,
    pictures: Arrays | None,
    captions: Sequence[str | None] | None,
    scale: str,
    alpha: float,
    underlay: Underlay,
    preprocessing: Preprocessing | str | None,
) -> Panel:
    """Explain images and show their maps (see `Explainer.show` for the arguments).

    Args:
        explainer: the explainer.
        images: see `Explainer.show`.
        target: see `Explainer.show`.
        batch_size: see `Explainer.show`.
        pictures: see `Explainer.show`.
        captions: see `Explainer.show`.
        scale: see `Explainer.show`.
        alpha: see `Explainer.show`.
        underlay: see `Explainer.show`.
        preprocessing: see `Explainer.show`.

    Returns:
        The panel.

    Raises:
        ImageError: see `Explainer.show`.
        OptionError: see `Explainer.show`.
    """
    batch_size = positive_integer("batch_size", batch_size)
    if len(explainer.graph.inputs) > 1:
        raise ImageError(
            f"The model has {len(explainer.graph.inputs)} inputs, but `show` draws only one. Call the explainer yourself, and "
            "pass one input and its maps to tfviz.show."
        )
    array = images if isinstance(images, np.ndarray) else np.asarray(images)
    rank = explainer.graph.inputs[0].rank
    kind = kind_of_batch(array.shape) if array.ndim == rank else None
    if array.ndim == rank and len(array) > MOST_IMAGES:
        raise ImageError(
            f"A panel can show at most {MOST_IMAGES} {kind or 'image'}s. Received: {len(array)} {kind or 'image'}s. Pass a "
            "slice, such as images[:16]."
        )
    named = explainer.named_target(target)
    found = {
        name: _found(explainer, array, one, batch_size)
        for name, one in (named.items() if isinstance(named, dict) else [("", named)])
    }
    first = next(iter(found.values()))
    if pictures is None and preprocessing is None:
        preprocessing = preprocessing_of_images(array, [explainer.model])
    known = {name: one.classes for name, one in found.items() if all(one.classes)}
    return show(
        array if pictures is None else pictures,
        {explainer.key: {name: one.maps for name, one in found.items()}},
        kind=kind if pictures is None else None,
        captions=_captions(explainer, first) if captions is None else captions,
        scores={name or explainer.key: [pair[1] for pair in pairs if pair] for name, pairs in known.items()},
        classes={name: [explainer.labels.name(pair[0]) for pair in pairs if pair] for name, pairs in known.items()},
        styles={explainer.key: explainer.style},
        scale=scale,
        alpha=alpha,
        underlay=underlay,
        preprocessing=preprocessing,
    )


def _found(explainer: Explainer, images: npt.NDArray[np.float32], target: targets.Target, batch_size: int) -> _Found:
    """Explain the images in batches, selecting the target's rows for each batch."""
    shapes = tree.map_structure(lambda value: value.shape, explainer.graph.output_structure)
    # If the array is not a batch, the explainer raises an error.
    is_batch = images.ndim == explainer.graph.inputs[0].rank and len(images) > 0
    starts = range(0, len(images), batch_size) if is_batch else [0]
    parts = []
    try:
        for start in starts:
            part = images[start : start + batch_size] if is_batch else images
            explainer.start_at(start)
            here = targets.rows_from(target, shapes, start, len(part)) if is_batch else target
            parts.append(explainer.with_outputs(part, here))
    finally:
        explainer.start_at(None)
    outputs = tree.map_structure(lambda *arrays: np.concatenate(arrays), *(part.outputs for part in parts))
    maps = np.concatenate([np.asarray(part.attribution) for part in parts])
    has_class = explainer.takes_target and parts[0].target is not None
    classes = np.concatenate([part.target for part in parts]) if has_class else None
    top = predictions(outputs, explainer.whole)
    return _Found(maps, scores_of(classes, outputs, explainer.whole) if has_class else [None for _ in top], top)


def _captions(explainer: Explainer, found: _Found) -> list[str]:
    """Return a caption with the top class and its score for each image."""
    return ["" if one is None else f"predicted: {explainer.labels.name(one[0])} {one[1]:.2f}" for one in found.predictions]
