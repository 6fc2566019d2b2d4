"""Which images are selected from which inputs, and that reading them has no side effects."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from support.seeds import set_random_seed
from support.snapshot_material import assert_complete

import tfviz
from tfviz.models.labels import Labels
from tfviz.snapshots.callback import SnapshotCallback
from tfviz.snapshots.fixed_images import fixed_images
from tfviz.snapshots.true_classes import true_classes

IMAGES = np.random.default_rng(0).uniform(size=(7, 6, 5, 3)).astype(np.float32)
LABELS = np.arange(7)


class Noisy(keras.utils.PyDataset):
    """Batches of two with labels, read by a reader that draws global random numbers."""

    def __init__(self, count: int | None) -> None:
        super().__init__()
        self.count = count

    @property
    def num_batches(self) -> int | None:
        return self.count

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        random.random(), np.random.random()
        return IMAGES[2 * number : 2 * number + 2], LABELS[2 * number : 2 * number + 2]


def dataset() -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices((IMAGES, LABELS))


@pytest.mark.parametrize(
    "given",
    [
        lambda: IMAGES,
        lambda: tf.constant(IMAGES),
        lambda: list(IMAGES),
        lambda: dataset(),
        lambda: dataset().batch(2),
        lambda: dataset().batch(4).repeat(),
        lambda: dataset().map(lambda image, label: image).batch(3),
        lambda: dataset().map(lambda image, label: {"image": image}),
        lambda: Noisy(4),
        lambda: Noisy(None),
    ],
)
def test_the_first_images_are_taken_in_order(given: Callable[[], Any]) -> None:
    taken = fixed_images(given(), 5)
    np.testing.assert_array_equal(keras.tree.flatten(taken.inputs)[0], IMAGES[:5])
    np.testing.assert_array_equal(np.stack(taken.pictures), np.rint(IMAGES[:5] * 255))
    assert len(taken) == 5


@pytest.mark.parametrize("given", [lambda: IMAGES, lambda: tf.constant(IMAGES), lambda: list(IMAGES)])
def test_images_can_be_spread_evenly_over_an_array(given: Callable[[], Any]) -> None:
    taken = fixed_images(given(), 3, choose="spread")
    np.testing.assert_array_equal(taken.inputs, IMAGES[[0, 3, 6]])
    assert taken.select(LABELS).tolist() == [0, 3, 6]
    np.testing.assert_array_equal(fixed_images(given(), 20, choose="spread").inputs, IMAGES)
    own = [np.full((4, 4, 3), n, np.uint8) for n in range(7)]
    assert [picture[0, 0, 0] for picture in fixed_images(given(), 3, own, choose="spread").pictures] == [0, 3, 6]
    with pytest.raises(tfviz.OptionError, match="choose='spread' needs all images in an array"):
        fixed_images(dataset().batch(2), 3, choose="spread")
    with pytest.raises(tfviz.OptionError, match=r"`choose` must be 'first' or 'spread'. Received: 'last'"):
        fixed_images(given(), 3, choose="last")


def test_spread_images_keep_their_target_and_true_colors(tmp_path: Path) -> None:
    pictures = np.random.default_rng(5).integers(0, 256, (7, 6, 5, 3), dtype=np.uint8)
    tensors = tfviz.Preprocessing(formula="x/127.5 - 1").numbers(pictures.astype(np.float32))
    model = small_model()
    callback = SnapshotCallback(
        "saliency", tensors, target=LABELS, truth=LABELS, preprocessing="tf", choose="spread", max_images=3, log_dir=tmp_path
    )
    model.fit(IMAGES, LABELS, verbose=0, callbacks=[callback])
    for number, image in enumerate((0, 3, 6)):
        found = tfviz.read_image(tmp_path / "images" / f"{number}.png")
        assert np.abs(found.astype(int) - pictures[image]).max() <= 1
    with np.load(tmp_path / "maps" / "00000002.npz") as maps:
        wanted = tfviz.Saliency(model)(tensors[[0, 3, 6]], [0, 3, 6]).numpy()
        np.testing.assert_allclose(maps["saliency"], wanted, atol=1e-3 * abs(wanted).max())
    record = assert_complete(tmp_path)[-1]
    assert [one["class"] for one in record["explained"]] == [0, 3, 6]
    outputs = model.predict(tensors[[0, 3, 6]], verbose=0)
    assert [one["score"] for one in record["explained"]] == pytest.approx(outputs[[0, 1, 2], [0, 3, 6]].tolist(), rel=1e-5)


ONE_HOT = np.eye(7, dtype=np.float32)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (lambda: dataset().batch(2), [0, 1, 2]),
        (lambda: dataset(), [0, 1, 2]),
        (lambda: Noisy(None), [0, 1, 2]),
        (lambda: tf.data.Dataset.from_tensor_slices((IMAGES, ONE_HOT)).batch(2), [0, 1, 2]),
        (lambda: tf.data.Dataset.from_tensor_slices((IMAGES, ONE_HOT)), [0, 1, 2]),
        (lambda: tf.data.Dataset.from_tensor_slices((IMAGES, LABELS[:, None])).batch(4), [0, 1, 2]),
        (lambda: tf.data.Dataset.from_tensor_slices((IMAGES, LABELS / 3)).batch(4), None),
        (lambda: tf.data.Dataset.from_tensor_slices((IMAGES, IMAGES)).batch(4), None),
        (lambda: dataset().map(lambda image, label: image).batch(3), None),
        (lambda: IMAGES, None),
    ],
)
def test_the_true_classes_are_read_from_a_dataset(given: Callable[[], Any], found: Any) -> None:
    assert true_classes(None, fixed_images(given(), 3), Labels()) == found


@pytest.mark.parametrize("truth", [LABELS, LABELS[:3], ONE_HOT, list("abcdefg"), ["a", "b", "c"]])
def test_true_classes_can_be_given(truth: Any) -> None:
    assert true_classes(truth, fixed_images(IMAGES, 3), Labels(tuple("abcdefg"))) == [0, 1, 2]


@pytest.mark.parametrize("truth", [3, LABELS[:2], IMAGES, LABELS / 2])
def test_truth_that_holds_no_classes_is_rejected(truth: Any) -> None:
    with pytest.raises(tfviz.LabelsError, match=r"`truth` must (have one class for each|be class numbers or names)"):
        true_classes(truth, fixed_images(IMAGES, 3), Labels())


def test_fewer_images_than_max_images_are_all_taken() -> None:
    for given in (IMAGES, dataset().batch(4), Noisy(4)):
        np.testing.assert_array_equal(fixed_images(given, 16).inputs, IMAGES)


def test_the_target_is_reduced_like_the_images(tmp_path: Path) -> None:
    model = small_model()
    explainer = tfviz.Saliency(model)
    for number, (target, expected) in enumerate([(LABELS, LABELS[:3]), (LABELS[1:4], LABELS[1:4]), (2, 2), ([2], 2)]):
        folder = tmp_path / str(number)
        callback = SnapshotCallback(explainer, IMAGES, target=target, max_images=3, log_dir=folder, strict=True)
        model.fit(IMAGES, LABELS, verbose=0, callbacks=[callback])
        with np.load(folder / "maps" / "00000002.npz") as maps:
            wanted = explainer(IMAGES[:3], expected).numpy()
            np.testing.assert_allclose(maps["saliency"], wanted, atol=1e-3 * abs(wanted).max())
        assert len(assert_complete(folder)[0]["predictions"]) == 3


@pytest.mark.parametrize("reshuffles", [True, False])
def test_reading_a_shuffled_dataset_keeps_its_order_and_takes_its_first_images(reshuffles: bool) -> None:
    def shuffled() -> tf.data.Dataset:
        set_random_seed(1)
        first = tf.data.Dataset.range(20).shuffle(20, reshuffle_each_iteration=reshuffles)
        first = first.map(lambda number: tf.fill((4, 4, 3), number) + tf.random.uniform((4, 4, 3), 0, 2, tf.int64))
        return first.batch(4).shuffle(2, seed=5, reshuffle_each_iteration=reshuffles).prefetch(1)

    def two_epochs(data: tf.data.Dataset) -> list[np.ndarray]:
        return [np.concatenate(list(data.as_numpy_iterator())) for _ in range(2)]

    expected, data = two_epochs(shuffled()), shuffled()
    taken = [fixed_images(data, 3).inputs for _ in range(2)]
    found = two_epochs(data)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(taken, [expected[0][:3]] * 2)
    assert np.array_equal(*expected) is not reshuffles


class Drawing(Noisy):
    """Calls a given random function."""

    def __init__(self, draw: Callable[[], Any]) -> None:
        super().__init__(4)
        self.draw = draw

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        self.draw(), self.draw()
        return super().__getitem__(number)


@pytest.mark.parametrize(
    "draw",
    [
        random.random,
        np.random.random,
        lambda: float(tf.random.normal(())),
        lambda: float(tf.random.normal((), seed=1)),
        lambda: float(keras.random.normal(())),
    ],
    ids=["python", "numpy", "tensorflow", "tensorflow-seeded", "keras"],
)
@pytest.mark.parametrize("before", [0, 1])
def test_reading_draws_no_global_random_numbers(draw: Callable[[], float], before: int) -> None:
    """This also fails if TensorFlow or Keras relocates the generator that `generators.py` reads."""
    set_random_seed(0)
    expected = [draw() for _ in range(before + 2)]
    set_random_seed(0)
    found = [draw() for _ in range(before)]
    fixed_images(Drawing(draw), 7)
    assert [*found, draw(), draw()] == expected


def test_a_dataset_that_cannot_be_copied_is_read_directly() -> None:
    """For example, one made from a Python generator and shuffled."""
    spec = tf.TensorSpec((6, 5, 3))
    data = tf.data.Dataset.from_generator(lambda: iter(IMAGES), output_signature=spec).shuffle(1)
    np.testing.assert_array_equal(fixed_images(data, 4).inputs, IMAGES[:4])


def small_model() -> keras.Model:
    model = keras.Sequential([keras.Input((6, 5, 3)), layers.Conv2D(4, 3, activation="relu"), layers.Flatten()])
    model.add(layers.Dense(7, activation="softmax"))
    model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    return model


def test_maps_are_drawn_over_given_pictures(tmp_path: Path) -> None:
    """Pictures may have any size, which may differ between images."""
    pictures = [np.random.default_rng(n).integers(0, 256, (12 + n, 10, 3), dtype=np.uint8) for n in range(7)]
    model = small_model()
    callback = SnapshotCallback("grad_cam", IMAGES, pictures=pictures, max_images=5, log_dir=tmp_path, strict=True)
    model.fit(IMAGES, LABELS, verbose=0, callbacks=[callback])
    assert len(assert_complete(tmp_path)) == 3
    drawn = tfviz.overlay(pictures[:5], list(tfviz.GradCAM(model)(IMAGES[:5]).numpy()), style="heatmap", underlay="gray")
    for number in range(5):
        np.testing.assert_array_equal(tfviz.read_image(tmp_path / "images" / f"{number}.png"), pictures[number])
        picture = tfviz.read_image(tmp_path / "pictures" / "00000002" / "grad_cam" / f"{number}.png")
        assert abs(picture.astype(int) - drawn[number]).max() <= 1
    with pytest.raises(tfviz.ImageError, match=r"`pictures` must have one picture for each of the 5 images. Received: 4"):
        fixed_images(IMAGES, 5, pictures[:4])


@pytest.fixture(scope="module")
def bgr_model(tmp_path_factory: pytest.TempPathFactory) -> keras.Model:
    file = tmp_path_factory.mktemp("bgr") / "model.keras"
    small_model().save(file)
    model = tfviz.load_model(file, preprocessing="caffe")
    model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    return model


# Bright pixels stay in 0-255 after the mean is subtracted.
@pytest.mark.parametrize("lowest", [0, 150])
@pytest.mark.parametrize("form", ["array", "list", "dataset", "worst"])
@pytest.mark.parametrize("explainers", [lambda model: "saliency", tfviz.Saliency], ids=["key", "explainer"])
@pytest.mark.filterwarnings("error::UserWarning")
def test_preprocessed_images_are_drawn_in_the_colors_that_the_model_tells(
    explainers: Callable[[keras.Model], Any], form: str, lowest: int, bgr_model: keras.Model, tmp_path: Path
) -> None:
    colors = np.random.default_rng(0).integers(lowest, 256, (7, 6, 5, 3), np.uint8)
    tensors = np.stack([tfviz.models.preprocessing_of(bgr_model).tensor(one) for one in colors])
    images = {
        "array": lambda: tensors,
        "list": lambda: list(tensors),
        "dataset": lambda: tf.data.Dataset.from_tensor_slices(tensors).batch(3),
        "worst": lambda: tfviz.images_from((tensors, LABELS), n=7, worst=True),
    }[form]
    for _ in range(2):  # the second callback continues the run
        callback = SnapshotCallback(explainers(bgr_model), images(), log_dir=tmp_path, strict=True)
        bgr_model.fit(tensors, LABELS, verbose=0, callbacks=[callback])
    found = np.stack(callback._camera.images.pictures)
    order = callback._camera.images.positions or slice(None)
    assert np.abs(found.astype(int) - colors[order]).max() <= 1


def test_colors_that_no_model_tells_are_stretched_with_a_warning(bgr_model: keras.Model, tmp_path: Path) -> None:
    """The values of the second array cannot come from the model's preprocessing."""
    for number, (model, images) in enumerate([(small_model(), IMAGES * 200 - 100), (bgr_model, IMAGES * 900 - 500)]):
        callback = SnapshotCallback("saliency", images, log_dir=tmp_path / str(number))
        with pytest.warns(UserWarning, match="true colors are unknown"):
            model.fit(images, LABELS, verbose=0, callbacks=[callback])
        assert np.stack(callback._images.pictures).max() == 255
    with pytest.raises(tfviz.ImageError, match="NaN"):
        SnapshotCallback("saliency", IMAGES * np.nan, log_dir=tmp_path / "nan")


def test_a_run_of_other_images_is_rejected_before_training(tmp_path: Path) -> None:
    model = small_model()
    model.fit(IMAGES, LABELS, verbose=0, callbacks=[SnapshotCallback("saliency", IMAGES, log_dir=tmp_path)])
    others = SnapshotCallback("saliency", IMAGES[::-1], log_dir=tmp_path)
    with pytest.raises(tfviz.OutputError, match="a run with different images"):
        model.fit(IMAGES, LABELS, verbose=0, callbacks=[others])


def test_the_first_image_input_of_several_inputs_is_drawn(tmp_path: Path) -> None:
    vector, image = keras.Input((3,), name="vector"), keras.Input((6, 5, 3), name="image")
    x = layers.Flatten()(layers.Conv2D(4, 3, activation="relu")(image))
    outputs = layers.Dense(3, activation="softmax")(layers.Concatenate()([x, vector]))
    model = keras.Model([vector, image], outputs)
    model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    inputs = [np.ones((7, 3), np.float32), IMAGES]
    callback = SnapshotCallback(["saliency", "grad_cam"], inputs, max_images=2, log_dir=tmp_path, strict=True)
    model.fit(inputs, LABELS % 3, verbose=0, callbacks=[callback])
    record = assert_complete(tmp_path)[-1]
    assert record["methods"] == ["saliency", "grad_cam"]
    with np.load(tmp_path / "maps" / "00000002.npz") as maps:
        expected = tfviz.Saliency(model)([part[:2] for part in inputs])[1].numpy()
        np.testing.assert_allclose(maps["saliency"], expected, atol=1e-3 * abs(expected).max())


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ("photos", "Expected images as an array"),
        (None, "Expected images as an array"),
        (np.zeros((0, 6, 5, 3)), "Expected at least one image"),
        (tf.data.Dataset.from_tensor_slices(IMAGES[:0]), "Expected at least one image"),
        (np.zeros((6, 5, 3)), r"Received: shapes \(6, 5, 3\)\. For a single image, pass image\[None\]"),
        (np.zeros((4, 10)), r"Received: shapes \(4, 10\)"),
        ([np.zeros((6, 5, 3)), np.zeros((5, 5, 3))], "All images in a list must have the same size"),
        ([np.zeros((2, 6, 5, 3)), np.zeros((3, 4))], "must have the same number of images"),
        (np.zeros((2, 6, 5, 4)), r"shape \(2, 6, 5, 4\)\. Pass pictures to draw on as well.*pictures=images\[\.\.\., :3\]"),
    ],
)
def test_inputs_without_images_are_rejected(images: Any, words: str) -> None:
    with pytest.raises(tfviz.ImageError, match=words):
        fixed_images(images, 4)
