"""Layers split into a linear map and an activation, with kernels that are not plain arrays."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import tfviz
from tfviz.graph.backprop import inputs_of, run
from tfviz.reading.reader import graph_of


@pytest.fixture
def network():
    keras.utils.set_random_seed(3)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(8, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(16, activation="relu", name="hidden"),
            layers.Dense(4, activation="softmax", name="head"),
        ]
    )


IMAGES = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")


def walked(model):
    graph = graph_of(model)
    return np.asarray(run(inputs_of(graph, [IMAGES]), graph.before(graph.outputs))[graph.outputs[0]])


def test_dense_layers_quantized_to_int8_are_explained_as_they_compute(network):
    float_maps = {key: np.asarray(tfviz.METHODS[key](network)(IMAGES, 1)) for key in ("guided_backprop", "excitation_backprop")}
    for name in ("hidden", "head"):
        network.get_layer(name).quantize("int8")
    np.testing.assert_array_equal(walked(network), np.asarray(network(IMAGES)))
    for key, before in float_maps.items():
        after = np.asarray(tfviz.METHODS[key](network)(IMAGES, 1))
        assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.999
    assert network.get_layer("head").activation is keras.activations.softmax


def test_a_low_rank_adapter_is_part_of_the_kernel(network):
    network.get_layer("hidden").enable_lora(2)
    plain = np.asarray(tfviz.ExcitationBackprop(network)(IMAGES, 1))
    explainer = tfviz.ExcitationBackprop(network)
    network.get_layer("hidden").lora_kernel_b.assign(np.full((2, 16), 0.5, "float32"))
    np.testing.assert_allclose(walked(network), np.asarray(network(IMAGES)), atol=1e-6)
    assert np.abs(np.asarray(explainer(IMAGES, 1)) - plain).max() > 0.01 * plain.max()
