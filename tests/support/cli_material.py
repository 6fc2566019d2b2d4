"""Pictures and a small network for the tests of the command line."""

from __future__ import annotations

from pathlib import Path

import cv2
import keras
import numpy as np

from tfviz.images import write_image

LABELS = ("tench", "tabby, tabby cat", "red fox", "crane")


def picture(seed: int, height: int = 40, width: int = 60) -> np.ndarray:
    """Return smooth blobs of color, which give maps that vary across the image."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def save_pictures(folder: Path, names: list[str]) -> Path:
    for seed, name in enumerate(names):
        write_image(folder / name, picture(seed))
    return folder


def network(size: tuple[int | None, int | None] = (32, 32), seed: int = 0, outputs: int = 4) -> keras.Model:
    """Return a classifier of two convolutions with ReLU and global average pooling."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((*size, 3))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.Conv2D(6, 3, padding="same", activation="relu", name="conv1")(x)
    x = keras.layers.MaxPooling2D(2, name="pool")(x)
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu", name="conv2")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dense(outputs, name="logits")(x)
    return keras.Model(inputs, keras.layers.Activation("softmax" if outputs > 1 else "sigmoid")(x))


def save_network(path: Path, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    network(**options).save(path)
    return path
