"""Training with snapshots is bit-identical to training without, in all modes of Keras."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from support import snapshot_material as material
from support.seeds import set_random_seed

import tfviz
from tfviz.snapshots.callback import SnapshotCallback

METHODS = ("grad_cam", "guided_backprop", "visual_backprop")


class OwnStep(keras.Model):
    """A custom `train_step` with its own logs and TensorFlow's global random generator."""

    def __init__(self, inner: keras.Model) -> None:
        super().__init__()
        self.inner = inner

    def call(self, images: Any, training: bool | None = None) -> Any:
        return self.inner(images, training=training)

    def train_step(self, batch: Any) -> dict[str, Any]:
        images, labels = batch
        with tf.GradientTape() as tape:
            noisy = images + 0.1 * tf.random.normal(tf.shape(images))
            loss = tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(labels, self(noisy, training=True)))
        weights = self.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        return {"own_loss": loss}


def shuffled(count: int = 40) -> tf.data.Dataset:
    """Return 40 images in batches of 8, in a new order each epoch."""
    return tf.data.Dataset.from_tensor_slices(material.data(count)).shuffle(count).batch(8)


def left_behind(
    model: keras.Model, dataset: tf.data.Dataset, callbacks: list[Any], epochs: int, **options: Any
) -> dict[str, Any]:
    """Train, and return everything that snapshots could have affected, as bytes and numbers."""
    batches: list[dict[str, float]] = []
    note = keras.callbacks.LambdaCallback(on_train_batch_end=lambda _, logs: batches.append(dict(logs)))
    history = model.fit(dataset, epochs=epochs, verbose=0, shuffle=False, callbacks=[note, *callbacks], **options)
    return {
        "history": history.history,
        "batches": batches,
        "variables": [variable.numpy().tobytes() for variable in model.variables],
        "optimizer": [np.asarray(variable).tobytes() for variable in model.optimizer.variables],
        "losses": len(model.losses),
        "python": random.random(),
        "numpy": np.random.random(),
        "keras": keras.random.normal((2,)).numpy().tolist(),
        "tensorflow": tf.random.normal((2,)).numpy().tolist(),
        "next order": [labels.numpy().tolist() for _, labels in dataset],
    }


def both_ways(folder: Path, build: Callable[[], keras.Model], epochs: int = 1, **options: Any) -> tuple[Any, keras.Model]:
    """Train twice from the same seeds, without and with snapshots of the dataset's own images, and
    compare everything.
    """
    found, model = [], None
    for is_watched in (False, True):
        set_random_seed(3)
        model, dataset = build(), options.get("dataset", shuffled)()
        watched = getattr(model, "inner", model)
        callbacks = []
        if is_watched:
            explainers = [tfviz.METHODS[key](watched) for key in options.get("methods", METHODS)]
            callbacks = [SnapshotCallback(explainers, dataset, log_dir=folder, every=options.get("every", 2), max_images=4)]
        found.append(left_behind(model, dataset, callbacks, epochs, **options.get("fit", {})))
    for what in found[0]:
        assert found[1][what] == found[0][what], what
    return found[1], model


def compiled(dtype: str = "float32", **options: Any) -> Callable[[], keras.Model]:
    def build() -> keras.Model:
        model = material.disturbed_network(dtype)
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], **options)
        return model

    return build


def test_training_is_bit_identical_with_and_without_snapshots(tmp_path: Path) -> None:
    validation = {"validation_data": material.data(16, seed=5), "validation_batch_size": 8}
    left, model = both_ways(tmp_path, compiled(jit_compile=False), epochs=3, fit=validation)
    records = material.assert_complete(tmp_path)
    steps = [(record["when"], record["step"]) for record in records]
    assert steps == [("start", 0), *(("batch", step) for step in range(2, 16, 2)), ("end", 15)]
    epoch_of = {6: 0, 12: 1}  # validation metrics are in the record after the end of an epoch
    for record, step in zip(records[1:-1], range(2, 16, 2), strict=True):
        values = {name: values for name, values in left["history"].items() if name.startswith("val_") and step in epoch_of}
        assert record["logs"] == left["batches"][step - 1] | {name: one[epoch_of[step]] for name, one in values.items()}
    assert records[-1]["logs"] == {name: values[-1] for name, values in left["history"].items()}
    assert len(left["batches"]) == 15
    assert all(set(record["methods"]) == set(METHODS) for record in records)
    maps = np.load(tmp_path / "maps" / "00000008.npz")
    pictures, _ = next(iter(shuffled_again()))
    for key in METHODS:
        expected = tfviz.METHODS[key](model)(pictures[:4]).numpy()
        np.testing.assert_allclose(maps[key], expected, atol=1e-3 * abs(expected).max())


def augmented() -> tf.data.Dataset:
    """Augment with Keras layers inside `map`, without shuffling."""
    layer = keras.Sequential([layers.RandomFlip(), layers.RandomRotation(0.1)])
    batches = tf.data.Dataset.from_tensor_slices(material.data()).batch(8)
    return batches.map(lambda images, labels: (layer(images, training=True), labels)).prefetch(2)


def noisy() -> tf.data.Dataset:
    generator = tf.random.Generator.from_seed(5)
    batches = tf.data.Dataset.from_tensor_slices(material.data()).batch(8)
    return batches.map(lambda images, labels: (images + generator.normal(tf.shape(images)), labels))


def sampled() -> tf.data.Dataset:
    """Sample from two datasets, in a new order each time."""
    halves = [tf.data.Dataset.from_tensor_slices(material.data(20, seed)).repeat() for seed in (0, 1)]
    return tf.data.Dataset.sample_from_datasets(halves, [0.5, 0.5], rerandomize_each_iteration=True).batch(8).take(5)


@pytest.mark.filterwarnings("ignore:The images have values")  # random noise
@pytest.mark.parametrize("dataset", [augmented, noisy, sampled])
def test_a_random_dataset_is_not_affected(tmp_path: Path, dataset: Callable[[], tf.data.Dataset]) -> None:
    def build() -> keras.Model:
        model = material.plain_network()
        model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
        return model

    left, _ = both_ways(tmp_path, build, epochs=2, dataset=dataset, methods=["grad_cam"], every="epoch")
    assert left["history"]["loss"][0] != left["history"]["loss"][1]


def shuffled_again() -> tf.data.Dataset:
    """Return the dataset in the state in which the snapshots' images were read from it."""
    set_random_seed(3)
    material.disturbed_network()
    return shuffled()


def test_it_works_with_jit_compile(tmp_path: Path) -> None:
    def build() -> keras.Model:
        model = material.plain_network()  # augmentation layers don't support jit_compile
        model.compile("adam", "sparse_categorical_crossentropy", jit_compile=True)
        return model

    both_ways(tmp_path, build, methods=["grad_cam"], every="epoch")
    assert [record["when"] for record in material.assert_complete(tmp_path)] == ["start", "epoch", "end"]


def test_with_several_steps_per_execution_a_snapshot_follows_the_execution_in_which_it_falls_due(tmp_path: Path) -> None:
    build = compiled(steps_per_execution=4, jit_compile=False)
    # 9 batches
    both_ways(tmp_path, build, epochs=2, methods=["grad_cam"], every=5, dataset=lambda: shuffled(72))
    records = material.assert_complete(tmp_path)
    found = [(record["when"], record["epoch"], record["batch"], record["step"]) for record in records]
    assert found == [
        ("start", 0, None, 0),
        ("batch", 0, 8, 8),
        ("batch", 1, 4, 13),
        ("batch", 1, 8, 17),
        ("end", 1, None, 18),
    ]


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_it_works_in_mixed_precision(tmp_path: Path, policy: str) -> None:
    both_ways(tmp_path, compiled(dtype=policy, jit_compile=False), methods=["grad_cam"], every=2)
    records = material.assert_complete(tmp_path)
    assert [record["step"] for record in records] == [0, 2, 4, 5]
    assert not any(record["errors"] for record in records)


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_it_works_with_a_custom_train_step_and_a_dataset_of_unknown_length(tmp_path: Path) -> None:
    def build() -> keras.Model:
        model = OwnStep(material.disturbed_network())
        model.compile("adam", jit_compile=False)
        return model

    def of_unknown_length() -> tf.data.Dataset:
        return shuffled().filter(lambda images, labels: True)

    left, _ = both_ways(tmp_path, build, epochs=2, methods=["visual_backprop"], every=5, dataset=of_unknown_length)
    records = material.assert_complete(tmp_path)
    assert [record["step"] for record in records] == [0, 5, 10, 10]
    assert records[1]["logs"] == left["batches"][4]
    assert set(records[1]["logs"]) == {"own_loss"}


DISTRIBUTED = """
import sys
import keras, numpy as np, tensorflow as tf
from support import snapshot_material as material
import tfviz
from tfviz.snapshots.callback import SnapshotCallback

folder = sys.argv[1]
cpu, half = tf.config.list_physical_devices("CPU")[0], tf.config.LogicalDeviceConfiguration()
tf.config.set_logical_device_configuration(cpu, [half, half])
left = []
for is_watched in (False, True):
    keras.utils.set_random_seed(3)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        model = material.disturbed_network()
        model.compile("adam", "sparse_categorical_crossentropy", jit_compile=False)
    images, labels = material.data()
    callbacks = [SnapshotCallback("grad_cam", images[:2], log_dir=folder, every=2, strict=True)] if is_watched else []
    history = model.fit(images, labels, batch_size=8, epochs=1, verbose=0, callbacks=callbacks)
    left.append([history.history, [np.asarray(v.value).tobytes() for v in model.variables]])
assert left[0] == left[1]
with np.load(folder + "/maps/00000003.npz") as maps:
    expected = tfviz.GradCAM(model)(images[:2]).numpy()
    np.testing.assert_allclose(maps["grad_cam"], expected, atol=1e-3 * abs(expected).max())
assert len(strategy.extended.worker_devices) == 2 and expected.max() > 0
print("same")
"""


def test_it_works_on_several_devices(tmp_path: Path) -> None:
    command = [sys.executable, "-c", DISTRIBUTED, str(tmp_path)]
    tests = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": f"{tests}:{tests.parent}"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.stdout.split()[-1:] == ["same"], done.stderr[-2000:]
    assert [record["step"] for record in material.assert_complete(tmp_path)] == [0, 2, 4, 5]
