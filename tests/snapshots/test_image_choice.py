"""Images chosen by their labels: balanced over the classes, or the current mistakes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.snapshot_material import CLASSES, Eager, assert_complete, at_batch, data, plain_network

import tfviz
from tfviz.images import read_written
from tfviz.runs.layout import shown_image_path
from tfviz.snapshots.faults import SnapshotWarning

IMAGES, LABELS = data(40)
ONE_HOT = np.eye(CLASSES, dtype=np.float32)[LABELS]


class Batches(keras.utils.PyDataset):
    def __init__(self, is_endless: bool = False) -> None:
        super().__init__()
        self.is_endless = is_endless

    @property
    def num_batches(self) -> int | None:
        return None if self.is_endless else 5

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        rows = slice(index % 5 * 8, index % 5 * 8 + 8)
        return IMAGES[rows], LABELS[rows]


def elements(*arrays: np.ndarray) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(arrays)


SOURCES: dict[str, Callable[[], Any]] = {
    "arrays": lambda: (IMAGES, LABELS),
    "arrays, one-hot": lambda: (IMAGES, ONE_HOT),
    "arrays, column of floats": lambda: (IMAGES, LABELS[:, None].astype(np.float32)),
    "arrays, weights": lambda: (IMAGES, LABELS, np.ones(40)),
    "batched": lambda: elements(IMAGES, LABELS).batch(8),
    "batched, one-hot": lambda: elements(IMAGES, ONE_HOT).batch(7),
    "single": lambda: elements(IMAGES, LABELS),
    "single, one-hot": lambda: elements(IMAGES, ONE_HOT),
    "single, weights": lambda: elements(IMAGES, LABELS, np.ones(40)),
    "PyDataset": Batches,
}


@pytest.mark.parametrize("name", SOURCES)
def test_images_are_balanced_over_the_classes(name: str) -> None:
    chosen = tfviz.images_from(SOURCES[name](), n=8)
    assert chosen.labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3] and not chosen.is_rechosen
    assert len(set(chosen.numbers)) == 8
    np.testing.assert_array_equal(chosen.images, IMAGES[chosen.numbers])
    np.testing.assert_array_equal(chosen.labels, LABELS[chosen.numbers])


@pytest.mark.parametrize("endless", [lambda: elements(IMAGES, LABELS).repeat().batch(8), lambda: Batches(is_endless=True)])
def test_an_infinite_dataset_is_read_up_to_a_limit(endless: Callable[[], Any]) -> None:
    chosen = tfviz.images_from(endless(), n=8, max_read=100)
    assert chosen.labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3] and chosen.numbers.max() < 100
    assert len(tfviz.images_from(endless(), n=8, worst=True, max_read=30).pool) == 30


def test_small_classes_give_their_share_to_others_and_the_seed_decides() -> None:
    labels = np.repeat([5, 2, 7], [1, 3, 36])
    assert tfviz.images_from((IMAGES, labels), n=8).labels.tolist() == [2, 2, 2, 5, 7, 7, 7, 7]
    many = [tfviz.images_from((IMAGES, np.arange(40)), n=4, seed=seed).labels.tolist() for seed in (0, 0, 1)]
    assert many[0] == many[1] != many[2] and len(set(many[0])) == 4
    assert len(tfviz.images_from((IMAGES[:3], labels[:3]), n=8)) == 3
    assert 5 not in tfviz.images_from((IMAGES, np.where(labels == 5, -1, labels)), n=8).labels


def test_a_dataset_sorted_by_class_causes_a_warning() -> None:
    with pytest.warns(UserWarning, match="first 5 images in the dataset all have class 0"):
        tfviz.images_from(elements(IMAGES, np.sort(LABELS)), n=2, max_read=5)


def test_reading_does_not_affect_a_shuffled_dataset() -> None:
    shuffled = elements(IMAGES, LABELS).shuffle(40, seed=3).batch(8)
    tfviz.images_from(shuffled)
    order = [labels.numpy().tolist() for _, labels in shuffled]
    assert order == [labels.numpy().tolist() for _, labels in elements(IMAGES, LABELS).shuffle(40, seed=3).batch(8)]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"dataset": IMAGES}, tfviz.LabelsError, "needs images with labels"),
        ({"dataset": elements(IMAGES)}, tfviz.LabelsError, "Received: none"),
        ({"dataset": (IMAGES, IMAGES)}, tfviz.LabelsError, "one label per image"),
        ({"dataset": (IMAGES, LABELS + 0.5)}, tfviz.LabelsError, "one label per image"),
        ({"dataset": (IMAGES, LABELS[:3])}, tfviz.LabelsError, r"Received: arrays with \[3, 40\] rows"),
        ({"dataset": (IMAGES, LABELS - 10)}, tfviz.ImageError, "no labeled images"),
        ({"n": 0}, tfviz.OptionError, "`n` must be a positive integer"),
        ({"max_read": 2.5}, tfviz.OptionError, "`max_read` must be a positive integer"),
        ({"per_class": True, "worst": True}, tfviz.OptionError, "exactly one of `per_class` and `worst`"),
        ({"per_class": False}, tfviz.OptionError, "exactly one of `per_class` and `worst`"),
        ({"kind": "sound"}, tfviz.OptionError, "`kind` must be one of"),
    ],
)
def test_invalid_arguments_are_rejected(arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        tfviz.images_from(**{"dataset": (IMAGES, LABELS), **arguments})


@pytest.fixture(scope="module")
def eager() -> Eager:
    return Eager()


def margins(model: keras.Model) -> np.ndarray:
    """Return how far the true class of each image is ahead, computed with Keras."""
    logits = np.log(np.asarray(model(IMAGES, training=False), np.float64))
    own = np.take_along_axis(logits, LABELS[:, None], 1)[:, 0]
    return own - np.where(np.eye(CLASSES)[LABELS] == 1, -np.inf, logits).max(1)


def test_the_worst_images_are_chosen_again_for_each_epoch(tmp_path: Path, eager: Eager) -> None:
    eager.reset()
    expected: list[list[int]] = []
    note = lambda *_: expected.append(np.argsort(margins(eager.model), kind="stable")[:6].tolist())  # noqa: E731
    chosen = tfviz.images_from((IMAGES, LABELS), n=6, worst=True)
    callback = eager.callback(tmp_path, images=chosen)
    noting = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, _: epoch or note(), on_epoch_end=note)
    eager.model.optimizer.learning_rate = 1.0
    eager.fit(noting, callback, epochs=3)
    records = assert_complete(tmp_path)
    assert [sorted(record["images"]) for record in records] == [sorted(one) for one in [*expected, expected[-1]]]
    assert len({str(record["images"]) for record in records}) > 1
    for record in records:
        assert record["true_classes"] == LABELS[record["images"]].tolist()
        drawn = [read_written(shown_image_path(tmp_path, record, number)) for number in range(6)]
        np.testing.assert_array_equal(drawn, np.rint(IMAGES[record["images"]] * 255).astype(np.uint8))
    maps = np.load(tmp_path / "maps" / "00000004.npz")["grad_cam"]
    expected_maps = eager.explainer(IMAGES[records[4]["images"]]).numpy()
    np.testing.assert_allclose(maps, expected_maps, atol=1e-3 * expected_maps.max())


def test_tensorboard_and_the_viewer_receive_the_re_chosen_images(tmp_path: Path, eager: Eager) -> None:
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    from tfviz.viewer.server import Viewer

    eager.reset()
    chosen, run = tfviz.images_from((IMAGES, LABELS), n=2, worst=True), tmp_path / "run"
    with Viewer(tmp_path / "store", port=0) as viewer:
        eager.fit(eager.callback(run, images=chosen, viewer=viewer.address, tensorboard=True))
    own = sorted(path.relative_to(run) for path in run.rglob("_images/*.png"))
    (received,) = (path.parent for path in (tmp_path / "store").rglob("run.json"))
    assert len(own) == 3 * 2
    assert [(received / path).read_bytes() for path in own] == [(run / path).read_bytes() for path in own]
    events = reader.EventAccumulator(str(run / "tensorboard"), size_guidance={reader.TENSORS: 0})
    events.Reload()
    assert [event.step for event in events.Tensors("images/0")] == [0, 0, 5, 5]


def test_between_epochs_the_images_stay_and_another_fit_continues_the_run(tmp_path: Path, eager: Eager) -> None:
    eager.reset()
    chosen = tfviz.images_from(elements(IMAGES, LABELS).batch(8), n=3, worst=True)
    for _ in range(2):
        eager.fit(eager.callback(tmp_path, images=chosen, every=2), epochs=2)
    records = assert_complete(tmp_path)
    by_epoch: dict[tuple[int, int], set[str]] = {}
    for record in records:
        if record["when"] == "batch":
            by_epoch.setdefault((record["number"] // 7, record["epoch"]), set()).add(str(record["images"]))
    assert len(by_epoch) == 4 and all(len(images) == 1 for images in by_epoch.values())


def test_training_is_the_same_with_re_chosen_images(tmp_path: Path) -> None:
    results = []
    for is_watched in (False, True):
        keras.utils.set_random_seed(3)
        model = plain_network()
        model.compile("adam", "sparse_categorical_crossentropy", run_eagerly=True)
        dataset = elements(IMAGES, LABELS).shuffle(40).batch(8)
        chosen = tfviz.images_from(dataset, n=2, worst=True)
        callbacks = [tfviz.SnapshotCallback("grad_cam", chosen, log_dir=tmp_path)] if is_watched else []
        history = model.fit(dataset, epochs=2, verbose=0, shuffle=False, callbacks=callbacks).history
        results.append((history, [weight.tobytes() for weight in model.get_weights()], np.random.random()))
    assert results[0] == results[1]


def test_a_diverged_model_keeps_the_images(tmp_path: Path, eager: Eager) -> None:
    eager.reset()
    chosen = tfviz.images_from((IMAGES, LABELS), n=2, worst=True)
    diverge = at_batch(2, lambda: eager.model.set_weights([weight * np.nan for weight in eager.model.get_weights()]))
    with pytest.warns(SnapshotWarning, match="grad_cam failed"):
        eager.fit(diverge, eager.callback(tmp_path, images=chosen))
    images = [record["images"] for record in assert_complete(tmp_path)]
    assert images[0] == images[1] == images[2]


@pytest.mark.parametrize("name", ["target", "truth", "pictures"])
def test_rows_for_images_that_change_are_rejected(name: str, tmp_path: Path, eager: Eager) -> None:
    chosen = tfviz.images_from((IMAGES, LABELS), n=2, worst=True)
    value = {"target": [0, 1], "truth": [0, 1], "pictures": IMAGES[:2]}[name]
    with pytest.raises(tfviz.OptionError, match=f"`{name}` has one value per image"):
        eager.callback(tmp_path, images=chosen, **{name: value})


def test_balanced_images_bring_their_true_classes_and_are_all_used(tmp_path: Path, eager: Eager) -> None:
    callback = eager.callback(tmp_path, images=tfviz.images_from((IMAGES, LABELS), n=20))
    assert len(callback._images) == 20 and callback._truth == sorted(callback._truth)


def test_the_worst_images_of_a_model_without_classes_are_an_error(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Conv2D(3, 3, padding="same", activation="relu")])
    model.compile("sgd", "mse", run_eagerly=True)
    chosen = tfviz.images_from((IMAGES, LABELS), n=2, worst=True)
    callback = tfviz.SnapshotCallback("visual_backprop", chosen, log_dir=tmp_path)
    with pytest.raises(tfviz.OptionError, match="requires a classifier with one input"):
        model.fit(IMAGES, IMAGES, verbose=0, callbacks=[callback])


def test_a_label_beyond_the_classes_of_the_model_is_an_error(tmp_path: Path, eager: Eager) -> None:
    eager.reset()
    chosen = tfviz.images_from((IMAGES, LABELS + 1), n=2, worst=True)
    with pytest.raises(tfviz.LabelsError, match="4 classes, but the labels contain class 4"):
        eager.fit(eager.callback(tmp_path, images=chosen))


def test_the_original_colors_of_load_images_are_kept() -> None:
    model = tfviz.load_model("shapes")
    images = tfviz.load_images("tfviz/shapes/samples", model)
    chosen = tfviz.images_from((images, np.arange(12) % 3), n=6)
    np.testing.assert_array_equal(chosen.images.pictures, images.pictures[chosen.numbers])


def test_ragged_pictures_of_rechosen_images_are_rejected(tmp_path: Path) -> None:
    images = tfviz.images_from((IMAGES, LABELS), n=4, worst=True)
    pictures = [np.zeros((side, 4, 3), np.uint8) for side in (4, 5, 4, 5)]
    with pytest.raises(tfviz.OptionError, match="`pictures` has one value per image"):
        tfviz.SnapshotCallback("grad_cam", images, pictures=pictures, log_dir=tmp_path)
