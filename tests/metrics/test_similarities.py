"""The similarities of maps against golden arrays, slow references and scikit-image."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from support.golden import GOLDEN

from tfviz.errors import ImageError
from tfviz.metrics.histogram_entropy import histogram_entropy
from tfviz.metrics.oriented_gradients import hog, hog_cells
from tfviz.metrics.similarities import SIMILARITIES, blank, pearson, similarity
from tfviz.metrics.structural_similarity import ssim

TOLERANCE, ENTROPY_TOLERANCE = 1e-4, 1e-2


def arrays_of(shared: Path, name: str) -> dict[str, np.ndarray]:
    return dict(np.load(shared / "golden" / f"{name}.metrics.npz"))


def unit(maps: np.ndarray) -> np.ndarray:
    low, high = maps.min(axis=(1, 2), keepdims=True), maps.max(axis=(1, 2), keepdims=True)
    return (maps - low) / (high - low)


@pytest.mark.parametrize("name", GOLDEN)
def test_every_golden_similarity_is_reproduced(name: str, shared: Path) -> None:
    arrays = arrays_of(shared, name)
    keys = [key.split("/") for key in arrays if key.startswith("similarity/") and key.count("/") == 2]
    assert {key[1] for key in keys} == set(SIMILARITIES)
    for _, measure, other in keys:
        got = similarity(measure, arrays["map/saliency"], arrays[f"map/{other}"])
        want = arrays[f"similarity/{measure}/{other}"]
        np.testing.assert_allclose(got, want, rtol=0, atol=TOLERANCE, err_msg=f"{measure} {other}")


@pytest.mark.parametrize("name", GOLDEN)
def test_the_golden_hog_is_reproduced(name: str, shared: Path) -> None:
    arrays = arrays_of(shared, name)
    maps = unit(arrays["map/saliency"].astype(np.float64))
    np.testing.assert_allclose(hog_cells(maps), arrays["hog_cells/saliency"], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(hog(maps), arrays["hog/saliency"], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", GOLDEN)
def test_the_golden_entropy_is_reproduced(name: str, shared: Path) -> None:
    arrays = arrays_of(shared, name)
    keys = [key for key in arrays if key.startswith("entropy/")]
    assert len(keys) >= 3
    for key in keys:
        got = histogram_entropy(arrays[key.replace("entropy", "map")])
        np.testing.assert_allclose(got, arrays[key], rtol=0, atol=ENTROPY_TOLERANCE, err_msg=key)


@pytest.mark.parametrize("name", GOLDEN)
def test_the_golden_blank_maps_are_found(name: str, shared: Path) -> None:
    arrays = arrays_of(shared, name)
    for key in [key for key in arrays if key.startswith("blank/")]:
        np.testing.assert_array_equal(blank(arrays[key.replace("blank", "map")]), arrays[key] == 1, err_msg=key)


# --- slow references ------------------------------------------------------------------------------


def slow_rank(values: np.ndarray, i: int) -> float:
    return sum(v < values[i] for v in values) + (sum(v == values[i] for v in values) - 1) / 2


def slow_spearman(a: np.ndarray, b: np.ndarray) -> float:
    ranks = [[slow_rank(x, i) for i in range(len(x))] for x in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


@pytest.mark.parametrize("levels", [3, 1000])
def test_spearman_is_the_slow_one(levels: int) -> None:
    a, b = np.random.default_rng(0).integers(0, levels, (2, 4, 50)).astype(np.float32)
    b += a / 2
    np.testing.assert_allclose(
        similarity("spearman", a[:, None], b[:, None]), [slow_spearman(x, y) for x, y in zip(a, b, strict=True)], atol=1e-12
    )


def test_a_constant_row_correlates_with_nothing() -> None:
    assert pearson(np.full((1, 9), 0.1), np.arange(9.0)[None]) == 0
    assert pearson(np.zeros((2, 0)), np.zeros((2, 0))).tolist() == [0, 0]


def slow_ssim(a: np.ndarray, b: np.ndarray) -> float:
    taps = np.array([math.exp(-(i**2) / (2 * 1.5**2)) for i in range(-3, 4)])
    weights = np.outer(taps, taps) / taps.sum() ** 2
    found = []
    for r in range(a.shape[0] - 6):
        for c in range(a.shape[1] - 6):
            x, y = a[r : r + 7, c : c + 7], b[r : r + 7, c : c + 7]
            mx, my = (weights * x).sum(), (weights * y).sum()
            vx, vy, cov = ((weights * p).sum() for p in ((x - mx) ** 2, (y - my) ** 2, (x - mx) * (y - my)))
            found.append((2 * mx * my + 1e-4) * (2 * cov + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4)))
    return float(np.mean(found))


def test_ssim_is_the_slow_one() -> None:
    a, b = np.random.default_rng(0).uniform(size=(2, 3, 12, 15))
    b = (a + b) / 2
    np.testing.assert_allclose(ssim(a, b), [slow_ssim(x, y) for x, y in zip(a, b, strict=True)], atol=1e-9)
    np.testing.assert_allclose(ssim(a, a), 1, atol=1e-12)


def test_ssim_of_maps_smaller_than_its_window_is_an_error() -> None:
    with pytest.raises(ImageError, match=r"at least 7x7 pixels\. Received: 6x9\."):
        ssim(np.zeros((1, 6, 9)), np.zeros((1, 6, 9)))


def slow_hog(m: np.ndarray) -> np.ndarray:
    rows, columns = m.shape[0] // 16, m.shape[1] // 16
    cells = np.zeros((rows, columns, 9))
    for r in range(rows * 16):
        for c in range(columns * 16):
            dy = m[r + 1, c] - m[r - 1, c] if 0 < r < m.shape[0] - 1 else 0.0
            dx = m[r, c + 1] - m[r, c - 1] if 0 < c < m.shape[1] - 1 else 0.0
            angle = math.degrees(math.atan2(dy, dx)) % 180
            cells[r // 16, c // 16, int(angle // 20) % 9] += math.hypot(dy, dx) / 256
    found = []
    high, wide = min(3, rows), min(3, columns)
    for r in range(rows - high + 1):
        for c in range(columns - wide + 1):
            v = cells[r : r + high, c : c + wide].ravel()
            v = np.minimum(v / math.sqrt((v**2).sum() + 1e-10), 0.2)
            found.append(v / math.sqrt((v**2).sum() + 1e-10))
    return np.concatenate(found)


@pytest.mark.parametrize("size", [(70, 85), (33, 64), (16, 16)])
def test_hog_is_the_slow_one(size: tuple[int, int]) -> None:
    maps = np.random.default_rng(0).uniform(size=(2, *size))
    np.testing.assert_allclose(hog(maps), [slow_hog(one) for one in maps], atol=1e-9)


def test_maps_smaller_than_a_cell_have_no_hog() -> None:
    maps = np.random.default_rng(0).uniform(size=(2, 15, 40))
    assert hog(maps).shape == (2, 0)
    assert similarity("hog", maps, maps).tolist() == [0, 0]


def test_scikit_image_has_the_same_hog() -> None:
    feature = pytest.importorskip("skimage.feature")
    maps = np.random.default_rng(0).uniform(size=(2, 70, 85))
    options = {"orientations": 9, "pixels_per_cell": (16, 16), "cells_per_block": (3, 3), "block_norm": "L2-Hys"}
    np.testing.assert_allclose(hog(maps), [feature.hog(one, **options) for one in maps], atol=1e-6)


# --- laws -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("measure", SIMILARITIES)
def test_a_map_is_similar_to_itself_and_its_multiple(measure: str) -> None:
    maps = np.random.default_rng(0).normal(size=(3, 64, 64)).astype(np.float32)
    np.testing.assert_allclose(similarity(measure, maps, 3 * maps), 1, atol=1e-5)


@pytest.mark.parametrize("measure", SIMILARITIES)
@pytest.mark.parametrize("value", [np.nan, np.inf, 0.3])
def test_a_blank_map_is_similar_to_nothing(measure: str, value: float) -> None:
    maps = np.random.default_rng(0).normal(size=(2, 32, 32))
    other = maps.copy()
    other[0] = value if np.isfinite(value) else np.where(np.arange(32) == 3, value, other[0])
    got = similarity(measure, other, maps)
    assert got[0] == 0 and got[1] == pytest.approx(1)
    assert similarity(measure, maps, other)[0] == 0


def test_only_the_signed_measures_see_the_sign() -> None:
    maps = np.random.default_rng(0).normal(size=(1, 32, 32))
    values = {measure: similarity(measure, maps, -maps)[0] for measure in SIMILARITIES}
    assert values["spearman"] == pytest.approx(-1) and values["ssim"] < 0
    assert values["spearman_abs"] == pytest.approx(1) == values["ssim_abs"]


def test_the_batch_size_does_not_matter() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 5, 40, 48))
    for measure in SIMILARITIES:
        one_by_one = np.concatenate([similarity(measure, a[i : i + 1], b[i : i + 1]) for i in range(5)])
        np.testing.assert_allclose(similarity(measure, a, b), one_by_one, atol=1e-12)


def test_entropy_grows_with_the_number_of_levels() -> None:
    rows = np.arange(64.0).reshape(1, 8, 8)
    assert histogram_entropy(rows)[0] == pytest.approx(math.log(64))
    assert histogram_entropy(rows // 32)[0] == pytest.approx(math.log(2))
    assert histogram_entropy(5 * rows)[0] == pytest.approx(math.log(64))
    assert histogram_entropy(np.ones((1, 8, 8)))[0] == 0
