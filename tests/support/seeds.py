"""Random numbers that are the same again."""

from __future__ import annotations

import keras

from tfviz import keras_internals


def set_random_seed(seed: int) -> None:
    """Seeds every global generator, that of Keras included, which Keras 3.12 leaves
    where it was.
    """
    keras.utils.set_random_seed(seed)
    keras_internals.forget_global_generator()
