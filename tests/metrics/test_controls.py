"""The control maps, the order of pixels, and the reduction of attributions to maps."""

from __future__ import annotations

import numpy as np
import pytest

from tfviz.errors import OptionError
from tfviz.metrics.controls import CONTROLS, center, constant, edges, random
from tfviz.metrics.mass_in_region import area
from tfviz.metrics.pixel_maps import pixel_map, pixel_maps
from tfviz.metrics.pixel_order import descending, tie_permutation

SIZE = (12, 20)
IMAGE = np.random.default_rng(0).random((*SIZE, 3), np.float32)
PERMUTATION = tie_permutation(SIZE, 0)


def test_the_random_control_has_the_order_of_a_blank_map() -> None:
    for blank in (constant(IMAGE, PERMUTATION), pixel_map(np.full(SIZE, np.nan))):
        assert blank.is_blank
        assert np.array_equal(descending(blank, SIZE, PERMUTATION), PERMUTATION)
    control = random(IMAGE, PERMUTATION)
    assert not control.is_blank
    assert np.array_equal(descending(control, SIZE, PERMUTATION), PERMUTATION)


def test_the_permutation_is_seeded() -> None:
    assert sorted(PERMUTATION) == list(range(240))
    assert np.array_equal(PERMUTATION, tie_permutation(SIZE, 0))
    assert not np.array_equal(PERMUTATION, tie_permutation(SIZE, 1))


def test_the_center_is_an_isotropic_gaussian_of_a_quarter_of_the_height() -> None:
    values = center(IMAGE, PERMUTATION).values
    assert np.allclose(values, values[::-1, ::-1])
    y, x = np.mgrid[:12, :20]
    want = np.exp(-((y - 5.5) ** 2 + (x - 9.5) ** 2) / (2 * 3**2))
    np.testing.assert_allclose(values, want, rtol=1e-5)


def test_edges_are_where_the_image_changes() -> None:
    image = np.zeros((*SIZE, 3), np.float32)
    image[:, 10:] = [0, 3, 0]
    values = edges(image, PERMUTATION).values
    assert set(np.unique(np.nonzero(values)[1])) == {9, 10}
    assert edges(np.ones_like(image), PERMUTATION).is_blank


@pytest.mark.parametrize("name", CONTROLS)
def test_controls_are_maps_of_the_image(name: str) -> None:
    assert CONTROLS[name](IMAGE, PERMUTATION).values.shape == SIZE


def test_the_area_is_not_blank() -> None:
    assert not area(IMAGE, PERMUTATION).is_blank


@pytest.mark.parametrize(
    ("values", "is_blank"),
    [([[1, 1]], True), ([[0, 0]], True), ([[1, np.nan]], True), ([[1, -np.inf]], True), ([[1, 2]], False), ([[0, -1]], False)],
)
def test_blank_maps_rank_nothing(values: list[list[float]], is_blank: bool) -> None:
    assert pixel_map(values).is_blank == is_blank


def test_channels_are_reduced() -> None:
    attributions = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    for name, want in {"sum": attributions.sum(-1), "abs_max": abs(attributions).max(-1)}.items():
        np.testing.assert_allclose([one.values for one in pixel_maps(attributions, name)], want)
    assert np.array_equal(pixel_maps(attributions[..., 0])[1].values, attributions[1, ..., 0])


def test_a_small_constant_map_stays_blank_when_it_is_resized() -> None:
    assert pixel_maps(np.full((1, 3, 3), 0.1))[0].is_blank


@pytest.mark.parametrize("shape", [(2, 7), (2, 3, 4, 5, 6)])
def test_other_attributions_are_reported(shape: tuple[int, ...]) -> None:
    with pytest.raises(OptionError, match="Explain a layer that outputs a feature map"):
        pixel_maps(np.zeros(shape))


def test_an_unknown_reduction_is_reported() -> None:
    with pytest.raises(OptionError, match="reduce='mean'"):
        pixel_maps(np.zeros((1, 2, 2, 3)), "mean")
