"""Models that Keras 2 saved are opened, and explained like the same network built in Keras 3."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops
from keras.src.saving import serialization_lib
from support.explainers import KEYS, built
from support.tape import compiled_gradient
from support.zoo import noise

import tfviz

Config = dict[str, Any]
NAMES = ["kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance"]


def entry(kind: str, name: str, *inputs: Any, **config: Any) -> Config:
    """Return a layer as Keras 2 writes it, called once."""
    refs = [one if isinstance(one, list) else [one, 0, 0, {}] for one in inputs]
    config = {"name": name, "trainable": True, "dtype": "float32", **config}
    return {"class_name": kind, "config": config, "name": name, "inbound_nodes": [refs] if refs else []}


def function(path: str, of: str, source: Any, **arguments: Any) -> Config:
    """Return a TensorFlow function in the graph."""
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
    """Return a network with everything that Keras 3 fails on.

    It is a block of MobileNetV3 after a nested stem.
    """
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


def randomized(model: keras.Model) -> keras.Model:
    random = np.random.default_rng(3)
    for weight in model.weights:
        values = random.normal(size=weight.shape) * (0.4 if len(weight.shape) > 1 else 0.2)
        weight.assign(abs(values) + 0.5 if "variance" in weight.path or "gamma" in weight.path else values)
    return model


def write(path: Path, config: Config, arrays: dict[str, list[np.ndarray]]) -> Path:
    """Write the file that `model.save("model.h5")` wrote in Keras 2.

    `arrays` lists the arrays of each layer.
    """
    with h5py.File(path, "w") as file:
        file.attrs.update({"model_config": json.dumps(config), "keras_version": "2.15.0", "backend": "tensorflow"})
        group = file.create_group("model_weights")
        names = [layer.get("name", layer["config"]["name"]) for layer in config["config"]["layers"]]
        group.attrs.update({"layer_names": names, "keras_version": "2.15.0", "backend": "tensorflow"})
        for name in names:
            values = arrays.get(name, [])
            sorts = NAMES[2:] if len(values) == 4 else NAMES
            own = group.create_group(name)
            own.attrs["weight_names"] = [
                f"{name}/{number // 2}/{sorts[number % len(sorts)]}:0" for number in range(len(values))
            ]
            for at, value in zip(own.attrs["weight_names"], values, strict=True):
                own[at] = value
    return path


@pytest.fixture(scope="module")
def new() -> keras.Model:
    return randomized(new_network())


@pytest.fixture(scope="module")
def old(new: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> keras.Model:
    places = {"stem": "stem", "norm": "Conv/BatchNorm", "depthwise": "conv/depthwise", "conv": "backbone", "out": "out"}
    arrays = {its: new.get_layer(mine).get_weights() for mine, its in places.items()}
    return tfviz.load_model(write(tmp_path_factory.mktemp("keras_2") / "old.h5", old_config(), arrays))


def test_the_network_computes_the_same_outputs(old: keras.Model, new: keras.Model) -> None:
    images = noise(12, 10, 3)
    np.testing.assert_allclose(old(images, training=False), new(images), rtol=1e-5)
    assert np.ptp(new(images)) > 0.1


@pytest.mark.parametrize("method", KEYS)
def test_every_method_explains_it_like_the_same_network_built_in_keras_3(
    method: str, old: keras.Model, new: keras.Model
) -> None:
    images = noise(12, 10, 3)
    explainers = [built(method, model) for model in (old, new)]
    got, want = (explainer(images, 1 if explainer.takes_target else None).numpy() for explainer in explainers)
    assert abs(want).max() > 0
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5 * abs(want).max())


def write_archive(path: Path, config: Config, groups: dict[str, list[np.ndarray]], container: str = "layers") -> Path:
    """Write the file that `model.save("model.keras")` wrote in TensorFlow 2.12 to 2.15.

    `groups` lists the arrays by group.
    """
    weights = io.BytesIO()
    with h5py.File(weights, "w") as file:
        for group, arrays in groups.items():
            for number, array in enumerate(arrays):
                file[f"{group.replace('layers', container)}/vars/{number}"] = array
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "2.15.0", "date_saved": "2024-01-01@00:00:00"}))
        archive.writestr("config.json", json.dumps({"module": "keras.src.engine.functional", **config}))
        archive.writestr("model.weights.h5", weights.getvalue())
    return path


@pytest.mark.parametrize("container", ["layers", "_layer_checkpoint_dependencies"])
def test_a_keras_2_archive_computes_the_same_outputs(new: keras.Model, container: str, tmp_path: Path) -> None:
    places = {
        "stem": "layers/sequential/layers/conv2d",
        "norm": "layers/batch_normalization",
        "depthwise": "layers/depthwise_conv2d",
        "conv": "layers/functional/layers/conv2d",
        "out": "layers/dense",
    }
    groups = {its: new.get_layer(mine).get_weights() for mine, its in places.items()}
    old = tfviz.load_model(write_archive(tmp_path / "old.keras", old_config(), groups, container))
    images = noise(12, 10, 3)
    np.testing.assert_allclose(old(images, training=False), new(images), rtol=1e-5)
    del groups["layers/dense"]
    with pytest.raises(tfviz.WeightsError, match=r"2 of the model's arrays are missing from the file, for example out/kernel"):
        tfviz.load_model(write_archive(tmp_path / "short.keras", old_config(), groups, container))


def attention_config() -> Config:
    """Return what tf_keras writes for MultiHeadAttention(2, 3)(x, x) after two equal layers."""
    drawn = {"query_shape": [None, 6, 4], "key_shape": [None, 6, 4], "value_shape": [None, 6, 4]}
    options = {"num_heads": 2, "key_dim": 3, "value_dim": 3, "attention_axes": [1], "softmax_robust_masking": False, **drawn}
    inner = [
        image("img", 6, 4),
        entry("Dense", "first", "img", units=4),
        entry("Dense", "second", "img", units=4),
        entry("MultiHeadAttention", "heads", ["second", 0, 0, {"value": ["first", 0, 0]}], **options),
        entry("LayerNormalization", "norm", "heads", axis=[1, 2], epsilon=0.5),
        entry("Softmax", "out", "norm", axis=[1, 2]),
    ]
    return functional("attention", inner, "out")


def attention_arrays() -> dict[str, list[np.ndarray]]:
    random = np.random.default_rng(0)
    heads = [(4, 2, 3), (2, 3)] * 3 + [(2, 3, 4), (4,)]
    shapes = {"first": [(4, 4), (4,)], "second": [(4, 4), (4,)], "heads": heads, "norm": [(6, 4), (6, 4)]}
    return {name: [random.normal(size=shape) for shape in all_of_it] for name, all_of_it in shapes.items()}


def attention_groups(arrays: dict[str, list[np.ndarray]]) -> dict[str, list[np.ndarray]]:
    parts = ("_query_dense", "_key_dense", "_value_dense", "_output_dense")
    heads = {f"layers/multi_head_attention/{part}": arrays["heads"][2 * i : 2 * i + 2] for i, part in enumerate(parts)}
    dense = {"layers/dense": arrays["first"], "layers/dense_1": arrays["second"]}
    return {**heads, **dense, "layers/layer_normalization": arrays["norm"]}


@pytest.mark.parametrize("extension", [".h5", ".keras"])
def test_attention_and_lists_of_axes_are_read(extension: str, tmp_path: Path) -> None:
    arrays, path = attention_arrays(), tmp_path / f"old{extension}"
    if extension == ".h5":
        old = tfviz.load_model(write(path, attention_config(), arrays))
    else:
        old = tfviz.load_model(write_archive(path, attention_config(), attention_groups(arrays)))
    inputs = keras.Input((6, 4))
    first, second = layers.Dense(4, name="first"), layers.Dense(4, name="second")
    x = layers.MultiHeadAttention(2, 3, name="heads")(second(inputs), first(inputs))
    x = layers.LayerNormalization(axis=[1, 2], epsilon=0.5, name="norm")(x)
    new = keras.Model(inputs, layers.Softmax(axis=[1, 2])(x))
    for name, values in arrays.items():
        new.get_layer(name).set_weights(values)
    np.testing.assert_allclose(old(noise(6, 4)), new(noise(6, 4)), rtol=1e-5)


LSTM = {"units": 2, "activation": "tanh"}
WITHOUT_EQUIVALENT: dict[str, tuple[Config, str]] = {
    "time_major": (entry("LSTM", "odd", "img", **LSTM, time_major=True), r"\(LSTM\) has time_major=True, but Keras 3 supports"),
    "renorm": (entry("BatchNormalization", "odd", "img", renorm=True), "has renorm=True, but Keras 3 has no batch renorm"),
    "axes": (entry("BatchNormalization", "odd", "img", axis=[1, 2]), r"axis=\[1, 2\], but Keras 3 accepts only one axis"),
    "training": (entry("BatchNormalization", "odd", ["img", 0, 0, {"training": True}]), "is called with training=True"),
    "interpolation": (
        entry("Resizing", "odd", "img", height=2, width=2, interpolation="gaussian"),
        "uses 'gaussian' interpolation",
    ),
    "layer": (
        entry("LocallyConnected1D", "odd", "img", filters=2, kernel_size=[2]),
        "is a LocallyConnected1D, and Keras 3 has no",
    ),
    "einsum": (function("odd", "einsum", ["_CONSTANT_VALUE", -1, "ij->ji"]), r"all arguments of einsum \(layer 'odd'\)"),
}


@pytest.mark.parametrize("case", WITHOUT_EQUIVALENT)
def test_what_keras_3_lacks_is_named_with_the_reason(case: str, tmp_path: Path) -> None:
    odd, message = WITHOUT_EQUIVALENT[case]
    with pytest.raises(
        tfviz.UnsupportedModelError, match=f"odd.h5 cannot be opened. .*'odd'.*{message}" if case != "einsum" else message
    ):
        tfviz.load_model(write(tmp_path / "odd.h5", functional("odd", [image("img", 6, 4), odd], "odd"), {}))


@pytest.mark.parametrize("shapes", [[(3, 4), (2,)], [(3, 4)]])
def test_misshaped_and_missing_arrays_are_named(shapes: list[tuple[int, ...]], tmp_path: Path) -> None:
    inner = [image("img", 3), entry("Dense", "out", "img", units=4)]
    arrays = {"out": [np.zeros(shape) for shape in shapes]}
    for path in (
        write(tmp_path / "odd.h5", functional("odd", inner, "out"), arrays),
        write_archive(tmp_path / "odd.keras", functional("odd", inner, "out"), {"layers/dense": arrays["out"]}),
    ):
        with pytest.raises(
            tfviz.WeightsError,
            match=r"The bias of layer 'out' has shape \(4,\), but its shape in the file is \(2,\)\."
            r"|'out' has 2 arrays, but the file has 1\.",
        ):
            tfviz.load_model(path)


def test_a_layer_of_keras_applications_is_found_by_its_name(tmp_path: Path) -> None:
    inner = [image("img", 4, 4, 3), entry("Custom>CustomScaleLayer", "scaled", "img", "img", scale=0.5)]
    model = tfviz.load_model(write(tmp_path / "old.h5", functional("old", inner, "scaled"), {}))
    np.testing.assert_allclose(model(noise(4, 4, 3)), 1.5 * noise(4, 4, 3), rtol=1e-6)


@pytest.mark.parametrize(
    ("equation", "size", "shape", "known"),
    [
        ("abc,ce->abe", (6, 4), [None, 5], (6, 5)),
        ("abcd,de->abce", (3, 2, 4), [None, None, 5], (3, 2, 5)),
        ("abcd,de->acbe", (3, 2, 4), [None, None, 5], (2, 3, 5)),
        ("...bc,cd->...bd", (6, 4), [None, 5], (6, 5)),
    ],
)
def test_a_product_infers_the_sizes_that_its_config_omits(
    equation: str, size: tuple[int, ...], shape: list[int | None], known: tuple[int, ...], tmp_path: Path
) -> None:
    product = entry("EinsumDense", "product", "img", equation=equation, output_shape=shape, activation="linear")
    inner = [image("img", *size), product, entry("Flatten", "flat", "product"), entry("Dense", "out", "flat", units=3)]
    kernel, weights = noise(4, 5)[0], noise(int(np.prod(known)), 3)[0]
    arrays = {"product": [kernel], "out": [weights, np.zeros(3)]}
    model = tfviz.load_model(write(tmp_path / "old.h5", functional("old", inner, "out"), arrays))
    products = np.einsum(equation, noise(*size), kernel)
    np.testing.assert_allclose(model(noise(*size)), products.reshape(len(products), -1) @ weights, rtol=1e-4)
    assert type(model.get_layer("product")) is layers.EinsumDense and model.get_layer("product").output.shape[1:] == known
    tfviz.Saliency(model)(noise(*size))


def test_a_sequential_model_without_an_input_layer_is_read(tmp_path: Path) -> None:
    """Before TensorFlow 2.2 it was a list of layers, and the first one held the input shape."""
    inner = [entry("Dense", "a", units=4, batch_input_shape=[None, 3]), entry("Dense", "b", units=2)]
    for layer in inner:
        del layer["inbound_nodes"], layer["name"]
    path, random = tmp_path / "old.h5", np.random.default_rng(0)
    arrays = {"a": [random.normal(size=(3, 4)), np.ones(4)], "b": [random.normal(size=(4, 2)), np.ones(2)]}
    write(path, {"class_name": "Sequential", "config": {"name": "s", "layers": inner}}, arrays)
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": inner})
    x = noise(3)
    want = (x @ arrays["a"][0] + 1) @ arrays["b"][0] + 1
    np.testing.assert_allclose(tfviz.load_model(path)(x), want, rtol=1e-4)


def test_a_loaded_model_can_be_saved_and_loaded_again(old: keras.Model, tmp_path: Path) -> None:
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


@pytest.mark.parametrize(
    "of", ["random.normal", "io.read_file", "nn.dropout", "math.__loader__", "math.sys.exit", "py_function", "fft"]
)
def test_an_unsupported_function_is_named(of: str, tmp_path: Path) -> None:
    inner = [image("img", 4, 4, 3), function("drawn", of, "img")]
    with pytest.raises(
        tfviz.UnsupportedModelError,
        match=rf"odd\.h5 cannot be opened\. Layer 'drawn' calls tf\.{of}, .*tf\.nn.*load the weights",
    ):
        tfviz.load_model(write(tmp_path / "odd.h5", functional("odd", inner, "drawn"), {}))


def test_the_error_for_a_lambda_layer_names_the_way_out(tmp_path: Path) -> None:
    code = {"function": ["4wEAAAA=\n", None, None], "function_type": "lambda", "module": "__main__"}
    inner = [image("img", 4, 4, 3), entry("Lambda", "twice", "img", **code, output_shape=None, arguments={})]
    with pytest.raises(tfviz.WeightsError, match=r"cannot be opened\. .*Lambda.* keras\.models\.load_model"):
        tfviz.load_model(write(tmp_path / "lambda.h5", functional("old", inner, "twice"), {}))


@pytest.mark.parametrize("name", ["MobileNetV3Small", "EfficientNetV2B0"])
def test_a_file_that_keras_2_itself_wrote_is_read(name: str, tmp_path: Path) -> None:
    """This runs if Keras 2 is installed next to Keras 3, as the package tf_keras."""
    old_keras = pytest.importorskip("tf_keras")
    old = getattr(old_keras.applications, name)(weights=None, classes=5, input_shape=(64, 64, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras 2 warns about its own file format
        old.save(tmp_path / "old.h5")
    new = tfviz.load_model(tmp_path / "old.h5")
    images = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype(np.float32)
    np.testing.assert_allclose(new(images), old(images), rtol=1e-4)
    assert np.isfinite(tfviz.ExcitationBackprop(new)(images, 1)).all()


def compared(build: Callable[[Any], Any], size: tuple[int, ...], folder: Path) -> tuple[keras.Model, np.ndarray, Any]:
    """Save a Keras 2 network, load it, and compare the outputs.

    Returns the new model, the images and the old model.
    """
    old_keras = pytest.importorskip("tf_keras")
    inputs = old_keras.Input(size)
    old = old_keras.Model(inputs, build(inputs))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras 2 warns about its own file format
        old.save(folder / "old.h5")
    new, images = tfviz.load_model(folder / "old.h5"), noise(*size) * 2
    np.testing.assert_allclose(new(images), old(images), rtol=1e-4, atol=1e-5)
    return new, images, old


def old_layers() -> Any:
    return pytest.importorskip("tf_keras").layers


@pytest.mark.parametrize(
    "build",
    [
        lambda x: tf.nn.max_pool2d(x, 2, 2, "SAME"),
        lambda x: tf.nn.local_response_normalization(x, 2),
        lambda x: tf.image.resize(x, (9, 9), preserve_aspect_ratio=True),
        lambda x: tf.add_n(tf.split(x, 2, axis=-1)),
    ],
)
def test_functions_that_keras_ops_lacks_are_explained(build: Callable[[Any], Any], tmp_path: Path) -> None:
    def network(x: Any) -> Any:
        y = build(old_layers().Conv2D(4, 3, padding="same", activation="relu")(x))
        return old_layers().Dense(3)(old_layers().Flatten()(y))

    new, images, old = compared(network, (6, 5, 3), tmp_path)
    want = compiled_gradient(lambda x: old(x)[:, 1], tf.constant(images))
    np.testing.assert_allclose(tfviz.Saliency(new)(images, 1), want, rtol=1e-3, atol=1e-6)
    assert (
        np.isfinite(tfviz.GuidedBackprop(new)(images, 1)).all() and np.isfinite(tfviz.ExcitationBackprop(new)(images, 1)).all()
    )


def test_a_stopped_gradient_stays_stopped(tmp_path: Path) -> None:
    def build(x: Any) -> Any:
        conv, other = (old_layers().Conv2D(4, 3, padding="same") for _ in range(2))
        return old_layers().Dense(3)(old_layers().GlobalAveragePooling2D()(conv(x) + tf.stop_gradient(other(x))))

    new, images, old = compared(build, (6, 5, 3), tmp_path)
    want = compiled_gradient(lambda x: old(x)[:, 1], tf.constant(images))
    np.testing.assert_allclose(tfviz.Saliency(new)(images, 1), want, rtol=1e-4, atol=1e-6)


def test_the_code_of_a_lambda_never_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras 3.12.0 runs it unless safe mode is on while the config is read."""
    asked: list[Any] = []
    build = keras.layers.Lambda.from_config.__func__

    def noted(cls: Any, *args: Any, **kwargs: Any) -> Any:
        asked.append(serialization_lib.in_safe_mode())
        return build(cls, *args, **kwargs)

    monkeypatch.setattr(keras.layers.Lambda, "from_config", classmethod(noted))
    code = {"function": ["4wEAAAA=\n", None, None], "function_type": "lambda", "module": "__main__"}
    inner = [image("img", 4, 4, 3), entry("Lambda", "twice", "img", **code, output_shape=None, arguments={})]
    with pytest.raises(tfviz.WeightsError, match="Lambda"):
        tfviz.load_model(write(tmp_path / "lambda.h5", functional("old", inner, "twice"), {}))
    assert asked == [True]
