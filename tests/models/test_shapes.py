"""Drawn scenes, the packaged network and the sample scenes."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile

import cv2
import numpy as np
import pytest

from tfviz.errors import OptionError
from tfviz.shapes import KINDS, MODEL_PATH, SAMPLES_DIR, SPEC_PATH, draw_scene
from tfviz.shapes.backgrounds import draw_background
from tfviz.shapes.kinds import FARTHEST_CORNER, OUTLINES, placed
from tfviz.shapes.scenes import LEAST_SIZE, LEAST_VISIBLE, MOST_OBJECTS


def scene(seed: int, **options):
    return draw_scene(np.random.default_rng(seed), **options)


@pytest.fixture(scope="module")
def scenes():
    rng = np.random.default_rng(20_000_001)
    return [draw_scene(rng) for _ in range(250)]


@pytest.fixture(scope="module")
def spec():
    return json.loads(SPEC_PATH.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def samples():
    return json.loads((SAMPLES_DIR / "samples.json").read_text(encoding="utf-8"))["samples"]


# ── scenes ────────────────────────────────────────────────────────────────────────────────────────


def test_the_same_seed_draws_the_same_scene():
    one, other = scene(5), scene(5)
    np.testing.assert_array_equal(one.image, other.image)
    assert [thing.box for thing in one.objects] == [thing.box for thing in other.objects]
    for left, right in zip(one.objects, other.objects, strict=True):
        np.testing.assert_array_equal(left.mask, right.mask)


def test_other_seeds_draw_other_scenes():
    assert (scene(5).image != scene(6).image).mean() > 0.5


def test_a_scene_is_uint8_rgb_of_the_requested_size():
    for size in (LEAST_SIZE, 96, 131):
        drawn = scene(1, size=size)
        assert drawn.image.shape == (size, size, 3)
        assert drawn.image.dtype == np.uint8
        assert all(thing.mask.shape == (size, size) and thing.mask.dtype == bool for thing in drawn.objects)


def test_a_larger_size_draws_the_same_scene_larger():
    small, large = scene(3, size=96), scene(3, size=192)
    shrunk = cv2.resize(large.image, (96, 96), interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(shrunk - small.image).mean() < 4
    for one, other in zip(small.objects, large.objects, strict=True):
        np.testing.assert_allclose(np.array(other.box) / 2, one.box, atol=1.5)


def test_a_box_fits_its_mask_exactly(scenes):
    for thing in (thing for drawn in scenes for thing in drawn.objects):
        top, left, bottom, right = thing.box
        inside = thing.mask[top:bottom, left:right]
        assert inside.sum() == thing.mask.sum() > 0
        assert inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()


def test_every_object_is_inside_the_image(scenes):
    for drawn in scenes:
        anything = np.any([thing.mask for thing in drawn.objects], axis=0)
        assert not (anything[0].any() or anything[-1].any() or anything[:, 0].any() or anything[:, -1].any())


def test_no_pixel_belongs_to_two_objects(scenes):
    for drawn in scenes:
        assert sum(thing.mask.astype(int) for thing in drawn.objects).max() == 1


def test_enough_of_every_object_is_visible(scenes):
    shares = [thing.visible for drawn in scenes for thing in drawn.objects]
    assert LEAST_VISIBLE <= min(shares) < 0.85
    assert max(shares) == 1
    assert np.mean(np.array(shares) < 1) > 0.05, "some objects do overlap"


def test_an_object_contrasts_with_its_surroundings(scenes):
    for drawn in scenes:
        anything = np.any([thing.mask for thing in drawn.objects], axis=0)
        for thing in drawn.objects:
            near = cv2.dilate(thing.mask.astype(np.uint8), np.ones((13, 13))).astype(bool) & ~anything
            lab = cv2.cvtColor(drawn.image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
            assert np.linalg.norm(lab[thing.mask].mean(axis=0) - lab[near].mean(axis=0)) > 10


def test_objects_carry_the_class_index_of_their_kind(scenes):
    things = [thing for drawn in scenes for thing in drawn.objects]
    assert all(KINDS[thing.label] == thing.kind for thing in things)
    assert {thing.kind for thing in things} == set(KINDS)


def test_by_default_a_scene_holds_one_to_four_different_kinds(scenes):
    counts = {len(drawn.objects) for drawn in scenes}
    assert counts == {1, 2, 3, 4}
    assert all(len({thing.kind for thing in drawn.objects}) == len(drawn.objects) for drawn in scenes)


def test_the_given_kinds_are_drawn_in_order():
    for kinds in (["heart"], ["ring", "star"], ["bolt", "disc", "arrow", "cross"], ["disc", "disc"]):
        assert [thing.kind for thing in scene(2, kinds=kinds).objects] == kinds


def test_an_unknown_kind_lists_similar_names():
    with pytest.raises(OptionError, match=r"Unknown kind of shape 'hart'.*'heart'"):
        scene(0, kinds=["disc", "hart"])


@pytest.mark.parametrize("kinds", [[], ["disc"] * (MOST_OBJECTS + 1)])
def test_no_kinds_or_too_many_kinds_are_rejected(kinds):
    with pytest.raises(OptionError, match=f"1 to 4 kinds, one per object. Received: {len(kinds)}"):
        scene(0, kinds=kinds)


def test_a_tiny_size_is_rejected():
    with pytest.raises(OptionError, match=r"at least 32 pixels\. Received: 31"):
        scene(0, size=LEAST_SIZE - 1)


def test_backgrounds_are_textured_and_within_range():
    for seed in range(30):
        background = draw_background(np.random.default_rng(seed), 96)
        assert background.shape == (96, 96, 3)
        assert background.dtype == np.float32
        assert 0 <= background.min() < background.max() <= 1
        assert background.std() > 0.01


# ── outlines ──────────────────────────────────────────────────────────────────────────────────────


def filled(kind: str, degrees: float = 0.0, mirrored: bool = False) -> np.ndarray:
    """Return the shape in a 128 x 128 image, centered and filled with 1."""
    points = [np.round(part).astype(np.int32) for part in placed(kind, np.array([64.0, 64.0]), 50, degrees, mirrored)]
    return cv2.fillPoly(np.zeros((128, 128), np.uint8), points, 1)


def test_outlines_are_centered_and_about_one_unit_long():
    for kind, polygons in OUTLINES.items():
        lengths = np.linalg.norm(np.concatenate(polygons), axis=1)
        assert 0.85 <= lengths.max() <= FARTHEST_CORNER, kind
        assert np.abs(np.argwhere(filled(kind)).mean(axis=0) - 64).max() < 12, kind


def test_kinds_differ_under_every_rotation():
    """No rotation of one kind covers another well enough to be mistaken for it."""
    turned = {kind: [filled(kind, degrees) for degrees in range(0, 360, 10)] for kind in KINDS}
    for kind in KINDS:
        for other in set(KINDS) - {kind}:
            shares = [(turned[kind][0] & one).sum() / (turned[kind][0] | one).sum() for one in turned[other]]
            assert max(shares) < 0.85, (kind, other)


def test_a_shape_turns_clockwise_and_mirrors_left_to_right():
    np.testing.assert_allclose(placed("arrow", np.zeros(2), 1.0, 90, False)[0][0], [1.1, 0], atol=1e-9)
    assert (filled("bolt")[:, 1:] != filled("bolt", mirrored=True)[:, :0:-1]).mean() < 0.01
    assert (filled("bolt") != filled("bolt", mirrored=True)).mean() > 0.02


# ── the packaged network ──────────────────────────────────────────────────────────────────────────


def test_the_package_can_be_imported_without_tensorflow():
    code = "import sys, tfviz.shapes; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_network_is_small():
    assert MODEL_PATH.stat().st_size <= 1.5e6


def test_the_specification_names_the_labels_and_the_quality(spec):
    assert spec["labels"] == list(KINDS)
    assert spec["task"].startswith("multi-label")
    assert spec["accuracy"] >= 0.95
    assert spec["precision"] >= 0.95
    assert spec["one_blank_cell"]["accuracy"] >= 0.95
    assert (spec["channel_order"], spec["formula"], spec["size"]) == ("RGB", "x/127.5 - 1", [96, 96])


@pytest.fixture(scope="module")
def network():
    import keras

    return keras.models.load_model(MODEL_PATH, compile=False)


def predict(network, pictures) -> np.ndarray:
    return np.asarray(network(np.stack(pictures).astype(np.float32) / 127.5 - 1, training=False))


def quality(network, pictures, scenes) -> tuple[float, float]:
    """Return the share of objects that are found, and the share of findings that are right."""
    found = predict(network, pictures) > 0.5
    there = np.zeros_like(found)
    for row, drawn in zip(there, scenes, strict=True):
        row[[thing.label for thing in drawn.objects]] = True
    right = (found & there).sum()
    return right / there.sum(), right / found.sum()


def test_the_network_finds_the_objects_of_new_scenes(network, scenes):
    accuracy, precision = quality(network, [drawn.image for drawn in scenes], scenes)
    assert accuracy >= 0.95
    assert precision >= 0.95


def test_the_network_finds_the_objects_if_one_of_16_cells_has_the_mean_color(network, scenes):
    pictures = [drawn.image.copy() for drawn in scenes]
    for number, picture in enumerate(pictures):
        row, column = divmod(number % 16, 4)
        picture[24 * row :, 24 * column :][:24, :24] = 124, 116, 104
    accuracy, precision = quality(network, pictures, scenes)
    assert accuracy >= 0.95
    assert precision >= 0.95


def test_the_network_consists_of_plain_keras_convolutions_and_pooling(network):
    kinds = {type(layer).__name__ for layer in network.layers}
    assert kinds == {"InputLayer", "Conv2D", "MaxPooling2D", "GlobalAveragePooling2D", "Dense", "Activation"}
    assert all(weight.dtype == "float32" for weight in network.weights)


# ── the sample scenes ─────────────────────────────────────────────────────────────────────────────


def read(sample) -> np.ndarray:
    return cv2.imread(str(SAMPLES_DIR / sample["file"]))[:, :, ::-1]


def test_samples_json_lists_the_files_in_the_folder(samples):
    assert sorted(sample["file"] for sample in samples) == sorted(file.name for file in SAMPLES_DIR.glob("*.png"))
    assert len(samples) == 12
    assert sum(len(sample["objects"]) == 2 for sample in samples) >= 5
    assert sum(file.stat().st_size for file in SAMPLES_DIR.iterdir()) < 500_000


def test_samples_match_samples_json(samples):
    for sample in samples:
        kinds = [thing["label"] for thing in sample["objects"]]
        drawn = scene(sample["seed"], kinds=kinds, size=sample["size"][0])
        picture = read(sample)
        assert list(picture.shape[:2]) == sample["size"]
        # OpenCV versions round differently
        assert np.abs(picture.astype(int) - drawn.image).mean() < 1
        assert [thing["class"] for thing in sample["objects"]] == [thing.label for thing in drawn.objects]
        np.testing.assert_allclose([t["box"] for t in sample["objects"]], [t.box for t in drawn.objects], atol=1)


def test_the_network_finds_exactly_the_objects_of_the_samples(network, samples):
    small = [cv2.resize(read(sample), (96, 96), interpolation=cv2.INTER_AREA) for sample in samples]
    for sample, scores in zip(samples, predict(network, small), strict=True):
        assert set(np.flatnonzero(scores > 0.5)) == {thing["class"] for thing in sample["objects"]}, sample["file"]


def test_the_packaged_network_uses_only_settings_of_older_keras():
    with zipfile.ZipFile(MODEL_PATH) as archive:
        config = archive.read("config.json").decode()
    assert not any(f'"{name}"' in config for name in ("input_axes", "output_axes", "quantization_config"))
