"""The contract of every method: one set of tests over METHODS."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from support import networks
from support.explainers import CHANNEL_CAMS, KEYS, TARGETED, built
from support.networks import CAMS, EXCITATIONS

import tfviz
from tfviz.methods.explainer import Explainer
from tfviz.methods.lookup import method_named

STYLES = ("heatmap", "signed", "grey")
CLASSES = 5


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return networks.build("plain")


@pytest.fixture(scope="module")
def images(model: keras.Model) -> np.ndarray:
    """Return five images with different top classes."""
    found: dict[int, np.ndarray] = {}
    for seed in range(60):
        for image in networks.pictures(model, 20, seed) * 6:
            found.setdefault(int(model(image[None])[0].numpy().argmax()), image)
        if len(found) > 2:
            break
    batch = np.stack([*found.values(), *networks.pictures(model, 4)])[:5]
    assert len(found) > 2
    return batch


_built: dict[str, Explainer] = {}


@pytest.fixture
def explainer(method: str, model: keras.Model) -> Explainer:
    """Return one explainer per method for all tests; explainers are made for many calls."""
    return _built.setdefault(method, built(method, model))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "method" in metafunc.fixturenames:
        is_targeted = "target" in metafunc.function.__name__
        metafunc.parametrize("method", TARGETED if is_targeted else KEYS)


def assert_same(got: Any, want: Any) -> None:
    want = np.asarray(want)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5 * abs(want).max())


def is_different(first: Any, second: Any) -> bool:
    first, second = np.asarray(first), np.asarray(second)
    return first.shape != second.shape or abs(first - second).max() > 1e-3 * abs(second).max()


# --- descriptions ---------------------------------------------------------------------------------


def test_a_method_describes_itself(method: str) -> None:
    cls = tfviz.METHODS[method]
    assert cls.key == method
    assert cls.question.endswith("?")
    assert "\n" not in cls.question
    assert cls.style in STYLES
    assert cls.needs_layer == (method in (*CAMS, *CHANNEL_CAMS, "guided_grad_cam"))
    assert cls.takes_target == (method not in ("visual_backprop", "eigen_cam"))
    assert getattr(tfviz, cls.__name__) is cls


def test_a_key_may_be_written_with_hyphens_and_capitals(method: str) -> None:
    assert method_named(method.replace("_", "-").upper()) is tfviz.METHODS[method]


def test_a_methods_module_states_its_question_and_source(method: str) -> None:
    text = __import__(tfviz.METHODS[method].__module__, fromlist=["_"]).__doc__
    assert "Question: " in text
    assert any(f"{year}" in text for year in range(2013, 2100))


def test_a_method_shows_which_model_it_is_on(explainer: Explainer, model: keras.Model) -> None:
    assert repr(explainer) == f"{type(explainer).__name__}({model.name!r})"


# --- results --------------------------------------------------------------------------------------


def test_the_attribution_is_finite_float32_of_the_promised_shape(explainer: Explainer, images: np.ndarray) -> None:
    attribution = explainer(images)
    shape = dict.fromkeys((*CAMS, *CHANNEL_CAMS), (5, 5, 9))
    shape |= dict.fromkeys(("visual_backprop", "occlusion", "rise", *EXCITATIONS), (5, 20, 17))
    assert tf.is_tensor(attribution)
    assert attribution.dtype == tf.float32
    assert attribution.shape == shape.get(explainer.key, (5, 20, 17, 3))
    assert np.isfinite(attribution).all()
    assert abs(attribution.numpy()).max() > 0


def test_a_heatmap_has_no_negative_value(explainer: Explainer, images: np.ndarray) -> None:
    smallest = explainer(images).numpy().min()
    assert smallest >= 0 if explainer.style == "heatmap" else smallest < 0


def test_visual_backprop_fills_the_range_from_0_to_1(model: keras.Model, images: np.ndarray) -> None:
    masks = tfviz.VisualBackProp(model)(images).numpy()
    np.testing.assert_array_equal(masks.min(axis=(1, 2)), 0)
    np.testing.assert_array_equal(masks.max(axis=(1, 2)), 1)


# --- arguments ------------------------------------------------------------------------------------


def test_images_may_be_arrays_lists_or_tensors_of_any_number_type(explainer: Explainer, images: np.ndarray) -> None:
    images = np.round(images * 10)
    want = explainer(images.astype(np.float32))
    for same in (images.astype(np.float64), images.astype(np.float16), images.astype(np.int16), tf.constant(images)):
        assert_same(explainer(same), want)
    assert_same(explainer(list(images)), want)
    assert_same(explainer([images]), want)
    pixels = abs(images).astype(np.uint8)
    assert_same(explainer(pixels), explainer(pixels.astype(np.float32)))
    assert explainer(pixels).dtype == tf.float32


def test_without_a_target_the_top_class_of_each_image_is_explained(
    explainer: Explainer, model: keras.Model, images: np.ndarray
) -> None:
    top = model(images).numpy().argmax(axis=1)
    assert len(set(top)) > 1
    assert_same(explainer(images), explainer(images, top))
    assert is_different(explainer(images), explainer(images, (top + 1) % CLASSES))


def test_all_forms_of_one_target_are_equivalent(explainer: Explainer, images: np.ndarray) -> None:
    want = explainer(images, 2)
    assert is_different(want, explainer(images, 3))
    one_hot = np.eye(CLASSES)[[2] * 5]
    forms = [[2] * 5, [2], (2, 2, 2, 2, 2), np.int64(2), np.full(5, 2, np.uint8), tf.constant(2), tf.fill((5,), 2)]
    forms += [one_hot, one_hot[:1], one_hot.tolist(), tf.constant(one_hot, tf.float32), lambda outputs: outputs[:, 2]]
    for form in forms:
        assert_same(explainer(images, form), want)


def test_one_target_per_image_applies_to_that_image(explainer: Explainer, images: np.ndarray) -> None:
    together = explainer(images, [4, 0, 1, 2, 3]).numpy()
    for i, target in enumerate([4, 0, 1, 2, 3]):
        assert_same(together[i : i + 1], explainer(images[i : i + 1], target))


def test_weights_as_target_mean_the_same_as_the_weighted_sum_as_a_function(explainer: Explainer, images: np.ndarray) -> None:
    weights = np.random.default_rng(2).uniform(size=(5, CLASSES)).astype(np.float32)
    assert_same(explainer(images, weights), explainer(images, lambda outputs: tf.reduce_sum(outputs * weights, axis=1)))


def test_a_difference_of_classes_may_be_the_target(explainer: Explainer, images: np.ndarray) -> None:
    weights = np.array([[0.0, 1.0, 0.0, -1.0, 0.0]])
    assert_same(explainer(images, lambda outputs: outputs[:, 1] - outputs[:, 3]), explainer(images, weights))


def test_a_method_without_a_target_rejects_one(model: keras.Model, images: np.ndarray) -> None:
    with pytest.raises(
        tfviz.TargetError, match=r"visual_backprop is class-agnostic and does not accept a target\. Received: target=3"
    ):
        tfviz.VisualBackProp(model)(images, 3)


# --- options --------------------------------------------------------------------------------------


def test_a_target_on_the_outputs_is_explained_through_the_softmax(method: str, model: keras.Model, images: np.ndarray) -> None:
    logits, outputs = (built(method, model, score=score)(images, 1) for score in ("logits", "outputs"))
    # Activations, including softmax, pass p unchanged. RISE and Score-CAM weigh by probabilities.
    if method in (*EXCITATIONS, "rise", "score_cam"):
        assert_same(logits, outputs)
    else:
        assert is_different(logits, outputs)


def test_score_is_an_option_of_every_method(method: str, model: keras.Model) -> None:
    with pytest.raises(tfviz.OptionError, match=r"`score` must be .logits. or .outputs."):
        built(method, model, score="probabilities")


def test_layer_determines_the_position(method: str, model: keras.Model, images: np.ndarray) -> None:
    if method not in (*CAMS, *CHANNEL_CAMS, *EXCITATIONS, "guided_grad_cam"):
        with pytest.raises(TypeError, match="layer"):
            built(method, model, layer="c1")
        return
    at_c1 = built(method, model, layer="c1")
    assert at_c1.layer_path == "c1"
    target = 1 if at_c1.takes_target else None
    assert is_different(at_c1(images, target), built(method, model)(images, target))


@pytest.mark.parametrize("key", EXCITATIONS)
def test_sum_channels_false_keeps_the_channels(key: str, model: keras.Model, images: np.ndarray) -> None:
    apart = tfviz.METHODS[key](model, "c2", sum_channels=False)(images, 1).numpy()
    summed = tfviz.METHODS[key](model, "c2")(images, 1)
    assert apart.shape == (5, 5, 9, 8)
    assert_same(summed, np.maximum(apart.sum(axis=-1), 0))
    assert (apart.min() < 0) == (key == "contrastive_excitation_backprop")


@pytest.mark.parametrize("key", EXCITATIONS)
def test_excitation_at_a_dense_layer_has_one_number_for_each_unit(key: str, model: keras.Model, images: np.ndarray) -> None:
    assert tfviz.METHODS[key](model, "d1")(images).shape == (5, 10)


@pytest.mark.parametrize("key", EXCITATIONS)
def test_merge_batch_norm_changes_a_network_that_has_one_after_a_convolution(key: str) -> None:
    for name, case in networks.NETWORKS.items():
        if key not in case.no and name in ("residual", "separable", "plain", "preactivation"):
            model = networks.build(name)
            pair = [tfviz.METHODS[key](model, merge_batch_norm=merge)(networks.pictures(model), 1) for merge in (False, True)]
            assert is_different(*pair) == case.merges, name


# --- explain --------------------------------------------------------------------------------------


def test_explain_equals_a_call_for_any_batching(explainer: Explainer, images: np.ndarray) -> None:
    want = explainer(images).numpy()
    dataset = tf.data.Dataset.from_tensor_slices(images)
    labeled = tf.data.Dataset.from_tensor_slices((images, np.arange(5))).batch(2)
    for source in (
        images,
        list(images),
        tf.constant(images),
        dataset,
        dataset.batch(3),
        dataset.batch(64),
        labeled,
        Chunks(images),
    ):
        got = explainer.explain(source, batch_size=2, verbose=0)
        assert isinstance(got, np.ndarray)
        assert_same(got, want)


class Chunks(keras.utils.PyDataset):
    """Batches of three, with labels."""

    def __init__(self, images: np.ndarray) -> None:
        super().__init__()
        self.images = images

    def __len__(self) -> int:
        return -(-len(self.images) // 3)

    def __getitem__(self, index: int) -> Any:
        batch = self.images[3 * index : 3 * index + 3]
        return batch, np.zeros(len(batch))


def test_batch_size_bounds_the_rows_that_are_run(
    images: np.ndarray, monkeypatch: pytest.MonkeyPatch, model: keras.Model
) -> None:
    explainer = tfviz.Saliency(model)
    rows: list[int] = []
    bound = type(explainer)._bound
    monkeypatch.setattr(type(explainer), "_bound", lambda self, x, *args: rows.append(len(x[0])) or bound(self, x, *args))
    dataset = tf.data.Dataset.from_tensor_slices(images)
    for source in (images, dataset, dataset.batch(5), Chunks(images)):
        rows.clear()
        explainer.explain(source, batch_size=2, verbose=0)
        assert max(rows) == 2
        assert sum(rows) == 5


def test_batch_size_bounds_the_rows_of_a_subclassed_model_too(images: np.ndarray) -> None:
    seen: list[int] = []

    def model(x: tf.Tensor) -> tf.Tensor:
        tf.py_function(lambda y: seen.append(len(y)), [x], [])
        return tf.reduce_mean(x, axis=(1, 2))

    got = tfviz.Saliency(model).explain(images, 0, batch_size=2, verbose=0)
    assert max(seen) == 2
    assert got.shape == images.shape
    dataset = tf.data.Dataset.from_tensor_slices(images).batch(5)
    assert_same(tfviz.Saliency(model).explain(dataset, 0, batch_size=2, verbose=0), got)


def test_targets_are_matched_to_the_images_of_a_dataset(explainer: Explainer, images: np.ndarray) -> None:
    classes = np.array([4, 0, 1, 2, 3])
    dataset = tf.data.Dataset.from_tensor_slices(images).batch(3)
    want = explainer(images, classes)
    for target in (classes, list(classes), tf.constant(classes), np.eye(CLASSES)[classes]):
        assert_same(explainer.explain(dataset, target, batch_size=2, verbose=0), want)
    assert_same(explainer.explain(dataset, 2, batch_size=2, verbose=0), explainer(images, 2))
    assert_same(explainer.explain(dataset, lambda y: y[:, 2], batch_size=2, verbose=0), explainer(images, 2))


def test_verbose_shows_keras_progress_bar(model: keras.Model, images: np.ndarray, capsys: pytest.CaptureFixture) -> None:
    explainer = tfviz.Saliency(model)
    for shown in ("auto", 1, 2):
        explainer.explain(images, verbose=shown)
        assert "5/5" in capsys.readouterr().out
    explainer.explain(tf.data.Dataset.from_tensor_slices(images).batch(2), verbose=1)
    assert "5/5" in capsys.readouterr().out  # Known at the end at the latest.
    explainer.explain(images, verbose=0)
    assert capsys.readouterr().out == ""


def test_tfviz_explain_equals_an_explainer(explainer: Explainer, model: keras.Model, images: np.ndarray) -> None:
    key = explainer.key.replace("_", "-")
    assert_same(tfviz.explain(model, images, key, batch_size=2, **explainer.options), explainer(images))


def test_tfviz_explain_passes_target_and_options_on(model: keras.Model, images: np.ndarray) -> None:
    got = tfviz.explain(model, images, "excitation_backprop", 3, layer="c1", sum_channels=False)
    assert_same(got, tfviz.ExcitationBackprop(model, "c1", sum_channels=False)(images, 3))
    assert_same(tfviz.explain(model, images), tfviz.GradCAM(model)(images))
