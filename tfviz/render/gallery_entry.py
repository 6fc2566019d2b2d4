"""What the gallery shows: explained images with their maps, and images that failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePath


@dataclass(frozen=True)
class GalleryMap:
    """A drawn map.

    Attributes:
        method: the method's name.
        target: the name of the target, or "" if the method takes none.
        path: the file, relative to the gallery's folder.
        style: the style of the map, for the legend.
        score: the score of the target, for the heading.
        strength: the strength of the map, for its caption.
        other_path: the file of the same map on the other scale (see `plot`), if there is one.
    """

    method: str
    target: str
    path: str | PurePath
    style: str = "heatmap"
    score: float | None = None
    strength: str = ""
    other_path: str | PurePath | None = None


@dataclass(frozen=True)
class GalleryEntry:
    """An explained image.

    Attributes:
        name: the name to show.
        path: the image file, relative to the gallery's folder.
        predictions: pairs of a label and its score, best first.
        maps: the maps.
        size: (height, width) of the image and its maps in pixels. It keeps the page from shifting
            while it loads.
        score_kind: the kind of the scores, "probability" or "output".
        truth: the name of the true class, or "" if it is unknown.
        is_right: whether the top class is the true class, or None if either is unknown. Names don't
            decide this, because two classes may share one.
    """

    name: str
    path: str | PurePath
    predictions: Sequence[tuple[str, float]] = ()
    maps: Sequence[GalleryMap] = field(default_factory=tuple)
    size: tuple[int, int] | None = None
    score_kind: str = "score"
    truth: str = ""
    is_right: bool | None = None


@dataclass(frozen=True)
class GalleryFailure:
    """An image that could not be explained, and the reason."""

    name: str
    reason: str
