"""Draw scenes of colored shapes on cluttered backgrounds, with a mask for every object.

    scene = draw_scene(np.random.default_rng(7), kinds=["heart", "ring"])
    scene.image                   # uint8 RGB
    scene.objects[0].mask         # where the heart is visible

Positions and lengths are relative to the image size, so a seed produces the same scene at every
size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from tfviz.errors import OptionError, near_matches
from tfviz.shapes.backgrounds import draw_background
from tfviz.shapes.kinds import FARTHEST_CORNER, KINDS, Outline, placed

MOST_OBJECTS = 4
LEAST_VISIBLE = 0.7  # the minimum visible fraction of each object
SMALLEST_RADIUS, LARGEST_RADIUS = 0.14, 0.23  # relative to the image side
LEAST_SIZE = 32  # pixels; smaller shapes are indistinguishable

_OVERSAMPLING = 4  # outlines are filled at 4 x 4 points per pixel to smooth their edges
_SUBPIXEL_BITS = 6  # corners are passed to cv2 in 64ths of a pixel
# the minimum color distance to the background and other objects, in CIE L*a*b* (2.3 is just
# noticeable)
_COLOR_DISTANCE = 38.0


@dataclass(frozen=True)
class SceneObject:
    """A shape in a scene.

    Attributes:
        kind: the shape's name.
        label: the shape's class number, so that `KINDS[label] == kind`.
        mask: a bool array of shape (size, size) that marks the visible pixels.
        box: the mask's bounding box (top, left, bottom, right) in pixels. Bottom and right are
            exclusive.
        visible: the fraction of the shape that is visible, in [LEAST_VISIBLE, 1].
    """

    kind: str
    label: int
    mask: np.ndarray
    box: tuple[int, int, int, int]
    visible: float


@dataclass(frozen=True)
class Scene:
    """A uint8 RGB image of shape (size, size, 3), and its objects from back to front."""

    image: np.ndarray
    objects: tuple[SceneObject, ...]


def draw_scene(rng: np.random.Generator, kinds: Sequence[str] | None = None, size: int = 96) -> Scene:
    """Draw a scene with one to four shapes.

    The first object is farthest back. Every object lies inside the image, and at least a fraction
    LEAST_VISIBLE of its pixels is visible.

    Args:
        rng: the random generator.
        kinds: each object's kind. None means one to four different kinds, chosen at random.
        size: the height and width in pixels.

    Returns:
        The scene.

    Raises:
        OptionError: a kind is unknown, `kinds` is empty or has more than MOST_OBJECTS entries, or
            `size` is less than LEAST_SIZE.
    """
    if kinds is None:
        kinds = rng.choice(KINDS, rng.integers(1, MOST_OBJECTS + 1), replace=False).tolist()
    _check(kinds, size)
    covers = _place(rng, kinds, size)
    image = draw_background(rng, size)
    colors: list[np.ndarray] = []
    for cover in covers:
        colors.append(_contrasting_color(rng, image, cover, colors))
        _paint(rng, image, cover, colors[-1])
    pixels = np.round(image * 255).astype(np.uint8)
    return Scene(pixels, tuple(_objects(kinds, covers)))


def _check(kinds: Sequence[str], size: int) -> None:
    for kind in kinds:
        if kind not in KINDS:
            raise OptionError(f"Unknown kind of shape {kind!r}. {near_matches(kind, KINDS, most=len(KINDS))}")
    if not 1 <= len(kinds) <= MOST_OBJECTS:
        raise OptionError(f"`kinds` must contain 1 to {MOST_OBJECTS} kinds, one per object. Received: {len(kinds)} kinds.")
    if size < LEAST_SIZE:
        raise OptionError(f"`size` must be at least {LEAST_SIZE} pixels. Received: {size}.")


def _place(rng: np.random.Generator, kinds: Sequence[str], size: int) -> list[np.ndarray]:
    """Return the coverage of each object as a float32 array in [0, 1], ignoring occlusion."""
    while True:
        circles = _circles(rng, len(kinds))
        outlines = [
            placed(kind, center, radius, rng.uniform(0, 360), bool(rng.integers(2)))
            for kind, (center, radius) in zip(kinds, circles, strict=True)
        ]
        covers = [_cover(outline, size) for outline in outlines]
        if min(_visible_shares(covers)) >= LEAST_VISIBLE:
            return covers


def _circles(rng: np.random.Generator, count: int) -> list[tuple[np.ndarray, float]]:
    """Choose circles inside the unit square, as (center, radius), with little or no overlap."""
    circles: list[tuple[np.ndarray, float]] = []
    while len(circles) < count:
        radius = rng.uniform(SMALLEST_RADIUS, LARGEST_RADIUS)
        margin = FARTHEST_CORNER * radius + 0.005
        center = rng.uniform(margin, 1 - margin, 2)
        if all(np.linalg.norm(center - other) > 0.65 * (radius + reach) for other, reach in circles):
            circles.append((center, radius))
    return circles


def _cover(outline: Outline, size: int) -> np.ndarray:
    fine = np.zeros((size * _OVERSAMPLING,) * 2, np.uint8)
    to_fine = size * _OVERSAMPLING * 2**_SUBPIXEL_BITS
    points = [np.round(polygon * to_fine).astype(np.int32) for polygon in outline]
    cv2.fillPoly(fine, points, 255, cv2.LINE_8, _SUBPIXEL_BITS)
    return cv2.resize(fine, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def _visible_masks(covers: Sequence[np.ndarray]) -> list[np.ndarray]:
    taken = np.zeros(covers[0].shape, bool)
    masks = []
    for cover in reversed(covers):
        masks.append((cover > 0.5) & ~taken)
        taken |= cover > 0.5
    return masks[::-1]


def _visible_shares(covers: Sequence[np.ndarray]) -> list[float]:
    masks = _visible_masks(covers)
    return [float(mask.sum() / (cover > 0.5).sum()) for mask, cover in zip(masks, covers, strict=True)]


def _objects(kinds: Sequence[str], covers: Sequence[np.ndarray]) -> list[SceneObject]:
    masks, shares = _visible_masks(covers), _visible_shares(covers)
    return [
        SceneObject(kind, KINDS.index(kind), mask, _box(mask), share)
        for kind, mask, share in zip(kinds, masks, shares, strict=True)
    ]


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def _paint(rng: np.random.Generator, image: np.ndarray, cover: np.ndarray, color: np.ndarray) -> None:
    """Paint one object on `image`, with a soft shadow, a shaded fill and sometimes a dark rim."""
    size = len(image)
    shift = rng.uniform(0.005, 0.02, 2) * size
    thrown = cv2.warpAffine(cover, np.array([[1, 0, shift[0]], [0, 1, shift[1]]]), (size, size))
    image *= 1 - rng.uniform(0.15, 0.5) * cv2.GaussianBlur(thrown, (0, 0), size * 0.018)[:, :, None]
    fill = color * _shading(rng, size)[:, :, None]
    if rng.random() < 0.5:
        inside = cv2.GaussianBlur(cover, (0, 0), size * 0.012)
        fill *= 1 - rng.uniform(0.3, 0.6) * np.clip(2 * (1 - inside), 0, 1)[:, :, None]
    image += (np.clip(fill, 0, 1) - image) * cover[:, :, None]


def _contrasting_color(
    rng: np.random.Generator, image: np.ndarray, cover: np.ndarray, others: Sequence[np.ndarray]
) -> np.ndarray:
    """Choose an RGB color that contrasts with the other objects and the background."""
    hidden = np.average(image.reshape(-1, 3), axis=0, weights=cover.reshape(-1))
    unlike = np.stack([_lab(color) for color in (hidden, *others)])
    while True:
        hsv = np.array([[[rng.uniform(0, 360), rng.uniform(0.45, 1.0), rng.uniform(0.45, 1.0)]]], np.float32)
        color = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0]
        if np.linalg.norm(_lab(color) - unlike, axis=1).min() > _COLOR_DISTANCE:
            return color


def _lab(color: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(color.astype(np.float32)[None, None], cv2.COLOR_RGB2LAB)[0, 0]


def _shading(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return brightness factors between 0.8 and 1.2 that vary smoothly across the image."""
    corners = rng.uniform(0.8, 1.2, (2, 2)).astype(np.float32)
    return cv2.resize(corners, (size, size), interpolation=cv2.INTER_LINEAR)
