"""The contact sheet, checked pixel by pixel."""

from __future__ import annotations

import time

import numpy as np
import pytest

from tfviz.errors import ImageError, OptionError
from tfviz.render import contact_sheet, overlay

RED = (255, 0, 0)
MAPS = np.ones((1, 3, 3))


def red(height, width):
    return np.full((height, width, 3), RED, np.uint8)


def box_of(sheet, color):
    """Return (top, left, bottom, right) of the pixels of a color."""
    mask = (sheet == np.array(color)).all(2)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return rows[0], columns[0], rows[-1] + 1, columns[-1] + 1


def has_ink(part):
    return bool((part < 128).any())


@pytest.mark.parametrize("row_height", [64, 144])
@pytest.mark.parametrize(("height", "width"), [(40, 60), (60, 40), (100, 100), (1000, 1500)])
def test_images_have_the_row_height_and_keep_their_aspect_ratio(height, width, row_height):
    sheet = contact_sheet([red(height, width)], {"grad_cam": MAPS}, row_height=row_height)
    top, left, bottom, right = box_of(sheet, RED)
    assert bottom - top == row_height
    assert right - left == round(row_height * width / height)


def test_a_panorama_is_drawn_less_high():
    top, left, bottom, right = box_of(contact_sheet([red(50, 500)], {"grad_cam": MAPS}), RED)
    assert (right - left) / (bottom - top) == pytest.approx(10, rel=0.05)


def test_a_row_is_an_image_and_a_column_a_method():
    pictures = np.stack([red(30, 30), red(30, 30) // 2])
    sheet = contact_sheet(pictures, {"grad_cam": MAPS.repeat(2, 0), "deconvnet": -np.ones((2, 3, 3, 3))})
    first, second = box_of(sheet, RED), box_of(sheet, (127, 0, 0))
    heat = box_of(sheet, overlay(pictures[:1], MAPS, underlay="gray")[0, 0, 0])
    below = box_of(sheet, overlay(pictures[1:], MAPS, underlay="gray")[0, 0, 0])
    assert first[1] == second[1] and second[0] > first[2]
    assert heat[0::2] == first[0::2] and heat[1] > first[3]
    assert below[0::2] == second[0::2] and below[1::2] == heat[1::2]
    gray = (sheet == 1).all(2)  # −1 everywhere, to the right of the heat map
    assert gray[first[0] : first[2], heat[3] :].sum() == gray[second[0] : second[2], heat[3] :].sum() == 144 * 144


def test_titles_are_above_the_columns_of_maps_only():
    sheet = contact_sheet([red(30, 30)], {"grad_cam": MAPS})
    top, _, _, right = box_of(sheet, RED)
    assert not has_ink(sheet[:top, :right])
    assert has_ink(sheet[:top, right:])


def test_a_caption_is_closer_to_its_own_image_than_to_the_next():
    pair = [red(30, 30), red(30, 30) // 2]
    sheet = contact_sheet(pair, {"grad_cam": MAPS.repeat(2, 0)}, captions=["tabby cat 0.83", None])
    _, left, bottom, right = box_of(sheet, RED)
    below = box_of(sheet, (127, 0, 0))[0]
    inked = np.flatnonzero((sheet[bottom:below, left:right] < 128).any((1, 2)))
    assert inked.size and inked[0] < below - bottom - inked[-1]
    assert not has_ink(sheet[bottom:below, right:])


def test_captions_may_use_any_script_and_are_shortened():
    captions = ["Käfig", "Ελλάδα", "кошка", "$x^2$", "猫 \U000f0000", "long " * 200, "x" * 500]
    sheets = [contact_sheet([red(30, 30)], {"grad_cam": MAPS}, captions=[caption]) for caption in captions]
    drawn = [sheet.tobytes() for sheet in sheets]
    assert len(set(drawn)) == len(captions)
    plain = contact_sheet([red(30, 30)], {"grad_cam": MAPS})
    assert all(sheet.shape[1] == plain.shape[1] and sheet.shape[0] <= plain.shape[0] + 60 for sheet in sheets)


def test_alpha_and_styles_change_the_picture():
    maps = np.random.default_rng(0).random((1, 5, 5))
    sheets = [
        contact_sheet([red(30, 30)], {"x": maps}, **options).tobytes()
        for options in ({}, {"alpha": 0.2}, {"styles": {"x": "signed"}}, {"styles": {"x": "grey"}})
    ]
    assert len(set(sheets)) == 4


def test_underlay_scale_scores_and_color_map_change_the_picture():
    maps = {"a": np.random.default_rng(0).random((1, 5, 5)), "b": np.full((1, 1, 1), 0.3)}
    options = ({}, {"underlay": "color"}, {"scale": "image"}, {"scores": {"b": [0.5]}}, {"cmap": "viridis"})
    assert len({contact_sheet([red(30, 30)], {"x": maps}, **one).tobytes() for one in options}) == 5


def test_the_legend_has_a_line_per_style():
    one = contact_sheet([red(30, 30)], {"a": MAPS, "b": MAPS})
    two = contact_sheet([red(30, 30)], {"a": MAPS, "b": -MAPS})
    assert two.shape[0] > one.shape[0] and two.shape[1] == one.shape[1]


def test_thirty_images_and_eleven_methods_take_less_than_ten_seconds():
    pictures = np.random.default_rng(0).integers(0, 256, (30, 224, 224, 3), np.uint8)
    maps = {f"method_{index}": np.random.default_rng(index).random((30, 14, 14)) for index in range(11)}
    start = time.perf_counter()
    sheet = contact_sheet(pictures, maps, captions=["tabby cat 0.83"] * 30)
    assert time.perf_counter() - start < 10
    assert sheet.dtype == np.uint8 and sheet.flags.c_contiguous


def test_a_sheet_may_be_longer_than_a_matplotlib_figure():
    count = 450
    sheet = contact_sheet([red(4, 4)] * count, {"a": np.ones((count, 1, 1))})
    assert sheet.shape[0] > 2**16


def test_invalid_arguments_are_an_error():
    with pytest.raises(OptionError, match=r"`row_height` must be at least 16 pixels\. Received: 3\."):
        contact_sheet([red(4, 4)], {"a": MAPS}, row_height=3)
    with pytest.raises(ImageError, match=r"Received: 0 maps for 1 images\."):
        contact_sheet([red(4, 4)], {"a": []})
