"""Each metric once more in NumPy: slow, written from the formulas, and independent of tfviz."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np

Function = Callable[[np.ndarray], float]  # one image (H, W, C) -> a number


def order(values: np.ndarray, permutation: np.ndarray) -> list[int]:
    """Return the pixels, highest first; ties as in the permutation, and all of it if blank."""
    flat = [float(v) for v in values.reshape(-1)]
    if not all(map(math.isfinite, flat)) or len(set(flat)) == 1:
        return [int(i) for i in permutation]
    place = {int(pixel): i for i, pixel in enumerate(permutation)}
    return sorted(range(len(flat)), key=lambda i: (-flat[i], place[i]))


def replaced(start: np.ndarray, pixels: list[int], source: np.ndarray) -> np.ndarray:
    image = start.copy()
    for pixel in pixels:
        row, column = divmod(pixel, start.shape[1])
        image[row, column] = source[row, column] if source.ndim == 3 else source
    return image


def area(c: list[float]) -> float:
    return sum((a + b) / 2 for a, b in pairwise(c)) / (len(c) - 1)


def deletion(p: Function, image: np.ndarray, ranked: list[int], color: np.ndarray) -> float:
    step = math.ceil(len(ranked) / 28)
    count = math.ceil(len(ranked) / step)
    return area([p(replaced(image, ranked[: k * step], color)) for k in range(count + 1)])


def insertion(p: Function, image: np.ndarray, ranked: list[int]) -> float:
    step = math.ceil(len(ranked) / 28)
    count = math.ceil(len(ranked) / step)
    start = blur(image)
    return area([p(replaced(start, ranked[: k * step], image)) for k in range(count + 1)])


def blur(image: np.ndarray) -> np.ndarray:
    taps = [0.0880, 0.0889, 0.0905, 0.0922, 0.0935, 0.0940, 0.0935, 0.0922, 0.0905, 0.0889, 0.0880]
    height, width, _ = image.shape
    result = np.zeros_like(image)
    for row in range(height):
        for column in range(width):
            for i, a in enumerate(taps):
                for j, b in enumerate(taps):
                    y, x = row + i - 5, column + j - 5
                    if 0 <= y < height and 0 <= x < width:
                        result[row, column] += a * b * image[y, x]
    return result


def imputed(image: np.ndarray, removed: np.ndarray) -> np.ndarray:
    """Solve the equations of the removed pixels with a dense matrix."""
    height, width, channels = image.shape
    matrix, right = np.eye(height * width), image.reshape(-1, channels).astype(np.float64)
    for row, column in np.argwhere(removed):
        i = row * width + column
        matrix[i, i], right[i] = 0, 0
        for dy, dx in [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)]:
            y, x = row + dy, column + dx
            if 0 <= y < height and 0 <= x < width:
                w = 1 / 12 if dy and dx else 1 / 6
                matrix[i, i] += w
                matrix[i, y * width + x] -= w
    return np.linalg.solve(matrix, right).reshape(image.shape)


def road(p: Function, image: np.ndarray, ranked: list[int], noise: Callable[[int], np.ndarray]) -> float:
    gaps = []
    for number in range(9):
        count = round((number + 1) / 10 * len(ranked))
        scores = []
        for pixels in (ranked[:count], ranked[len(ranked) - count :]):
            removed = np.zeros(image.shape[:2], bool)
            removed.reshape(-1)[pixels] = True
            filled = imputed(image, removed)
            scores.append(p(filled + noise(number) * removed[:, :, None]))
        gaps.append((scores[1] - scores[0]) / 2)
    return sum(gaps) / len(gaps)


def ranks(values: list[float]) -> list[float]:
    return [sum(other < v for other in values) + (sum(other == v for other in values) - 1) / 2 for v in values]


def spearman(a: list[float], b: list[float]) -> float:
    if len(set(a)) == 1 or len(set(b)) == 1:
        return 0.0
    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


def cells(size: tuple[int, int], count: int) -> list[list[int]]:
    """Return the pixels of each cell of a grid, in raster order."""
    height, width = size
    rows = [range(i * height // count, (i + 1) * height // count) for i in range(count)]
    columns = [range(j * width // count, (j + 1) * width // count) for j in range(count)]
    return [[r * width + c for r in some for c in others] for some in rows for others in columns]


def subset_correlation(
    s: Function, image: np.ndarray, values: np.ndarray, color: np.ndarray, grid: int, subsets: list[list[int]]
) -> float:
    """Spearman's ρ over subsets of cells: single deletion, and μFidelity."""
    parts = cells(image.shape[:2], grid)
    pixels = [[pixel for cell in subset for pixel in parts[cell]] for subset in subsets]
    sums = [sum(float(values.reshape(-1)[i]) for i in some) for some in pixels]
    return spearman(sums, [s(image) - s(replaced(image, some, color)) for some in pixels])


def is_hit(values: np.ndarray, region: np.ndarray, tolerance: float) -> bool:
    best = max(range(values.size), key=lambda i: (values.reshape(-1)[i], -i))
    row, column = divmod(best, values.shape[1])
    return any((r - row) ** 2 + (c - column) ** 2 < tolerance**2 for r, c in np.argwhere(region))


def mass(values: np.ndarray, region: np.ndarray) -> float:
    positive = [(max(0.0, float(v)), bool(inside)) for v, inside in zip(values.reshape(-1), region.reshape(-1), strict=True)]
    total = sum(v for v, _ in positive)
    return sum(v for v, inside in positive if inside) / total if total else 0.0


def drop_increase_gain(p: Function, image: np.ndarray, values: np.ndarray) -> tuple[float, float, float]:
    mask = (values - values.min()) / (values.max() - values.min())
    o, y = p(image * mask[:, :, None]), p(image)
    return max(0.0, y - o) / y, float(o > y), max(0.0, o - y) / (1 - y)


def resized(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize bilinearly with half-pixel centers."""
    result = np.zeros(size)
    for row in range(size[0]):
        for column in range(size[1]):
            y = (row + 0.5) * values.shape[0] / size[0] - 0.5
            x = (column + 0.5) * values.shape[1] / size[1] - 0.5
            top, left = math.floor(y), math.floor(x)
            for r, a in ((top, 1 - (y - top)), (top + 1, y - top)):
                for c, b in ((left, 1 - (x - left)), (left + 1, x - left)):
                    row_in, column_in = min(max(r, 0), values.shape[0] - 1), min(max(c, 0), values.shape[1] - 1)
                    result[row, column] += a * b * values[row_in, column_in]
    return result
