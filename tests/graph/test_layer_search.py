"""Finding a layer: automatically, or by name, path, object and call number."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from support import networks
from support.networks import NETWORKS

import tfviz
from tfviz.graph.layer_search import automatic_layer, find, has_height_and_width
from tfviz.graph.operations import Linear, Relu
from tfviz.reading.reader import graph_of


@pytest.fixture(scope="module")
def nested() -> keras.Model:
    return networks.build("nested")


# --- the automatic choice -------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, case in NETWORKS.items() if case.automatic])
def test_the_automatic_layer_is_the_automatic_layer_on_every_path(name: str) -> None:
    """The automatic layer may be an operation without a layer, whose name Keras numbers."""
    path = tfviz.GradCAM(networks.build(name)).layer_path
    assert path.split(":")[0].rstrip("0123456789_") == NETWORKS[name].automatic.rstrip("0123456789_")
    if name != "operations":
        assert path == NETWORKS[name].automatic


# The comments state where two other libraries differ: the 1×1 classifier, one of several branches,
# or a shortcut.
AUTOMATIC = {
    "VGG16": "block5_conv3",
    "ResNet50": "conv5_block3_out",
    "MobileNet": "conv_pw_13_relu",
    "MobileNetV2": "out_relu",
    "DenseNet121": "relu",
    "InceptionV3": "mixed10",
    "Xception": "block14_sepconv2_act",
}


@pytest.mark.parametrize("name", AUTOMATIC)
def test_the_automatic_layer_of_known_architectures(name: str) -> None:
    size = 139 if name == "InceptionV3" else 96  # Below that, its last map has one pixel.
    model = getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3), classes=3)
    assert automatic_layer(graph_of(model)).path == AUTOMATIC[name]


def test_a_convolutional_head_after_pooling_is_not_the_automatic_layer() -> None:
    model = keras.applications.MobileNetV3Small(weights=None, input_shape=(64, 64, 3), classes=3)
    graph = graph_of(model)
    step = automatic_layer(graph)
    assert [reader.operation.name for reader in graph.consumers(step.outputs[0])] == ["GlobalAveragePooling2D"]
    assert step.outputs[0].shape[1:3] == (2, 2)


def test_the_automatic_layer_may_be_inside_a_nested_backbone() -> None:
    backbone = keras.applications.MobileNetV2(weights=None, input_shape=(64, 64, 3), include_top=False)
    model = keras.Sequential([keras.Input((64, 64, 3)), backbone, layers.GlobalAveragePooling2D(), layers.Dense(3)])
    assert tfviz.GradCAM(model).layer_path == f"{backbone.name}/out_relu"


def test_a_model_without_height_and_width_has_no_automatic_layer() -> None:
    with pytest.raises(tfviz.UnsupportedModelError, match=r"No feature map with height and width.* use a method"):
        tfviz.GradCAM(networks.build("dense"))


# --- by name, path and object ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "end",
    [
        lambda x: layers.UpSampling2D(2)(x),
        lambda x: layers.Resizing(31, 30)(x),
        lambda x: layers.Softmax()(layers.UpSampling2D(2)(x)),
        lambda x: layers.Softmax()(layers.Reshape((-1, 3))(x)),
        lambda x: layers.Rescaling(10.0)(layers.Activation("sigmoid")(x)),
        lambda x: layers.Activation("sigmoid")(x),
    ],
    ids=["scaled up", "resized", "softmax", "flat", "scaled", "sigmoid"],
)
@pytest.mark.parametrize("score", ["logits", "outputs"])
def test_resized_class_maps_are_not_the_automatic_layer(end: Any, score: str) -> None:
    """At a class map, Grad-CAM would return the map of that class for every target pixel."""
    inputs = keras.Input((16, 16, 3))
    features = layers.Conv2D(8, 3, activation="relu", padding="same", name="features")(inputs)
    model = keras.Model(inputs, end(layers.Conv2D(3, 1, name="classes")(features)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a scaled sigmoid
        assert tfviz.GradCAM(model, score=score).layer_path == "features"


@pytest.mark.parametrize("convolutions", [1, 2])
def test_patch_embeddings_are_not_the_automatic_layer(convolutions: int) -> None:
    """The tokens that attention reads are, however long the convolutional stem."""
    inputs = x = keras.Input((16, 16, 3))
    for number in range(convolutions):
        x = layers.Conv2D(8, 4, strides=4 if number == 0 else 1, padding="same", name=f"c{number}")(x)
    x = layers.Reshape((16, 8), name="tokens")(x)
    x = layers.MultiHeadAttention(2, 4)(x, x)
    model = keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))
    assert tfviz.GradCAM(model).layer_path == "tokens"
    assert tfviz.GradCAM(model, "c0").layer_path == "c0"


class Untraceable(layers.Layer):
    """A block of a transformer with attention inside, whose code needs eager tensors."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.attention = layers.MultiHeadAttention(2, 4)

    def build(self, shape: tuple[int | None, ...]) -> None:
        self.attention.build(shape, shape)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return self.attention(x, x) * (1.0 if float(tf.reduce_sum(x)) > 0 else 0.5)

    def compute_output_spec(self, x: keras.KerasTensor) -> keras.KerasTensor:
        return keras.KerasTensor(x.shape, x.dtype)


def tokenizer(blocks: int, block: Callable[[Any], Any]) -> keras.Model:
    """A convolutional transformer: two convolutions make the tokens."""
    inputs = x = keras.Input((16, 16, 3))
    for number in range(2):
        x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name=f"c{number}")(x)
    x = layers.Reshape((16, 8), name="tokens")(x)
    for _ in range(blocks):
        x = block(x)
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))


def built_in(x: Any) -> Any:
    return x + layers.MultiHeadAttention(2, 4)(x, x)


def of_dot_layers(x: Any) -> Any:
    scores = layers.Softmax()(layers.Dot((2, 2))([layers.Dense(8)(x), x]))
    return layers.Dot((2, 1))([scores, x])


def test_the_stem_of_a_transformer_is_not_the_automatic_layer() -> None:
    for block in (built_in, of_dot_layers):
        assert tfviz.GradCAM(tokenizer(1, block)).layer_path == "tokens"
    with pytest.raises(tfviz.UnsupportedModelError, match=r"tfviz can read no attention .*\. Choose a layer"):
        tfviz.GradCAM(tokenizer(2, lambda x: Untraceable()(x)))
    opaque = tokenizer(1, lambda x: Untraceable()(x))
    assert tfviz.GradCAM(opaque).layer_path == "c1", "more convolutions than attention"


@pytest.mark.parametrize(("blocks", "block"), [(0, built_in), (1, built_in), (3, built_in), (1, of_dot_layers)])
def test_visual_backprop_says_that_it_does_not_cover_attention(blocks: int, block: Callable[[Any], Any]) -> None:
    model = tokenizer(blocks, block)
    for make in (tfviz.VisualBackProp, tfviz.with_visual_backprop):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            make(model)
        said = [str(one.message) for one in caught if "attention" in str(one.message)]
        assert len(said) == (blocks > 0)
        assert all("covers only the convolutions up to 'c1'" in one for one in said)


def test_name_path_and_object_find_the_same_value(nested: keras.Model) -> None:
    graph, backbone = graph_of(nested), nested.get_layer("backbone")
    inner = backbone.get_layer("r1")
    assert find(graph, "r1") == find(graph, "backbone/r1") == find(graph, inner)
    assert find(graph, "block/conv") == find(graph, "backbone/block/conv") == find(graph, backbone.get_layer("block").layers[0])


def test_a_nested_model_stands_for_its_output(nested: keras.Model) -> None:
    graph = graph_of(nested)
    assert find(graph, "backbone") == find(graph, "backbone/block/conv") == find(graph, nested.get_layer("backbone"))


def test_the_three_ways_give_the_same_map(nested: keras.Model) -> None:
    images = networks.pictures(nested)
    inner = nested.get_layer("backbone").get_layer("r1")
    maps = [tfviz.GradCAM(nested, layer)(images, 1) for layer in ("r1", "backbone/r1", inner)]
    np.testing.assert_array_equal(maps[0], maps[1])
    np.testing.assert_array_equal(maps[0], maps[2])


def test_a_fused_activation_belongs_to_its_layer() -> None:
    model = networks.build("plain")
    graph = graph_of(model)
    assert [type(step.operation) for step in graph.steps if step.path == "c1"] == [Linear, Relu]
    assert isinstance(graph.producer(find(graph, "c1")).operation, Relu)


def test_an_unknown_name_lists_similar_names() -> None:
    with pytest.raises(tfviz.UnknownLayerError, match=r"no layer 'backbone/conv_1'\. Did you mean .*'backbone/block/conv'"):
        tfviz.GradCAM(networks.build("nested"), "backbone/conv_1")
    with pytest.raises(tfviz.UnknownLayerError, match=r"no layer 'zzz'\. Available: .*`tfviz layers` lists all layers"):
        tfviz.GradCAM(networks.build("nested"), "zzz")


def test_a_layer_of_another_model_is_rejected() -> None:
    with pytest.raises(tfviz.UnknownLayerError, match=r"Received: 'foreign' \(Conv2D\), which is not a layer of this model"):
        tfviz.GradCAM(networks.build("plain"), layers.Conv2D(3, 3, name="foreign"))


def test_a_name_used_in_two_nested_models_is_ambiguous() -> None:
    def block(name: str) -> keras.Model:
        return keras.Sequential([layers.Conv2D(3, 3, padding="same", name="conv")], name=name)

    model = keras.Sequential([keras.Input((8, 8, 3)), block("left"), block("right"), layers.Flatten(), layers.Dense(2)])
    with pytest.raises(
        tfviz.UnknownLayerError, match=r"'conv' is called several times in this model\. Choose one of 'left/conv', 'ri"
    ):
        tfviz.GradCAM(model, "conv")
    assert tfviz.GradCAM(model, "left/conv").layer_path == "left/conv"


# --- a layer that is called more than once --------------------------------------------------------


def test_each_call_of_a_shared_layer_is_a_step_of_its_own() -> None:
    model = networks.build("shared")
    for layer in ("backbone", "backbone/conv", "conv", model.get_layer("backbone")):
        with pytest.raises(tfviz.UnknownLayerError, match=r"is called several times in this model. Choose one of 'backbone:0"):
            tfviz.GradCAM(model, layer)
    images = networks.pictures(model)
    maps = [tfviz.HiResCAM(model, f"backbone:{number}/conv")(images, 0).numpy() for number in (0, 1)]
    assert abs(maps[0] - maps[1]).max() > 1e-3 * abs(maps[0]).max()


def test_steps_of_a_shared_layer_are_numbered_in_call_order() -> None:
    conv, first = layers.Conv2D(3, 3, padding="same", name="conv"), keras.Input((8, 8, 3))
    once = conv(first)
    twice = conv(once)
    model = keras.Model(first, layers.Dense(2)(layers.GlobalAveragePooling2D()(layers.Add()([twice, once]))))
    graph = graph_of(model)
    assert graph.producer(find(graph, "conv:0")).inputs == tuple(graph.inputs)
    assert graph.producer(find(graph, "conv:1")).inputs == (find(graph, "conv:0"),)


# --- height and width -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "has"),
    [
        ((None, 7, 7, 3), True),
        ((None, None, None, 3), True),
        ((None, 1, 1, 3), False),
        ((None, 5), False),
        ((None, 1, 9, 2), True),
    ],
)
def test_a_map_has_more_than_one_pixel(shape: tuple[int | None, ...], has: bool) -> None:
    graph = graph_of(keras.Sequential([keras.Input(shape[1:]), layers.ReLU()]))
    assert has_height_and_width(graph.outputs[0]) == has


@pytest.mark.parametrize("method", [*networks.CAMS, "guided_grad_cam"])
def test_a_cam_at_a_layer_without_height_and_width_is_rejected(method: str) -> None:
    model = networks.build("plain")
    with pytest.raises(
        tfviz.UnknownLayerError, match=r"Layer 'flat' has shape \(None, \d+\), but a map needs a height and a width"
    ):
        tfviz.METHODS[method](model, "flat")


def test_a_layer_that_does_not_contribute_to_the_output_is_rejected() -> None:
    inputs = keras.Input((8, 8, 3))
    side = layers.Conv2D(2, 3, name="side")(inputs)
    main = layers.Flatten()(layers.Conv2D(2, 3, name="main")(inputs))
    model = keras.Model(inputs, [layers.Dense(2, name="out")(main), layers.Flatten()(side)])
    explainer = tfviz.GradCAM(model, "side", output=0)
    with pytest.raises(tfviz.UnknownLayerError, match="Layer 'side' does not contribute to the model's output"):
        explainer(networks.pictures(model), 0)
