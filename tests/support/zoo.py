"""A zoo of small models: all common ways to build one.

Each species is built quickly. Its builder takes the final activation. Without one the same model
ends in its logits, which makes it the twin that the second route rewrites (see rewritten.py).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

import tfviz
from support.networks import CAMS, EXCITATIONS, with_random_weights

ALL_CAMS = (*CAMS, "guided_grad_cam")
Head = str | None


@dataclass(frozen=True)
class Species:
    """How to build a model, and what to expect.

    Attributes:
        build: creates the model, with random weights, for a final activation.
        cam: the automatic layer of a CAM, by its name in the twin.
        twin: creates a plain model with the same weights that ends in the logits to explain; by
            default the builder does.
        errors: methods, and the message of the error that they must raise.
        warns: the warning of the guided methods if they equal the plain gradient.
        tolerance: relative to the largest value.
    """

    build: Callable[[Head], Any]
    cam: str | None = None
    twin: Callable[[Any], Any] | None = None
    pictures: Callable[[], Any] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    target: Any = 1
    seed: Callable[[Any], Any] | None = None
    errors: dict[str, str] = field(default_factory=dict)
    error: type[Exception] = tfviz.UnsupportedModelError
    warns: str = ""
    tolerance: float = 1e-4
    head: Head = "softmax"

    def model(self) -> Any:
        return self.build(self.head)

    def twin_of(self, model: Any) -> Any:
        if self.twin:
            return self.twin(model)
        twin = self.build(None)
        for mine, its in zip(twin.variables, model.variables, strict=True):
            mine.assign(its)
        return twin

    def images(self, model: Any) -> Any:
        if self.pictures:
            return self.pictures()
        return noise(*(17 if n is None else n for n in model.input_shape[1:]))


def noise(*size: int, count: int = 2, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, *size)).astype(np.float32)


def alive(model: Any, seed: int = 0) -> Any:
    """Set random weights, mostly positive kernels and positive biases, so no map is all zero."""
    with_random_weights(model, seed)
    for weight in model.trainable_weights:
        if len(weight.shape) > 1:
            weight.assign(weight + 0.3 * ops.std(weight))
        elif "bias" in weight.path:
            weight.assign(abs(weight))
    return model


def head_of(x: Any, activation: Head, units: int = 4, name: str = "out") -> Any:
    x = layers.GlobalAveragePooling2D(name=f"{name}_pool")(x)
    return layers.Dense(units, activation=activation, name=name)(x)


def conv(filters: int, name: str, **options: Any) -> Any:
    return layers.Conv2D(filters, 3, **({"activation": "relu", "padding": "same"} | options), name=name)


# --- Sequential and nested ------------------------------------------------------------------------


def stack(activation: Head) -> list[Any]:
    pool, head = layers.MaxPooling2D(name="p1"), layers.Dense(4, activation=activation, name="out")
    return [conv(6, "c1"), pool, conv(8, "c2", strides=2), layers.Flatten(name="flat"), head]


def sequential_with_input(activation: Head) -> keras.Model:
    return alive(keras.Sequential([keras.Input((16, 14, 3)), *stack(activation)]))


def sequential_without_input(activation: Head) -> keras.Model:
    model = keras.Sequential(stack(activation))
    model(noise(16, 14, 3))
    return alive(model)


def backbone(name: str = "backbone", size: tuple[int | None, ...] = (16, 14, 3)) -> keras.Model:
    inputs = keras.Input(size)
    x = conv(6, f"{name}_c1", activation=None)(inputs)
    x = layers.ReLU(name=f"{name}_r1")(layers.BatchNormalization(name=f"{name}_n1")(x))
    return keras.Model(inputs, conv(6, f"{name}_c2", strides=2)(x), name=name)


def nested_with_augmentation(activation: Head) -> keras.Model:
    augmentation = keras.Sequential([layers.RandomFlip(), layers.RandomRotation(0.3), layers.RandomContrast(0.3)])
    inputs = keras.Input((16, 14, 3))
    x = layers.Rescaling(0.5, offset=0.2, name="rescaling")(augmentation(inputs))
    x = layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.0, 0.5, 2.0], name="normalization")(x)
    head = keras.Sequential([layers.GlobalAveragePooling2D(), layers.Dropout(0.5), layers.Dense(4, activation)], name="head")
    return alive(keras.Model(inputs, head(backbone()(x))))


def backbone_in_a_backbone(activation: Head) -> keras.Model:
    inputs = keras.Input((16, 14, 3))
    outer = keras.Model(inputs, conv(5, "neck")(backbone("inner")(inputs)), name="outer")
    x = keras.Input((16, 14, 3))
    return alive(keras.Model(x, head_of(outer(x), activation)))


def shared_layer(activation: Head) -> keras.Model:
    inputs = keras.Input((16, 14, 3))
    again = conv(3, "again")
    x = again(again(inputs))
    return alive(keras.Model(inputs, head_of(conv(5, "last")(x), activation)))


def shared_backbone(activation: Head) -> keras.Model:
    inputs = keras.Input((16, 14, 3))
    twice = backbone()
    x = layers.Concatenate(name="cat")([twice(inputs), twice(layers.Rescaling(-1.0, name="negative")(inputs))])
    return alive(keras.Model(inputs, head_of(x, activation)))


# --- inputs and outputs ---------------------------------------------------------------------------


def two_images(activation: Head) -> keras.Model:
    inputs = {"right": keras.Input((12, 10, 3), name="right"), "left": keras.Input((12, 10, 1), name="left")}
    x = layers.Add(name="sum")([conv(6, "c_left")(inputs["left"]), conv(6, "c_right")(inputs["right"])])
    return alive(keras.Model(inputs, head_of(conv(5, "last")(x), activation)))


def image_and_vector(activation: Head) -> keras.Model:
    image, vector = keras.Input((12, 10, 3), name="image"), keras.Input((5,), name="vector")
    x = layers.GlobalAveragePooling2D(name="pool")(conv(6, "c1")(image))
    x = layers.Concatenate(name="cat")([x, layers.Dense(6, activation="relu", name="d1")(vector)])
    return alive(keras.Model([image, vector], layers.Dense(4, activation=activation, name="out")(x)))


def trunk_of_two(activation: Head) -> tuple[Any, Any, Any]:
    inputs = keras.Input((14, 12, 3))
    x = conv(6, "last")(conv(6, "c1")(inputs))
    return inputs, head_of(x, activation, 3, "color"), head_of(x, activation, 4, "kind")


def outputs_in_a_dict(activation: Head) -> keras.Model:
    inputs, color, kind = trunk_of_two(activation)
    return alive(keras.Model(inputs, {"color": color, "kind": kind}))


def outputs_in_a_list(activation: Head) -> keras.Model:
    inputs, color, kind = trunk_of_two(activation)
    return alive(keras.Model(inputs, [color, kind]))


def one_output(build: Callable[[Head], Any], name: str) -> Callable[[Any], Any]:
    """Return the twin of a model with several outputs: one of its outputs."""

    def twin(model: Any) -> Any:
        whole = build(None)
        for mine, its in zip(whole.variables, model.variables, strict=True):
            mine.assign(its)
        return keras.Model(whole.input, whole.get_layer(name).output)

    return twin


def segmentation(activation: Head) -> keras.Model:
    inputs = keras.Input((12, 10, 3))
    x = conv(6, "down", strides=2)(conv(5, "c1")(inputs))
    x = conv(5, "last")(layers.UpSampling2D(name="up")(x))
    return alive(keras.Model(inputs, layers.Conv2D(3, 1, activation=activation, name="classes")(x)), 2)


MASK = np.zeros((12, 10), bool)
MASK[3:8, 2:6] = True


def mask_seed(outputs: Any) -> np.ndarray:
    seed = np.zeros(outputs.shape, np.float32)
    seed[:, MASK, 1] = 1
    return seed


def pixel_seed(outputs: Any) -> np.ndarray:
    seed = np.zeros(outputs.shape, np.float32)
    seed[:, 4, 3, 2] = 1
    return seed


def regression(activation: Head) -> keras.Model:
    inputs = keras.Input((16, 14, 3))
    return alive(keras.Model(inputs, head_of(conv(6, "last")(inputs), None, 1)), 2)


def one_sigmoid(activation: Head) -> keras.Model:
    inputs = keras.Input((16, 14, 3))
    return alive(keras.Model(inputs, head_of(conv(6, "last")(inputs), activation, 1)), 1)


def two_classes(model: Any) -> Any:
    """A sigmoid unit as two classes, by hand: −z and z."""
    inputs = keras.Input((16, 14, 3))
    twin = keras.Model(inputs, head_of(conv(6, "last")(inputs), None, 2))
    *trunk, kernel, bias = [variable.numpy() for variable in model.variables]
    twin.set_weights([*trunk, np.concatenate([-kernel, kernel], -1), np.concatenate([-bias, bias])])
    return twin


def no_activation(activation: Head) -> keras.Model:
    inputs = keras.Input((16, 14, 3))
    return alive(keras.Model(inputs, head_of(conv(6, "last")(conv(5, "c1")(inputs)), None)))


def softmax_behind_a_reshape(activation: Head) -> keras.Model:
    inputs = keras.Input((16, 14, 3))
    x = layers.GlobalAveragePooling2D(keepdims=True, name="pool")(conv(6, "last")(inputs))
    x = layers.Reshape((4,), name="reshape")(layers.Conv2D(4, 1, name="logits")(x))
    return alive(keras.Model(inputs, layers.Activation(activation or "linear", name="predictions")(x)))


# --- ranks, sizes, channels -----------------------------------------------------------------------


def conv1d(activation: Head) -> keras.Model:
    inputs = keras.Input((24, 3))
    x = layers.Conv1D(6, 5, activation="relu", padding="same", name="c1")(inputs)
    x = layers.Conv1D(6, 3, activation="relu", name="last")(layers.MaxPooling1D(2, name="p1")(x))
    x = layers.GlobalAveragePooling1D(name="pool")(x)
    return alive(keras.Model(inputs, layers.Dense(4, activation=activation, name="out")(x)))


def conv3d(activation: Head) -> keras.Model:
    inputs = keras.Input((8, 8, 6, 2))
    x = layers.Conv3D(5, 3, padding="same", name="c1")(inputs)
    # Before the ReLU: for ties, TensorFlow's 3D pooling takes one value when compiled, all in eager
    # mode.
    x = layers.ReLU(name="r1")(layers.MaxPooling3D(2, padding="same", name="p1")(x))
    x = layers.Conv3D(5, 3, activation="relu", name="last")(x)
    x = layers.GlobalAveragePooling3D(name="pool")(x)
    return alive(keras.Model(inputs, layers.Dense(4, activation=activation, name="out")(x)), 2)


def of_size(*size: int | None) -> Callable[[Head], keras.Model]:
    def build(activation: Head) -> keras.Model:
        inputs = keras.Input(size)
        return alive(keras.Model(inputs, head_of(conv(6, "last", strides=2)(conv(5, "c1")(inputs)), activation)), 1)

    return build


def channels_first(activation: Head) -> keras.Model:
    inputs = keras.Input((3, 16, 14))
    x = layers.Conv2D(6, 3, activation="relu", data_format="channels_first", name="c1")(inputs)
    x = layers.GlobalAveragePooling2D(data_format="channels_first")(x)
    return alive(keras.Model(inputs, layers.Dense(4, activation=activation)(x)))


# --- operations, custom layers, wrappers ----------------------------------------------------------


def keras_operations(activation: Head) -> keras.Model:
    inputs = keras.Input((16, 14, 3))
    x = short = ops.relu(conv(6, "c1", activation=None)(inputs * 2.0 - 0.5))
    x = keras.activations.relu(conv(6, "c2", activation=None)(x), max_value=1.0)
    x = ops.relu6(conv(6, "c3", activation=None)(x + short))
    x = layers.Dense(4, name="out")(ops.mean(x, axis=(1, 2)))
    return alive(keras.Model(inputs, ops.softmax(x) if activation else x))


def handwritten_relus(activation: Head, is_twin: bool = False) -> keras.Model:
    """Handwritten ReLUs next to one that Keras knows; the twin has Keras' own."""
    inputs = keras.Input((16, 14, 3))
    x = conv(6, "c0")(inputs)
    x = conv(6, "c1", activation=None)(x)
    x = ops.relu(x) if is_twin else ops.maximum(x, 0.0)
    x = conv(6, "c2", activation=None)(x)
    x = ops.relu6(x) if is_twin else ops.clip(x, 0, 6)
    x = conv(6, "c3", activation=None)(x)
    x = ops.relu(x) if is_twin else ops.maximum(np.zeros(6, "float32"), x)
    x = layers.Identity(name="last")(x)
    return alive(keras.Model(inputs, head_of(x, activation)))


def stretched(x: Any) -> Any:
    return ops.tanh(x) * 3.0


def lambda_layer(activation: Head) -> keras.Model:
    inputs = keras.Input((16, 14, 3))
    x = layers.Lambda(stretched, output_shape=(16, 14, 3), name="stretched")(inputs)
    return alive(keras.Model(inputs, head_of(conv(6, "last")(conv(5, "c1")(x)), activation)))


def time_distributed(activation: Head) -> keras.Model:
    inputs = keras.Input((3, 12, 10, 2))
    x = layers.TimeDistributed(conv(5, "frame"), name="frames")(inputs)
    x = layers.TimeDistributed(layers.GlobalAveragePooling2D(), name="pools")(x)
    x = layers.GlobalAveragePooling1D(name="pool")(x)
    return alive(keras.Model(inputs, layers.Dense(4, activation=activation, name="out")(x)))


def time_undistributed(model: Any) -> Any:
    """The same with a Conv3D whose kernel spans one frame."""
    inputs = keras.Input((3, 12, 10, 2))
    x = layers.Conv3D(5, (1, 3, 3), activation="relu", padding="same", name="frame")(inputs)
    x = layers.GlobalAveragePooling3D(name="pool")(x)
    return weighted_like(model, keras.Model(inputs, layers.Dense(4, name="out")(x)))


def weighted_like(model: Any, twin: Any) -> Any:
    """The twin with the weights of a model whose kernels may lack an axis of size one."""
    for mine, its in zip(twin.variables, model.variables, strict=True):
        mine.assign(np.reshape(its, mine.shape))
    return twin


def film(activation: Head) -> keras.Model:
    """A network for one frame inside a TimeDistributed, another around it, and a head over time."""
    frame = keras.Input((13, 10, 2))
    x = layers.BatchNormalization(name="n1")(conv(5, "c1", activation=None)(layers.ZeroPadding2D(1, name="pad")(frame)))
    # as in conv3d: no ties
    x = layers.ReLU(name="r1")(layers.MaxPooling2D((3, 2), strides=2, name="p1")(x))
    x = layers.Add(name="sum")([x, conv(5, "c2")(x)])
    inner = keras.Model(frame, layers.AveragePooling2D((2, 1), name="p2")(conv(4, "last", strides=(2, 1))(x)), name="inner")
    around = keras.Sequential(
        [keras.Input((13, 10, 2)), inner, layers.Flatten(), layers.Dense(6, "relu", name="d1")], name="around"
    )
    inputs = keras.Input((3, 13, 10, 2))
    x = layers.TimeDistributed(around, name="frames")(layers.Rescaling(0.5, offset=0.3, name="rescaling")(inputs))
    x = layers.GlobalAveragePooling1D(name="pool")(x)
    return alive(keras.Model(inputs, layers.Dense(4, activation=activation, name="out")(x)), 1)


def film_as_a_volume(model: Any) -> Any:
    """The same with 3D layers whose windows span one frame."""
    inputs = keras.Input((3, 13, 10, 2))

    def conv(filters: int, name: str, strides: Any = 1, activation: Head = "relu") -> Any:
        return layers.Conv3D(filters, (1, 3, 3), strides, padding="same", activation=activation, name=name)

    x = layers.ZeroPadding3D((0, 1, 1), name="pad")(layers.Rescaling(0.5, offset=0.3, name="rescaling")(inputs))
    x = layers.BatchNormalization(name="n1")(conv(5, "c1", activation=None)(x))
    x = layers.ReLU(name="r1")(layers.MaxPooling3D((1, 3, 2), strides=(1, 2, 2), name="p1")(x))
    x = layers.Add(name="sum")([x, conv(5, "c2")(x)])
    x = layers.AveragePooling3D((1, 2, 1), name="p2")(conv(4, "last", strides=(1, 2, 1))(x))
    x = layers.Dense(6, "relu", name="d1")(layers.Reshape((3, -1), name="flat")(x))
    x = layers.GlobalAveragePooling1D(name="pool")(x)
    return weighted_like(model, keras.Model(inputs, layers.Dense(4, name="out")(x)))


def series_of_series(activation: Head) -> keras.Model:
    """A TimeDistributed inside a TimeDistributed."""
    inputs = keras.Input((2, 3, 9, 2))
    twice = layers.TimeDistributed(layers.TimeDistributed(layers.Conv1D(5, 3, activation="relu", name="last")), name="outer")
    x = layers.GlobalAveragePooling3D(name="pool")(twice(inputs))
    return alive(keras.Model(inputs, layers.Dense(4, activation=activation, name="out")(x)))


def series_as_a_volume(model: Any) -> Any:
    inputs = keras.Input((2, 3, 9, 2))
    x = layers.Conv3D(5, (1, 1, 3), activation="relu", name="last")(inputs)
    x = layers.GlobalAveragePooling3D(name="pool")(x)
    return weighted_like(model, keras.Model(inputs, layers.Dense(4, name="out")(x)))


class Squared(layers.Layer):
    """A layer that owns weights."""

    def build(self, shape: Any) -> None:
        self.scale = self.add_weight(shape=(shape[-1],), name="scale")

    def call(self, x: Any) -> Any:
        return x * ops.abs(x) * self.scale


def custom_layer(activation: Head) -> keras.Model:
    inputs = keras.Input((16, 14, 3))
    x = Squared(name="squared")(conv(5, "c1")(inputs))
    return alive(keras.Model(inputs, head_of(conv(6, "last")(x), activation)))


class Centered(layers.Layer):
    """A layer that subtracts two maps, for which excitation has no rule."""

    def call(self, x: Any) -> Any:
        return ops.square(x) - ops.mean(x, axis=-1, keepdims=True)


def layer_without_a_rule(activation: Head) -> keras.Model:
    inputs = keras.Input((16, 14, 3))
    x = Centered(name="centered")(conv(5, "c1")(inputs))
    return alive(keras.Model(inputs, head_of(conv(6, "last")(x), activation)))


class Block(layers.Layer):
    """A layer with sublayers."""

    def __init__(self, filters: int, **options: Any) -> None:
        super().__init__(**options)
        self.first = conv(filters, "block_c1", activation=None)
        self.relu = layers.ReLU(name="block_r1")
        self.second = conv(filters, "block_c2")

    def build(self, shape: Any) -> None:
        self.first.build(shape)
        self.second.build(self.first.compute_output_shape(shape))

    def call(self, x: Any) -> Any:
        return self.second(self.relu(self.first(x)))


def layer_over_layers(activation: Head) -> keras.Model:
    inputs = keras.Input((16, 14, 3))
    return alive(keras.Model(inputs, head_of(conv(6, "last")(Block(5, name="block")(inputs)), activation)))


class Subclassed(keras.Model):
    """A model in the style of a PyTorch tutorial."""

    def __init__(self, activation: Head) -> None:
        super().__init__(name="subclassed")
        self.block = Block(5, name="block")
        self.last = conv(6, "last", strides=2)
        self.pool = layers.GlobalAveragePooling2D(name="pool")
        self.drop = layers.Dropout(0.5)
        self.out = layers.Dense(4, activation=activation, name="out")

    def call(self, x: Any, training: bool = False) -> Any:
        return self.out(self.drop(self.pool(self.last(self.block(x))), training=training))

    def get_config(self) -> dict[str, Any]:
        return {"activation": self.out.activation.__name__}


def subclassed(activation: Head) -> keras.Model:
    model = Subclassed(activation)
    model(noise(16, 14, 3))
    return alive(model)


class InTensorFlow(keras.Model):
    """The same network with TensorFlow functions between its layers, and its own weight."""

    def __init__(self, activation: Head) -> None:
        super().__init__(name="in_tensorflow")
        self.first, self.last = conv(5, "first", activation=None), conv(6, "last", strides=2, activation=None)
        self.drop = layers.Dropout(0.5)
        self.out = layers.Dense(4, activation=activation, name="out")

    def build(self, shape: Any) -> None:
        self.first.build(shape)
        self.kernel = self.add_weight(shape=(3, 3, 5, 5), name="kernel")
        self.last.build((*shape[:3], 10))
        self.out.build((None, 6))

    def call(self, x: Any, training: bool = False) -> Any:
        x = tf.nn.relu(self.first(x))
        x = tf.concat([x, tf.nn.relu6(tf.nn.conv2d(x, tf.convert_to_tensor(self.kernel), 1, "SAME"))], axis=-1)
        x = tf.reduce_mean(tf.nn.relu(self.last(x)), axis=[1, 2])
        return self.out(self.drop(x, training=training))

    def get_config(self) -> dict[str, Any]:
        return {"activation": self.out.activation.__name__}


def in_tensorflow(activation: Head) -> keras.Model:
    model = InTensorFlow(activation)
    model(noise(16, 14, 3))
    return alive(model)


def in_keras(model: InTensorFlow) -> keras.Model:
    """The twin of `in_tensorflow`, from layers."""
    inputs = keras.Input((16, 14, 3))
    x = layers.ReLU(name="r1")(conv(5, "first", activation=None)(inputs))
    y = layers.ReLU(6, name="r2")(layers.Conv2D(5, 3, padding="same", use_bias=False, name="own")(x))
    x = conv(6, "convolved", strides=2, activation=None)(layers.Concatenate(name="cat")([x, y]))
    twin = keras.Model(inputs, head_of(layers.ReLU(name="last")(x), None))
    twin.get_layer("own").set_weights([np.asarray(model.kernel)])
    for name, its in (("first", model.first), ("convolved", model.last), ("out", model.out)):
        twin.get_layer(name).set_weights(its.get_weights())
    return twin


# --- precision, adapters, states ------------------------------------------------------------------


def of_policy(policy: str) -> Callable[[Head], keras.Model]:
    """A model with that dtype policy and, as usual, its final activation in float32."""

    def build(activation: Head) -> keras.Model:
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(policy)
        try:
            inputs = keras.Input((16, 14, 3))
            x = layers.BatchNormalization(name="n1")(conv(6, "c1", activation=None)(inputs))
            x = conv(6, "last", strides=2)(layers.ReLU(name="r1")(x))
            x = layers.Dense(4, name="out")(layers.GlobalAveragePooling2D(name="pool")(x))
            x = layers.Activation(activation or "linear", dtype="float32", name="predictions")(x)
            return alive(keras.Model(inputs, x))
        finally:
            keras.config.set_dtype_policy(before)

    return build


def in_float32(model: Any) -> Any:
    twin = of_policy("float32")(None)
    twin.set_weights(model.get_weights())
    return twin


def plain(activation: Head) -> keras.Model:
    inputs = keras.Input((16, 14, 3))
    x = layers.GlobalAveragePooling2D(name="pool")(conv(6, "last")(conv(5, "c1")(inputs)))
    x = layers.Dense(8, activation="relu", name="d1")(x)
    return alive(keras.Model(inputs, layers.Dense(4, activation=activation, name="out")(x)), 4)


def as_plain(model: Any) -> Any:
    """The twin of a changed `plain`: a new one with the original weights."""
    return plain(None)


def relu_apart(activation: Head) -> keras.Model:
    """`plain`, with Dense layers without fused activations."""
    inputs = keras.Input((16, 14, 3))
    x = layers.GlobalAveragePooling2D(name="pool")(conv(6, "last")(conv(5, "c1")(inputs)))
    x = layers.ReLU(name="r1")(layers.Dense(8, name="d1")(x))
    return alive(keras.Model(inputs, layers.Dense(4, activation=activation, name="out")(x)), 4)


def as_plain_apart(model: Any) -> Any:
    return relu_apart(None)


def quantized(*names: str) -> Callable[[Head], keras.Model]:
    def build(activation: Head) -> keras.Model:
        model = relu_apart(activation)
        for name in names:
            model.get_layer(name).quantize("int8")
        return model

    return build


def with_lora(activation: Head) -> keras.Model:
    model = plain(activation)
    random = np.random.default_rng(5)
    for name in ("c1", "d1"):
        layer = model.get_layer(name)
        layer.enable_lora(2)
        for part in (layer.lora_kernel_a, layer.lora_kernel_b):
            part.assign(random.normal(size=part.shape) * 0.3)
    return model


def merged_lora(model: Any) -> Any:
    twin = plain(None)
    for layer in twin.layers:
        if layer.weights:
            its = model.get_layer(layer.name)
            layer.set_weights([np.asarray(its.kernel), its.bias.numpy()])
    return twin


def frozen(activation: Head) -> keras.Model:
    model = plain(activation)
    model.trainable = False
    return model


def compiled(activation: Head) -> keras.Model:
    model = plain(activation)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(noise(16, 14, 3, count=4), np.arange(4), verbose=0)
    return alive(model, 4)


def reloaded(suffix: str) -> Callable[[Head], keras.Model]:
    def build(activation: Head) -> keras.Model:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"model{suffix}"
            keras.saving.save_model(plain(activation), path)
            return keras.saving.load_model(path, compile=False)

    return build


# --- gates and activations ------------------------------------------------------------------------


def squeeze_and_excitation(activation: Head) -> keras.Model:
    inputs = keras.Input((16, 14, 3))
    x = conv(6, "c1")(inputs)
    gate = layers.GlobalAveragePooling2D(keepdims=True, name="squeeze")(x)
    gate = layers.Conv2D(3, 1, activation="relu", name="reduce")(gate)
    gate = layers.Conv2D(6, 1, activation="sigmoid", name="expand")(gate)
    x = layers.Multiply(name="gated")([x, gate])
    return alive(keras.Model(inputs, head_of(conv(6, "last", strides=2)(x), activation)), 1)


def stochastic_depth(activation: Head) -> keras.Model:
    """A ConvNeXt block."""
    from keras.src.applications.convnext import LayerScale, StochasticDepth

    inputs = keras.Input((16, 14, 3))
    x = short = conv(6, "stem", strides=2, activation=None)(inputs)
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = layers.LayerNormalization(epsilon=1e-6, name="norm")(x)
    x = layers.Dense(6, name="project")(layers.Activation("gelu", name="gelu")(layers.Dense(12, name="expand")(x)))
    x = StochasticDepth(0.5, name="depth")(LayerScale(0.5, 6, name="scale")(x))
    return alive(keras.Model(inputs, head_of(layers.Add(name="last")([short, x]), activation)))


def activated(make: Callable[[str], Any]) -> Callable[[Head], keras.Model]:
    """Two convolutions, each followed by this activation."""

    def build(activation: Head) -> keras.Model:
        inputs = keras.Input((16, 14, 3))
        x = make("a1")(conv(6, "c1", activation=None)(inputs))
        x = make("last")(conv(6, "c2", activation=None, strides=2)(x))
        return alive(keras.Model(inputs, head_of(x, activation)), 3)

    return build


def activation_named(function: str) -> Callable[[Head], keras.Model]:
    return activated(lambda name: layers.Activation(function, name=name))


NO_RULE = dict.fromkeys(EXCITATIONS, "Excitation backprop has no rule for")
ONE_INPUT = {"expected_gradients": "expected_gradients supports only models with one input"}
ONE_IMAGE = dict.fromkeys(("occlusion", "rise", "score_cam"), r"needs exactly one image input, but .* has 2")
NO_MAPS = dict.fromkeys(ALL_CAMS, "No feature map with height and width")
SMOOTH = {"warns": "has none"}

ZOO: dict[str, Species] = {
    "sequential with Input": Species(sequential_with_input, "c2"),
    "sequential without Input": Species(sequential_without_input, "c2"),
    "nested with augmentation": Species(nested_with_augmentation, "backbone_c2"),
    "backbone in a backbone": Species(backbone_in_a_backbone, "neck"),
    "shared layer": Species(shared_layer, "last"),
    "shared layer, its second call": Species(shared_layer, "again", options={"layer": "again:1"}),
    "shared backbone": Species(shared_backbone, "cat"),
    "two images": Species(
        two_images,
        "last",
        pictures=lambda: {"right": noise(12, 10, 3), "left": noise(12, 10, 1)},
        errors=ONE_INPUT | ONE_IMAGE,
    ),
    "image and vector": Species(image_and_vector, "c1", pictures=lambda: [noise(12, 10, 3), noise(5)], errors=ONE_INPUT),
    "outputs in a dict": Species(
        outputs_in_a_dict, "last", twin=one_output(outputs_in_a_dict, "kind"), options={"output": "kind"}
    ),
    "outputs in a list": Species(outputs_in_a_list, "last", twin=one_output(outputs_in_a_list, "color"), options={"output": 0}),
    "segmentation, a mask": Species(segmentation, "last", target=tfviz.At(1, MASK), seed=mask_seed),
    "segmentation, a pixel": Species(segmentation, "last", target=tfviz.At(2, (4, 3)), seed=pixel_seed),
    "regression": Species(regression, "last", target=0),
    "one sigmoid unit, class 0": Species(one_sigmoid, "last", twin=two_classes, head="sigmoid", target=0),
    "one sigmoid unit, class 1": Species(one_sigmoid, "last", twin=two_classes, head="sigmoid", target=1),
    "no activation": Species(no_activation, "last"),
    "softmax behind a reshape": Species(softmax_behind_a_reshape, "last"),
    "one dimension": Species(conv1d, "last"),
    "three dimensions": Species(conv3d, "last"),
    "free size": Species(of_size(None, None, 3), "last"),
    "not square": Species(of_size(24, 9, 3), "last"),
    "one channel": Species(of_size(14, 14, 1), "last"),
    "four channels": Species(of_size(14, 14, 4), "last"),
    "channels first": Species(channels_first, errors=dict.fromkeys(tfviz.METHODS, "data_format='channels_first', but")),
    "keras.ops in the graph": Species(keras_operations, "relu6"),
    "handwritten ReLUs": Species(
        handwritten_relus, "last", twin=lambda model: weighted_like(model, handwritten_relus(None, is_twin=True))
    ),
    "Lambda": Species(lambda_layer, "last"),
    "TimeDistributed": Species(time_distributed, "frame", twin=time_undistributed),
    "TimeDistributed, nested models": Species(film, "last", twin=film_as_a_volume),
    "TimeDistributed, its first layer": Species(film, "c1", twin=film_as_a_volume, options={"layer": "c1"}),
    "TimeDistributed twice": Species(series_of_series, "last", twin=series_as_a_volume),
    "custom layer": Species(custom_layer, "last"),
    "custom layer without a rule": Species(layer_without_a_rule, "last", errors=NO_RULE),
    "layer over layers": Species(layer_over_layers, "last"),
    "subclassed": Species(subclassed, "last", pictures=lambda: noise(16, 14, 3)),
    "subclassed, in TensorFlow": Species(in_tensorflow, "last", twin=in_keras, pictures=lambda: noise(16, 14, 3)),
    "mixed_float16": Species(of_policy("mixed_float16"), "last", twin=in_float32, tolerance=0.03),
    "mixed_bfloat16": Species(of_policy("mixed_bfloat16"), "last", twin=in_float32, tolerance=0.15),
    "float64": Species(of_policy("float64"), "last", twin=in_float32),
    "int8": Species(quantized("d1"), "last", twin=as_plain_apart, tolerance=0.05),
    "int8 with its softmax": Species(quantized("d1", "out"), "last", twin=as_plain_apart, tolerance=0.05),
    "LoRA": Species(with_lora, "last", twin=merged_lora),
    "frozen": Species(frozen, "last", twin=as_plain),
    "compiled and trained": Species(compiled, "last", twin=as_plain),
    "loaded from .h5": Species(reloaded(".h5"), "last", twin=as_plain),
    "loaded from .keras": Species(reloaded(".keras"), "last", twin=as_plain),
    "squeeze-and-excitation": Species(squeeze_and_excitation, "last"),
    "stochastic depth": Species(stochastic_depth, "last", **SMOOTH),
    "PReLU": Species(activated(lambda name: layers.PReLU(shared_axes=[1, 2], name=name)), "last", **SMOOTH),
    "LeakyReLU": Species(activated(lambda name: layers.LeakyReLU(0.2, name=name)), "last", **SMOOTH),
    "ReLU with a slope": Species(activated(lambda name: layers.ReLU(negative_slope=0.1, name=name)), "last", **SMOOTH),
    "gelu": Species(activation_named("gelu"), "last", **SMOOTH),
    "silu": Species(activation_named("silu"), "last", **SMOOTH),
    "hard_silu": Species(activation_named("hard_silu"), "last", **SMOOTH),
    "relu6": Species(activation_named("relu6"), "last"),
}
