"""Laws of the methods that run perturbed copies of each image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from support.explainers import SAMPLED, built
from support.zoo import alive, noise

import tfviz
from tfviz.methods.explainer import Explainer
from tfviz.shapes.scenes import draw_scene

SIZES = (1, 7, 32)
SHAPE = (12, 10, 3)
TARGETS: dict[str, Any] = {"top": None, "class": 2, "classes": [0, 1, 2, 1, 0]}
TARGETS |= {"function": lambda outputs: outputs[:, 1] - outputs[:, 2], "against": tfviz.Against(classes=2)}


def network() -> keras.Model:
    inputs = keras.Input(SHAPE)
    x = layers.Conv2D(5, 3, activation="relu", padding="same", name="a")(inputs)
    x = layers.Conv2D(4, 3, strides=2, activation="relu", name="b")(x)
    x = layers.Dense(3, activation="softmax", name="out")(layers.GlobalAveragePooling2D()(x))
    return alive(keras.Model(inputs, x))


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return network()


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return noise(*SHAPE, count=5)


def assert_close(got: Any, want: np.ndarray, tolerance: float = 2e-6) -> None:
    assert abs(want).max() > 0
    np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * abs(want).max())


# --- batches --------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", SAMPLED)
def test_the_result_does_not_depend_on_the_batch_size(method: str, model: keras.Model, images: np.ndarray) -> None:
    explainer = built(method, model)
    for wanted in TARGETS.values():
        want = explainer.explain(images, wanted, batch_size=64, verbose=0)
        for size in SIZES:
            explainer.use_batch_size(size)
            assert_close(explainer(images, wanted), want, 1e-6)
            assert_close(explainer.explain(images, wanted, batch_size=size, verbose=0), want, 1e-6)
    want = explainer(images).numpy()
    for size in SIZES:
        explainer.use_batch_size(size)
        inside = tf.function(lambda x: explainer(x), autograph=False)
        assert_close(inside(tf.constant(images)), want, 1e-6)
    free = tf.function(inside.python_function, [tf.TensorSpec((None, *SHAPE))], autograph=False)
    assert_close(free(images), want, 1e-6)


def counted() -> tuple[Callable[[tf.Tensor], tf.Tensor], list[int]]:
    """Return a function of images, and the numbers of rows that it ran."""
    seen: list[int] = []
    kernel = tf.constant(noise(3, 3, count=1)[0])

    def score(x: tf.Tensor) -> tf.Tensor:
        note = tf.py_function(lambda n: seen.append(int(n)), [tf.shape(x)[0]], [])
        with tf.control_dependencies([note]):
            return tf.matmul(tf.reduce_mean(tf.nn.relu(x) ** 2, axis=(1, 2)), kernel)

    return score, seen


COUNTED = ("integrated_gradients", "expected_gradients", "smooth_grad", "square_grad", "var_grad", "occlusion", "rise")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("method", COUNTED)
def test_at_most_batch_size_rows_run_at_once(method: str, size: int, images: np.ndarray) -> None:
    score, seen = counted()
    options = {"backgrounds": noise(*SHAPE, count=8)} if method == "expected_gradients" else {}
    explainer = built(method, score, **options, batch_size=size)
    copies = int(explainer.copies_per_image([tf.constant(images)]))
    for way in (lambda: explainer(images, 1), lambda: explainer.explain(images, 1, batch_size=size, verbose=0)):
        seen.clear()
        way()
        assert max(seen) <= size
        assert sum(seen) >= 5 * copies


@pytest.mark.parametrize("method", SAMPLED)
def test_a_model_with_a_fixed_batch_runs_one_copy_at_a_time(method: str, images: np.ndarray) -> None:
    """Its code may rely on the number of rows."""
    inputs = keras.Input(batch_shape=(2, *SHAPE))
    x = layers.Conv2D(4, 3, activation="relu", name="a")(inputs)
    x = keras.ops.reshape(layers.GlobalAveragePooling2D()(x), (2, 4))
    fixed = alive(keras.Model(inputs, layers.Dense(3, activation="softmax")(x)))
    inputs = keras.Input(SHAPE)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu", name="a")(inputs))
    free = keras.Model(inputs, layers.Dense(3, activation="softmax")(x))
    free.set_weights(fixed.get_weights())
    explainer, want = built(method, fixed), built(method, free)(images[:2], 1).numpy()
    assert_close(explainer(images[:2], 1), want, 2e-5)
    assert_close(explainer.explain(images[:4], 1, batch_size=2, verbose=0)[:2], want, 2e-5)


@pytest.mark.parametrize("method", COUNTED)
def test_memory_does_not_grow_with_the_number_of_copies(method: str) -> None:
    """The sums keep their size, and so do the rows that run at once."""
    few, many = ({"samples": 4}, {"samples": 400})
    if method == "integrated_gradients":
        few, many = {"steps": 4}, {"steps": 400}
    if method == "occlusion":
        few, many = {"window": 6}, {"window": 2, "stride": 1}
    held: list[list[int]] = []
    for options in (few, many):
        explainer = built(method, network(), **options, batch_size=4)
        call = explainer._compiled(explainer._attribution, [tf.TensorSpec((None, *SHAPE))], tf.constant([1]))
        begin, add, _ = call._parts
        held.append([tf.TensorSpec(x.shape, x.dtype) for x in keras.tree.flatten(begin.structured_outputs)])
        assert len(add.graph.get_operations()) < 2000
    assert held[0] == held[1]


@pytest.mark.parametrize("method", SAMPLED)
def test_the_progress_bar_counts_rows(
    method: str, model: keras.Model, images: np.ndarray, capsys: pytest.CaptureFixture
) -> None:
    explainer = built(method, model)
    rows = 5 * int(explainer.copies_per_image([tf.constant(images)]))
    explainer.explain(images, 1, batch_size=2, verbose=1)
    shown = capsys.readouterr().out
    assert f"{rows}/{rows}" in shown
    assert "/row" in shown
    explainer.explain(tf.data.Dataset.from_tensor_slices(images).batch(3), 1, batch_size=4, verbose=2)
    assert f"{rows}/{rows}" in capsys.readouterr().out


@pytest.mark.parametrize("method", ["integrated_gradients", "smooth_grad", "rise"])
def test_a_class_is_explained_without_an_extra_forward_pass(method: str, model: keras.Model) -> None:
    explainer = built(method, model)
    assert "Conv2D" in operations_of(explainer, None)  # the top class needs one
    assert "Conv2D" not in operations_of(explainer, tf.constant([2]))


def operations_of(explainer: Explainer, target: tf.Tensor | None) -> set[str]:
    """Return the types of the operations that run before the first copy."""
    choose = tf.function(lambda images: explainer.begin([images], target, False)[:3], autograph=False)
    graph = choose.get_concrete_function(tf.TensorSpec((None, *SHAPE))).graph
    pending, found = [x.op for x in graph.outputs], set()
    while pending:
        operation = pending.pop()
        if operation not in found:
            found.add(operation)
            pending += [x.op for x in operation.inputs]
    return {operation.type for operation in found}


# --- the target is chosen once --------------------------------------------------------------------


def near_a_boundary() -> tuple[keras.Model, np.ndarray]:
    """Return a network and similar images, whose top class changes with nearly any perturbation."""
    images = noise(*SHAPE, count=1) + 0.02 * noise(*SHAPE, count=5, seed=2)
    inputs = keras.Input(SHAPE)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(6, 3, activation="relu", name="a")(inputs))
    model = alive(keras.Model(inputs, layers.Dense(3, activation="softmax", name="out")(x)), 3)
    features = keras.Model(inputs, x)(images).numpy()
    kernel = model.get_layer("out").get_weights()[0]
    model.get_layer("out").set_weights([50 * kernel, -50 * (features.mean(0) @ kernel)])
    return model, images


@pytest.mark.parametrize("target", ["none", "top2", "against"])
@pytest.mark.parametrize("method", SAMPLED)
def test_the_target_of_the_unperturbed_image_is_explained_on_every_copy(method: str, target: str) -> None:
    model, images = near_a_boundary()
    order = np.argsort(-model(images).numpy(), axis=1)
    perturbed = model(images + 0.3 * noise(*SHAPE, count=5, seed=9)).numpy().argmax(1)
    assert (perturbed != order[:, 0]).any()
    explainer = built(method, model)
    if target == "top2":
        assert_close(explainer(images, "top2")["top2"], explainer(images, order[:, 1]).numpy())
    elif target == "none":
        assert_close(explainer(images), explainer(images, order[:, 0]).numpy())
    else:
        assert_close(explainer(images, tfviz.Against()), explainer(images, tfviz.Against(order[:, 0])).numpy())


# --- what the maps add up to ----------------------------------------------------------------------


def test_integrated_gradients_of_scenes_are_complete() -> None:
    """Half of the maps miss the difference of the scores by less than 1.2 %."""
    model = tfviz.load_model("shapes")
    scenes = [draw_scene(np.random.default_rng(seed)).image for seed in range(36)]
    images = np.stack([tfviz.models.preprocessing_of(model).tensor(scene) for scene in scenes])
    explainer = tfviz.IntegratedGradients(model)
    errors = explainer.completeness_error(images, explainer(images))
    assert np.median(errors) < 0.012
    assert errors.max() < 0.05


def test_gradient_times_input_of_a_network_without_biases_adds_up_to_the_score() -> None:
    inputs = keras.Input(SHAPE)
    x = layers.Conv2D(5, 3, activation="relu", use_bias=False)(inputs)
    x = layers.MaxPooling2D(2)(layers.ReLU(negative_slope=0.1)(layers.Conv2D(4, 3, use_bias=False)(x)))
    model = alive(keras.Model(inputs, layers.Dense(3, use_bias=False)(layers.Flatten()(x))))
    images = noise(*SHAPE)
    sums = tfviz.GradientTimesInput(model)(images, 1).numpy().sum((1, 2, 3))
    np.testing.assert_allclose(sums, model(images).numpy()[:, 1], rtol=1e-4)
    # the gradient is the same along the path
    path = tfviz.IntegratedGradients(model, steps=1)(images, 1)
    np.testing.assert_allclose(path, tfviz.GradientTimesInput(model)(images, 1), rtol=1e-3, atol=1e-6)


# --- an explainer's life --------------------------------------------------------------------------


@pytest.mark.parametrize("method", SAMPLED)
def test_a_changed_model_is_read_again(method: str, images: np.ndarray) -> None:
    model = network()
    explainer = built(method, model)
    before = explainer(images, 1).numpy()
    model.get_layer("a").activation = keras.activations.tanh
    after = explainer(images, 1).numpy()
    assert abs(after - before).max() > 1e-3 * abs(before).max()
    assert_close(after, built(method, model)(images, 1).numpy())
    weights = [w * 0.5 for w in model.get_weights()]
    model.set_weights(weights)
    assert_close(explainer(images, 1), built(method, model)(images, 1).numpy())


@pytest.mark.parametrize("method", SAMPLED)
def test_calls_of_one_size_share_one_trace(method: str, model: keras.Model, images: np.ndarray) -> None:
    explainer: Explainer = built(method, model)
    for count in (5, 1, 3):
        explainer(images[:count], 1)
        explainer.explain(images[:count], 1, batch_size=2, verbose=0)
    assert explainer.traces == 1
    explainer.with_outputs(images, 1)
    assert explainer.traces == 2


@pytest.mark.parametrize("method", SAMPLED)
def test_a_large_call_is_split_and_keeps_its_outputs(method: str, model: keras.Model, images: np.ndarray) -> None:
    explainer = built(method, model, batch_size=2)
    outputs, target, attribution = explainer.with_outputs(images)
    np.testing.assert_allclose(outputs, model(images), atol=1e-6)
    np.testing.assert_array_equal(target, model(images).numpy().argmax(1))
    assert_close(attribution, explainer(images).numpy())
    assert explainer.with_outputs(images, lambda outputs: outputs[:, 0]).target is None


def test_the_callback_shows_them_while_a_network_trains(tmp_path: Path, images: np.ndarray) -> None:
    model = network()
    model.compile("sgd", "sparse_categorical_crossentropy")
    methods = ["smooth_grad", "occlusion", "score_cam"]
    pictures = np.clip(images, 0, 1)
    with tfviz.SnapshotCallback(methods, pictures[:2], log_dir=tmp_path / "run", strict=True) as snapshots:
        model.fit(pictures, np.arange(5) % 3, epochs=1, verbose=0, callbacks=[snapshots])
    assert {path.parent.name for path in (tmp_path / "run").rglob("*.png")} >= set(methods)
