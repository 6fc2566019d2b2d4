"""Overlays, compared with colors and blends computed in the tests."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from matplotlib import colormaps

from tfviz.errors import ImageError, OptionError
from tfviz.images.preprocessing import named
from tfviz.render import overlay

GRAYS = np.full((1, 8, 8, 3), 100, np.uint8)
RAMP = np.linspace(0, 1, 64).reshape(1, 8, 8)


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3), np.uint8)


def inferno(position):
    return np.asarray(colormaps["inferno"](position, bytes=True))[..., :3]


def diverging(value):
    return colormaps["berlin"](np.rint((value + 1) / 2 * 255).astype(int), bytes=True)[..., :3]


def test_a_positive_map_at_full_strength_has_the_colors_of_the_color_map(picture):
    expected = inferno(np.rint(RAMP * 255).astype(int))
    np.testing.assert_array_equal(overlay(picture, RAMP, alpha=1), expected)


def test_a_signed_map_is_centered_on_zero(picture):
    signed = np.random.default_rng(5).uniform(-0.25, 0.5, (1, 8, 8))
    np.testing.assert_array_equal(overlay(picture, signed, alpha=1), diverging(signed / np.abs(signed).max()))
    zero = overlay(picture, np.array([[[-3.0, 0.0]]]).repeat(4, 2), style="signed", alpha=1)[0, 0, -1]
    assert zero.max() < 40  # the middle of the color map is nearly black


@pytest.mark.parametrize("alpha", [0, 0.25, 0.5, 0.8, 1])
@pytest.mark.parametrize("style", ["heatmap", "signed"])
def test_alpha_blends_linearly(picture, style, alpha):
    colors = overlay(picture, RAMP, style=style, alpha=1).astype(float)
    expected = (1 - alpha) * picture + alpha * colors
    np.testing.assert_allclose(overlay(picture, RAMP, style=style, alpha=alpha), expected, atol=0.51)


def test_the_default_alpha_is_a_half(picture):
    np.testing.assert_array_equal(overlay(picture, RAMP), overlay(picture, RAMP, alpha=0.5))


def test_each_map_is_scaled_on_its_own():
    pair = overlay(np.repeat(GRAYS, 2, 0), np.concatenate([RAMP, RAMP * 1000]))
    np.testing.assert_array_equal(pair[0], pair[1])


def test_a_heatmap_starts_at_zero_rather_than_the_smallest_value():
    halves = overlay(GRAYS, np.array([[[0.5, 1.0]]]).repeat(4, 2).repeat(8, 1), alpha=1)
    np.testing.assert_array_equal(halves[0, :, 0], np.tile(inferno(128), (8, 1)))


def test_a_heatmap_takes_magnitudes_and_a_signed_map_sums_over_channels():
    channels = np.random.default_rng(1).normal(size=(1, 8, 8, 3))
    strongest = np.abs(channels).max(3)
    total = channels.sum(3)
    heat = inferno(np.rint(strongest / strongest.max() * 255).astype(int))
    np.testing.assert_array_equal(overlay(GRAYS, channels, style="heatmap", alpha=1), heat)
    blue_red = overlay(GRAYS, channels, style="signed", alpha=1).astype(int)
    # Rounding may select a neighboring color.
    assert np.abs(blue_red - diverging(total / np.abs(total).max())).max() <= 8
    np.testing.assert_array_equal(overlay(GRAYS, -RAMP, style="heatmap"), overlay(GRAYS, RAMP))


def test_grey_draws_channels_as_rgb_instead_of_the_image(picture):
    values = np.random.default_rng(2).normal(size=(1, 8, 8, 3))
    values[0, 0, 0] = 0
    limit = np.percentile(np.abs(values[values != 0]), 99, method="higher")
    expected = np.rint(128 + 127 * np.clip(values / limit, -1, 1))
    np.testing.assert_allclose(overlay(picture, values), expected, atol=1)
    assert (overlay(picture, values)[0, 0, 0] == 128).all()
    np.testing.assert_array_equal(overlay(picture, values), overlay(GRAYS, values, alpha=0.1))


def test_a_few_extreme_pixels_do_not_flatten_a_gray_map():
    values = np.random.default_rng(3).normal(size=(1, 64, 64, 3))
    pictures = np.zeros((1, 64, 64, 3), np.uint8)
    plain = overlay(pictures, values).astype(int)
    values[0, 5, 5] = 1e6
    assert np.abs(np.delete((overlay(pictures, values) - plain).reshape(-1, 3), 5 * 64 + 5, axis=0)).max() <= 3


def test_a_sparse_gray_map_is_visible():
    values = np.zeros((1, 64, 64, 3))
    values[0, 3, 3] = [1, -1, 1]
    drawn = overlay(np.zeros((1, 64, 64, 3), np.uint8), values)
    assert drawn[0, 3, 3].tolist() == [255, 1, 255]
    assert (drawn != 128).sum() == 3


@pytest.mark.parametrize("channels", [1, 5])
def test_maps_without_three_channels_are_drawn_without_color(channels):
    drawn = overlay(GRAYS, np.random.default_rng(4).normal(size=(1, 8, 8, channels)))
    assert drawn.shape == (1, 8, 8, 3)
    assert (drawn == drawn[..., :1]).all() and drawn.std() > 0


def test_the_maps_determine_the_default_style(picture):
    positive, signed = RAMP, RAMP - 0.5
    channels = np.repeat(signed[..., None], 3, 3)
    for maps, style in [(positive, "heatmap"), (signed, "signed"), (channels, "grey")]:
        np.testing.assert_array_equal(overlay(picture, maps), overlay(picture, maps, style=style))
    drawn = [overlay(picture, channels, style=style).tobytes() for style in ("heatmap", "signed", "grey")]
    assert len(set(drawn)) == 3


def test_one_negative_map_makes_the_batch_signed():
    pictures, maps = np.repeat(GRAYS, 2, 0), np.concatenate([RAMP, RAMP - 0.5])
    np.testing.assert_array_equal(overlay(pictures, maps), overlay(pictures, maps, style="signed"))


def test_an_enlarged_map_is_smooth_and_stays_in_its_range():
    small = np.zeros((1, 4, 6))
    small[0, 1, 4] = 1
    drawn = overlay(np.zeros((1, 80, 120, 3), np.uint8), small, alpha=1).astype(int).sum(3)[0]
    top, left = np.unravel_index(drawn.argmax(), drawn.shape)
    assert 20 <= top < 40 and 80 <= left < 100  # the cell of the one value
    dark = inferno(0).astype(int).sum()
    assert drawn.min() == dark  # Cubic interpolation undershoots, the drawn map does not.
    assert np.abs(np.diff(drawn, axis=0)).max() < 120


def test_a_reduced_map_is_averaged():
    stripes = np.tile([0.0, 1.0], (16, 8))[None]  # (1, 16, 16)
    drawn = overlay(GRAYS, stripes, alpha=1)
    np.testing.assert_array_equal(drawn, np.broadcast_to(inferno(128), drawn.shape))


@pytest.mark.parametrize("style", ["heatmap", "signed", "grey"])
@pytest.mark.parametrize("value", [0.0, 1.0, -1.0, 1e-38, 1e-45, 5e-324, 1e38, 1.7e308, -1.7e308])
@pytest.mark.parametrize("shape", [(1, 7, 5), (1, 1, 1), (1, 7, 5, 3), (1, 1, 1, 3), (1, 7, 5, 1)])
def test_constant_tiny_and_huge_maps_can_be_drawn(style, value, shape):
    drawn = overlay(GRAYS, np.full(shape, value), style=style)
    assert drawn.dtype == np.uint8 and drawn.shape == GRAYS.shape
    np.testing.assert_array_equal(drawn, np.broadcast_to(drawn[0, 0, 0], drawn.shape))
    unit = overlay(GRAYS, np.full(shape, np.sign(value)), style=style)
    np.testing.assert_array_equal(drawn, unit)


def test_values_of_very_different_magnitudes_can_be_drawn():
    values = np.full((1, 20, 20, 3), 5e-324)
    values[0, 0, 0] = [1.7e308, -1.7e308, 1.0]
    for style in ("heatmap", "signed", "grey"):
        overlay(GRAYS, values, style=style)


def test_a_zero_map_has_the_color_of_zero():
    zeros = np.zeros((1, 7, 7))
    assert (overlay(GRAYS, zeros, style="heatmap", alpha=1) == inferno(0)).all()
    assert (overlay(GRAYS, zeros[..., None], style="grey") == 128).all()
    assert overlay(GRAYS, zeros, style="signed", alpha=1).max() < 40


def test_floats_in_zero_to_one_are_drawn_unchanged_and_others_are_stretched():
    dim = np.linspace(0.2, 0.6, 192).reshape(1, 8, 8, 3)
    np.testing.assert_array_equal(overlay(dim, RAMP, alpha=0), np.rint(dim * 255))
    preprocessed = dim * 300 - 123
    expected = np.linspace(0, 255, 192).reshape(1, 8, 8, 3)
    with pytest.warns(
        UserWarning, match=r"values from -63 to 57, .* Pass the array that tfviz\.load_images returned.*RGB images"
    ):
        drawn = overlay(preprocessed.astype(np.float32), RAMP, alpha=0)
    np.testing.assert_allclose(drawn, expected, atol=0.51)
    overlay(np.full((1, 8, 8, 3), 7.0), RAMP)
    with pytest.warns(UserWarning, match="true colors are unknown"):
        overlay(np.linspace(-1, 1, 192).reshape(1, 8, 8, 3) * 1.7e308, RAMP)


def test_a_batch_of_unknown_colors_warns_once():
    with pytest.warns(UserWarning, match="true colors") as caught:
        overlay(np.full((3, 8, 8, 3), -7.0) + np.arange(3), np.repeat(RAMP, 3, 0))
    assert len(caught) == 1


def test_floats_in_0_to_255_are_drawn_unchanged_on_one_scale_per_batch():
    pictures = np.stack([np.full((8, 8, 3), 0.9), np.full((8, 8, 3), 30.0), np.full((8, 8, 3), 200.0)])
    assert overlay(pictures, np.repeat(RAMP, 3, 0), alpha=0)[:, 0, 0, 0].tolist() == [1, 30, 200]


@pytest.mark.parametrize("mode", ["tf", "torch", "caffe", "unit", "none"])
def test_preprocessing_is_undone_before_drawing(picture, mode):
    tensors = np.stack([named(mode).tensor(one) for one in picture])
    np.testing.assert_allclose(overlay(tensors, RAMP, alpha=0, preprocessing=mode), picture, atol=1)
    np.testing.assert_array_equal(overlay(picture, RAMP, alpha=0, preprocessing=mode), picture)


def test_preprocessing_of_gray_images_is_undone_and_a_wrong_one_is_an_error(picture):
    gray = picture[..., :1]
    np.testing.assert_allclose(overlay(gray / 127.5 - 1, RAMP, alpha=0, preprocessing="tf"), gray.repeat(3, 3), atol=1)
    with pytest.raises(ImageError, match=r"from 127\.5 to .* were not preprocessed this way"):
        overlay(picture.astype(float), RAMP, preprocessing="tf")
    with pytest.raises(ImageError, match="`preprocessing` produces 3 channels, but the images have 1"):
        overlay(gray / 127.5 - 1, RAMP, preprocessing=named("tf"))
    with pytest.raises(OptionError, match="Unknown preprocessing 'caffee'"):
        overlay(picture.astype(float), RAMP, preprocessing="caffee")


def test_over_a_gray_image_peaks_have_full_color_and_zeros_leave_it_visible():
    green = np.zeros((1, 8, 8, 3), np.uint8)
    green[..., 1] = 200
    drawn = overlay(green, RAMP, underlay="gray").astype(int)
    gray = 117  # the luminance of that green
    np.testing.assert_allclose(drawn[0, -1, -1], 0.5**0.3 * np.array([252, 255, 164]) + (1 - 0.5**0.3) * gray, atol=1.5)
    np.testing.assert_allclose(drawn[0, 0, 0], (1 - 0.5**1.4) * gray, atol=1.5)
    np.testing.assert_array_equal(overlay(green, RAMP, underlay="gray", alpha=1), overlay(green, RAMP, alpha=1))
    assert (overlay(green, RAMP, underlay="gray", alpha=0) == gray).all()
    with pytest.raises(OptionError, match="Unknown underlay 'grey'"):
        overlay(green, RAMP, underlay="grey")


def test_gray_images_become_rgb(picture):
    gray = picture[..., :1]
    np.testing.assert_array_equal(overlay(gray, RAMP), overlay(np.repeat(gray, 3, 3), RAMP))


@pytest.mark.parametrize("maps", [RAMP[0], RAMP, RAMP[0, ..., None], RAMP[..., None]])
def test_a_single_image_gives_a_single_picture(picture, maps):
    drawn = overlay(picture[0], maps)
    assert drawn.shape == (8, 8, 3)
    batch = maps if maps.ndim == 4 or maps.shape[0] == 1 else maps[None]
    np.testing.assert_array_equal(drawn, overlay(picture, batch)[0])


def test_images_of_different_sizes_are_a_list(picture):
    wide = np.zeros((5, 30, 3), np.uint8)
    drawn = overlay([picture[0], wide], np.concatenate([RAMP, RAMP]))
    assert [one.shape for one in drawn] == [(8, 8, 3), (5, 30, 3)]
    np.testing.assert_array_equal(drawn[0], overlay(picture, RAMP)[0])
    np.testing.assert_array_equal(overlay([wide], [RAMP[0]])[0], drawn[1])


def test_the_inputs_are_unchanged(picture):
    before, maps = picture.copy(), RAMP.copy()
    overlay(picture, maps, style="grey")[:] = 0
    overlay(picture, maps)[:] = 0
    np.testing.assert_array_equal(picture, before)
    np.testing.assert_array_equal(maps, RAMP)


def test_half_precision_and_integer_maps_can_be_drawn():
    steps = np.arange(64).reshape(1, 8, 8)
    np.testing.assert_array_equal(overlay(GRAYS, steps), overlay(GRAYS, steps.astype(np.float16)))


@pytest.mark.parametrize(
    ("images", "maps", "message"),
    [
        (GRAYS, RAMP.repeat(2, 0), "Received: 2 maps for 1 images"),
        (GRAYS[0], RAMP.repeat(5, 0), "Received: 5 maps for 1 images"),
        (GRAYS, np.zeros((1, 10)), "such as a Dense layer"),
        (GRAYS, np.zeros((1, 0, 4)), "shape \\(0, 4\\)"),
        (GRAYS, np.array([[[1.0, np.nan], [np.inf, 1.0]]]), r"NaN or infinite values \(2 of 4\)"),
        (GRAYS, "map", r"array of numbers\. Received: str \("),
        (GRAYS[..., :2], RAMP, "\\(8, 8, 2\\)"),
        (GRAYS[0, 0], RAMP, "Received: shape \\(8, 3\\)"),
        (np.full((1, 8, 8, 3), np.nan), RAMP, "The image contains NaN"),
        (GRAYS[:0], RAMP[:0], "at least one image"),
        ([], [], "at least one image"),
    ],
)
def test_images_or_maps_that_cannot_be_drawn_are_an_error(images, maps, message):
    with pytest.raises(ImageError, match=message):
        overlay(images, maps)


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_an_alpha_out_of_range_is_an_error(alpha):
    with pytest.raises(OptionError, match=r"`alpha` must be between 0 \(image only\) and 1 \(colors only\)\. Received: "):
        overlay(GRAYS, RAMP, alpha=alpha)


def test_an_unknown_style_suggests_similar_names():
    with pytest.raises(OptionError, match="Did you mean 'heatmap'"):
        overlay(GRAYS, RAMP, style="heat_map")


def test_drawing_needs_no_tensorflow():
    code = "import sys, tfviz.render; sys.exit('tensorflow' in sys.modules or 'matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
