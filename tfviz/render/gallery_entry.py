"""The gallery's entries: explained images with their maps, and images that failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePath


@dataclass(frozen=True)
class GalleryMap:
    """A map drawn for the gallery.

    Attributes:
        method: the method's name.
        target: the target's name, or "" if the method has no target.
        path: the file, relative to the gallery's folder.
        style: the map's style, for the legend.
        score: the target's score, for the heading.
        strength: the map's strength, for its caption.
        other_path: the file with the same map on the other scale (see `plot`), or None.
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
        name: the displayed name.
        path: the image file, relative to the gallery's folder.
        predictions: (label, score) pairs, best first.
        maps: the maps.
        size: (height, width) of the image and its maps in pixels. The page reserves this space, so
            that its content does not shift during loading.
        score_kind: the kind of score, such as "probability" or "output".
        truth: the name of the true class, or "" if it is unknown.
        is_right: whether the top class is the true class, or None if either is unknown. It is
            stored separately because two classes may have the same name.
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
