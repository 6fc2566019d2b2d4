"""Digits for trying excitation backprop on a fully connected network: data, the network, and pictures of two digits.

A picture is twice as wide as a digit: one digit stands in its left or right half, and noise is everywhere. The network
is trained on one digit at a time. On a picture of two, whose places are known, a map for one of them should lie in its
half.
"""

from __future__ import annotations

import contextlib
import io
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tfviz.errors import MissingPackageError

if TYPE_CHECKING:
    import keras

CLASSES = 10
_FETCH_TIMEOUT_S = 60.0
_HELD_OUT = 5  # each fifth digit is never trained on
_NOISE = 0.4  # the brightest noise, where a digit's brightest is 1


@dataclass(frozen=True)
class Digits:
    """images (N, side, side) float32 in [0, 1], labels (N,) ints, and where they come from."""

    images: np.ndarray
    labels: np.ndarray
    source: str

    def split(self) -> tuple[Digits, Digits]:
        """Those to train on, and those held out."""
        held_out = np.arange(len(self.images)) % _HELD_OUT == 0
        train, test = (Digits(self.images[which], self.labels[which], self.source) for which in (~held_out, held_out))
        return train, test


def load_digits() -> Digits:
    """MNIST where Keras has it or can fetch it within a minute; otherwise scikit-learn's own, 8x8 pixels.

    Raises MissingPackageError where neither is to be had.
    """
    mnist = _mnist()
    if mnist is not None:
        return Digits(mnist[0].astype(np.float32) / 255, mnist[1].astype(int), "MNIST, 28x28 pixels")
    try:
        from sklearn import datasets
    except ImportError as error:
        raise MissingPackageError(
            "MNIST cannot be fetched here, and scikit-learn, which has digits of its own, is not installed: "
            "pip install 'tfviz[digits]'."
        ) from error
    images, labels = datasets.load_digits(return_X_y=True)
    source = "scikit-learn's digits, 8x8 pixels, because MNIST cannot be fetched here"
    return Digits(images.reshape(-1, 8, 8).astype(np.float32) / 16, labels, source)


def _mnist() -> tuple[np.ndarray, np.ndarray] | None:
    """MNIST's training set. In a thread, because Keras' download has no time limit."""
    from keras.datasets import mnist

    fetched: list[tuple[np.ndarray, np.ndarray]] = []

    def fetch() -> None:
        with contextlib.suppress(Exception), contextlib.redirect_stdout(io.StringIO()):
            fetched.append(mnist.load_data()[0])

    thread = threading.Thread(target=fetch, daemon=True)
    thread.start()
    thread.join(_FETCH_TIMEOUT_S)
    return fetched[0] if fetched else None
