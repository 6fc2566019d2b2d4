"""The graph computes the model's outputs and gradients, however the model is built."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops
from support import networks
from support.explainers import KEYS, READERS, built
from support.tape import compiled_gradient
from support.zoo import ZOO, noise

import tfviz

SIZE = (10, 9, 3)


def alive(model: keras.Model) -> keras.Model:
    return networks.with_random_weights(model, 0)


def conv(filters: int = 4, activation: Any = "relu", **options: Any) -> layers.Layer:
    return layers.Conv2D(filters, 3, padding="same", activation=activation, **options)


def head(x: Any, units: int = 4, activation: Any = None) -> Any:
    return layers.Dense(units, activation=activation)(layers.GlobalAveragePooling2D()(x))


# --- models whose outputs end in an activation that something else reads too ----------------------


def mask_and_class() -> keras.Model:
    inputs = keras.Input(SIZE)
    x = conv(5)(inputs)
    mask = conv(1, "sigmoid")(x)
    return alive(keras.Model(inputs, {"mask": mask, "kind": head(x * mask, activation="softmax")}))


def coarse_and_fine() -> keras.Model:
    inputs = keras.Input(SIZE)
    coarse = head(conv()(inputs), 3, "softmax")
    fine = layers.Dense(5, activation="softmax")(layers.Concatenate()([coarse, layers.Flatten()(conv(2)(inputs))]))
    return alive(keras.Model(inputs, {"coarse": layers.Reshape((3,))(coarse), "fine": fine}))


def logit_and_probability() -> keras.Model:
    inputs = keras.Input(SIZE)
    logit = head(conv()(inputs), 1)
    return alive(keras.Model(inputs, {"logit": logit, "probability": layers.Activation("sigmoid")(logit)}))


def twice_the_same() -> keras.Model:
    inputs = keras.Input(SIZE)
    output = head(conv()(inputs), activation="softmax")
    return alive(keras.Model(inputs, {"a": output, "b": output}))


SEVERAL: dict[str, tuple[Callable[[], keras.Model], str, Callable[[Any], Any]]] = {
    "a mask that the other head reads": (mask_and_class, "kind", lambda z: z["kind"][:, 1]),
    "a softmax that the other head reads": (coarse_and_fine, "fine", lambda z: z["fine"][:, 1]),
    "that softmax itself": (coarse_and_fine, "coarse", lambda z: z["coarse"][:, 1]),
    "a logit beside its probability": (logit_and_probability, "logit", lambda z: z["logit"][:, 0]),
    "that probability": (logit_and_probability, "probability", lambda z: z["probability"][:, 1]),
    "one output twice": (twice_the_same, "a", lambda z: z["a"][:, 1]),
}


def logit_gradient(model: keras.Model, images: Any, name: str) -> np.ndarray:
    """The logit's gradient by way of probabilities: d log(p / (1 - p)), or log p + log Σ exp z."""

    def score(x: Any) -> Any:
        out = tf.cast(model(x, training=False)[name], tf.float32)
        if name == "logit":
            return out[:, 0]
        return tf.math.log(out[:, 0] / (1 - out[:, 0])) if out.shape[-1] == 1 else out[:, 1]

    return compiled_gradient(score, images).numpy()


@pytest.mark.parametrize("name", SEVERAL)
def test_removing_the_activation_of_one_output_leaves_the_others_unchanged(name: str) -> None:
    build, output, target = SEVERAL[name]
    model, images = build(), noise(*SIZE)
    explainer = tfviz.Saliency(model)
    got = explainer.with_outputs(images, target)
    for key, value in model(images, training=False).items():
        np.testing.assert_allclose(got.outputs[key], value, atol=1e-5)
    if output in ("logit", "probability"):
        assert_same(got.attribution, logit_gradient(model, images, output))
    else:
        assert_same(got.attribution, gradient_without_softmax(model, images, output))


def gradient_without_softmax(model: keras.Model, images: Any, name: str) -> np.ndarray:
    """Return the logit's gradient: dz_1 = d log p_1 + Σ_k p_k dz_k.

    It cannot be computed from p alone, so the last Dense temporarily gets no activation.
    """
    dense = [layer for layer in model.layers if getattr(layer, "activation", None) is keras.activations.softmax]
    layer = next(layer for layer in dense if layer.output is model.output[name] or len(dense) == 1 or name in "coarse")
    layer = dense[-1] if name in ("fine", "kind") else layer
    inner = keras.Model(model.inputs, layer.input)
    return compiled_gradient(lambda x: (tf.matmul(inner(x), layer.kernel) + layer.bias)[:, 1], images).numpy()


def assert_same(got: Any, want: Any, tolerance: float = 1e-4) -> None:
    want = np.asarray(want)
    assert np.any(want)
    np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * abs(want).max())


# --- inputs by name -------------------------------------------------------------------------------


def of_two(structure: Any = list) -> keras.Model:
    """Two inputs of the same shape, not in alphabetical order."""
    right, left = keras.Input(SIZE, name="right"), keras.Input(SIZE, name="left")
    x = layers.Concatenate()([conv(3, name="of_right")(right), conv(2, name="of_left")(left)])
    given = [right, left] if structure is list else {"right": right, "left": left}
    return alive(keras.Model(given, head(x)))


def pair() -> dict[str, np.ndarray]:
    return {"right": noise(*SIZE), "left": noise(*SIZE, seed=2)}


def test_a_dict_for_a_list_of_inputs_is_matched_by_name() -> None:
    model, images = of_two(), pair()
    for key in ("saliency", "guided_backprop", "grad_cam"):
        explainer = tfviz.METHODS[key](model)
        by_name, in_order = explainer(images, 1), explainer([images["right"], images["left"]], 1)
        for one, other in zip(keras.tree.flatten(by_name), keras.tree.flatten(in_order), strict=True):
            np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(tfviz.Saliency(model).with_outputs(images).outputs, model(images), atol=1e-6)


@pytest.mark.parametrize("structure", [list, dict])
@pytest.mark.parametrize(
    "images",
    [{"a": 1, "b": 2}, {"right": 1}, {"right": 1, "left": 2, "middle": 3}],
    ids=["other names", "too few", "too many"],
)
def test_a_dict_with_other_names_is_rejected(structure: Any, images: dict[str, int]) -> None:
    given = {name: noise(*SIZE, seed=seed) for name, seed in images.items()}
    with pytest.raises(
        tfviz.ImageError, match=r"needs a dict with the keys '(right', 'left|left', 'right)'\. Received: a dict of '"
    ):
        tfviz.Saliency(of_two(structure))(given, 1)


def test_a_list_for_a_dict_of_inputs_is_rejected() -> None:
    with pytest.raises(tfviz.ImageError, match=r"needs a dict with the keys .*\. Received: list"):
        tfviz.Saliency(of_two(dict))(list(pair().values()), 1)


def test_a_nested_model_called_with_a_dict_matches_inputs_by_name() -> None:
    inner, first, second = of_two(), keras.Input(SIZE, name="a"), keras.Input(SIZE, name="z")
    model = keras.Model([first, second], inner({"left": first, "right": second}))
    assert_reads_as_it_computes(model, [noise(*SIZE), noise(*SIZE, seed=2)])


class OfADict(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.right, self.left, self.out = conv(3), conv(2), layers.Dense(4)
        self.pool = layers.GlobalAveragePooling2D()

    def call(self, images: Any) -> Any:
        return self.out(self.pool(ops.concatenate([self.right(images["right"]), self.left(images["left"])], axis=-1)))


def test_a_subclassed_model_with_a_dict_of_inputs_returns_a_dict_of_maps() -> None:
    model = OfADict()
    model(pair())
    networks.with_random_weights(model, 0)
    maps = tfviz.Saliency(model)(pair(), 1)
    assert set(maps) == {"right", "left"}
    same = tfviz.Saliency(of_two_like(model))(list(pair().values()), 1)
    assert_same(maps["right"], same[0])
    assert_same(maps["left"], same[1])


def of_two_like(model: OfADict) -> keras.Model:
    right, left = keras.Input(SIZE), keras.Input(SIZE)
    x = ops.concatenate([model.right(right), model.left(left)], axis=-1)
    return keras.Model([right, left], model.out(model.pool(x)))


# --- what Keras carries along or switches off -----------------------------------------------------


def masked_inside(reader: Callable[[], layers.Layer], is_opened: bool = True) -> keras.Model:
    series = keras.Input((7, 5))
    inside = keras.Sequential([keras.Input((7, 5)), layers.Masking(), layers.Dense(6, activation="relu")], name="inside")
    masked = inside(series) if is_opened else layers.Dense(6, activation="relu")(layers.Masking()(series))
    return alive(keras.Model(series, layers.Dense(3)(reader()(masked))))


def masking_outside() -> keras.Model:
    series = keras.Input((7, 5))
    inside = keras.Sequential([keras.Input((7, 5)), layers.Dense(6, activation="tanh"), layers.LSTM(4)], name="inside")
    return alive(keras.Model(series, layers.Dense(3)(inside(layers.Masking()(series)))))


def short_series() -> np.ndarray:
    series = noise(7, 5)
    series[0, 4:], series[1, 6:] = 0, 0
    return series


@pytest.mark.parametrize(
    "build",
    [
        lambda: masked_inside(lambda: layers.LSTM(4)),
        lambda: masked_inside(layers.GlobalAveragePooling1D),
        lambda: masked_inside(lambda: layers.LSTM(4), is_opened=False),
        masking_outside,
    ],
    ids=["LSTM", "pooling", "not nested", "masked outside"],
)
@pytest.mark.filterwarnings("ignore:Layer 'inside'.*does not support masking")
def test_a_mask_over_time_goes_through_nested_models(build: Callable[[], keras.Model]) -> None:
    assert_reads_as_it_computes(build(), short_series())


class Augmenting(layers.Layer):
    """Owns a weight, so it is not opened, and does not pass `training` on."""

    def __init__(self) -> None:
        super().__init__()
        self.flip = layers.RandomFlip("horizontal_and_vertical")

    def build(self, shape: Any) -> None:
        self.scale = self.add_weight(shape=(), initializer="ones")

    def call(self, x: Any) -> Any:
        return self.flip(x) * self.scale


class AugmentingModel(keras.Model):
    """Uses a TensorFlow function, so it is not opened."""

    def __init__(self) -> None:
        super().__init__()
        self.flip, self.conv, self.out = layers.RandomFlip("horizontal_and_vertical"), conv(), layers.Dense(3)

    def call(self, x: Any) -> Any:
        return self.out(tf.reshape(self.conv(self.flip(x)), [-1, 360]))


def test_augmentation_inside_an_opaque_layer_is_off() -> None:
    inputs = keras.Input(SIZE)
    images = noise(*SIZE, count=8)
    x = layers.Flatten()(conv()(Augmenting()(inputs)))
    assert_reads_as_it_computes(alive(keras.Model(inputs, layers.Dense(3)(x))), images)
    model = AugmentingModel()
    model(images)
    assert_reads_as_it_computes(model, images, methods=["saliency"])


def assert_reads_as_it_computes(model: keras.Model, images: Any, methods: Any = ("saliency", "grad_cam")) -> None:
    """Compare the outputs with the model's, and saliency with a tape through the model's call."""
    explained = tfviz.Saliency(model, score="outputs").with_outputs(images, 1)
    np.testing.assert_allclose(explained.outputs, model(images, training=False), atol=1e-5)
    wanted = compiled_gradient(lambda given: model(given, training=False)[:, 1], images)
    for got, want in zip(keras.tree.flatten(explained.attribution), keras.tree.flatten(wanted), strict=True):
        assert_same(got, want)


@pytest.mark.parametrize("name", [name for name, species in ZOO.items() if "saliency" not in species.errors])
def test_the_graph_of_every_species_computes_the_models_outputs(name: str) -> None:
    species = ZOO[name]
    model = species.model()
    explainer = tfviz.Saliency(model, **{key: value for key, value in species.options.items() if key == "output"})
    images = (
        species.pictures() if species.pictures else noise(*model.input_shape[1:]) if None not in model.input_shape[1:] else None
    )
    if images is None:
        images = noise(16, 14, 3)
    outputs = model(images, training=False)
    if "output" in species.options:
        key = species.options["output"]
        outputs = outputs[key] if not isinstance(outputs, list) or isinstance(key, int) else outputs
    for got, want in zip(
        keras.tree.flatten(explainer.with_outputs(images, species.target).outputs), keras.tree.flatten(outputs), strict=True
    ):
        np.testing.assert_allclose(got, np.asarray(want, np.float32), atol=species.tolerance)


# --- activations as functions of the user's -------------------------------------------------------


def own_relu(x: Any) -> Any:
    return ops.relu(x)


RELUS: dict[str, Any] = {
    "a function": own_relu,
    "a lambda": lambda x: ops.maximum(x, 0.0),
    "a partial": functools.partial(keras.activations.relu, max_value=None),
    "TensorFlow's": tf.nn.relu,
}
SOFTMAXES: dict[str, Any] = {
    "TensorFlow's": tf.nn.softmax,
    "a function": lambda x: ops.softmax(x),
    "a partial": functools.partial(keras.activations.softmax, axis=-1),
}


def with_functions(relu: Any, softmax: Any, *, apart: bool = False) -> keras.Model:
    inputs = keras.Input(SIZE)
    x = conv()(inputs)
    x = layers.Activation(relu)(conv(5, None)(x)) if apart else conv(5, relu)(x)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Activation(softmax)(layers.Dense(4)(x)) if apart else layers.Dense(4, activation=softmax)(x)
    return alive(keras.Model(inputs, x))


def maps_of(model: keras.Model) -> dict[str, np.ndarray]:
    images = noise(*SIZE)
    return {key: built(key, model)(images, 1 if tfviz.METHODS[key].takes_target else None).numpy() for key in READERS}


@pytest.fixture(scope="module", params=[False, True], ids=["fused", "apart"])
def by_name(request: pytest.FixtureRequest) -> tuple[bool, dict[str, np.ndarray]]:
    """Return whether activations are layers, and the maps with "relu" and "softmax"."""
    return request.param, maps_of(with_functions("relu", "softmax", apart=request.param))


@pytest.mark.parametrize("relu, softmax", [*((relu, "softmax") for relu in RELUS), *(("relu", one) for one in SOFTMAXES)])
def test_an_activation_is_recognized_in_every_form(
    relu: str, softmax: str, by_name: tuple[bool, dict[str, np.ndarray]]
) -> None:
    apart, wanted = by_name
    got = maps_of(with_functions(RELUS.get(relu, relu), SOFTMAXES.get(softmax, softmax), apart=apart))
    for key, want in wanted.items():
        if key == "ablation_cam" and not np.any(want):  # no channel raises this score
            assert not np.any(got[key])
        else:
            assert_same(got[key], want)


def hidden_softmax(x: Any) -> Any:
    return tf.nn.softmax(tf.identity(x))


class ScaledHead(layers.Layer):
    """A head that owns a weight, around a sigmoid unit."""

    def __init__(self) -> None:
        super().__init__(name="scaled")
        self.dense = layers.Dense(1, activation="sigmoid")

    def build(self, shape: Any) -> None:
        self.scale = self.add_weight(shape=(), initializer="ones")
        self.dense.build(shape)

    def call(self, x: Any) -> Any:
        return self.dense(x * self.scale)


@pytest.mark.parametrize(
    "last",
    [
        lambda: layers.Lambda(hidden_softmax, output_shape=(6,)),
        lambda: layers.Dense(4, activation=hidden_softmax),
        lambda: layers.SpectralNormalization(layers.Dense(4, activation="softmax")),
        ScaledHead,
    ],
    ids=["Lambda", "activation", "wrapper", "custom layer"],
)
def test_a_softmax_or_sigmoid_in_user_code_is_removed(last: Callable[[], layers.Layer]) -> None:
    inputs = keras.Input(SIZE)
    model = alive(keras.Model(inputs, last()(layers.Dense(6)(layers.Flatten()(inputs)))))
    images = tf.constant(noise(*SIZE))
    outputs = model(images)

    def score(x: Any) -> Any:
        # The logit of class 0 against all others is log(p / (1 − p)), both for a sigmoid and,
        # because of softmax's gradient, here.
        chosen = model(x)[:, 0]
        return tf.math.log(chosen) - tf.math.log(1 - chosen) if outputs.shape[-1] == 1 else tf.math.log(chosen)

    want = compiled_gradient(score, images)
    weights = [[1.0] + [0.0] * (outputs.shape[-1] - 1)] if outputs.shape[-1] > 1 else [[0.0, 1.0]]
    got = tfviz.Saliency(model)(images, np.array(weights) - softmax_of(outputs) if outputs.shape[-1] > 1 else 1)
    assert_same(got, want)


def softmax_of(outputs: Any) -> np.ndarray:
    """∂ log p₀ / ∂ logits is one-hot for class 0 minus the probabilities."""
    return np.asarray(outputs)


def behind_python(x: Any) -> Any:
    return tf.nn.softmax(tf.ensure_shape(tf.py_function(tf.identity, [x], tf.float32), [None, 6]))


def test_a_softmax_that_cannot_be_removed_is_rejected() -> None:
    inputs = keras.Input(SIZE)
    x = layers.Dense(6)(layers.Flatten()(inputs))
    model = alive(keras.Model(inputs, layers.Lambda(behind_python, output_shape=(6,))(x)))
    with pytest.raises(tfviz.UnsupportedModelError, match=r"softmax in .* cannot be removed.*score='outputs'"):
        tfviz.Saliency(model)
    assert np.any(tfviz.Saliency(model, score="outputs")(noise(*SIZE), 0))


class Closed(keras.Model):
    def __init__(self) -> None:
        super().__init__(name="closed")
        self.out = layers.Dense(1, activation="sigmoid")

    def call(self, x: Any) -> Any:
        return self.out(tf.ensure_shape(tf.py_function(lambda x: tf.reshape(x, [-1, 270]), [x], tf.float32), [None, 270]))


def test_an_opaque_model_ending_in_a_sigmoid_is_explained_with_a_warning() -> None:
    model = Closed()
    model(noise(*SIZE))
    with pytest.warns(UserWarning, match=r"'closed' end in a sigmoid that cannot be removed.*score='outputs'") as caught:
        as_it_is = tfviz.Saliency(model)(noise(*SIZE), 0)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(tfviz.Saliency(model, score="outputs")(noise(*SIZE), 0), as_it_is)


# --- what Keras does at the door of a nested model ------------------------------------------------


@pytest.mark.parametrize("first", [lambda x: x * 2, lambda x: x - 128.0, lambda x: x + x])
def test_a_nested_models_inputs_are_cast_to_its_own_dtype(first: Callable[[Any], Any]) -> None:
    """In 8-bit integers, twice 200 would be 144."""
    inside = keras.Input(SIZE)
    inner = keras.Model(inside, head(conv(name="c1")(first(inside))), name="inner")
    inputs = keras.Input(SIZE, dtype="uint8")
    model = alive(keras.Model(inputs, inner(inputs)))
    images = np.random.default_rng(0).integers(0, 255, (2, *SIZE)).astype("uint8")
    np.testing.assert_allclose(tfviz.GradCAM(model, "inner/c1").with_outputs(images).outputs, model(images), rtol=1e-4)
    plain = tfviz.GradCAM(inner, "c1")(images.astype("float32"), 1)
    assert_same(tfviz.GradCAM(model, "inner/c1")(images, 1), plain)


# --- code that asks for what is not known yet -----------------------------------------------------


class SizedMean(layers.Layer):
    """A mean that uses the size in Python."""

    def call(self, x: Any) -> Any:
        total = ops.sum(x, axis=(1, 2))
        return total if x.shape[1] is None else total / (x.shape[1] * x.shape[2])


class Cropping(layers.Layer):
    """Crops two maps to the same size if they differ."""

    def call(self, x: Any, y: Any) -> Any:
        return (x[:, 1:, 1:] if x.shape[1] != y.shape[1] else x) + y


def sized(size: tuple[int | None, ...]) -> keras.Model:
    inputs = keras.Input(size)
    return alive(keras.Model(inputs, layers.Dense(3)(SizedMean(name="mean")(conv(name="c1")(inputs)))))


def cropped(size: tuple[int | None, ...]) -> keras.Model:
    inputs = keras.Input(size)
    x = layers.Conv2D(4, 2, name="c1")(inputs)
    return alive(keras.Model(inputs, head(Cropping(name="crop")(conv(4)(inputs), x))))


@pytest.mark.parametrize("build", [sized, cropped])
def test_code_that_needs_a_free_size_is_rejected_but_not_for_a_known_size(build: Callable[..., keras.Model]) -> None:
    assert_reads_as_it_computes(build(SIZE), noise(*SIZE))
    free = build((None, None, 3))
    for key in ("saliency", "grad_cam"):
        options = {"layer": "c1"} if key == "grad_cam" else {}
        with pytest.raises(tfviz.UnsupportedModelError, match=r"does not reproduce the model's outputs.*keras.Input"):
            tfviz.METHODS[key](free, **options)(noise(*SIZE), 1)


class Small(layers.Layer):
    """Computes something else for small maps."""

    def call(self, x: Any) -> Any:
        return x * 3.0 if x.shape[1] is not None and x.shape[1] < 32 else ops.relu(x - 1.0)


def test_exports_and_user_compiled_calls_are_compared_with_the_model(tmp_path: Any) -> None:
    inputs = keras.Input((None, None, 3))
    model = alive(keras.Model(inputs, head(Small()(conv(name="c1")(inputs)))))
    with pytest.raises(tfviz.UnsupportedModelError, match="does not reproduce the model's outputs"):
        tfviz.Saliency(model).export(tmp_path / "explainer")
    assert not list(tmp_path.iterdir())
    explainer = tfviz.Saliency(model)
    with pytest.raises(tfviz.UnsupportedModelError, match="does not reproduce the model's outputs"):
        tf.function(lambda x: explainer(x, 1), autograph=False)(tf.constant(noise(*SIZE)))
    large = noise(40, 40, 3)
    assert np.any(tf.function(lambda x: explainer(x, 1), autograph=False)(tf.constant(large)))


def test_an_operation_without_a_gradient_is_named() -> None:
    inputs = keras.Input(SIZE)
    x = layers.Lambda(lambda x: tf.image.adjust_contrast(x, 2.0), output_shape=SIZE)(inputs)
    model = alive(keras.Model(inputs, head(conv(name="c1")(x))))
    with pytest.raises(tfviz.UnsupportedModelError, match=r"cannot differentiate an operation between .*Choose a layer after"):
        tfviz.Saliency(model)(noise(*SIZE), 1)
    assert tfviz.LayerCAM(model, "c1")(noise(*SIZE), 1).shape == (2, 10, 9)


class Pyramid(layers.Layer):
    """Resizes to the size of another map with a layer created in the call, like DeepLab."""

    def __init__(self) -> None:
        super().__init__(name="pyramid")
        self.project = layers.Conv2D(4, 1, name="project")

    def build(self, shape: Any) -> None:
        self.project.build((None, 1, 1, shape[-1]))

    def call(self, x: Any) -> Any:
        height, width = ops.shape(x)[1:3]
        pooled = self.project(ops.mean(x, axis=(1, 2), keepdims=True))
        return x + layers.Resizing(height, width)(pooled)


@pytest.mark.parametrize("size", [SIZE, (None, None, 3)])
def test_a_layer_created_for_a_size_is_opaque(size: Any) -> None:
    inputs = keras.Input(size)
    model = keras.Model(inputs, head(conv(name="c2")(Pyramid()(conv(4, name="c1")(inputs)))))
    assert_reads_as_it_computes(alive(model), noise(*SIZE))


class Twice(keras.Sequential):
    """A Sequential subclass with its own `call`."""

    def call(self, x: Any, **options: Any) -> Any:
        return 2 * super().call(x, **options)


def test_a_sequential_subclass_with_its_own_call_is_read_by_its_call() -> None:
    model = Twice([conv(), layers.GlobalAveragePooling2D(), layers.Dense(4)])
    model(noise(*SIZE))
    assert_reads_as_it_computes(alive(model), noise(*SIZE))


def test_a_rounding_operation_is_named_as_the_reason() -> None:
    inputs = keras.Input(SIZE)
    model = alive(keras.Model(inputs, head(ops.floor(conv(name="c1")(inputs)))))
    with pytest.raises(tfviz.UnsupportedModelError, match=r"No gradient reaches .*not differentiable \(for example, rounding"):
        tfviz.Saliency(model)(noise(*SIZE), 1)


def test_a_fixed_batch_size_rejects_others() -> None:
    inputs = keras.Input(batch_shape=(2, *SIZE))
    model = alive(keras.Model(inputs, head(conv()(inputs))))
    assert_reads_as_it_computes(model, noise(*SIZE))
    for count in (1, 4):
        with pytest.raises(tfviz.ImageError, match=rf"fixed batch of 2 images\. Received: {count}\..* set batch_size=2"):
            tfviz.GradCAM(model)(noise(*SIZE, count=count), 1)


def test_a_model_with_its_own_preprocessor_causes_a_warning() -> None:
    inputs = keras.Input(SIZE)
    model = alive(keras.Model(inputs, head(conv()(inputs))))
    model.preprocessor = layers.Rescaling(1 / 255)
    with pytest.warns(
        UserWarning, match=r"The predict\(\) method of .* applies model\.preprocessor, but grad_cam needs"
    ) as caught:
        tfviz.GradCAM(model)
    assert caught[0].filename == __file__


# --- other ----------------------------------------------------------------------------------------


class ReLU(layers.Layer):
    """A user's layer with the name of a Keras layer."""

    def call(self, x: Any) -> Any:
        return ops.tanh(x)


class Leaky(layers.ReLU):
    def call(self, x: Any) -> Any:
        return ops.where(x > 0, x, 0.1 * x)


@pytest.mark.parametrize("layer", [ReLU, Leaky])
def test_a_layers_name_or_base_class_does_not_make_it_a_relu(layer: type) -> None:
    inputs = keras.Input(SIZE)
    x = layer(name="own")(conv(5, None)(conv()(inputs)))
    model = alive(keras.Model(inputs, head(x)))
    plain = keras.Model(inputs, model.layers[-1](model.layers[-2](layers.Lambda(layer().call)(model.layers[2].output))))
    for key in ("guided_backprop", "deconvnet"):
        assert_same(tfviz.METHODS[key](model)(noise(*SIZE), 1), tfviz.METHODS[key](plain)(noise(*SIZE), 1))


@pytest.mark.parametrize("dtype", ["uint8", "int32"])
@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside a vector"])
def test_integer_images_have_no_gradient_and_the_error_says_so(dtype: str, beside: bool) -> None:
    inputs, vector = keras.Input(SIZE, dtype=dtype, name="picture"), keras.Input((4,), name="vector")
    x = layers.GlobalAveragePooling2D()(conv(name="c1")(layers.Rescaling(1 / 255)(inputs)))
    model = keras.Model([inputs, vector] if beside else inputs, layers.Dense(3)(ops.concatenate([x, vector]) if beside else x))
    alive(model)
    images = np.random.default_rng(0).integers(0, 255, (2, *SIZE)).astype(dtype)
    given = [images, noise(4)] if beside else images
    for key in ("saliency", "guided_backprop", "excitation_backprop"):
        with pytest.raises(tfviz.UnsupportedModelError, match=rf"'picture' has dtype {dtype}, but integers have no gradient"):
            tfviz.METHODS[key](model)(given, 1)
    assert np.any(tfviz.GradCAM(model, "c1")(given, 1))


class Standardized(layers.Conv2D):
    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        kernel = kernel - ops.mean(kernel, axis=(0, 1, 2), keepdims=True)
        return super().convolution_op(inputs, kernel)


def test_a_convolution_subclass_is_read_by_what_it_computes() -> None:
    inputs = keras.Input(SIZE)
    model = alive(keras.Model(inputs, head(Standardized(4, 3, name="own")(inputs))))
    twin = keras.Model(inputs, head(layers.Conv2D(4, 3, name="own")(inputs)))
    kernel, *rest = model.get_weights()
    twin.set_weights([kernel - kernel.mean((0, 1, 2), keepdims=True), *rest])
    for key in ("saliency", "excitation_backprop", "contrastive_excitation_backprop"):
        assert_same(tfviz.METHODS[key](model)(noise(*SIZE), 1), tfviz.METHODS[key](twin)(noise(*SIZE), 1))
    assert_reads_as_it_computes(model, noise(*SIZE))


def test_a_layer_named_two_classes_is_not_mistaken() -> None:
    def build(name: str) -> keras.Model:
        inputs = keras.Input(SIZE)
        return alive(keras.Model(inputs, layers.Dense(3, name=name)(layers.GlobalAveragePooling2D()(conv()(inputs)))))

    weights = np.array([[1.0, -1.0, 0.0]], "float32")
    named, plain = (tfviz.ExcitationBackprop(build(name))(noise(*SIZE, count=1), weights) for name in ("two_classes", "out"))
    np.testing.assert_array_equal(named, plain)


def test_tensors_that_pass_a_layer_unchanged_keep_their_order() -> None:
    def build(middle: Callable[[Any], Any]) -> keras.Model:
        inputs = keras.Input(SIZE)
        a, b = middle([conv(4, name="a")(inputs), conv(4, name="b")(inputs)])
        model = keras.Model(inputs, head(a + 2.0 * conv(4, None, name="c")(b)))
        for number, name in enumerate(("a", "b", "c")):
            kernel = model.get_layer(name).kernel
            kernel.assign(np.random.default_rng(number).normal(size=kernel.shape))
        model.layers[-1].kernel.assign(np.eye(4))
        return model

    found = [tfviz.ExcitationBackprop(build(middle))(noise(*SIZE), 1) for middle in (layers.Identity(), lambda both: both)]
    assert_same(found[0], found[1])


@pytest.mark.parametrize("gate", ["vector", "half"])
def test_a_sum_of_tensors_of_different_shapes_passes_all_of_p(gate: str) -> None:
    inputs = keras.Input(SIZE)
    x = conv(4, name="left")(inputs)
    other = (
        layers.GlobalAveragePooling2D()(x) if gate == "vector" else layers.Conv2D(4, 1, activation="relu", dtype="float16")(x)
    )
    total = layers.Add()([x, other])
    model = keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(total)))
    for weight in model.weights:
        weight.assign(abs(np.random.default_rng(0).normal(size=weight.shape)) * 0.3)
    at_left = tfviz.ExcitationBackprop(model, layer="left")(abs(noise(*SIZE)), 1)
    np.testing.assert_allclose(np.asarray(at_left).sum((1, 2)), 1, atol=2e-2 if gate == "half" else 1e-5)


def test_contrast_with_an_input_that_the_output_does_not_use() -> None:
    image, vector = keras.Input(SIZE, name="image"), keras.Input((3,), name="vector")
    model = alive(keras.Model([image, vector], [layers.Dense(2)(vector), head(conv()(image))]))
    maps = tfviz.ContrastiveExcitationBackprop(model, output=1)([noise(*SIZE), noise(3)], 1)
    assert np.any(maps[0]) and not np.any(maps[1])


def test_an_output_has_the_name_of_the_nested_model_that_computes_it() -> None:
    inputs = keras.Input(SIZE)
    x = layers.Flatten()(conv(2)(inputs))
    kinds = keras.Sequential([keras.Input((180,)), layers.Dense(3), layers.Softmax()], name="kind")
    colors = keras.Sequential([keras.Input((180,)), layers.Dense(2)], name="color")
    model = alive(keras.Model(inputs, [colors(x), kinds(x)]))
    by_name, by_number = (tfviz.Saliency(model, output=output)(noise(*SIZE), 1) for output in ("kind", 1))
    np.testing.assert_array_equal(by_name, by_number)
    with pytest.raises(tfviz.OptionError, match=r"no output 'size'. Its outputs are 'color', 'kind'"):
        tfviz.Saliency(model, output="size")


def test_a_layer_with_several_outputs_requires_a_choice() -> None:
    inputs, inside = keras.Input(SIZE), keras.Input(SIZE)
    x = conv(name="fine")(inside)
    pyramid = keras.Model(inside, [x, conv(strides=2, name="coarse")(x)], name="pyramid")
    fine, coarse = pyramid(inputs)
    model = alive(keras.Model(inputs, layers.Dense(3)(ops.concatenate([ops.mean(y, (1, 2)) for y in (fine, coarse)]))))
    for layer in ("pyramid", pyramid):
        with pytest.raises(tfviz.UnknownLayerError, match=r"several outputs. Choose one of 'pyramid\[0\]', 'pyramid\[1\]'"):
            tfviz.GradCAM(model, layer)
    assert tfviz.GradCAM(model, "pyramid[1]")(noise(*SIZE), 1).shape == (2, 5, 5)


# --- the model is as it was -----------------------------------------------------------------------


class Keeping(layers.Layer):
    """Stores its last result, as people do with attention."""

    def call(self, x: Any) -> Any:
        self.last = ops.sigmoid(x)
        return x * self.last


def test_what_a_layer_stores_of_its_last_call_is_preserved() -> None:
    inputs = keras.Input(SIZE)
    keeping = Keeping()
    model = alive(keras.Model(inputs, head(keeping(conv()(inputs)))))
    model(noise(*SIZE))
    before = keeping.last
    for key in KEYS:
        built(key, model)(noise(*SIZE), 1 if tfviz.METHODS[key].takes_target else None)
        assert keeping.last is before


def test_a_layer_in_a_closure_gets_no_nodes() -> None:
    inputs, inner = keras.Input(SIZE), conv()
    inner.build((None, *SIZE))
    model = keras.Model(inputs, head(layers.Lambda(lambda x: inner(x), output_shape=(10, 9, 4))(inputs)))
    before = len(inner._inbound_nodes), len(inner._outbound_nodes)
    for _ in range(3):
        tfviz.GradCAM(model)(noise(*SIZE), 1)
    assert (len(inner._inbound_nodes), len(inner._outbound_nodes)) == before


class Normalized(keras.Model):
    """Reads a weight itself; a recorded graph would freeze the weight's current value."""

    def __init__(self) -> None:
        super().__init__(name="normalized")
        self.pool, self.out = layers.GlobalAveragePooling2D(), layers.Dense(3)

    def call(self, x: Any) -> Any:
        return self.out(self.pool(x)) / ops.max(ops.abs(self.out.kernel))


def test_a_value_computed_from_a_weight_is_read_live() -> None:
    model = Normalized()
    model(noise(*SIZE))
    explainer = tfviz.Saliency(model)
    before = np.asarray(explainer(noise(*SIZE), 1))
    model.out.kernel.assign(10 * model.out.kernel)
    np.testing.assert_allclose(explainer(noise(*SIZE), 1), before, rtol=1e-5)
