"""Code with TensorFlow functions is explained like the same network built from Keras layers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops
from support import networks
from support.explainers import KEYS, READERS, backgrounds_for, built
from support.purity import assert_untouched, snapshot
from support.tape import compiled_gradient
from support.zoo import alive, conv, head_of, noise, weighted_like

import tfviz
from tfviz.graph import operations
from tfviz.reading.tensorflow_tracer import recorded_calls
from tfviz.reading.trace import called
from tfviz.tensorflow_internals import inlined_functions

SIZE = (12, 10, 3)


def assert_same(got: Any, want: Any, tolerance: float = 1e-4) -> None:
    want = np.asarray(want)
    assert np.any(want), "all zero, which proves nothing"
    np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * abs(want).max())


# --- a model with all sorts of functions ----------------------------------------------------------


class Mixed(keras.Model):
    """Layers, TensorFlow functions and the model's own weights, in TensorFlow style."""

    def __init__(self) -> None:
        super().__init__(name="mixed")
        self.first, self.second, self.third = (conv(6, name, activation=None) for name in ("first", "second", "third"))
        self.norm, self.drop = layers.BatchNormalization(name="norm"), layers.Dropout(0.5, name="drop")
        self.flip = layers.RandomFlip(name="flip")
        self.inner = keras.Sequential(
            [keras.Input((None, None, 6)), conv(6, "inner_conv"), layers.ReLU(name="inner_relu")], name="inner"
        )
        self.out = layers.Dense(4, activation="softmax", name="out")

    def build(self, shape: Any) -> None:
        for layer, channels in ((self.first, 3), (self.second, 6), (self.third, 12), (self.norm, 6), (self.out, 5)):
            layer.build((None, 12, 10, channels) if layer is not self.out else (None, channels))
        self.gain = self.add_weight(shape=(6,), name="gain")
        self.kernel = self.add_weight(shape=(3, 3, 6, 5), name="kernel")
        self.shift = self.add_weight(shape=(5,), name="shift")

    def call(self, x: Any, training: bool = False) -> Any:
        x = self.flip(x, training=training)
        x = tf.nn.relu(self.norm(self.first(tf.pad(x, [[0, 0], [1, 1], [0, 0], [0, 0]])[:, 1:-1]), training=training))
        y = tf.nn.max_pool2d(self.second(x * self.gain), 3, 1, "SAME")
        x = tf.concat([x, tf.where(y > 0, y, tf.zeros_like(y))], axis=-1)
        x = self.inner(self.drop(tf.nn.relu6(self.third(x)), training=training)) + self.inner(y)
        x = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, self.kernel, 2, "SAME"), self.shift))
        x = tf.reshape(x, [tf.shape(x)[0], tf.shape(x)[1] * tf.shape(x)[2], 5])
        return self.out(tf.reduce_mean(x, axis=1))


def of_layers() -> keras.Model:
    """The same network from Keras layers only."""
    inputs = keras.Input(SIZE)
    x = conv(6, "first", activation=None)(inputs)
    x = layers.ReLU(name="r1")(layers.BatchNormalization(name="norm")(x))
    gained = layers.DepthwiseConv2D(1, use_bias=False, name="gain")(x)
    y = layers.MaxPooling2D(3, 1, padding="same", name="pool")(conv(6, "second", activation=None)(gained))
    x = layers.Concatenate(name="cat")([x, layers.ReLU(name="r2")(y)])
    x = layers.ReLU(6, name="r3")(conv(6, "third", activation=None)(x))
    inner, relu = conv(6, "inner_conv"), layers.ReLU(name="inner_relu")
    x = layers.Add(name="sum")([relu(inner(x)), relu(inner(y))])
    x = layers.Conv2D(5, 3, strides=2, padding="same", activation="relu", name="last")(x)
    return keras.Model(inputs, layers.Dense(4, activation="softmax", name="out")(layers.GlobalAveragePooling2D()(x)))


def same_weights(model: Mixed, twin: keras.Model) -> keras.Model:
    for name in ("first", "second", "third", "norm", "out"):
        twin.get_layer(name).set_weights(getattr(model, name).get_weights())
    twin.get_layer("inner_conv").set_weights(model.inner.get_weights())
    twin.get_layer("gain").set_weights([np.reshape(model.gain, (1, 1, 6, 1))])
    twin.get_layer("last").set_weights([np.asarray(model.kernel), np.asarray(model.shift)])
    return twin


def mixed(cls: type = Mixed) -> Any:
    model = cls()
    model(noise(*SIZE))
    alive(model, 1)
    model.gain.assign(np.linspace(0.5, 1.5, 6))
    return model


# Excitation treats per-channel weights (scale) differently from a depthwise convolution.
SAME = [key for key in KEYS if "excitation" not in key]


@pytest.mark.parametrize("method", SAME)
def test_every_method_sees_layers_and_the_functions_between_them(method: str) -> None:
    model = mixed()
    twin, images, before = same_weights(model, of_layers()), noise(*SIZE), snapshot(model)
    np.testing.assert_allclose(model(images), twin(images), rtol=1e-4)
    target = 1 if tfviz.METHODS[method].takes_target else None
    options = {"backgrounds": backgrounds_for(model, SIZE)} if method == "expected_gradients" else {}
    got, want = (built(method, one, **options)(images, target) for one in (model, twin))
    assert_same(got, want)
    assert_untouched(model, before)


def test_excitation_has_rules_for_the_functions() -> None:
    model = mixed()
    model.gain.assign(np.ones(6))
    twin, images = same_weights(model, of_layers()), noise(*SIZE)
    for method in ("excitation_backprop", "contrastive_excitation_backprop"):
        assert_same(tfviz.METHODS[method](model)(images, 1), tfviz.METHODS[method](twin)(images, 1))


def test_steps_are_named_after_layers_and_functions() -> None:
    model = mixed()
    graph = tfviz.Saliency(model).graph
    kinds = {step.path: type(step.operation) for step in graph.steps}
    relu, linear, window = operations.Relu, operations.Linear, operations.Window
    wanted = {"first": linear, "relu": relu, "relu_1": relu, "concatenate": operations.Concatenate, "relu6": relu}
    wanted |= {"conv2d": linear, "mean": window, "maxpool": window, "drop": operations.Identity}
    assert wanted.items() <= kinds.items()
    maxima = {step.path: step.operation.is_max for step in graph.steps if isinstance(step.operation, window)}
    assert {"mean": False, "maxpool": True}.items() <= maxima.items()
    assert tfviz.GradCAM(model).layer_path == "relu_2"
    assert tfviz.GradCAM(model, model.third).layer_path == "third"
    assert "inner:1/inner_relu" in kinds


class Decorated(Mixed):
    @tf.function
    def call(self, x: Any, training: bool = False) -> Any:
        return super().call(x, training=training)


def test_a_call_that_is_a_tf_function_is_opened() -> None:
    model, images = mixed(Decorated), noise(*SIZE)
    plain = mixed()
    for mine, its in zip(plain.variables, model.variables, strict=True):
        mine.assign(its)
    for method in ("guided_backprop", "grad_cam", "excitation_backprop"):
        assert_same(tfviz.METHODS[method](model)(images, 1), tfviz.METHODS[method](plain)(images, 1))
    assert not tf.config.functions_run_eagerly()


def test_weights_are_read_live() -> None:
    model, images = mixed(), noise(*SIZE)
    explainers = [tfviz.METHODS[key](model) for key in ("guided_backprop", "grad_cam", "excitation_backprop")]
    before = [explainer(images, 1).numpy() for explainer in explainers]
    alive(model, 5)
    for explainer, old in zip(explainers, before, strict=True):
        now = explainer(images, 1).numpy()
        assert abs(now - old).max() > 1e-3 * abs(old).max()
        assert_same(now, type(explainer)(model)(images, 1))


@pytest.mark.parametrize("policy, tolerance", [("mixed_float16", 0.05), ("float64", 1e-4)])
def test_any_precision(policy: str, tolerance: float) -> None:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model, images = mixed(HalfReady), noise(*SIZE)
    finally:
        keras.config.set_dtype_policy(before)
    precise = mixed(HalfReady)
    for mine, its in zip(precise.variables, model.variables, strict=True):
        mine.assign(ops.cast(its, "float32"))
    for method in ("saliency", "guided_backprop", "grad_cam", "excitation_backprop"):
        got, want = (tfviz.METHODS[method](one)(images, 1).numpy() for one in (model, precise))
        assert np.linalg.norm(got - want) < tolerance * np.linalg.norm(want)


class HalfReady(Mixed):
    """Owns weights, and reads them in the dtype that its layers compute in."""

    def call(self, x: Any, training: bool = False) -> Any:
        x = tf.nn.relu(self.first(x))
        x = tf.nn.relu(self.second(x * self.gain))
        x = tf.nn.relu(tf.nn.conv2d(x, tf.convert_to_tensor(self.kernel), 2, "SAME"))
        return self.out(tf.reduce_mean(x, axis=[1, 2]))


# --- layers and functions in a graph --------------------------------------------------------------


def of_lambda(function: Callable[[Any], Any], shape: tuple[int, ...] = (12, 10, 6)) -> keras.Model:
    inputs = keras.Input(SIZE)
    x = layers.Lambda(function, output_shape=shape, name="own")(conv(6, "c1", activation=None)(inputs))
    return alive(keras.Model(inputs, head_of(conv(5, "last")(x), "softmax")), 1)


def by_layer(layer: layers.Layer) -> keras.Model:
    inputs = keras.Input(SIZE)
    return keras.Model(inputs, head_of(conv(5, "last")(layer(conv(6, "c1", activation=None)(inputs))), "softmax"))


RELUS: dict[str, Callable[[Any], Any]] = {
    "tf.nn.relu": tf.nn.relu,
    "tf.maximum": lambda x: tf.maximum(x, 0.0),
    "zeros first": lambda x: tf.maximum(tf.zeros([6]), x),
    "where": lambda x: tf.where(x > 0, x, tf.zeros_like(x)),
    "where, the other way": lambda x: tf.where(x <= 0.0, 0.0, x),
    "a product": lambda x: x * tf.cast(x > 0, x.dtype),
    "keras.ops": lambda x: ops.where(x > 0, x, 0.0),
    "keras.ops, a product": lambda x: ops.cast(x > 0, "float32") * x,
    "a tf.function": tf.function(lambda x: tf.nn.relu(x)),
}
SIXES: dict[str, Callable[[Any], Any]] = {
    "tf.nn.relu6": tf.nn.relu6,
    "clip_by_value": lambda x: tf.clip_by_value(x, 0, 6),
    "minimum of maximum": lambda x: tf.minimum(tf.maximum(x, 0.0), 6.0),
    "keras.ops": lambda x: ops.maximum(ops.minimum(x, 6.0), 0.0),
}


@pytest.mark.parametrize("name", SIXES)
def test_a_relu6_is_recognized_in_every_form(name: str) -> None:
    model = of_lambda(lambda x: SIXES[name](8.0 * x))
    plain = weighted_like(model, by_layer(layers.Lambda(lambda x: ops.relu6(8.0 * x))))
    for key in READERS:
        target = 1 if tfviz.METHODS[key].takes_target else None
        assert_same(built(key, model)(noise(*SIZE), target), built(key, plain)(noise(*SIZE), target))


@pytest.mark.parametrize("name", RELUS)
def test_a_relu_is_recognized_in_every_form(name: str, recwarn: pytest.WarningsRecorder) -> None:
    model = of_lambda(RELUS[name])
    plain = weighted_like(model, by_layer(layers.ReLU()))
    for key in READERS:
        target = 1 if tfviz.METHODS[key].takes_target else None
        assert_same(built(key, model)(noise(*SIZE), target), built(key, plain)(noise(*SIZE), target))
    assert not recwarn.list


OTHERS: dict[str, Callable[[Any], Any]] = {
    "leaky": lambda x: tf.where(x > 0, x, 0.1 * x),
    "another threshold": lambda x: tf.where(x > 1, x, 0.0),
    "of another": lambda x: tf.where(x > 0, tf.abs(x) + 1, 0.0),
    "a maximum": lambda x: tf.maximum(x, 0.5),
    "a step": lambda x: tf.cast(x > 0, x.dtype) + 0.01 * x,
    "clipped": lambda x: ops.clip(x, 0, 1),
    "clipped by TensorFlow": lambda x: tf.clip_by_value(x, 0, 1),
    "clipped the other way": lambda x: tf.minimum(tf.maximum(x, -1.0), 6.0),
}


@pytest.mark.parametrize("name", OTHERS)
def test_an_operation_that_is_not_a_relu_keeps_its_derivative(name: str) -> None:
    model, images = of_lambda(OTHERS[name]), tf.constant(noise(*SIZE))
    relus = [step.path for step in tfviz.Saliency(model).graph.steps if isinstance(step.operation, operations.Relu)]
    assert relus == ["last"]
    want = compiled_gradient(lambda x: model(x)[:, 1], images)
    assert_same(tfviz.Saliency(model, score="outputs")(images, 1), want)


class Product(layers.Layer):
    """A Dense layer in TensorFlow, with its kernel plain or transposed, on maps or vectors."""

    def __init__(self, is_transposed: bool, is_flat: bool) -> None:
        super().__init__(name="product")
        self.is_transposed, self.is_flat = is_transposed, is_flat

    def build(self, shape: Any) -> None:
        self.kernel = self.add_weight(shape=(8, shape[-1]) if self.is_transposed else (shape[-1], 8), name="kernel")
        self.shift = self.add_weight(shape=(8,), name="shift")

    def call(self, x: Any) -> Any:
        rows = tf.reshape(x, [-1, x.shape[-1]]) if self.is_flat else x
        y = tf.matmul(rows, tf.convert_to_tensor(self.kernel), transpose_b=self.is_transposed)
        return tf.nn.relu(tf.reshape(y, [-1, 12, 10, 8]) + self.shift)


@pytest.mark.parametrize("is_transposed", [False, True])
@pytest.mark.parametrize("is_flat", [False, True])
def test_a_product_with_weights_is_a_dense_layer(is_transposed: bool, is_flat: bool) -> None:
    def build(layer: layers.Layer) -> keras.Model:
        inputs = keras.Input(SIZE)
        x = layers.BatchNormalization()(layer(conv(6, "c1")(inputs)))
        return alive(keras.Model(inputs, head_of(conv(5, "last")(x), "softmax")), 1)

    model, plain = build(Product(is_transposed, is_flat)), build(layers.Dense(8, "relu", name="product"))
    plain.set_weights([weight.T if weight.shape == (8, 6) else weight for weight in model.get_weights()])
    for key in ("guided_backprop", "excitation_backprop", "contrastive_excitation_backprop", "grad_cam"):
        assert_same(tfviz.METHODS[key](model)(noise(*SIZE), 1), tfviz.METHODS[key](plain)(noise(*SIZE), 1))


class Strided(layers.Layer):
    """A convolution with explicit padding, like PyTorch's."""

    def build(self, shape: Any) -> None:
        self.kernel = self.add_weight(shape=(3, 3, shape[-1], 8), name="kernel")

    def call(self, x: Any) -> Any:
        return tf.nn.relu(tf.nn.conv2d(x, self.kernel, 2, [[0, 0], [1, 1], [2, 0], [0, 0]]))


def test_a_convolution_with_explicit_padding_equals_padding_and_a_convolution() -> None:
    def build(own: Callable[[Any], Any]) -> keras.Model:
        inputs = keras.Input(SIZE)
        return alive(keras.Model(inputs, head_of(conv(5, "last")(own(conv(6, "c1")(inputs))), "softmax")), 1)

    def of_keras(x: Any) -> Any:
        x = layers.ZeroPadding2D(((1, 1), (2, 0)))(x)
        return layers.Conv2D(8, 3, strides=2, use_bias=False, activation="relu", name="own")(x)

    model, plain = build(Strided(name="own")), build(of_keras)
    plain.set_weights(model.get_weights())
    for key in READERS:
        target = 1 if tfviz.METHODS[key].takes_target else None
        assert_same(built(key, model)(noise(*SIZE), target), built(key, plain)(noise(*SIZE), target))


def test_a_sum_of_a_tensor_with_itself_passes_all_of_p() -> None:
    model = of_lambda(lambda x: tf.nn.relu(x + x))
    plain = weighted_like(model, by_layer(layers.Lambda(lambda x: ops.relu(2 * x))))
    for key in ("saliency", "excitation_backprop"):
        assert_same(tfviz.METHODS[key](model)(noise(*SIZE), 1), tfviz.METHODS[key](plain)(noise(*SIZE), 1))


@pytest.mark.parametrize(
    "function, layer",
    [
        (lambda x: tf.image.flip_left_right(x), layers.Lambda(lambda x: ops.flip(x, axis=2))),
        (lambda x: tf.reshape(tf.reshape(x, [tf.shape(x)[0], -1]), tf.shape(x)), layers.Identity()),
        (lambda x: tf.stack(tf.unstack(x, axis=-1), axis=-1), layers.Identity()),
        (lambda x: tf.pad(x, [[0, 0], [2, 0], [0, 2], [0, 0]])[:, :-2, 2:], layers.Lambda(lambda x: shifted(x))),
        (lambda x: tf.nn.avg_pool2d(x, 3, 1, "SAME"), layers.AveragePooling2D(3, 1, padding="same")),
        (lambda x: tf.nn.max_pool2d(x, [2, 3], 1, "SAME"), layers.MaxPooling2D((2, 3), 1, padding="same")),
        (lambda x: tf.nn.silu(x), layers.Activation("silu")),
        (
            lambda x: tf.nn.max_pool2d(x, 3, 1, [[0, 0], [1, 1], [0, 2], [0, 0]]),
            layers.Lambda(
                lambda x: layers.MaxPooling2D(3, 1)(ops.pad(x, [[0, 0], [1, 1], [0, 2], [0, 0]], constant_values=-99.0))
            ),
        ),
        (
            lambda x: tf.pad(x, [[0, 0], [2, 0], [0, 2], [0, 0]], constant_values=77.0)[:, :-2, 2:],
            layers.Lambda(lambda x: shifted(x, 77.0)),
        ),
        (lambda x: tf.nn.elu(x), layers.Activation("elu")),
        (lambda x: tf.split(x, 2, axis=-1)[0] + tf.split(x, 2, axis=-1)[1], layers.Lambda(lambda x: x[..., :3] + x[..., 3:])),
    ],
    ids=["flip", "reshape", "stack", "pad", "average", "maximum", "silu", "maximum, padded", "padding of 77", "elu", "split"],
)
def test_functions_are_described_by_what_they_compute(function: Callable[[Any], Any], layer: layers.Layer) -> None:
    model = of_lambda(function, (12, 10, 3 if "split" in str(function.__code__.co_names) else 6))
    plain = weighted_like(model, by_layer(layer))
    for key in READERS:
        target = 1 if tfviz.METHODS[key].takes_target else None
        assert_same(built(key, model)(noise(*SIZE), target), built(key, plain)(noise(*SIZE), target))


def shifted(x: Any, value: float = 0.0) -> Any:
    return ops.pad(x, [[0, 0], [2, 0], [0, 2], [0, 0]], constant_values=value)[:, :-2, 2:]


def test_a_function_may_call_the_users_layers() -> None:
    inner = conv(6, "caught", activation=None, activity_regularizer="l2")
    inner.build((None, 12, 10, 6))
    networks.with_random_weights(inner, 3)
    model = of_lambda(lambda x: tf.nn.relu(inner(tf.identity(x))))
    graph = tfviz.GuidedBackprop(model).graph
    assert {"own/caught": operations.Linear, "own/relu": operations.Relu}.items() <= {
        step.path: type(step.operation) for step in graph.steps
    }.items()
    marks, losses = len(inner._inbound_nodes), list(inner._losses)
    tfviz.GuidedBackprop(model)
    assert len(inner._inbound_nodes) == marks
    assert [one is other for one, other in zip(inner._losses, losses, strict=True)] == [True] * len(losses)


def test_excitation_names_a_function_without_a_rule() -> None:
    model = of_lambda(lambda x: tf.cumsum(x, axis=1))
    with pytest.raises(tfviz.UnsupportedModelError, match=r"no rule for 'own/cumsum' \(Cumsum\)"):
        tfviz.ExcitationBackprop(model)
    with pytest.raises(tfviz.UnsupportedModelError, match=r"cannot scale its mask back through 'own/cumsum' \(Cumsum\)"):
        tfviz.VisualBackProp(of_lambda(lambda x: tf.cumsum(tf.nn.relu(x), axis=1)))(noise(*SIZE))
    assert np.any(tfviz.GuidedBackprop(model)(noise(*SIZE), 1))


class Straight(layers.Layer):
    """A step function with the gradient of the identity."""

    def call(self, x: Any) -> Any:
        @tf.custom_gradient
        def step(x: Any) -> Any:
            return tf.sign(x), lambda p: 2 * p

        return step(x)


def test_a_custom_gradient_is_kept() -> None:
    inputs = keras.Input(SIZE)
    x = Straight(name="straight")(conv(6, "c1", activation=None)(inputs))
    model = alive(keras.Model(inputs, head_of(conv(5, "last")(x), None)), 1)
    images = tf.constant(noise(*SIZE))
    want = compiled_gradient(lambda x: model(x)[:, 1], images)
    assert_same(tfviz.Saliency(model)(images, 1), want)


class Noisy(layers.Layer):
    """One random draw that is read twice; two pieces of the trace would draw twice."""

    def call(self, x: Any) -> Any:
        drawn = tf.random.normal([6])
        return tf.nn.relu(x * drawn) + tf.nn.relu(x / drawn)


def test_a_layer_that_draws_random_numbers_is_opaque() -> None:
    inputs = keras.Input(SIZE)
    x = Noisy(name="noisy")(conv(6, "c1", activation=None)(inputs))
    model = alive(keras.Model(inputs, head_of(conv(5, "last")(x), None)), 1)
    with pytest.warns(UserWarning, match=r"cannot redirect ReLUs inside the opaque layer 'noisy' \(Noisy\)"):
        assert np.any(tfviz.GuidedBackprop(model)(noise(*SIZE), 1))


def test_half_precision_moves_a_mask_exactly() -> None:
    """float16 cannot represent indices beyond 2,048."""
    size = (64, 64, 3)
    inputs = keras.Input(size)
    x = conv(4, "c1")(inputs)
    flipped = layers.Lambda(lambda x: tf.reverse(x, [1]), output_shape=(64, 64, 4), dtype="float16", name="own")(x)
    model = alive(keras.Model(inputs, head_of(conv(4, "last", dtype="float32")(flipped), None)))
    y = layers.Lambda(lambda x: ops.flip(x, axis=1))(x)
    last = model.get_layer("last")
    plain = keras.Model(inputs, head_of(last(y), None))
    assert_same(tfviz.VisualBackProp(model)(noise(*size)), tfviz.VisualBackProp(plain)(noise(*size)), 2e-3)


# --- conditions, variables, names -----------------------------------------------------------------


class Branching(layers.Layer):
    """One of two layers, chosen by the images; both branch graphs use the same names."""

    def __init__(self) -> None:
        super().__init__(name="branching")
        self.a, self.b, self.c = (conv(6, name, activation=None) for name in "abc")

    def build(self, shape: Any) -> None:
        for layer in (self.a, self.b, self.c):
            layer.build((*shape[:-1], 6))

    def call(self, x: Any) -> Any:
        x = tf.nn.relu(self.a(tf.identity(x)))
        x = tf.cond(tf.reduce_mean(x) > 0.5, lambda: self.b(x), lambda: tf.nn.relu(self.c(x)))
        return tf.nn.relu(x)


@pytest.mark.parametrize("size", [SIZE, (None, None, 3)])
def test_a_layer_with_a_condition_is_opaque(size: Any) -> None:
    inputs = keras.Input(size)
    model = alive(keras.Model(inputs, head_of(conv(5, "last")(Branching()(conv(6, "c1")(inputs))), None)), 1)
    with pytest.warns(UserWarning, match=r"cannot redirect ReLUs inside the opaque layer 'branching' \(Branching\)"):
        tfviz.GuidedBackprop(model)
    with pytest.raises(tfviz.UnsupportedModelError, match=r"no rule for 'branching' \(Branching\)"):
        tfviz.ExcitationBackprop(model)
    explainer = tfviz.Saliency(model)
    for scale in (0.01, 1.0, 30.0):
        images = tf.constant(noise(*SIZE) * scale)
        want = compiled_gradient(lambda x: model(x)[:, 1], images)
        assert_same(explainer(images, 1), want)


class Faded(layers.Layer):
    """Values in TensorFlow's own variables, as in the fade-in of a progressive GAN."""

    def __init__(self) -> None:
        super().__init__(name="faded")
        self.a, self.b = tf.Variable(1.0), tf.Variable([1.0] * 6)

    def call(self, x: Any) -> Any:
        return x * (1 - 2 * self.a) + x * tf.sigmoid(self.b) * ops.sigmoid(self.a)


def test_tensorflow_variables_are_read_live() -> None:
    inputs = keras.Input(SIZE)
    faded = Faded()
    model = alive(keras.Model(inputs, head_of(conv(5, "last")(faded(conv(6, "c1")(inputs))), None)), 1)
    explainer, images = tfviz.Saliency(model), noise(*SIZE)
    for a, b in ((1.0, 0.0), (-3.7, 2.0), (0.4, -5.0)):
        faded.a.assign(a)
        faded.b.assign([b] * 6)
        assert_same(explainer(images, 1), tfviz.Saliency(model)(images, 1))
        np.testing.assert_allclose(explainer.with_outputs(images).outputs, model(images), rtol=1e-4, atol=1e-5)


class Blocks(keras.Model):
    """Layers that share a name with each other and with a function."""

    def __init__(self) -> None:
        super().__init__(name="blocks")
        self.blocks = [conv(6, "conv2d") for _ in range(2)]
        self.out = layers.Dense(3, name="out")

    def build(self, shape: Any) -> None:
        self.blocks[0].build(shape)
        self.kernel = self.add_weight(shape=(3, 3, 6, 6), name="kernel")
        self.blocks[1].build((*shape[:3], 6))
        self.out.build((None, 6))

    def call(self, x: Any) -> Any:
        x = tf.nn.relu(tf.nn.conv2d(self.blocks[0](x), self.kernel, 2, "SAME"))
        return self.out(tf.reduce_mean(self.blocks[1](x), axis=[1, 2]))


def test_layers_with_the_same_name_are_numbered() -> None:
    model = Blocks()
    model(noise(*SIZE))
    alive(model, 1)
    with pytest.raises(tfviz.UnknownLayerError, match=r"'conv2d' is called several times .* Choose one of 'conv2d:0'"):
        tfviz.GradCAM(model, "conv2d")
    images = noise(*SIZE)
    for number, block in enumerate(model.blocks):
        assert_same(tfviz.GradCAM(model, block)(images, 1), tfviz.GradCAM(model, f"conv2d:{number}")(images, 1))
    assert tfviz.GradCAM(model, model.blocks[0])(images, 1).shape == (2, 12, 10)
    assert tfviz.GradCAM(model, model.blocks[1])(images, 1).shape == (2, 6, 5)
    assert tfviz.GradCAM(model, "conv2d_1").layer_path == "conv2d_1"  # the function


class Pair(layers.Layer):
    """A layer that returns a tensor and None."""

    def call(self, x: Any) -> Any:
        return x * 2.0, None


class Paired(keras.Model):
    def __init__(self) -> None:
        super().__init__(name="paired")
        self.conv, self.pair, self.norm = conv(6, "conv"), Pair(name="pair"), layers.BatchNormalization(name="norm")
        self.out = layers.Dense(3, name="out")

    def build(self, shape: Any) -> None:
        self.conv.build(shape)
        self.norm.build((*shape[:3], 6))
        self.out.build((None, 6))

    def call(self, x: Any) -> Any:
        x, _ = self.pair(self.conv(tf.identity(x)))
        return self.out(tf.reduce_mean(tf.nn.relu(self.norm(x, training=True)), axis=[1, 2]))


def test_none_outputs_and_explicit_training_arguments_are_respected() -> None:
    model = Paired()
    model(noise(*SIZE))
    alive(model, 1)
    images = tf.constant(noise(*SIZE))
    want = compiled_gradient(lambda x: model(x)[:, 1], images)
    assert_same(tfviz.GuidedBackprop(model).with_outputs(images).outputs, model(images))
    assert_same(tfviz.Saliency(model)(images, 1), want)


# --- what is done to look -------------------------------------------------------------------------


def test_calls_are_recorded_once_and_in_this_thread_only() -> None:
    outer = keras.Sequential([keras.Input((3,)), layers.Dense(2, name="a"), layers.Dense(2, name="b")], name="outer")
    other, x = layers.Dense(2), np.ones((1, 3), np.float32)
    other.build((None, 3))
    plain = keras.Layer.__call__
    with recorded_calls(by_layer=False) as calls:
        outer(x)
        thread = threading.Thread(target=lambda: other(x))
        thread.start()
        thread.join()
        other(x)
    assert [call.operation for call in calls] == [outer, other]
    assert keras.Layer.__call__ is plain


def test_functions_are_inlined_for_this_thread_only() -> None:
    own, other = [], []
    function = tf.function(lambda x: own.append(x) or x + 1)
    beside = tf.function(lambda x: other.append(x) or x + 1)
    with inlined_functions():
        function(tf.constant(1.0))
        function(tf.constant(1.0))
        thread = threading.Thread(target=lambda: [beside(tf.constant(1.0)) for _ in range(3)])
        thread.start()
        thread.join()
    assert len(own) == 2
    assert len(other) == 1
    assert not tf.config.functions_run_eagerly()


def test_lists_and_dicts_on_a_layer_are_restored() -> None:
    class Keeping(Mixed):
        def __init__(self) -> None:
            super().__init__()
            self.seen, self.last = [], {}

        def call(self, x: Any, training: bool = False) -> Any:
            y = super().call(x, training=training)
            self.seen.append(y)
            self.last["y"] = y
            return y

    model, images = mixed(Keeping), noise(*SIZE)
    before, last = list(model.seen), model.last["y"]
    tfviz.GuidedBackprop(model)(images, 1)
    tfviz.GradCAM(model)(images, 1)
    assert len(model.seen) == len(before)
    assert all(one is other for one, other in zip(model.seen, before, strict=True))
    assert model.last["y"] is last


def test_everything_is_restored_when_user_code_raises() -> None:
    class Failing(keras.Model):
        def __init__(self) -> None:
            super().__init__(name="failing")
            self.first, self.second = conv(3, "first"), conv(3, "second")

        def build(self, shape: Any) -> None:
            self.first.build(shape)
            self.second.build(shape)

        def call(self, x: Any) -> Any:
            x = tf.nn.relu(self.first(x))
            if not tf.executing_eagerly():
                raise ZeroDivisionError("in the middle")
            return self.second(x)

    plain = keras.Layer.__call__
    model = Failing()
    model(noise(*SIZE))
    before = snapshot(model)
    with pytest.raises(
        tfviz.UnsupportedModelError, match=r"'failing' is a subclassed model \(Failing\) whose layers cannot be"
    ):
        tfviz.GuidedBackprop(model)
    assert keras.Layer.__call__ is plain
    assert_untouched(model, before)


def test_keras_still_calls_a_layer_through_the_class() -> None:
    """`recorded_calls` relies on this: layers, models and wrappers run `keras.Layer.__call__`."""
    dense, x = layers.Dense(2), np.ones((1, 2, 3), np.float32)
    wrapped = layers.TimeDistributed(layers.Dense(2))
    wrapped(x)
    with recorded_calls(by_layer=False) as calls:
        dense(x)
        wrapped(x)
        keras.Sequential([dense])(x)
    assert [type(call.operation).__name__ for call in calls] == ["Dense", "TimeDistributed", "Sequential"]
    call = called(dense, (keras.KerasTensor((None, 3)), 2), {"k": 1}, [])
    assert len(call.inputs) == 1
    assert call.on(["x"]) == (("x", 2), {"k": 1})


@pytest.mark.parametrize("method", ["guided_backprop", "grad_cam", "excitation_backprop", "visual_backprop"])
def test_a_model_in_tensorflow_functions_is_exported(method: str, tmp_path: Path) -> None:
    model, images = mixed(), noise(*SIZE)
    explainer = tfviz.METHODS[method](model)
    target = 1 if tfviz.METHODS[method].takes_target else None
    explainer.export(tmp_path / "explainer")
    assert_same(tfviz.load_explainer(tmp_path / "explainer")(images, target), explainer(images, target))
