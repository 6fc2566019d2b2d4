"""Define the kinds of shapes as outlines that can be told apart at any rotation.

An outline is a list of closed polygons around the origin. Points are (x, y) with y pointing down,
and the farthest corner is about one unit from the center. A point is inside the shape if an odd
number of polygons contain the point, so two circles form a ring.
"""

from __future__ import annotations

import numpy as np

FARTHEST_CORNER = 1.16  # the largest distance between an outline's corner and its center

Outline = list[np.ndarray]  # polygons (points, 2), float64


def _arc(radius: float, from_degrees: float, to_degrees: float, center_x: float = 0.0) -> np.ndarray:
    angles = np.radians(np.linspace(from_degrees, to_degrees, 48))
    return np.stack([center_x + radius * np.cos(angles), radius * np.sin(angles)], axis=1)


def _circle(radius: float) -> np.ndarray:
    return _arc(radius, 0, 360)[:-1]


def _spokes(radii: list[float]) -> np.ndarray:
    """Return a polygon with one corner per radius, at equal angles, starting at the top."""
    angles = 2 * np.pi * np.arange(len(radii)) / len(radii)
    return np.stack([np.sin(angles), -np.cos(angles)], axis=1) * np.array(radii)[:, None]


def _crescent() -> np.ndarray:
    """Return a disc of radius 1 minus a shifted disc of radius 0.8, centered at the origin."""
    outer = _arc(1.0, 51.3, 308.7)
    inner = _arc(0.8, 282.6, 77.4, center_x=0.45)
    return np.concatenate([outer, inner]) + np.array([0.2, 0.0])


def _heart() -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([16 * np.sin(t) ** 3, -y - 2.5], axis=1) / 16


def _polygon(*corners: tuple[float, float]) -> np.ndarray:
    return np.array(corners, np.float64)


OUTLINES: dict[str, Outline] = {
    "disc": [_circle(0.88)],
    "ring": [_circle(1.0), _circle(0.56)],
    "square": [_spokes([1.08] * 4)],
    "triangle": [_spokes([1.12] * 3)],
    "star": [_spokes([1.12, 0.46] * 5)],
    "cross": [
        _polygon(
            *[(-0.33, -1), (0.33, -1), (0.33, -0.33), (1, -0.33), (1, 0.33), (0.33, 0.33)],
            *[(0.33, 1), (-0.33, 1), (-0.33, 0.33), (-1, 0.33), (-1, -0.33), (-0.33, -0.33)],
        )
    ],
    "crescent": [_crescent()],
    "heart": [_heart()],
    "arrow": [_polygon((0, -1.1), (0.85, -0.12), (0.33, -0.12), (0.33, 1.0), (-0.33, 1.0), (-0.33, -0.12), (-0.85, -0.12))],
    "bolt": [_polygon((0.25, -1.1), (-0.64, 0.19), (-0.09, 0.19), (-0.28, 1.12), (0.66, -0.29), (0.08, -0.29), (0.5, -1.04))],
}

KINDS: tuple[str, ...] = tuple(OUTLINES)
"""The kind names. A name's index is its class number."""


def placed(kind: str, center: np.ndarray, radius: float, degrees: float, mirrored: bool) -> Outline:
    """Return the outline of a kind, rotated, scaled to `radius` and moved to `center` (x, y)."""
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    flip = np.array([-1.0 if mirrored else 1.0, 1.0])
    return [(polygon * flip) @ turn * radius + center for polygon in OUTLINES[kind]]
