"""Draw images, signals, volumes and videos as pictures, and align maps with those pictures.

A signal is drawn as a line on a white background, and a volume or video as a row of slices or
frames, so that runs and films can treat them like images.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from matplotlib.colors import Colormap

from tfviz.images.preprocessing import Preprocessing
from tfviz.render.data_kinds import PLANES
from tfviz.render.overlays import Look, blended
from tfviz.render.pictures import Arrays, Map, Picture, maps_of, pictures_of, shrunk_or_enlarged
from tfviz.render.signals import Signal, signal_colors, signal_maps, signal_meaning, signals_of
from tfviz.render.strength import meaning_of
from tfviz.render.volumes import Volume, evenly_spaced, slice_of, volume_maps, volumes_of

# Sizes in pixels.
LINE_WIDTH_PX, CHANNEL_PX, LOWEST_PX, HIGHEST_PX = 640, 40, 160, 1280
SLICE_PX, LABEL_PX, GAP_PX = 160, 18, 4


class Canvas:
    """A canvas for images. The images are drawn unchanged under their maps.

    Attributes:
        pictures: the pictures to draw maps over, as uint8 RGB arrays.
        noun: the word for what a picture shows, such as "image".
        is_wide: whether the pictures are so wide that maps are stacked vertically.
        has_lines: whether the pictures are black lines on a white background. The lines stay black
            under a map.
    """

    noun = "image"
    is_wide = False
    has_lines = False

    def __init__(self, pictures: list[Picture]) -> None:
        self.pictures = pictures

    def maps(self, attribution: Sequence[npt.NDArray[Any]]) -> list[Map]:
        """Check an attribution and return its maps, one per picture.

        Args:
            attribution: the raw maps.

        Returns:
            The maps, each of shape (h, w) or (h, w, C).

        Raises:
            ImageError: the number of maps is wrong, or a map has the wrong shape or is not finite.
        """
        return maps_of(list(attribution), count=len(self.pictures))

    def placed(self, values: npt.NDArray[Any], index: int) -> Map:
        """Align a map with the picture at this index."""
        return np.asarray(values, np.float64)

    def style(self, style: str) -> str:
        """Return the style to use on this canvas in place of `style`."""
        return style

    def first(self, count: int) -> Canvas:
        """Return a copy of the canvas with only the first `count` pictures."""
        part = copy.copy(self)
        for name, value in vars(self).items():  # Each list has one item per picture.
            setattr(part, name, value[:count] if isinstance(value, list) else value)
        return part

    def covered(self, index: int) -> npt.NDArray[np.bool_] | None:
        """Return a mask of the pixels covered by the map, or None if it covers all of them."""
        return None

    def finished(self, drawn: Picture, index: int) -> Picture:
        """Redraw the parts of a picture that its map must not hide."""
        covered = self.covered(index)
        return drawn if covered is None else np.where(covered[..., None], drawn, self.pictures[index])

    def drawn(self, placed: Map, index: int, style: str, look: Look, limit: float) -> Picture:
        """Draw a map over the picture at this index.

        Args:
            placed: the map, from `placed`.
            index: the picture's index.
            style: the map's style, from `style`.
            look: how to blend maps with pictures.
            limit: the value drawn in the strongest color.

        Returns:
            The picture, as a uint8 RGB array.
        """
        look = replace(self.look(look), cmap=self.color_map(style, look.cmap))
        return self.finished(blended(self.pictures[index], placed, style, look, limit), index)

    def look(self, look: Look) -> Look:
        """Return the settings to use in place of `look`."""
        return look

    def color_map(self, style: str, cmap: str | Colormap | None) -> str | Colormap | None:
        """Return the color map to use for a style, or None for the style's default."""
        return cmap

    def meaning(self, style: str, scale: str) -> str:
        """Return the legend text for a style and a scale."""
        return meaning_of(style, scale, self.noun)


class SignalCanvas(Canvas):
    """A canvas for signals of shape (T, C), drawn as one line per channel over a map.

    A map has either a single row or one row per channel.
    """

    noun = "signal"
    is_wide = True
    has_lines = True

    def __init__(self, signals: Any) -> None:
        self.signals = signals_of(signals)
        super().__init__([_line_picture(signal) for signal in self.signals])

    def maps(self, attribution: Sequence[npt.NDArray[Any]]) -> list[Map]:
        """Check an attribution and return its maps. Their shapes are (1, t) or (C, T)."""
        return signal_maps(list(attribution), self.signals)

    def placed(self, values: npt.NDArray[Any], index: int) -> Map:
        """Align a map with a picture. Each pixel column shows the strongest time step it covers."""
        rows = np.atleast_2d(values.T if values.ndim == 2 else values).astype(np.float64)
        height, width = self.pictures[index].shape[:2]
        edges = np.linspace(0, rows.shape[1], width + 1)
        starts = edges[:-1].astype(int)
        stops = np.maximum(np.ceil(edges[1:]).astype(int), starts + 1)
        strongest = [
            one[:, [np.abs(one).max(0).argmax()]] for one in (rows[:, a:b] for a, b in zip(starts, stops, strict=True))
        ]
        columns = np.concatenate(strongest, axis=1)
        return np.repeat(columns, np.diff(np.linspace(0, height, len(rows) + 1).astype(int)), axis=0)

    def style(self, style: str) -> str:
        """Replace "grey", which would hide the line, with "signed". Other styles are unchanged."""
        return "signed" if style == "grey" else style

    def look(self, look: Look) -> Look:
        """Return `look` with opaque colors, because the line is drawn over them."""
        return replace(look, alpha=1.0)

    def color_map(self, style: str, cmap: str | Colormap | None) -> str | Colormap | None:
        """Return a color map without dark colors, which would hide the line."""
        return signal_colors(style, cmap)

    def meaning(self, style: str, scale: str) -> str:
        """Return the legend text for a style and a scale."""
        return signal_meaning(style, scale)

    def finished(self, drawn: Picture, index: int) -> Picture:
        """Redraw the black line, because an opaque map may hide it."""
        return np.rint(drawn * (self.pictures[index] / 255)).astype(np.uint8)


class VolumeCanvas(Canvas):
    """A canvas for volumes or videos of shape (D, H, W, C), drawn as evenly spaced slices."""

    is_wide = True

    def __init__(self, volumes: Any, preprocessing: Any = None, kind: str = "volume") -> None:
        self.noun = kind
        self.volumes = volumes_of(volumes, preprocessing, kind)
        super().__init__([_slices_picture(volume, PLANES[kind]) for volume in self.volumes])

    def maps(self, attribution: Sequence[npt.NDArray[Any]]) -> list[Map]:
        """Check an attribution and return its maps, with the slices of each stacked vertically."""
        found = volume_maps(list(attribution), len(self.volumes), self.noun)
        return [one if one.ndim == 2 else one.reshape(-1, *one.shape[2:]) for one in found]

    def placed(self, values: npt.NDArray[Any], index: int) -> Map:
        """Align a map with the drawn slices and fill the space around them with zeros."""
        volume = self.volumes[index]
        height, width = _slice_size(volume)
        parts = [slice_of(np.asarray(values, np.float64), chosen, len(volume)) for chosen in evenly_spaced(len(volume))]
        resized = [_resized(part, height, width) for part in parts]
        return _labeled(resized)

    def covered(self, index: int) -> npt.NDArray[np.bool_]:
        """Return a mask of the pixels that show slices, excluding the slice numbers and gaps."""
        volume = self.volumes[index]
        return _labeled([np.ones(_slice_size(volume), np.bool_)] * len(evenly_spaced(len(volume))))


def canvas_of(images: Arrays, kind: str, preprocessing: Preprocessing | str | None = None) -> Canvas:
    """Return the canvas for images, signals, volumes or videos.

    Args:
        images: the images, signals, volumes or videos, as for `plot`.
        kind: a key of `RANKS`.
        preprocessing: the preprocessing to undo. It is ignored for signals.

    Returns:
        The canvas.

    Raises:
        ImageError: `images` has the wrong shape or contains NaN.
    """
    if kind == "signal":
        return SignalCanvas(images)
    return VolumeCanvas(images, preprocessing, kind) if kind in PLANES else Canvas(pictures_of(images, preprocessing))


def _line_picture(signal: Signal) -> Picture:
    """Draw a signal in black on a white background, with one band per channel."""
    steps, channels = signal.shape
    height = min(max(LOWEST_PX, CHANNEL_PX * channels), HIGHEST_PX)
    picture = np.full((height, LINE_WIDTH_PX, 3), 255, np.uint8)
    span = float(np.ptp(signal, axis=0).max()) or 1.0
    band = height / channels
    x = (np.arange(steps) + 0.5) / steps * LINE_WIDTH_PX
    for channel in range(channels):
        line = signal[:, channel]
        y = (channel + 0.5) * band - 0.9 * band * (line - (line.min() + line.max()) / 2) / span
        # With shift=4, OpenCV expects coordinates in sixteenths of a pixel.
        points = np.rint(np.stack([x, y], -1) * 16).astype(np.int32)
        cv2.polylines(picture, [points], False, (0, 0, 0), 1, cv2.LINE_AA, shift=4)
    return picture


def _slice_size(volume: Volume) -> tuple[int, int]:
    """Return the height and width of a drawn slice. The longer side has a fixed length."""
    height, width = volume.shape[1:3]
    scale = SLICE_PX / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _slices_picture(volume: Volume, plane: str) -> Picture:
    height, width = _slice_size(volume)
    parts = []
    for chosen in evenly_spaced(len(volume)):
        label = np.full((LABEL_PX, width, 3), 255, np.uint8)
        cv2.putText(label, f"{plane} {chosen}", (2, LABEL_PX - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
        parts.append(np.concatenate([label, shrunk_or_enlarged(volume[chosen], height, width)]))
    return _side_by_side(parts, 255)


def _resized(values: Map, height: int, width: int) -> Map:
    """Resize a map and clip it to its original range, because cubic interpolation overshoots."""
    resized = shrunk_or_enlarged(values.astype(np.float32), height, width)
    return np.clip(resized, values.min(), values.max()).astype(np.float64)


def _labeled(parts: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Place the maps or masks of slices side by side, leaving zeros at the numbers and gaps."""
    return _side_by_side([np.pad(part, [(LABEL_PX, 0), *[(0, 0)] * (part.ndim - 1)]) for part in parts])


def _side_by_side(parts: Sequence[npt.NDArray[Any]], gap: float = 0) -> npt.NDArray[Any]:
    between = np.full((parts[0].shape[0], GAP_PX, *parts[0].shape[2:]), gap, parts[0].dtype)
    return np.concatenate([piece for part in parts for piece in (between, part)][1:], axis=1)
