"""Inputs and targets that don't fit, side inputs without a rule, and copies of explainers."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops
from support import networks
from support.explainers import KEYS, built

import tfviz

SIZE = (10, 9, 3)


def with_side(kind: str) -> tuple[keras.Model, keras.Model]:
    """A model with a side input, and the same model with that input precomputed as a vector."""
    image = keras.Input(SIZE, name="image")
    features = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu", name="features")(image))
    if kind == "embedding":
        side = keras.Input((1,), dtype="int32", name="side")
        vector = layers.Flatten()(layers.Embedding(3, 4)(side))
    elif kind == "words":
        side = keras.Input((1,), dtype="string", name="side")
        vector = layers.Flatten()(layers.Embedding(4, 4)(layers.StringLookup(vocabulary=["cat", "dog", "owl"])(side)))
    elif kind == "lstm":
        side = keras.Input((5, 2), name="side")
        vector = layers.LSTM(4)(side)
    else:
        side = keras.Input((4,), name="side")
        vector = ops.sin(side)
    head = layers.Dense(3, name="head")
    model = keras.Model([image, side], head(layers.Concatenate()([features, vector])))
    networks.with_random_weights(model, 1)
    given = keras.Input((4,), name="vector")
    return model, keras.Model([image, given], head(layers.Concatenate()([features, given])))


def side_of(model: keras.Model) -> np.ndarray:
    shape, dtype = model.inputs[1].shape[1:], model.inputs[1].dtype
    if dtype == "string":
        return np.array([["dog"], ["owl"]])
    return np.random.default_rng(0).integers(0, 3, size=(2, *shape)).astype(dtype)


def vector_of(model: keras.Model, side: np.ndarray) -> tf.Tensor:
    vector_layer = next(layer for layer in model.layers if isinstance(layer, layers.Concatenate))
    return keras.Model(model.inputs[1], vector_layer.input[1])(tf.convert_to_tensor(side))


@pytest.mark.parametrize("kind", ["embedding", "words", "lstm", "sine"])
def test_a_side_branch_needs_no_rule(kind: str) -> None:
    model, twin = with_side(kind)
    side = side_of(model)
    images = np.random.default_rng(2).normal(size=(2, *SIZE)).astype(np.float32)
    vector = vector_of(model, side)
    with pytest.warns(UserWarning, match=r"no rule for an operation between the output and 'side'"):
        explainer = tfviz.ExcitationBackprop(model)
    got, beside = explainer([images, side], 1)
    want, _ = tfviz.ExcitationBackprop(twin)([images, vector], 1)
    assert np.any(want)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * abs(np.asarray(want)).max())
    assert not np.any(beside)
    np.testing.assert_allclose(
        tfviz.ExcitationBackprop(model, "features")([images, side], 1),
        tfviz.ExcitationBackprop(twin, "features")([images, vector], 1),
        rtol=1e-4,
        atol=1e-6,
    )


@pytest.mark.filterwarnings("ignore:Integer and string inputs")
@pytest.mark.parametrize(
    "given",
    [
        np.array([["dog"], ["owl"]]),
        np.array([[b"dog"], [b"owl"]]),
        np.array([["dog"], ["owl"]], object),
        tf.constant([["dog"], ["owl"]]),
    ],
    ids=["text", "bytes", "objects", "tensor"],
)
@pytest.mark.parametrize("key", ["saliency", "gradient_times_input", "integrated_gradients", "guided_backprop", "grad_cam"])
def test_a_string_beside_the_image_is_looked_up(key: str, given: np.ndarray | tf.Tensor) -> None:
    model, twin = with_side("words")
    images = np.random.default_rng(2).normal(size=(2, *SIZE)).astype(np.float32)
    want = tfviz.METHODS[key](twin)([images, vector_of(model, given)], 1)
    explainer = tfviz.METHODS[key](model)
    got = explainer([images, given], 1)
    if isinstance(want, list):
        assert not np.any(got[1])
        got, want = got[0], want[0]
    assert np.any(want)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * abs(np.asarray(want)).max())
    batches = explainer.explain([images, given], 1, batch_size=1, verbose=0)
    np.testing.assert_allclose(batches[0] if isinstance(batches, list) else batches, got, rtol=0, atol=1e-6)


@pytest.mark.parametrize("given", [np.ones((2, 1)), np.array([["dog"], [None]], object)], ids=["numbers", "None"])
def test_anything_but_strings_is_rejected_for_an_input_of_strings(given: np.ndarray) -> None:
    images = np.zeros((2, *SIZE), np.float32)
    with pytest.raises(tfviz.ImageError, match=r"'side' takes an array of strings of shape \(N, 1\)"):
        tfviz.GradCAM(with_side("words")[0])([images, given], 1)


def test_a_tensor_of_the_image_size_is_a_constant() -> None:
    inputs = keras.Input(SIZE)
    x = layers.Lambda(lambda t: tf.concat([t, tf.ones_like(t[..., :1])], -1))(inputs)
    x = layers.Conv2D(4, 3, activation="relu")(x)
    model = networks.with_random_weights(keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x))), 0)
    p = np.asarray(tfviz.ExcitationBackprop(model)(networks.pictures(model), 1))
    assert p.min() >= 0
    assert 0 < p.sum() <= 2.001


@pytest.mark.parametrize("key", ["saliency", "integrated_gradients"])
def test_integer_side_inputs_cause_a_warning(key: str) -> None:
    model, _ = with_side("embedding")
    with pytest.warns(UserWarning, match=f"Integer and string inputs have no gradient, so {key} returns 0 for 'side'"):
        explainer = tfviz.METHODS[key](model)
    images = np.random.default_rng(2).normal(size=(2, *SIZE)).astype(np.float32)
    assert not np.any(explainer([images, side_of(model)], 1)[1])


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return networks.build("plain")


def test_an_infinite_dataset_is_rejected_immediately(model: keras.Model) -> None:
    dataset = tf.data.Dataset.from_tensor_slices(networks.pictures(model)).batch(2).repeat()
    with pytest.raises(tfviz.ImageError, match=r"infinite.*dataset\.take"):
        tfviz.Saliency(model).explain(dataset, 1, verbose=0)
    assert len(tfviz.Saliency(model).explain(dataset.take(2), 1, verbose=0)) == 4


class Batches(keras.utils.PyDataset):
    """A dataset that says in `num_batches`, not in `__len__`, how many batches it has."""

    def __init__(self, batch: Any, count: int | None) -> None:
        super().__init__()
        self.batch, self.count = batch, count

    @property
    def num_batches(self) -> int | None:
        return self.count

    def __getitem__(self, index: int) -> Any:
        return self.batch


def test_a_py_dataset_may_have_no_length(model: keras.Model) -> None:
    images = networks.pictures(model)
    explainer = tfviz.Saliency(model)
    assert len(explainer.explain(Batches((images, np.zeros(len(images))), 3), 1, verbose=0)) == 3 * len(images)
    with pytest.raises(tfviz.ImageError, match=r"infinite.*`__len__`"):
        explainer.explain(Batches(images, None), 1, verbose=0)
    with pytest.raises(tfviz.ImageError, match=r"Received a batch of type dict.*`__getitem__`"):
        explainer.explain(Batches({"image": images}, 2), 1, verbose=0)


def test_images_with_labels_are_recognized_in_the_error(model: keras.Model) -> None:
    images = networks.pictures(model)
    for call in (tfviz.Saliency(model), lambda x: tfviz.explain(model, x, "saliency")):
        with pytest.raises(tfviz.ImageError, match=r"images with labels\. Pass only the first element"):
            call((images, np.array([1, 2])))


def test_ragged_and_sparse_tensors_are_rejected_with_instructions(model: keras.Model) -> None:
    images = networks.pictures(model)
    with pytest.raises(tfviz.ImageError, match=r"ragged tensor.*to_tensor\(\)"):
        tfviz.Saliency(model)(tf.RaggedTensor.from_tensor(tf.constant(images)))
    with pytest.raises(tfviz.ImageError, match=r"sparse tensor.*to_dense\(\)"):
        tfviz.explain(model, tf.sparse.from_dense(images), "saliency")


def test_masked_values_are_rejected(model: keras.Model) -> None:
    images = networks.pictures(model)
    for call in (tfviz.Saliency(model), lambda x: tfviz.Saliency(model).explain(x, verbose=0)):
        with pytest.raises(tfviz.ImageError, match=r"array with masked values.*filled\(\)"):
            call(np.ma.masked_array(images, mask=images > 0))
        with pytest.raises(tfviz.ImageError, match=r"array with masked values"):
            call([np.ma.masked_array(image, mask=image > 0) for image in images])
        call(np.ma.masked_array(images))  # nothing is masked


def test_inputs_with_unequal_rows_and_missing_inputs_are_rejected() -> None:
    _, twin = with_side("embedding")
    images = np.ones((2, *SIZE), np.float32)
    with pytest.raises(tfviz.ImageError, match=r"same number of images\. Received: 2 for 'image', 1 for 'vector'"):
        tfviz.Saliency(twin)([images, np.ones((1, 4), np.float32)], 1)
    with pytest.raises(tfviz.ImageError, match=r"'vector' is None.*needs a value for each input"):
        tfviz.Saliency(twin)([images, None], 1)


def test_a_target_function_must_return_one_number_per_image(model: keras.Model) -> None:
    images = networks.pictures(model, 4)
    reference = np.asarray(model(images))
    similarity: Any = lambda outputs: tf.reduce_sum(outputs * reference, -1)  # noqa: E731
    want = tfviz.Saliency(model).explain(images, similarity, batch_size=4, verbose=0)
    assert np.any(want)
    for size in (1, 2, 3):
        with pytest.raises(tfviz.TargetError, match=r"one number per image"):
            tfviz.Saliency(model).explain(images, similarity, batch_size=size, verbose=0)


def test_a_copied_explainer_keeps_what_is_known_about_its_model(tmp_path: Path) -> None:
    """A baseline depends on the preprocessing."""
    small_model = networks.with_random_weights(
        keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(4, 3, activation="relu"), layers.GlobalAveragePooling2D()]), 0
    )
    small_model.save(tmp_path / "model.keras")
    model = tfviz.load_model(tmp_path / "model.keras", preprocessing="caffe", labels=list("abcd"))
    images = np.random.default_rng(0).normal(size=(1, 8, 8, 3)).astype(np.float32)
    explainer = tfviz.IntegratedGradients(model, baseline="white", steps=4)
    for twin in (copy.deepcopy(explainer), pickle.loads(pickle.dumps(explainer))):
        assert twin.labels == explainer.labels and len(twin.labels) == 4
        np.testing.assert_allclose(twin(images, "b"), explainer(images, "b"), rtol=1e-5)


def test_an_explainer_of_a_layer_object_is_copied(model: keras.Model) -> None:
    cam = tfviz.GradCAM(model, layer=model.get_layer("c2"))
    for twin in (copy.deepcopy(cam), pickle.loads(pickle.dumps(cam))):
        assert twin.layer_path == cam.layer_path == "c2"


@pytest.mark.parametrize("method", KEYS)
def test_an_explainer_is_copied_and_pickled_with_its_options(method: str, model: keras.Model) -> None:
    options = {"layer": "c2"} if method == "grad_cam" else {"score": "outputs"}
    explainer, images = built(method, model, **options), networks.pictures(model)
    target = 1 if explainer.takes_target else None
    want = np.asarray(explainer(images, target))
    for twin in (copy.copy(explainer), copy.deepcopy(explainer), pickle.loads(pickle.dumps(explainer))):
        assert type(twin) is type(explainer)
        np.testing.assert_equal(twin.options, explainer.options)
        np.testing.assert_allclose(twin(images, target), want, rtol=0, atol=1e-6 * max(abs(want).max(), 1e-9))
