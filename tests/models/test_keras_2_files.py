"""Models that Keras 2 saved as .h5: opened, and explained as the same network built in Keras 3."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras import layers, ops
from support.zoo import noise

import tfviz

Config = dict[str, Any]
NAMES = ["kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance"]


def entry(kind: str, name: str, *inputs: Any, **config: Any) -> Config:
    """A layer as Keras 2 writes it, called once."""
    refs = [one if isinstance(one, list) else [one, 0, 0, {}] for one in inputs]
    config = {"name": name, "trainable": True, "dtype": "float32", **config}
    return {"class_name": kind, "config": config, "name": name, "inbound_nodes": [refs] if refs else []}


def function(path: str, of: str, source: Any, **arguments: Any) -> Config:
    """A function of TensorFlow in the graph."""
    layer, ref = entry("TFOpLambda", path, function=of), source if isinstance(source, list) else [source, 0, 0]
    return {**layer, "inbound_nodes": [[*ref, {**arguments, "name": None}]]}


def functional(name: str, inner: list[Config], output: str) -> Config:
    config = {"name": name, "trainable": True, "layers": inner, "input_layers": [[inner[0]["name"], 0, 0]]}
    return {"class_name": "Functional", "config": {**config, "output_layers": [[output, 0, 0]]}}


def image(name: str, *size: int) -> Config:
    return entry("InputLayer", name, batch_input_shape=[None, *size], sparse=False, ragged=False)


def convolution(kind: str, name: str, *inputs: Any, **config: Any) -> Config:
    both = {"kernel_size": [3, 3], "strides": [1, 1], "padding": "same", "data_format": "channels_last"}
    made = {"dilation_rate": [1, 1], "groups": 1, "activation": "linear", "use_bias": True}
    drawn = {"module": "keras.initializers", "class_name": "GlorotUniform", "config": {"seed": None}, "registered_name": None}
    return entry(kind, name, *inputs, **{**both, **made, "kernel_initializer": drawn, **config})


def norm(name: str, *inputs: Any) -> Config:
    return entry("BatchNormalization", name, *inputs, axis=[3], momentum=0.99, epsilon=0.001, center=True, scale=True)


def old_config() -> Config:
    """A network with all that Keras 3 stumbles over: a block of MobileNetV3 behind a nested stem."""
    stem = [image("stem_input", 12, 10, 3), convolution("Conv2D", "stem_conv", filters=6)]
    for layer in stem:
        del layer["inbound_nodes"], layer["name"]
    nested = entry("Sequential", "stem", "flip")
    nested["config"] = {"name": "stem", "layers": stem}
    inside = [image("in", 12, 10, 6), convolution("Conv2D", "conv1/conv", "in", filters=6)]
    backbone = functional("backbone", inside, "conv1/conv")
    once = ["backbone", 1, 0]
    return functional(
        "old",
        [
            image("img", 12, 10, 3),
            entry("RandomFlip", "flip", "img", rng_type="stateful", mode="horizontal", seed=None),
            nested,
            norm("Conv/BatchNorm", ["stem", 1, 0, {}]),
            function("tf.__operators__.add", "__operators__.add", "Conv/BatchNorm", y=3.0),
            entry("ReLU", "re_lu", "tf.__operators__.add", max_value=6.0, negative_slope=0.0, threshold=0.0),
            function("tf.math.multiply", "math.multiply", "re_lu", y=1 / 6),
            entry("Multiply", "gated", "Conv/BatchNorm", "tf.math.multiply"),
            convolution("DepthwiseConv2D", "conv/depthwise", "gated", depth_multiplier=1, depthwise_initializer="Zeros"),
            function("tf.nn.relu", "nn.relu", "conv/depthwise"),
            {**backbone, "name": "backbone", "inbound_nodes": [[["tf.nn.relu", 0, 0, {"training": False}]]]},
            function("tf.__operators__.add_1", "__operators__.add", once, y=["tf.nn.relu", 0, 0]),
            function("tf.math.add", "math.add", ["_CONSTANT_VALUE", -1, 2.0], y=["tf.__operators__.add_1", 0, 0]),
            {
                **entry("TFOpLambda", "tf.concat", function="concat"),
                "inbound_nodes": [[[part, 0, 0, {"axis": -1}] for part in ("tf.__operators__.add_1", "tf.math.add")]],
            },
            function("tf.nn.leaky_relu", "nn.leaky_relu", "tf.concat", alpha=0.3),
            function("tf.math.reduce_mean", "math.reduce_mean", "tf.nn.leaky_relu", axis=[1, 2], keepdims=False),
            entry("Dense", "out", "tf.math.reduce_mean", units=4, activation="softmax", use_bias=True),
        ],
        "out",
    )


def new_network() -> keras.Model:
    inputs = keras.Input((12, 10, 3))
    x = norm = layers.BatchNormalization(name="norm")(layers.Conv2D(6, 3, padding="same", name="stem")(inputs))
    x = layers.Multiply(name="gated")([norm, layers.ReLU(6)(x + 3.0) * (1 / 6)])
    x = ops.relu(layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x))
    x = layers.Conv2D(6, 3, padding="same", name="conv")(x) + x
    x = ops.leaky_relu(ops.concatenate([x, 2.0 + x], axis=-1), 0.3)
    return keras.Model(inputs, layers.Dense(4, activation="softmax", name="out")(ops.mean(x, axis=(1, 2))))


def randomised(model: keras.Model) -> keras.Model:
    random = np.random.default_rng(3)
    for weight in model.weights:
        values = random.normal(size=weight.shape) * (0.4 if len(weight.shape) > 1 else 0.2)
        weight.assign(abs(values) + 0.5 if "variance" in weight.path or "gamma" in weight.path else values)
    return model


def write(path: Path, config: Config, arrays: dict[str, list[np.ndarray]]) -> Path:
    """The file that `model.save("model.h5")` wrote in Keras 2; `arrays` lists those of each layer."""
    with h5py.File(path, "w") as file:
        file.attrs.update({"model_config": json.dumps(config), "keras_version": "2.15.0", "backend": "tensorflow"})
        group = file.create_group("model_weights")
        names = [layer.get("name", layer["config"]["name"]) for layer in config["config"]["layers"]]
        group.attrs.update({"layer_names": names, "keras_version": "2.15.0", "backend": "tensorflow"})
        for name in names:
            values = arrays.get(name, [])
            sorts = NAMES[2:] if len(values) == 4 else NAMES
            own = group.create_group(name)
            own.attrs["weight_names"] = [f"{name}/{sort}:0" for sort, _ in zip(sorts, values, strict=False)]
            for at, value in zip(own.attrs["weight_names"], values, strict=True):
                own[at] = value
    return path


@pytest.fixture(scope="module")
def new() -> keras.Model:
    return randomised(new_network())


@pytest.fixture(scope="module")
def old(new: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> keras.Model:
    places = {"stem": "stem", "norm": "Conv/BatchNorm", "depthwise": "conv/depthwise", "conv": "backbone", "out": "out"}
    arrays = {its: new.get_layer(mine).get_weights() for mine, its in places.items()}
    return tfviz.load_model(write(tmp_path_factory.mktemp("keras_2") / "old.h5", old_config(), arrays))


def test_the_network_computes_what_it_did(old: keras.Model, new: keras.Model) -> None:
    images = noise(12, 10, 3)
    np.testing.assert_allclose(old(images, training=False), new(images), rtol=1e-5)
    assert np.ptp(new(images)) > 0.1


@pytest.mark.parametrize("method", tfviz.METHODS)
def test_every_method_explains_it_as_the_same_network_built_now(method: str, old: keras.Model, new: keras.Model) -> None:
    images = noise(12, 10, 3)
    explainers = [tfviz.METHODS[method](model) for model in (old, new)]
    got, want = (explainer(images, 1 if explainer.takes_target else None).numpy() for explainer in explainers)
    assert abs(want).max() > 0
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5 * abs(want).max())


def test_what_was_loaded_can_be_saved_and_loaded_again(old: keras.Model, tmp_path: Path) -> None:
    old.save(tmp_path / "new.keras")
    again = tfviz.load_model(tmp_path / "new.keras")
    images = noise(12, 10, 3)
    np.testing.assert_allclose(again(images, training=False), old(images, training=False), rtol=1e-6)


def sequential(*inner: Config) -> Config:
    for layer in inner:
        del layer["inbound_nodes"]
    return {"class_name": "Sequential", "config": {"name": "old", "layers": list(inner)}}


def test_wrappers_recurrent_layers_and_policies_are_read(tmp_path: Path) -> None:
    depthwise = convolution("DepthwiseConv2D", "inner", depth_multiplier=1, activation="relu")
    half = {"class_name": "Policy", "config": {"name": "mixed_float16"}}
    flat = entry("Flatten", "inner_flat", data_format="channels_last")
    config = sequential(
        image("img", 2, 6, 5, 2),
        entry("TimeDistributed", "frames", layer=depthwise, batch_input_shape=[None, 2, 6, 5, 2]),
        entry("TimeDistributed", "flat", layer=flat),
        entry("LSTM", "memory", units=3, time_major=False, activation="tanh"),
        entry("LeakyReLU", "leaky", alpha=0.25),
        entry("Dense", "out", units=2, activation="linear", dtype=half),
    )
    random = np.random.default_rng(0)
    shapes = {"frames": [(3, 3, 2, 1), (2,)], "memory": [(60, 12), (3, 12), (12,)], "out": [(3, 2), (2,)]}
    arrays = {name: [random.normal(size=shape) * 0.3 for shape in all_of_it] for name, all_of_it in shapes.items()}
    model = tfviz.load_model(write(tmp_path / "series.h5", config, arrays))
    assert model.get_layer("out").dtype_policy.name == "mixed_float16"
    assert model.get_layer("leaky").negative_slope == 0.25
    new = keras.Sequential([
        keras.Input((2, 6, 5, 2)),
        layers.TimeDistributed(layers.DepthwiseConv2D(3, padding="same", activation="relu")),
        layers.TimeDistributed(layers.Flatten()),
        layers.LSTM(3),
        layers.LeakyReLU(0.25),
        layers.Dense(2, dtype="mixed_float16"),
    ])  # fmt: skip
    new.set_weights([array for name in shapes for array in arrays[name]])
    films = noise(2, 6, 5, 2)
    np.testing.assert_allclose(model(films), new(films), rtol=1e-3)
    np.testing.assert_allclose(tfviz.GradCAM(model)(films, 1), tfviz.GradCAM(new)(films, 1), rtol=1e-3, atol=1e-6)


def test_a_function_that_is_not_known_is_named(tmp_path: Path) -> None:
    inner = [image("img", 4, 4, 3), function("tf.fft", "signal.fft", "img")]
    with pytest.raises(
        tfviz.UnsupportedModelError,
        match=r"calls the TensorFlow function tf\.signal\.fft \(layer 'tf\.fft'\).*it knows .*nn\.relu.*load the weights",
    ):
        tfviz.load_model(write(tmp_path / "odd.h5", functional("odd", inner, "tf.fft"), {}))


def test_a_lambda_is_refused_with_the_way_out(tmp_path: Path) -> None:
    code = {"function": ["4wEAAAA=\n", None, None], "function_type": "lambda", "module": "__main__"}
    inner = [image("img", 4, 4, 3), entry("Lambda", "twice", "img", **code, output_shape=None, arguments={})]
    with pytest.raises(tfviz.WeightsError, match=r"cannot be opened: .*Lambda.* keras\.models\.load_model"):
        tfviz.load_model(write(tmp_path / "lambda.h5", functional("old", inner, "twice"), {}))


@pytest.mark.parametrize("name", ["MobileNetV3Small", "EfficientNetV2B0"])
def test_a_file_that_keras_2_itself_has_written(name: str, tmp_path: Path) -> None:
    """Where the old Keras is installed beside the new one, as the package tf_keras."""
    old_keras = pytest.importorskip("tf_keras")
    old = getattr(old_keras.applications, name)(weights=None, classes=5, input_shape=(64, 64, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the old Keras warns of its own file format
        old.save(tmp_path / "old.h5")
    new = tfviz.load_model(tmp_path / "old.h5")
    images = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype(np.float32)
    np.testing.assert_allclose(new(images), old(images), rtol=1e-4)
    assert np.isfinite(tfviz.ExcitationBackprop(new)(images, 1)).all()
