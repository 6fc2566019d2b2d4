"""Small networks, data and checks of run folders for the tests of snapshots."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from support.seeds import set_random_seed
from tfviz.snapshots.callback import SnapshotCallback

CLASSES = 4
SIDE_PX = 16


def disturbed_network(dtype: str = "float32") -> keras.Model:
    """Return a network that reveals extra runs: augmentation, noise, dropout, moving averages,
    losses.
    """
    with_policy = {"dtype": dtype}
    regularizer = "l2" if dtype == "float32" else None  # Keras cannot add losses of two dtypes
    return keras.Sequential([
        keras.Input((SIDE_PX, SIDE_PX, 3)),
        layers.RandomFlip(**with_policy),
        layers.RandomTranslation(0.1, 0.1, **with_policy),
        layers.GaussianNoise(0.1, **with_policy),
        layers.Conv2D(6, 3, padding="same", activation="relu", name="conv1", activity_regularizer=regularizer, **with_policy),
        layers.BatchNormalization(**with_policy),
        layers.MaxPooling2D(**with_policy),
        layers.Conv2D(8, 3, activation="relu", name="conv2", **with_policy),
        layers.SpatialDropout2D(0.2, **with_policy),
        layers.GlobalAveragePooling2D(**with_policy),
        layers.Dropout(0.3, **with_policy),
        layers.Dense(CLASSES, activation="softmax", dtype="float32", name="out"),
    ])  # fmt: skip


def plain_network() -> keras.Model:
    return keras.Sequential([
        keras.Input((SIDE_PX, SIDE_PX, 3)),
        layers.Conv2D(6, 3, activation="relu", name="conv"),
        layers.GlobalAveragePooling2D(),
        layers.Dropout(0.3),
        layers.Dense(CLASSES, activation="softmax", name="out"),
    ])  # fmt: skip


def data(count: int = 40, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    images = random.uniform(size=(count, SIDE_PX, SIDE_PX, 3)).astype(np.float32)
    return images, random.integers(0, CLASSES, count)


def records(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of the index. Each must be complete, strict JSON with the next number."""
    text = (folder / "snapshots.jsonl").read_text(encoding="utf-8")
    assert text == "" or text.endswith("\n")
    found = [json.loads(line, parse_constant=_reject_constant) for line in text.splitlines()]
    assert [record["number"] for record in found] == list(range(len(found)))
    return found


def _reject_constant(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def assert_complete(folder: Path) -> list[dict[str, Any]]:
    """Check that all files of all records exist and are complete, and return the records."""
    from tfviz.images import read_image

    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    found = records(folder)
    for record in found:
        pictures = folder / "pictures" / f"{record['number']:08d}"
        for method in record["methods"]:
            for number, size in enumerate(run["images"]):
                assert read_image(pictures / method / f"{number}.png").shape == (size["height"], size["width"], 3)
        with np.load(folder / "maps" / f"{record['number']:08d}.npz") as maps:
            assert set(record["methods"]) <= set(maps)
    return found


class Eager:
    """A plain network that trains eagerly, in milliseconds, and one explainer for all tests."""

    def __init__(self) -> None:
        import tfviz

        set_random_seed(0)
        self.model = plain_network()
        self.explainer = tfviz.GradCAM(self.model, "conv")
        self.images, self.labels = data()
        self._weights = self.model.get_weights()

    def reset(self) -> None:
        self.model.set_weights(self._weights)
        self.model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"], run_eagerly=True)

    def callback(self, folder: Path, **options: Any) -> SnapshotCallback:
        options = {"explainers": [self.explainer], "images": self.images[:2], "log_dir": folder, **options}
        return SnapshotCallback(**options)

    def fit(self, *callbacks: keras.callbacks.Callback, **options: Any) -> keras.callbacks.History:
        """Train with five batches per epoch."""
        options = {"epochs": 1, "batch_size": 8, "verbose": 0, **options}
        return self.model.fit(self.images, self.labels, callbacks=list(callbacks), **options)


def at_batch(number: int, action: Callable[[], Any]) -> keras.callbacks.Callback:
    """Return a callback that runs an action after a number of batches in an epoch."""

    def end(batch: int, logs: Any) -> None:
        if batch + 1 == number:
            action()

    return keras.callbacks.LambdaCallback(on_train_batch_end=end)
