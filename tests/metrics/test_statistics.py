"""Means, intervals, and whether a metric decides."""

from __future__ import annotations

import numpy as np
import pytest

from tfviz.metrics import statistics
from tfviz.metrics.statistics import Estimate, Sample, decides, estimate, wilson


def sample(values: list[float], classes: list[int] | None = None, images: list[int] | None = None) -> Sample:
    numbers = list(range(len(values))) if images is None else images
    kinds = np.zeros(len(values), int) if classes is None else np.array(classes)
    return Sample(np.array(values, float), np.array(numbers), kinds, max(numbers, default=-1) + 1)


def test_the_mean_and_its_interval() -> None:
    values = np.random.default_rng(0).normal(3, 1, 200)
    found = estimate(sample(list(values)), "mean", 0)
    half = 1.96 * values.std() / np.sqrt(200)
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.03)
    assert len(found.draws) == statistics.DRAWS


def test_the_mean_over_classes_weighs_classes_equally() -> None:
    some = sample([1, 1, 1, 0], [5, 5, 5, 2])
    assert estimate(some, "class_mean", 0).value == 0.5
    assert estimate(some, "mean", 0).value == 0.75


def test_all_scores_of_an_image_are_drawn_together() -> None:
    """Two images with opposite scores: drawn one by one, the interval would be much narrower."""
    values, images = [1.0] * 50 + [0.0] * 50, [0] * 50 + [1] * 50
    found = estimate(sample(values, images=images), "mean", 0)
    assert (found.low, found.high) == (0, 1)


def test_a_class_that_is_not_drawn_does_not_count() -> None:
    found = estimate(sample([1, 1, 1, 1, 1, 0], [0, 0, 0, 0, 0, 1]), "class_mean", 0)
    assert set(np.round(found.draws, 6)) <= {0.0, 0.5, 1.0}


def test_the_bootstrap_is_seeded() -> None:
    some = sample(list(np.random.default_rng(0).normal(size=20)))
    assert np.array_equal(estimate(some, "mean", 3).draws, estimate(some, "mean", 3).draws)
    assert not np.array_equal(estimate(some, "mean", 3).draws, estimate(some, "mean", 4).draws)


def test_large_samples_are_drawn_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    some = sample(list(np.random.default_rng(0).normal(size=30)))
    statistics._draw_counts.cache_clear()
    monkeypatch.setattr(statistics, "_BLOCK", 30 * 7)
    found = estimate(some, "mean", 0)
    statistics._draw_counts.cache_clear()
    assert len(found.draws) == statistics.DRAWS
    assert found.draws.std() == pytest.approx(some.values.std() / np.sqrt(30), rel=0.1)


@pytest.mark.parametrize(("share", "n", "low", "high"), [(0.5, 10, 0.2366, 0.7634), (1.0, 24, 0.8620, 1.0), (0, 10, 0, 0.2775)])
def test_wilsons_interval(share: float, n: int, low: float, high: float) -> None:
    assert wilson(share, n) == pytest.approx((low, high), abs=1e-4)


def test_a_share_has_wilsons_interval() -> None:
    found = estimate(sample([1.0] * 5 + [0.0] * 5), "share", 0)
    assert (found.low, found.high) == pytest.approx(wilson(0.5, 10))


def test_one_image_has_no_interval() -> None:
    found = estimate(sample([2.0]), "mean", 0)
    assert found.value == 2
    assert np.isnan(found.low)
    assert np.isnan(found.high)


def draws(values: list[float]) -> Estimate:
    return estimate(sample(values), "mean", 0)


@pytest.mark.parametrize("count", [5, 6, 30])
def test_a_metric_decides_if_random_is_significantly_worse(count: int) -> None:
    random = list(np.random.default_rng(0).normal(0, 1, count))
    better = [value + 1 + i / 100 for i, value in enumerate(random)]
    is_enough = count >= statistics.FEWEST_IMAGES_TO_DECIDE
    assert decides(draws(better), draws(random), count, True) == is_enough
    assert decides(draws(random), draws(better), count, False) == is_enough
    assert not decides(draws(random), draws(better), count, True)
    assert not decides(draws(random), draws(random), count, True)


def test_differences_are_paired() -> None:
    """The images differ more than the methods, but one method is better on each."""
    random = list(np.arange(20.0) * 10)
    assert decides(draws([value + 0.5 for value in random]), draws(random), 20, True)


def test_nan_decides_nothing() -> None:
    assert not decides(draws([np.nan] * 10), draws([0.0] * 10), 10, True)
