"""Images from load_images are drawn in their true colors, whatever the network's preprocessing."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfviz
from tfviz.images import LoadedImages
from tfviz.images.preprocessing import MODES, named
from tfviz.models import load_images
from tfviz.snapshots.fixed_images import fixed_images

COLORS = [(220, 10, 40), (5, 200, 60), (20, 40, 230)]


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    pictures = [np.full((16, 12, 3), color, np.uint8) for color in COLORS]
    return [tfviz.write_image(tmp_path / f"{number}.png", picture) for number, picture in enumerate(pictures)]


@pytest.fixture
def images(files: list[Path]) -> LoadedImages:
    return load_images(files, named("caffe", (8, 8)))


def colors(pictures: Any) -> list[tuple[int, ...]]:
    return [tuple(picture[0, 0].tolist()) for picture in pictures]


@pytest.mark.parametrize("mode", MODES)
def test_overlay_draws_the_true_colors_for_every_preprocessing(files: list[Path], mode: str) -> None:
    images = load_images(files, named(mode, (8, 8)))
    drawn = tfviz.overlay(images, np.zeros((3, 2, 2)), alpha=0)
    assert colors(drawn) == COLORS and drawn.shape == (3, 8, 8, 3)


def test_a_gray_network_is_drawn_over_colors(files: list[Path]) -> None:
    images = load_images(files, named("tf", (8, 8), channels=1))
    assert images.shape == (3, 8, 8, 1)
    assert colors(tfviz.overlay(images, np.zeros((3, 2, 2)), alpha=0)) == COLORS


def test_plot_and_contact_sheet_draw_the_true_colors(images: LoadedImages) -> None:
    figure = tfviz.plot(images, {"grad_cam": np.zeros((3, 2, 2))})
    assert figure.axes[0].images[0].get_array()[0, 0].tolist() == list(COLORS[0])
    sheet = tfviz.contact_sheet(images, {"grad_cam": np.zeros((3, 2, 2))})
    assert all((sheet == color).all(axis=2).any() for color in COLORS)


@pytest.mark.parametrize("given", [lambda x: x, list, lambda x: [x[0], x[1], x[2]]])
def test_snapshots_are_drawn_in_the_true_colors(images: LoadedImages, given: Any) -> None:
    taken = fixed_images(given(images), most=2)
    assert colors(taken.pictures) == COLORS[:2]
    np.testing.assert_array_equal(taken.inputs, np.asarray(images[:2]))


def test_snapshots_of_one_of_several_inputs_are_drawn_in_the_true_colors(images: LoadedImages) -> None:
    taken = fixed_images({"image": images, "speed": np.zeros((3, 1))}, most=3)
    assert colors(taken.pictures) == COLORS


def test_snapshots_of_unknown_colors_warn(images: LoadedImages) -> None:
    with pytest.warns(UserWarning, match=r"\(to SnapshotCallback as pictures=\.\.\.\)"):
        fixed_images(np.asarray(images), most=2)


@pytest.mark.parametrize(
    ("choose", "chosen"),
    [
        (lambda x: x[1:], [1, 2]),
        (lambda x: x[::-1], [2, 1, 0]),
        (lambda x: x[[2, 0]], [2, 0]),
        (lambda x: x[np.array([False, True, True])], [1, 2]),
        (lambda x: x[1][None], [1]),
        (lambda x: np.stack([x[2], x[1]]), [2, 1]),
        (lambda x: np.concatenate([x[2:], x[:1]]), [2, 0]),
        (lambda x: x[1:, :, :], [1, 2]),
        (lambda x: x[[2, 0], :], [2, 0]),
        (lambda x: x[...], [0, 1, 2]),
        (lambda x: x.copy(), [0, 1, 2]),
        (copy.copy, [0, 1, 2]),
        (copy.deepcopy, [0, 1, 2]),
        (lambda x: pickle.loads(pickle.dumps(x)), [0, 1, 2]),
    ],
)
def test_selecting_and_joining_images_keeps_their_pictures(images: LoadedImages, choose: Any, chosen: list[int]) -> None:
    result = choose(images)
    assert colors(result.pictures) == [COLORS[number] for number in chosen]
    np.testing.assert_array_equal(result, np.asarray(images)[chosen])


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x + 1,
        lambda x: x[:, ::-1],
        lambda x: x[..., ::-1],
        lambda x: x.reshape(3, -1),
        lambda x: x.transpose(0, 2, 1, 3),
        lambda x: np.flip(x, 2),
        lambda x: np.stack([x[0], np.zeros((8, 8, 3))]),
        lambda x: np.concatenate([x, x], axis=2),
        lambda x: np.stack([x[0], x[1]], axis=1),
        lambda x: x[np.ones(x.shape, bool)],
        np.asarray,
    ],
)
def test_other_operations_drop_the_pictures(images: LoadedImages, change: Any) -> None:
    assert getattr(change(images), "pictures", None) is None


def test_an_in_place_change_drops_the_pictures(images: LoadedImages) -> None:
    first, second = images.copy(), images.copy()
    first += 1
    second[0, 0, 0] = 0
    assert first.pictures is None and second.pictures is None
    np.testing.assert_array_equal(first, np.asarray(images) + 1)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: np.random.default_rng(3).shuffle(x),
        lambda x: x[0].fill(0),
        lambda x: x[0].__setitem__(slice(None), 0),
        lambda x: np.multiply(x[1], 0, out=x[1]),
        lambda x: np.asarray(x).fill(0),
        lambda x: np.copyto(x, 0),
        lambda x: np.put(x, [0], 9.0),
        lambda x: x.sort(0),
    ],
)
def test_a_change_through_a_view_drops_the_pictures(images: LoadedImages, change: Any) -> None:
    changed = images.copy()
    change(changed)
    assert not np.array_equal(changed, images), "the test changes nothing"
    assert changed.pictures is None and changed[:2].pictures is None
    assert colors(images.pictures) == COLORS


def test_keras_and_tensorflow_accept_loaded_images(images: LoadedImages) -> None:
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten()])
    flat = np.asarray(images).reshape(3, -1)
    np.testing.assert_array_equal(model(images), flat)
    np.testing.assert_array_equal(model.predict(images, verbose=0), flat)
    np.testing.assert_array_equal(tf.constant(images), np.asarray(images))
    assert np.isclose(images.mean(), np.asarray(images).mean())
    assert type(np.max(images)) is np.float32


def test_an_unknown_preprocessing_causes_one_warning_per_model(files: list[Path]) -> None:
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten()])
    with pytest.warns(UserWarning, match=r"No preprocessing is known .* RGB values in 0-255.*tfviz\.load_model") as caught:
        load_images(files, model)
        load_images(files, model)
    assert len(caught) == 1


def test_a_known_preprocessing_causes_no_warning(files: list[Path], tmp_path: Path) -> None:
    keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten()]).save(tmp_path / "model.keras")
    for mode in ("none", "unit"):
        load_images(files, tfviz.load_model(tmp_path / "model.keras", preprocessing=mode))
