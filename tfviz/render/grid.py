"""Build a grid with one row per image and one column per method and target, for `plot`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from tfviz.errors import ImageError, OptionError, near_matches
from tfviz.images.preprocessing import Preprocessing
from tfviz.method_looks import LOOKS
from tfviz.render.colors import METHOD_STYLES, style_of
from tfviz.render.overlays import Look, blended
from tfviz.render.pictures import Arrays, Map, Picture, is_single, maps_of, pictures_of, shrunk_or_enlarged
from tfviz.render.strength import SCALES, Strength, common_limit, strengths_of
from tfviz.render.titles import title_of

NARROWEST, WIDEST = 0.75, 1.5  # limits of column width / row height; wider images are scaled down

# method -> its maps, or method -> target -> its maps
Attributions: TypeAlias = "Mapping[str, Arrays | Mapping[str, Arrays]]"
Scores: TypeAlias = Mapping[str, npt.ArrayLike]


@dataclass(frozen=True)
class Column:
    """The maps of one method for one target.

    Attributes:
        method: the method's key.
        target: the target's name, or "" if the method has only one target.
        style: the maps' style.
        maps: one map per image.
        limits: for each map, the value drawn in the strongest color.
        notes: for each map, the text below it.
    """

    method: str
    target: str
    style: str
    maps: list[Map]
    limits: list[float]
    notes: list[str]

    @property
    def title(self) -> str:
        """The column title: the method's name and, on the next line, the target's name, if any."""
        return "\n".join(filter(None, (title_of(self.method), self.target)))

    @property
    def has_own_title(self) -> bool:
        """Whether part of the title comes from the caller."""
        return self.title != title_of(self.method) or self.title == self.method


@dataclass(frozen=True)
class Grid:
    """The images, their captions and the columns of maps."""

    pictures: list[Picture]
    columns: list[Column]
    captions: list[str]
    look: Look
    scale: str

    @property
    def used_styles(self) -> list[str]:
        """The distinct styles, in column order."""
        return list(dict.fromkeys(column.style for column in self.columns))

    @property
    def column_width(self) -> float:
        """The ratio of column width to row height."""
        return min(max(*(one.shape[1] / one.shape[0] for one in self.pictures), NARROWEST), WIDEST)

    def row(self, index: int, height: int, width: int) -> list[Picture]:
        """Draw an image and its maps, resized to fit (height, width) without distortion."""
        whole = self.pictures[index]
        scale = min(height / whole.shape[0], width / whole.shape[1])
        size = (max(1, round(whole.shape[0] * scale)), max(1, round(whole.shape[1] * scale)))
        picture = shrunk_or_enlarged(whole, *size)
        maps = (blended(picture, one.maps[index], one.style, self.look, one.limits[index]) for one in self.columns)
        return [picture, *maps]

    def texts(self, index: int) -> list[str]:
        """Return the texts below an image and its maps."""
        return [self.captions[index], *(column.notes[index] for column in self.columns)]


def grid_of(
    images: Arrays,
    attributions: Attributions,
    *,
    captions: Sequence[str | None] | None,
    scores: Scores | None,
    styles: Mapping[str, str] | None,
    look: Look,
    scale: str,
    preprocessing: Preprocessing | str | None,
) -> Grid:
    """Check `plot`'s arguments and build the grid.

    Args:
        images: see `plot`.
        attributions: see `plot`.
        captions: see `plot`.
        scores: see `plot`.
        styles: see `plot`.
        look: how to blend maps with images.
        scale: see `plot`.
        preprocessing: see `plot`.

    Returns:
        The grid.

    Raises:
        ImageError: see `plot`.
        OptionError: see `plot`.
    """
    targets = targets_of(attributions)
    pictures = pictures_of(images, preprocessing)
    maps = {
        method: {target: maps_of(one, count=len(pictures), single=is_single(images)) for target, one in given.items()}
        for method, given in targets.items()
    }
    columns = columns_of(maps, len(pictures), scores=scores, styles=styles, scale=scale)
    return Grid(pictures, columns, captions_of(captions, len(pictures)), look, scale)


def targets_of(attributions: Attributions) -> dict[str, Mapping[str, Arrays]]:
    """Return the attributions in the form method -> target -> maps.

    A method whose maps are not grouped by target gets the target "".

    Raises:
        OptionError: `attributions` is not a dict, or it or one of its dicts is empty.
    """
    if not isinstance(attributions, Mapping) or not attributions:
        raise OptionError(
            '`attributions` must be a dict with each method\'s maps, such as {"grad_cam": maps}. '
            f"Received: {'an empty dict' if isinstance(attributions, Mapping) else type(attributions).__name__}."
        )
    return {method: _targets(given) for method, given in attributions.items()}


def columns_of(
    maps: Mapping[str, Mapping[str, list[Map]]],
    count: int,
    *,
    scores: Scores | None,
    styles: Mapping[str, str] | None,
    scale: str,
) -> list[Column]:
    """Build one column per method and target.

    Args:
        maps: method -> target -> one map per image.
        count: the number of images.
        scores: see `plot`.
        styles: see `plot`.
        scale: see `plot`.

    Returns:
        The columns, in the order of `maps`.

    Raises:
        ImageError: see `plot`.
        OptionError: see `plot`.
    """
    if scale not in SCALES:
        raise OptionError(f"Unknown scale {scale!r}. {near_matches(str(scale), SCALES)}")
    for key in dict(styles or {}).keys() - maps.keys():
        raise OptionError(f"`styles` has an entry for {key!r}, which has no maps. {near_matches(key, maps)}")
    known_scores = _scores(scores or {}, maps, count)
    return [
        column
        for method, targets in maps.items()
        for column in _columns(method, targets, known_scores, dict(styles or {}).get(method), scale)
    ]


def _targets(given: Arrays | Mapping[str, Arrays]) -> Mapping[str, Arrays]:
    if isinstance(given, Mapping) and not given:
        raise OptionError("`attributions` must have maps for at least one target. Received: an empty dict for a method.")
    return {str(target): one for target, one in given.items()} if isinstance(given, Mapping) else {"": given}


def own_style(key: str) -> str | None:
    """Return a method's default style, or None if no method has this key."""
    return METHOD_STYLES.get(key) or (LOOKS[key].style if key in LOOKS else None)


def _columns(
    method: str, targets: Mapping[str, list[Map]], scores: Mapping[str, list[float]], style: str | None, scale: str
) -> list[Column]:
    """Build a method's columns, one per target."""
    style = style_of(next(iter(targets.values())), style or own_style(method.replace("-", "_")))
    names = list(targets)
    own_scores = [scores.get(target or method) for target in names]
    rows = [
        _strengths(method, [maps[index] for maps in targets.values()], names, style, [_at(one, index) for one in own_scores])
        for index in range(len(targets[names[0]]))
    ]
    columns = []
    for number, target in enumerate(names):
        limits = [row[number].limit if scale == "map" else common_limit(row) for row in rows]
        notes = [_note(_at(own_scores[number], index), row[number].words) for index, row in enumerate(rows)]
        columns.append(Column(method, target, style, targets[target], limits, notes))
    return columns


def _at(scores: list[float] | None, index: int) -> float | None:
    return None if scores is None else scores[index]


def _strengths(
    method: str, maps: list[Map], names: Sequence[str], style: str, scores: Sequence[float | None]
) -> list[Strength]:
    """Return the strength of each map relative to a reference map.

    The reference is the map of the highest-scoring target, or the strongest map if a score is
    missing.
    """
    if len(maps) == 1:
        return strengths_of(method, maps, names, style, None)
    known = [float("-inf") if score is None else score for score in scores]
    ranks = [float(np.abs(values).max()) for values in maps] if None in scores else known
    return strengths_of(method, maps, names, style, int(np.argmax(ranks)))


def _note(score: float | None, strength: str) -> str:
    return "\n".join(filter(None, ("" if score is None else f"score {score:.2f}", strength)))


def _scores(scores: Scores, maps: Mapping[str, Mapping[str, list[Map]]], count: int) -> dict[str, list[float]]:
    known = list(dict.fromkeys(target or method for method, targets in maps.items() for target in targets))
    found = {}
    for key, given in scores.items():
        if key not in known:
            raise OptionError(f"`scores` has an entry for {key!r}, which has no maps. {near_matches(key, known)}")
        values = np.asarray(given, np.float64).reshape(-1)
        if len(values) != count:
            raise ImageError(
                f"`scores` must have one score per image. Received: {len(values)} scores for {key!r} and {count} images."
            )
        found[key] = values.tolist()
    return found


def captions_of(captions: Sequence[str | None] | None, count: int) -> list[str]:
    """Return one caption per image, or "" for an image without a caption.

    Raises:
        ImageError: the number of captions differs from the number of images.
    """
    if captions is None:
        return [""] * count
    captions = [captions] if isinstance(captions, str) else list(captions)
    if len(captions) != count:
        raise ImageError(f"`captions` must have one caption per image. Received: {len(captions)} captions for {count} images.")
    return [caption or "" for caption in captions]
