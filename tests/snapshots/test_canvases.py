"""Snapshots of signals and volumes: a line or a row of slices, and the maps over them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tfviz
from tfviz.images.files import read_image
from tfviz.render.canvas import GAP_PX, LABEL_PX, SignalCanvas, VolumeCanvas
from tfviz.runs.layout import image_path, picture_path
from tfviz.snapshots.fixed_images import fixed_images

RANDOM = np.random.default_rng(0)
SIGNALS = RANDOM.normal(size=(4, 96, 2)).cumsum(1).astype("float32")
VOLUMES = RANDOM.uniform(-1000, 1000, (3, 10, 8, 12, 1)).astype("float32")


def of_signals() -> keras.Model:
    inputs = keras.Input((96, 2))
    x = layers.Conv1D(6, 5, strides=2, activation="relu", name="conv")(inputs)
    return keras.Model(inputs, layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling1D()(x)))


def of_volumes() -> keras.Model:
    inputs = keras.Input((10, 8, 12, 1))
    x = layers.Conv3D(4, 3, activation="relu", name="conv")(layers.Rescaling(1e-3)(inputs))
    return keras.Model(inputs, layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling3D()(x)))


CASES: dict[str, tuple[Any, np.ndarray, dict[str, Any]]] = {
    "signals": (of_signals, SIGNALS, {"kind": "signal"}),
    "volumes": (of_volumes, VOLUMES, {}),
    "volumes, told": (of_volumes, VOLUMES, {"kind": "volume"}),
}


@pytest.mark.parametrize("name", CASES)
def test_a_run_holds_a_picture_per_element_and_the_raw_maps(name: str, tmp_path: Path) -> None:
    build, data, options = CASES[name]
    model = build()
    model.compile("sgd", "sparse_categorical_crossentropy")
    methods = ["grad_cam", "guided_backprop", "saliency", "excitation_backprop", "visual_backprop"]
    callback = tfviz.SnapshotCallback(methods, data, log_dir=tmp_path, max_images=2, strict=True, **options)
    model.fit(data, np.zeros(len(data)), verbose=0, callbacks=[callback])
    assert len(callback._images) == 2
    sizes = {read_image(image_path(tmp_path, number)).shape for number in range(2)}
    assert len(sizes) == 1
    for method in methods:
        drawn = [read_image(picture_path(tmp_path, 0, method, number)) for number in range(2)]
        assert {one.shape for one in drawn} == sizes
        assert (drawn[0] != drawn[1]).any()
    maps = np.load(tmp_path / "maps" / "00000000.npz")
    assert maps["saliency"].shape == (2, *data.shape[1:])
    assert maps["excitation_backprop"].shape == (2, *data.shape[1:-1])


def test_a_run_of_signals_has_the_colors_of_a_plot(tmp_path: Path) -> None:
    """Otherwise, the legend of the live page and the pictures do not match."""
    model = of_signals()
    model.compile("sgd", "sparse_categorical_crossentropy")
    methods = ["saliency", "guided_backprop"]
    callback = tfviz.SnapshotCallback(methods, SIGNALS[:1], log_dir=tmp_path, kind="signal", every=10)
    model.fit(SIGNALS, np.zeros(len(SIGNALS)), verbose=0, callbacks=[callback])
    run = json.loads((tmp_path / "run.json").read_text("utf-8"))
    assert run["kind"] == "signal"
    assert [method["style"] for method in run["methods"]] == ["signed", "signed"]
    maps = np.load(tmp_path / "maps" / "00000000.npz")["saliency"][0]
    drawn, line = read_image(picture_path(tmp_path, 0, "saliency", 0)), read_image(image_path(tmp_path, 0))
    weakest, strongest = (int(find(np.abs(maps[:, 0]))) for find in (np.argmin, np.argmax))
    columns = [drawn[: len(drawn) // 2, round((step + 0.5) / 96 * drawn.shape[1])] for step in (weakest, strongest)]
    assert (np.median(columns[0], axis=0) > 225).all(), "zero is white"
    assert np.ptp(np.median(columns[1], axis=0)) > 80
    assert drawn[(line < 60).all(-1)].max() < 60


def test_a_dataset_of_single_signals_is_batched(tmp_path: Path) -> None:
    dataset = tf.data.Dataset.from_tensor_slices((SIGNALS, np.zeros(4)))
    callback = tfviz.SnapshotCallback("saliency", dataset, log_dir=tmp_path, kind="signal")
    np.testing.assert_array_equal(callback._images.inputs, SIGNALS)


def test_a_signal_is_a_line_per_channel_from_left_to_right() -> None:
    line = np.stack([np.linspace(0, 1, 64), np.zeros(64)], -1)
    (picture,) = SignalCanvas([line]).pictures
    height, width = picture.shape[:2]
    rows = [np.flatnonzero(picture[:, column, 0] < 128) for column in (8, width - 9)]
    (left_upper, left_lower), (right_upper, right_lower) = ((one[one < height / 2], one[one >= height / 2]) for one in rows)
    assert left_upper.mean() > height * 0.4, "the rising line starts at the bottom of its band"
    assert right_upper.mean() < height * 0.1
    assert left_lower.mean() == right_lower.mean() == pytest.approx(height * 0.75, abs=1)


def test_the_line_stays_visible_over_an_opaque_map() -> None:
    canvas = SignalCanvas(SIGNALS[:1])
    drawn = canvas.finished(np.full_like(canvas.pictures[0], 200), 0)
    dark = canvas.pictures[0] < 60
    assert dark.sum() > 1000
    assert drawn[dark].max() < 60
    assert set(np.unique(drawn[canvas.pictures[0] == 255])) == {200}


@pytest.mark.parametrize("length", [5, 64, 5000])
def test_a_map_lies_under_the_samples_that_it_explains(length: int) -> None:
    canvas = SignalCanvas([np.zeros((64, 1))])
    values = np.zeros(length)
    values[length // 5] = -2
    placed = canvas.placed(values, 0)
    width = canvas.pictures[0].shape[1]
    (columns,) = np.nonzero(placed[0])
    assert placed.min() == -2, "a single strong sample stays visible"
    assert columns.min() <= (length // 5 + 0.5) * width / length <= columns.max() + 1
    assert len(columns) <= width / length + 2


def test_every_channel_of_a_map_lies_in_its_band() -> None:
    canvas = SignalCanvas([np.zeros((64, 4))])
    values = np.zeros((64, 4))
    values[:, 2] = 1
    placed = canvas.placed(values, 0)
    height = len(placed)
    np.testing.assert_array_equal(np.flatnonzero(placed[:, 0]), np.arange(height // 2, 3 * height // 4))


def test_the_map_of_a_slice_lies_on_that_slice() -> None:
    canvas = VolumeCanvas([np.zeros((10, 8, 12, 1), np.uint8)])
    values = np.zeros((5, 4, 6))
    values[2] = 1  # slices 4 and 5 of 10; slices 0, 2, 4, 5, 7 and 9 are drawn
    placed = canvas.placed(values, 0)
    assert placed.shape == canvas.pictures[0].shape[:2]
    width = (placed.shape[1] + GAP_PX) // 6
    columns = np.flatnonzero(placed[-1])
    np.testing.assert_array_equal(columns, [*range(2 * width, 3 * width - GAP_PX), *range(3 * width, 4 * width - GAP_PX)])
    assert not placed[:LABEL_PX].any()


def test_videos_are_told_by_their_channels_or_by_their_kind() -> None:
    gray, color = np.zeros((1, 3, 8, 12, 1), np.uint8), np.zeros((1, 3, 8, 12, 3), np.uint8)
    slices, *frames = (fixed_images(data, 1, kind=kind).canvas for data, kind in [(gray, None), (gray, "video"), (color, None)])
    assert [slices.noun, *(one.noun for one in frames)] == ["volume", "video", "video"]
    labels = [one.pictures[0][:LABEL_PX] for one in (slices, *frames)]
    assert (labels[0] != labels[1]).any()
    np.testing.assert_array_equal(labels[1], labels[2])
    assert fixed_images(color, 1, kind="volume").canvas.noun == "volume"


def test_the_strength_of_an_excitation_map_counts_each_layer_once() -> None:
    canvas = VolumeCanvas(VOLUMES[:1])
    p = RANDOM.random((1, 2, 3, 3))
    assert canvas.maps(p)[0].sum() == pytest.approx(p.sum())


@pytest.mark.parametrize(
    ("data", "kind", "message"),
    [
        (SIGNALS, None, r'for signals \(N, T, C\), pass kind="signal"'),
        (SIGNALS, "volume", "Received: shapes"),
        (VOLUMES, "signal", "Received: shapes"),
        (VOLUMES[:, 0], "volume", "Received: shapes"),
    ],
)
def test_another_shape_than_the_kinds_is_rejected(data: Any, kind: str | None, message: str, tmp_path: Path) -> None:
    with pytest.raises(tfviz.ImageError, match=message):
        tfviz.SnapshotCallback("saliency", data, log_dir=tmp_path, kind=kind)


def test_an_unknown_kind_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(tfviz.OptionError, match="Unknown data kind 'sound'"):
        tfviz.SnapshotCallback("saliency", SIGNALS, log_dir=tmp_path, kind="sound")
