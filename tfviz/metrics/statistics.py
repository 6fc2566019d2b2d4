"""Summarize scores as a statistic with an interval, and compare methods with the random control.

Intervals are 95 % percentile bootstrap intervals over images; all scores for an image are drawn
together. All methods share the draws, so their differences are paired.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tfviz.metrics.metric import Statistic

DRAWS = 2000
_LOW, _HIGH = 2.5, 97.5  # percentiles
_Z = 1.959964  # the normal quantile for a 95 % interval
# With five images, a sign test has p = 2 · 2⁻⁵ > .05 even if all images agree.
FEWEST_IMAGES_TO_DECIDE = 6
_BLOCK = 4_000_000  # the number of weights to hold in memory at once


@dataclass(frozen=True)
class Sample:
    """The scores of one method for one measure.

    Attributes:
        values: the scores, a float array of shape (n,).
        images: the image index of each score, an int array of shape (n,) with values from 0 to
            `count` − 1.
        classes: the class of each score, an int array of shape (n,).
        count: the number of images.
    """

    values: np.ndarray
    images: np.ndarray
    classes: np.ndarray
    count: int


@dataclass(frozen=True)
class Estimate:
    """A statistic and its interval.

    Attributes:
        value: the statistic.
        low, high: the 95 % interval; NaN if there are fewer than two images.
        draws: the statistic for each bootstrap draw, with shape (DRAWS,).
    """

    value: float
    low: float
    high: float
    draws: np.ndarray


def estimate(sample: Sample, statistic: Statistic, seed: int) -> Estimate:
    """Compute a statistic and its interval.

    Args:
        sample: the scores.
        statistic: the kind of statistic; see `Measure`.
        seed: the bootstrap seed.

    Returns:
        The estimate. Its value is NaN if there are no scores.
    """
    groups = np.unique(sample.classes, return_inverse=True)[1] if statistic == "class_mean" else np.zeros_like(sample.classes)
    ones = np.ones((1, sample.count))
    value = float(_means(ones, sample, groups)[0])
    draws = np.concatenate([_means(weights, sample, groups) for weights in _blocks(sample.count, seed)])
    if statistic == "share":
        low, high = wilson(value, len(sample.values))
    elif sample.count < 2:
        low, high = np.nan, np.nan
    else:
        low, high = np.percentile(draws, [_LOW, _HIGH])
    return Estimate(value, float(low), float(high), draws)


def decides(method: Estimate, random: Estimate, count: int, higher_is_better: bool) -> bool:
    """Return whether the random control is significantly worse than the method.

    Args:
        method, random: the estimates for the method and the control, from the same images and seed.
        count: the number of images.
        higher_is_better: whether a higher value is better.
    """
    gain = (method.draws - random.draws) * (1 if higher_is_better else -1)
    return count >= FEWEST_IMAGES_TO_DECIDE and bool(np.percentile(gain, _LOW) > 0)


def wilson(share: float, n: int) -> tuple[float, float]:
    """Compute Wilson's 95 % interval for a share of n pairs, or NaN if n is 0."""
    if n == 0:
        return np.nan, np.nan
    center = share + _Z**2 / (2 * n)
    half = _Z * np.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    scale = 1 + _Z**2 / n
    return float((center - half) / scale), float((center + half) / scale)


def _blocks(count: int, seed: int) -> Iterator[np.ndarray]:
    """Yield bootstrap weights in float64 blocks of shape (draws, count).

    A weight is the number of times that an image occurs in a draw.
    """
    counts = _draw_counts(count, seed)
    size = _rows_per_block(count)
    return (counts[start : start + size].astype(np.float64) for start in range(0, DRAWS, size))


@lru_cache(maxsize=1)  # all methods and measures share the draws
def _draw_counts(count: int, seed: int) -> np.ndarray:
    rng, size = np.random.default_rng(seed), _rows_per_block(count)
    found = np.empty((DRAWS, count), np.uint8)
    for start in range(0, DRAWS, size):
        rows = found[start : start + size]
        rows[:] = rng.multinomial(count, np.full(count, 1 / count), len(rows))
    return found


def _rows_per_block(count: int) -> int:
    return max(1, _BLOCK // max(1, count))


def _means(weights: np.ndarray, sample: Sample, groups: np.ndarray) -> np.ndarray:
    """For each row of weights, compute each group's weighted mean and average these means."""
    total, present = np.zeros(len(weights)), np.zeros(len(weights))
    for group in range(int(groups.max(initial=-1)) + 1):
        rows = groups == group
        images, values = sample.images[rows], sample.values[rows]
        sums = weights @ np.bincount(images, values, sample.count)
        counts = weights @ np.bincount(images, minlength=sample.count)
        is_drawn = counts > 0
        total += np.divide(sums, counts, out=np.zeros_like(sums), where=is_drawn)
        present += is_drawn
    return np.divide(total, present, out=np.full_like(total, np.nan), where=present > 0)
