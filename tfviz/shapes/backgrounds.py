"""Draw backgrounds for shapes: muted colors, a texture, and clutter that resembles no shape.

A background is a float32 RGB array of shape (size, size, 3) with values in [0, 1]. All random
lengths are relative to the image size, so a seed produces the same background at every size.
"""

from __future__ import annotations

import cv2
import numpy as np

_SUBPIXEL_BITS = 4  # corners are passed to cv2 in sixteenths of a pixel


def draw_background(rng: np.random.Generator, size: int) -> np.ndarray:
    """Draw a square background: a gradient, clouds, a texture and sometimes clutter."""
    light, dark = _muted_pair(rng)
    image = dark + (light - dark) * _ramp(rng, size)[:, :, None]
    image += rng.uniform(0.03, 0.10) * _clouds(rng, size, cells=int(rng.integers(3, 7)))
    texture = _TEXTURES[rng.integers(len(_TEXTURES))]
    image += texture(rng, size)[:, :, None] * rng.uniform(0.03, 0.09)
    # cv2 antialiases only uint8 images.
    pixels = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
    for _ in range(rng.integers(0, 12)):
        _draw_clutter(rng, pixels)
    return pixels.astype(np.float32) / 255


def _muted_pair(rng: np.random.Generator) -> np.ndarray:
    """Choose two similar RGB colors with low saturation."""
    hue, value = rng.uniform(0, 360), rng.uniform(0.25, 0.9)
    hsv = [(hue, rng.uniform(0.05, 0.35), value), ((hue + rng.uniform(-50, 50)) % 360, rng.uniform(0.05, 0.35), value)]
    pair = cv2.cvtColor(np.array([hsv], np.float32), cv2.COLOR_HSV2RGB)[0]
    return pair * np.array([[1.0], [rng.uniform(0.6, 0.95)]], np.float32)


def _grid(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return coordinates along and across a random direction, as fractions of the side length."""
    angle = rng.uniform(0, 2 * np.pi)
    side = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    x, y = side[None, :], side[:, None]
    return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)


def _ramp(rng: np.random.Generator, size: int) -> np.ndarray:
    along, _ = _grid(rng, size)
    return (along - along.min()) / np.ptp(along)


def _clouds(rng: np.random.Generator, size: int, cells: int) -> np.ndarray:
    """Return smooth noise, roughly in [-1, 1], that varies mostly in brightness."""
    coarse = rng.uniform(-0.75, 0.75, (cells, cells, 1)) + rng.uniform(-0.25, 0.25, (cells, cells, 3))
    return cv2.resize(coarse.astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)


def _plain(rng: np.random.Generator, size: int) -> np.ndarray:
    return np.zeros((size, size), np.float32)


def _stripes(rng: np.random.Generator, size: int) -> np.ndarray:
    along, _ = _grid(rng, size)
    return np.tanh(2 * np.sin(2 * np.pi * rng.uniform(5, 14) * along))


def _waves(rng: np.random.Generator, size: int) -> np.ndarray:
    along, across = _grid(rng, size)
    bend = rng.uniform(0.02, 0.05) * np.sin(2 * np.pi * rng.uniform(1, 3) * across)
    return np.sin(2 * np.pi * rng.uniform(5, 12) * (along + bend))


def _weave(rng: np.random.Generator, size: int) -> np.ndarray:
    along, across = _grid(rng, size)
    threads = 2 * np.pi * rng.uniform(9, 16)
    return np.sin(threads * along) * np.sin(threads * across)


def _grain(rng: np.random.Generator, size: int) -> np.ndarray:
    coarse = rng.standard_normal((48, 48)).astype(np.float32)
    return cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)


_TEXTURES = (_plain, _stripes, _waves, _weave, _grain)


def _draw_clutter(rng: np.random.Generator, image: np.ndarray) -> None:
    """Draw an open stroke or a small splinter on `image` in a color similar to the background."""
    size = len(image)
    at = rng.uniform(0, 1, 2)
    under = image[tuple((at[::-1] * size).astype(int))]
    color = np.clip(under + rng.uniform(-75, 75) + rng.uniform(-30, 30, 3), 0, 255)
    corners = at + (_stroke(rng) if rng.random() < 0.7 else _splinter(rng))
    points = np.round(corners * size * 2**_SUBPIXEL_BITS).astype(np.int32)
    if len(points) == 3:
        cv2.fillPoly(image, [points], color.tolist(), cv2.LINE_AA, _SUBPIXEL_BITS)
    else:
        thickness = max(1, round(size / 96 * rng.choice([1, 1, 2])))
        cv2.polylines(image, [points], False, color.tolist(), thickness, cv2.LINE_AA, _SUBPIXEL_BITS)


def _stroke(rng: np.random.Generator) -> np.ndarray:
    """Return the points of a random straight, bent or curled stroke that starts near (0, 0)."""
    headings = rng.uniform(0, 2 * np.pi) + rng.uniform(-0.25, 0.25) * np.arange(10)
    steps = np.stack([np.cos(headings), np.sin(headings)], axis=1) * rng.uniform(0.01, 0.06)
    return np.cumsum(steps, axis=0)


def _splinter(rng: np.random.Generator) -> np.ndarray:
    """Return the corners of a pointed sliver that is too thin to look like a triangle."""
    angle = rng.uniform(0, 2 * np.pi)
    along = np.array([np.cos(angle), np.sin(angle)]) * rng.uniform(0.05, 0.12)
    across = along[::-1] * [1, -1] * rng.uniform(0.08, 0.2)
    return np.stack([along, across, -across])
