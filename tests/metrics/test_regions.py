"""Regions: boxes and masks become the pixels that they cover."""

from __future__ import annotations

import numpy as np
import pytest

from tfviz.errors import OptionError
from tfviz.metrics.regions import Regions

SIZE = (6, 10)


def test_a_box_covers_the_columns_and_rows_before_its_end() -> None:
    mask = Regions({0: [[2, 1, 5, 4]]}, SIZE).mask(0)
    assert mask.shape == SIZE
    assert np.argwhere(mask).min(0).tolist() == [1, 2]
    assert np.argwhere(mask).max(0).tolist() == [3, 4]


def test_the_region_of_a_class_is_the_union_of_its_boxes() -> None:
    assert Regions({0: [[0, 0, 3, 3], [1, 1, 4, 4]]}, SIZE).mask(0).sum() == 14


def test_a_box_with_fractions_covers_every_pixel_that_it_touches() -> None:
    assert Regions({0: [[1.2, 0.5, 1.4, 2.1]]}, SIZE).mask(0).sum() == 3


def test_rounding_may_take_a_box_over_the_edge() -> None:
    assert Regions({0: [[-0.4, 0, 10.6, 6]]}, SIZE).mask(0).all()


def test_a_mask_is_the_region() -> None:
    mask = np.eye(6, 10) > 0
    assert np.array_equal(Regions({7: mask}, SIZE).mask(7), mask)


def test_an_integer_array_holds_boxes() -> None:
    assert Regions({0: np.array([[0, 0, 2, 2]])}, SIZE).mask(0).sum() == 4


@pytest.mark.parametrize(
    ("classes", "size", "message"),
    [
        ({3: []}, SIZE, "Class 3 has no boxes"),
        ({3: [[8, 1, 12, 4]]}, SIZE, "class 3 extends beyond the 10x6 image"),
        ({3: [[20, 1, 30, 4]]}, SIZE, "extends beyond the 10x6 image"),
        ({3: [[-5, 1, 3, 4]]}, SIZE, "extends beyond the 10x6 image"),
        ({3: [[0, 0, float("nan"), 4]]}, SIZE, "extends beyond the 10x6 image"),
        ({3: [[4, 1, 4, 4]]}, SIZE, "covers no pixel"),
        ({3: [[5, 1, 3, 4]]}, SIZE, "x0 < x1"),
        ({3: [[1, 2, 3]]}, SIZE, "four numbers"),
        ({3: ["none"]}, SIZE, "four numbers"),
        ({3: np.ones((10, 6), bool)}, SIZE, "of the original image"),
        ({3: np.zeros(SIZE, bool)}, SIZE, "covers no pixel"),
        ({}, (0, 4), r"\(height, width\)"),
        ({}, (4,), r"\(height, width\)"),
    ],
)
def test_invalid_regions_are_reported(classes, size, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Regions(classes, size)


def test_a_class_without_a_region_is_reported() -> None:
    with pytest.raises(OptionError, match=r"Class 1 has no region in this image\. Choose a class with regions: 3"):
        Regions({3: [[0, 0, 1, 1]]}, SIZE).mask(1)


def test_a_crop_keeps_what_is_visible() -> None:
    cropped = Regions({0: [[0, 0, 4, 6]], 1: [[8, 0, 10, 6]]}, SIZE).cropped(1, 2, 6, 7)
    assert (cropped.size, list(cropped.classes)) == ((5, 5), [0])
    assert cropped.mask(0)[:, :2].all()
    assert cropped.mask(0).sum() == 10
