"""Test excitation backprop on digits with a fully connected network.

Each image is twice as wide as a digit and filled with noise, with a digit in its left or right
half. The network is trained on images with one digit. In an image with two digits, the map for a
digit should lie in that digit's half.
"""

from __future__ import annotations

import contextlib
import io
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tfviz.errors import MissingPackageError, install_command

if TYPE_CHECKING:
    import keras

CLASSES = 10
_FETCH_TIMEOUT_S = 60.0
_HELD_OUT = 5  # Every fifth digit is held out.
_NOISE, _NOISE_OF_PAIRS = 0.8, 0.2  # maximum noise value; a digit's brightest pixel is 1
_PICTURES, _EPOCHS, _BATCH_SIZE = 20_000, 10, 128
# Sparse, small weights keep the maps on the strokes.
_UNITS, _DROPOUT, _L1 = (256, 128, 64), 0.2, 1e-4


@dataclass(frozen=True)
class Digits:
    """A set of digits.

    Attributes:
        images: (N, side, side) float32 in [0, 1].
        labels: (N,) ints.
        source: a description of the digits' origin.
    """

    images: np.ndarray
    labels: np.ndarray
    source: str

    def split(self) -> tuple[Digits, Digits]:
        """Split the digits into a training set and a held-out set."""
        held_out = np.arange(len(self.images)) % _HELD_OUT == 0
        train, test = (Digits(self.images[which], self.labels[which], self.source) for which in (~held_out, held_out))
        return train, test


def load_digits() -> Digits:
    """Load MNIST if Keras can download it within a minute, or else scikit-learn's 8x8 digits.

    Returns:
        The digits.

    Raises:
        MissingPackageError: MNIST cannot be downloaded, and scikit-learn is not installed.
    """
    mnist = _mnist()
    if mnist is not None:
        return Digits(mnist[0].astype(np.float32) / 255, mnist[1].astype(int), "MNIST, 28x28 pixels")
    try:
        from sklearn import datasets
    except ImportError as error:
        raise MissingPackageError(
            "MNIST cannot be downloaded, and scikit-learn, which contains a set of digits, is not installed. Run: "
            f"{install_command('digits')}"
        ) from error
    images, labels = datasets.load_digits(return_X_y=True)
    source = "scikit-learn's digits, 8x8 pixels, because MNIST cannot be downloaded"
    return Digits(images.reshape(-1, 8, 8).astype(np.float32) / 16, labels, source)


def _mnist() -> tuple[np.ndarray, np.ndarray] | None:
    """Load MNIST's training set in a thread, because Keras' download has no timeout."""
    from keras.datasets import mnist

    fetched: list[tuple[np.ndarray, np.ndarray]] = []

    def fetch() -> None:
        with contextlib.suppress(Exception), contextlib.redirect_stdout(io.StringIO()):
            fetched.append(mnist.load_data()[0])

    thread = threading.Thread(target=fetch, daemon=True)
    thread.start()
    thread.join(_FETCH_TIMEOUT_S)
    return fetched[0] if fetched else None


def single_pictures(digits: Digits, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw noisy images (count, side, 2 side, 1) with one digit on the left or right.

    Returns:
        The images and their labels, (count,).
    """
    rng = np.random.default_rng(seed)
    chosen, halves = rng.integers(0, len(digits.images), count), rng.integers(0, 2, count)
    side = digits.images.shape[1]
    pictures = np.zeros((count, 2, side, side), np.float32)
    pictures[np.arange(count), halves] = digits.images[chosen]
    return _noisy(_side_by_side(pictures), _NOISE * rng.uniform(size=(count, 1, 1, 1)), rng), digits.labels[chosen]


def double_pictures(digits: Digits, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw images (count, side, 2 side, 1) with two different digits and weak noise.

    Returns:
        The images and their left and right labels, (count, 2).
    """
    rng = np.random.default_rng(seed)
    pairs = rng.integers(0, len(digits.images), (4 * count + 100, 2))
    pairs = pairs[digits.labels[pairs[:, 0]] != digits.labels[pairs[:, 1]]][:count]
    return _noisy(_side_by_side(digits.images[pairs]), _NOISE_OF_PAIRS, rng), digits.labels[pairs]


def _side_by_side(pairs: np.ndarray) -> np.ndarray:
    """Join pairs (N, 2, side, side) into images (N, side, 2 side, 1)."""
    return np.concatenate([pairs[:, 0], pairs[:, 1]], axis=2)[..., None]


def _noisy(pictures: np.ndarray, strength: np.ndarray | float, rng: np.random.Generator) -> np.ndarray:
    """Return the pixelwise maximum of images and noise, which keeps the digits' strokes intact."""
    return np.maximum(pictures, (rng.uniform(size=pictures.shape) * strength).astype(np.float32))


def train(digits: Digits, seed: int = 0, epochs: int = _EPOCHS) -> keras.Model:
    """Train a fully connected network in a few seconds to classify the digit in an image."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(seed)
    side = digits.images.shape[1]
    model = keras.Sequential([keras.Input((side, 2 * side, 1)), layers.Flatten()], name="digits")
    for units in _UNITS:
        model.add(layers.Dense(units, "relu", kernel_regularizer=keras.regularizers.L1(_L1)))
        model.add(layers.Dropout(_DROPOUT))
    model.add(layers.Dense(CLASSES, "softmax", name="predictions"))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    pictures, labels = single_pictures(digits, _PICTURES, seed)
    model.fit(pictures, labels, epochs=epochs, batch_size=_BATCH_SIZE, verbose=0)
    return model


def share_in_half(maps: np.ndarray, half: int) -> np.ndarray:
    """Return the fraction (N,) of each map's mass in its left (0) or right (1) half.

    The maps have shape (N, side, 2 side). The fraction is 0 for an empty map.
    """
    side = maps.shape[2] // 2
    inside, whole = maps[:, :, half * side : (half + 1) * side].sum((1, 2)), maps.sum((1, 2))
    return np.divide(inside, whole, out=np.zeros_like(whole), where=whole > 0)
