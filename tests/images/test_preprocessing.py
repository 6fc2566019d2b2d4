"""From image to tensor: the values of keras.applications, and the same region for both."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfviz.errors import ImageError, OptionError
from tfviz.images import find_images, read_image
from tfviz.images.preprocessing import MODES, Preprocessing, from_file, named, preprocessing_from

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TORCH: dict[str, Any] = {"formula": "(x/255 - mean)/std", "mean": MEAN, "std": STD}


def noise(height: int = 12, width: int = 16) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)


# Values


@pytest.mark.parametrize("mode", ["tf", "torch", "caffe"])
def test_the_modes_equal_those_of_keras(mode: str) -> None:
    preprocess_input = importlib.import_module("keras.applications.imagenet_utils").preprocess_input
    expected = preprocess_input(noise().astype(np.float32), data_format="channels_last", mode=mode)
    got = named(mode).tensor(noise())
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6 if mode != "caffe" else 1e-5)


def test_unit_and_none_scale_to_one_and_not_at_all() -> None:
    np.testing.assert_allclose(named("unit").tensor(noise()), noise() / np.float32(255), rtol=1e-6)
    assert np.array_equal(named("none").tensor(noise()), noise().astype(np.float32))


def test_bgr_is_reversed_rgb_and_gray_is_luminance() -> None:
    assert np.array_equal(Preprocessing(channel_order="BGR").tensor(noise()), noise()[..., ::-1].astype(np.float32))
    gray = Preprocessing(channel_order="gray").tensor(noise())
    assert gray.shape == (12, 16, 1)
    assert np.abs(gray[..., 0] - noise() @ [0.299, 0.587, 0.114]).max() < 1


def test_mean_and_std_are_in_the_order_of_the_channels() -> None:
    got = Preprocessing(channel_order="BGR", formula="x - mean", mean=(1, 2, 3)).tensor(noise())
    assert np.array_equal(got, noise()[..., ::-1].astype(np.float32) - np.float32([1, 2, 3]))


@pytest.mark.parametrize("text", ["x / 127.5 - 1", "x/127.5-1", " x/127.5 - 1  (x in 0..255)"])
def test_spaces_and_a_final_remark_in_a_formula_are_ignored(text: str) -> None:
    assert np.array_equal(Preprocessing(formula=text).tensor(noise()), named("tf").tensor(noise()))


# The region


def test_stretch_uses_the_whole_image() -> None:
    assert Preprocessing((5, 7)).crop_box(12, 16) == (0, 0, 12, 16)
    assert Preprocessing((5, 7)).tensor(noise()).shape == (5, 7, 3)


@pytest.mark.parametrize(
    ("resize", "height", "width", "box"),
    [
        ("short side 256, center crop 224", 256, 256, (16, 16, 240, 240)),
        ("short side 256, center crop 224", 512, 768, (32, 160, 480, 608)),
        ("short side 256, center crop 256", 300, 200, (50, 0, 250, 200)),
        ("short side 100, center crop 50x100", 200, 400, (50, 100, 150, 300)),
    ],
)
def test_a_center_crop_is_taken_from_the_original(resize: str, height: int, width: int, box: Any) -> None:
    assert Preprocessing(resize=resize).crop_box(height, width) == box


@given(st.integers(2, 5000), st.integers(2, 5000), st.integers(1, 400), st.integers(0, 200))
def test_a_crop_is_centered_and_has_the_right_relative_size(h: int, w: int, crop: int, margin: int) -> None:
    top, left, bottom, right = Preprocessing(resize=f"short side {crop + margin}, center crop {crop}").crop_box(h, w)
    assert 0 <= top < bottom <= h and 0 <= left < right <= w
    assert bottom - top == right - left  # a square stays a square
    assert abs((bottom - top) - crop / (crop + margin) * min(h, w)) <= 1
    assert abs(top - (h - bottom)) <= 1 and abs(left - (w - right)) <= 1


def test_image_and_tensor_show_the_same_region() -> None:
    rgb = np.zeros((60, 90, 3), np.uint8)
    rgb[20:40, 35:55] = (255, 128, 0)
    preprocessing = Preprocessing(resize="short side 60, center crop 40")
    assert preprocessing.picture(rgb).shape == (40, 40, 3)
    assert np.array_equal(preprocessing.tensor(rgb), preprocessing.picture(rgb).astype(np.float32))


def test_size_determines_the_tensor_and_crop_the_region() -> None:
    preprocessing = Preprocessing((10, 20), resize="short side 256, center crop 224")
    assert preprocessing.tensor(noise(100, 100)).shape == (10, 20, 3)
    assert preprocessing.picture(noise(100, 100)).shape == (88, 88, 3)
    assert preprocessing.output_size == (10, 20)
    assert Preprocessing(resize="short side 256, center crop 224").output_size == (224, 224)
    assert Preprocessing().output_size is None


# Resizing


def test_downscaling_averages() -> None:
    rgb = noise(40, 60)
    expected = rgb.reshape(10, 4, 20, 3, 3).mean((1, 3))
    assert np.abs(Preprocessing((10, 20)).tensor(rgb) - expected).max() <= 0.5 + 1e-4


def test_one_axis_may_be_downscaled_and_the_other_upscaled() -> None:
    stripes = np.zeros((40, 6, 3), np.uint8)
    stripes[::2] = 200
    assert np.array_equal(Preprocessing((10, 12)).tensor(stripes), np.full((10, 12, 3), 100, np.float32))


@settings(max_examples=50, deadline=None)
@given(
    st.tuples(st.integers(2, 50), st.integers(2, 50)), st.tuples(st.integers(1, 60), st.integers(1, 60)), st.integers(0, 255)
)
def test_a_uniform_color_is_kept_at_every_size(shape: Any, size: Any, value: int) -> None:
    got = Preprocessing(size).tensor(np.full((*shape, 3), value, np.uint8))
    assert got.shape == (*size, 3) and (got == value).all()


def test_the_given_image_is_not_changed() -> None:
    rgb = noise()
    for mode in MODES:
        named(mode).tensor(rgb)
    named("none").picture(rgb)[:] = 0
    named("none").tensor(rgb)[:] = 0
    assert np.array_equal(rgb, noise())


@pytest.mark.parametrize("wrong", [noise().astype(np.float32), noise()[..., :2], noise()[None]])
def test_only_uint8_rgb_images_are_accepted(wrong: np.ndarray) -> None:
    with pytest.raises(ImageError, match="Expected an image as a uint8 RGB array"):
        named("tf").tensor(wrong)


# Invalid descriptions


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"formula": "x/128 - 1"}, r"Unknown formula 'x/128 - 1'\. Choose one of: x, x/255, "),
        ({"formula": "__import__('os')"}, "Unknown formula"),
        ({"formula": 3}, "Unknown formula 3"),
        ({"formula": "x - mean"}, r"'x - mean' uses mean\. Received: mean=None"),
        ({"mean": MEAN}, r"'x' does not use mean\. Received: mean="),
        (
            {"formula": "x - mean", "mean": (1, 2)},
            r"`mean` must contain 3 numbers, one per channel \(RGB\)\. Received: \(1, 2\)",
        ),
        ({"formula": "x - mean", "mean": ("a", 2, 3)}, "`mean` must contain 3 numbers"),
        ({**TORCH, "std": (1, 0, 1)}, "`std` must contain 3 positive numbers"),
        ({**TORCH, "std": None}, r"uses std\. Received: std=None"),
        ({"channel_order": "RGBA"}, r"`channel_order` must be 'RGB', 'BGR' or 'gray'\. Received: 'RGBA'"),
        ({"size": 224}, r"`size` must be \(height, width\) in pixels, or None\. Received: 224"),
        ({"size": (224, 0)}, "`size` must be"),
        (
            {"resize": "crop"},
            r"`resize` must be 'stretch', or have the form 'short side 256, center crop 224'\. Received: 'crop'",
        ),
        ({"resize": "short side 200, center crop 224"}, "The crop size must be between 1 pixel and the short side"),
    ],
)
def test_an_invalid_preprocessing_is_rejected_with_what_was_expected(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Preprocessing(**fields)


# Names and files


def written(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "how.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_a_file_may_nest_its_keys_under_preprocessing(tmp_path: Path) -> None:
    keys = {**TORCH, "size_hw": [32, 48], "resize": "short side 64, center crop 32"}
    expected = Preprocessing((32, 48), resize="short side 64, center crop 32", **TORCH)
    assert from_file(written(tmp_path, {**keys, "terms": "free"})) == expected
    assert from_file(written(tmp_path, {"preprocessing": keys, "mean": "of life"})) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"how\.json is not valid JSON"),
        ("[1]", "Expected a JSON object with keys such as size, channel_order"),
        ({"a": 1}, "needs keys such as size, .* Received: 'a'"),
        ({"preprocessing": {"size": [9, 9], "formulae": "x"}}, "Unknown key 'formulae'. Did you mean 'formula'"),
        ({"size": [1, 2, 3]}, r"The preprocessing file .*how\.json is invalid\. `size` must be"),
    ],
)
def test_an_invalid_preprocessing_file_is_named(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        from_file(written(tmp_path, content))


def test_a_user_names_a_mode_or_a_file(tmp_path: Path) -> None:
    assert preprocessing_from("caffe", (4, 5)) == named("caffe", (4, 5))
    path = written(tmp_path, {"formula": "x/255"})
    assert preprocessing_from(str(path), (4, 5)) == Preprocessing((4, 5), formula="x/255")
    assert preprocessing_from("unit", (4, 5), channels=1) == Preprocessing((4, 5), "gray", "x/255")


def test_a_preprocessing_that_does_not_fit_the_network_is_rejected(tmp_path: Path) -> None:
    path = written(tmp_path, {"size": [9, 9]})
    with pytest.raises(OptionError, match="produces images of 9x9 pixels, but the network expects 4x5"):
        preprocessing_from(path, (4, 5))
    with pytest.raises(OptionError, match="produces 3 channels, but the network expects 1"):
        preprocessing_from(path, (9, 9), channels=1)
    with pytest.raises(OptionError, match=r"'torch' produces 3 channels, but the network expects 1\. .*\"gray\""):
        named("torch", channels=1)
    with pytest.raises(OptionError, match=r"the network expects 4\. .* pass arrays in Python"):
        named("none", channels=4)


def test_an_unknown_mode_lists_the_known_ones() -> None:
    with pytest.raises(
        OptionError, match=r"Unknown preprocessing 'tourch'\. Choose tf, torch, caffe, unit, none, or pass the path"
    ):
        preprocessing_from("tourch")
    with pytest.raises(OptionError, match="Did you mean 'torch'"):
        named("tourch")


# Real networks


def test_preprocessing_files_of_real_networks_are_read(shared: Path) -> None:
    found = {path.stem.split("_")[0]: from_file(path) for path in sorted((shared / "data" / "models").glob("*.json"))}
    mobilenet = Preprocessing((224, 224), formula="x/127.5 - 1", resize="short side 256, center crop 224")
    assert replace(found["mobilenet"], resize=mobilenet.resize) == mobilenet
    assert found["mobilenet"].crop() == mobilenet.crop() == (256, 224, 224)
    assert found["squeezenet"].mean == (104, 117, 123) and found["squeezenet"].channel_order == "BGR"
    assert found["resnet20"] == Preprocessing((32, 32), **TORCH)
    assert found["pilotnet"] == Preprocessing((125, 640), "gray", "x/255")


def test_the_tensors_of_the_steering_network_are_reproduced(shared: Path) -> None:
    preprocessing = from_file(shared / "data" / "models" / "pilotnet_steering.json")
    tensors = [preprocessing.tensor(read_image(found.path)) for found in find_images(shared / "data" / "driving")]
    expected = np.load(shared / "data" / "driving" / "reference.npz")["images"]
    np.testing.assert_allclose(np.stack(tensors)[..., 0], expected, atol=1e-6)
