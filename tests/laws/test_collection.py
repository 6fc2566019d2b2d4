"""An explainer, its functions and its model are garbage collected once they are unreachable."""

from __future__ import annotations

import gc
import weakref

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from support.explainers import KEYS, built
from tensorflow.python.framework import ops

import tfviz
from tfviz.reading.read_model import read_model


def small(size: int | None = 16) -> keras.Model:
    inputs = keras.Input((size, size, 3))
    x = layers.Conv2D(4, 3, activation="relu", name="features")(inputs)
    return keras.Model(inputs, layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(x)))


def collected() -> int:
    """Return the number of gradients in TensorFlow's registry after a collection."""
    keras.backend.clear_session()
    gc.collect()
    return len(ops.gradient_registry._registry)


def test_models_and_their_explainers_are_collected() -> None:
    """All methods share one collection, because a collection takes seconds late in a test run."""
    before = collected()
    references = {key: references_of(key) for key in KEYS}
    left = collected()
    alive = {key: [one for one in found if one() is not None] for key, found in references.items()}
    assert {key: found for key, found in alive.items() if found} == {}
    assert left <= before


def references_of(method: str) -> list[weakref.ref[object]]:
    """Explain an image, and return references to the model, its explainer and what was read."""
    model = small()
    explainer = built(method, model)
    explainer(np.random.default_rng(0).uniform(size=(1, 16, 16, 3)).astype(np.float32))
    return [weakref.ref(model), weakref.ref(explainer), weakref.ref(explainer.read)]


def test_evicted_functions_are_collected() -> None:
    explainer = tfviz.GuidedBackprop(small(None))
    before = collected()
    for size in range(8, 8 + 36):
        explainer(np.random.default_rng(0).uniform(size=(1, size, 9, 3)).astype(np.float32))
    assert explainer.traces == 36
    assert collected() - before <= 32  # one ReLU per function that is kept


def test_a_kept_function_still_has_its_gradient() -> None:
    """Users may differentiate a map, so weak registry entries must live as long as the function."""
    explainer = tfviz.GuidedBackprop(small())
    images = tf.constant(np.random.default_rng(0).uniform(size=(1, 16, 16, 3)), tf.float32)
    explainer(images, 1)
    gc.collect()

    @tf.function(autograph=False)
    def gradient(x: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(explainer(x, 1) * x)
        return tape.gradient(total, x)

    assert np.any(gradient(images))


def test_all_methods_of_one_model_read_it_once() -> None:
    model = small()
    explainers = [built(key, model) for key in KEYS]
    assert len({id(explainer.read) for explainer in explainers}) == 1
    assert read_model(model) is explainers[0].read
    model.get_layer("features").activation = keras.activations.tanh
    assert read_model(model) is not explainers[0].read, "a model that was modified is read again"
