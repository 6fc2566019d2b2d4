"""Vision transformers: attention rollout, gradient attention, LeGrad, and CAMs on tokens."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops
from support import transformers
from support.networks import EXCITATIONS, with_random_weights
from support.purity import assert_untouched, snapshot
from support.reference import attention as reference
from support.transformers import ATTENTIONS, GOLDEN, GRID, SIZE, golden

import tfviz
from tfviz.graph.attention import blocks_of
from tfviz.graph.backprop import inputs_of, run
from tfviz.reading.reader import graph_of

TOLERANCE = 1e-4  # of a map's range
METHODS = [key for key, method in tfviz.METHODS.items() if method.needs_attention]
IMAGES = transformers.images()


def explained(method: str, model: keras.Model, images: np.ndarray, target: Any, **options: Any) -> np.ndarray:
    explainer = tfviz.METHODS[method](model, **options)
    return explainer(images, target if explainer.takes_target else None).numpy()


def assert_maps(got: np.ndarray, want: np.ndarray, label: str = "", tolerance: float = TOLERANCE) -> None:
    assert got.shape == want.shape
    assert np.ptp(want) > 0, label
    np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * np.ptp(want), err_msg=label)


# --- golden answers -------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=GOLDEN)
def answers(request: pytest.FixtureRequest, shared: Path) -> tuple[keras.Model, dict[str, np.ndarray]]:
    pytest.importorskip("keras_hub", reason="pip install keras-hub")
    return golden(shared, request.param)


@pytest.mark.parametrize("method", [*METHODS, "saliency"])
def test_every_golden_map_is_reproduced(method: str, answers: tuple[keras.Model, dict[str, np.ndarray]]) -> None:
    model, arrays = answers
    before = snapshot(model)
    assert_maps(explained(method, model, arrays["images"], arrays["target"]), arrays[method])
    assert_untouched(model, before)


@pytest.mark.parametrize("method", ["grad_cam", "hires_cam", "layer_cam"])
def test_a_cam_uses_the_output_of_the_last_blocks_first_normalization(
    method: str, answers: tuple[keras.Model, dict[str, np.ndarray]]
) -> None:
    model, arrays = answers
    assert_maps(explained(method, model, arrays["images"], arrays["target"]), arrays[f"{method}/norm_output"])


@pytest.mark.parametrize("method", ["grad_cam", "layer_cam"])  # HiResCAM vanishes there
def test_a_cam_reads_any_layer_of_tokens(method: str, answers: tuple[keras.Model, dict[str, np.ndarray]]) -> None:
    model, arrays = answers
    graph = graph_of(model)
    path = graph.name_of(blocks_of(graph)[-1].stream)
    assert_maps(explained(method, model, arrays["images"], arrays["target"], layer=path), arrays[f"{method}/norm_input"])


def test_the_probabilities_are_values_of_the_graph(answers: tuple[keras.Model, dict[str, np.ndarray]]) -> None:
    model, arrays = answers
    graph = graph_of(model)
    at = [block.probabilities for block in blocks_of(graph)]
    values = run(inputs_of(graph, [tf.constant(arrays["images"])]), graph.before(at))
    np.testing.assert_allclose(np.stack([values[value] for value in at]), arrays["attention"], rtol=0, atol=1e-5)


# --- an independent reference ---------------------------------------------------------------------

HEADS: dict[str, tuple[Callable[[Any], Any], list[int]]] = {
    "average": (lambda x: x.mean(1) if isinstance(x, np.ndarray) else layers.GlobalAveragePooling1D()(x), list(range(12))),
    "first token": (lambda x: x[:, 0], [0]),
    "some tokens": (lambda x: x[:, 2:5].mean(1) if isinstance(x, np.ndarray) else ops.mean(x[:, 2:5], 1), [2, 3, 4]),
    "sum of two": (lambda x: x[:, 1] + x[:, 4], [1, 4]),
    "Flatten": (lambda x: x.reshape(len(x), -1) if isinstance(x, np.ndarray) else layers.Flatten()(x), list(range(12))),
}


@pytest.mark.parametrize("head", HEADS)
def test_every_method_equals_the_reference(head: str) -> None:
    pool, reads = HEADS[head]
    image = keras.Input(SIZE)
    x = pool(transformers.encoder(transformers.patches(image)))
    model = with_random_weights(keras.Model(image, layers.Dense(5, activation="softmax", name="out")(x)), 0)
    net = reference.Transformer(model, pool, reads)
    for method in METHODS:
        given = (IMAGES, 3) if tfviz.METHODS[method].takes_target else (IMAGES,)
        want = getattr(reference, method)(net, *given).reshape(len(IMAGES), *GRID)
        assert_maps(explained(method, model, IMAGES, 3), want, f"{head} {method}")


# --- every kind of attention ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ATTENTIONS)
def test_every_kind_of_attention_is_read(kind: str) -> None:
    model = transformers.network(ATTENTIONS[kind])
    before = snapshot(model)
    graph = graph_of(model)
    blocks = blocks_of(graph)
    assert [graph.name_of(block.source) for block in blocks] == ["norm_0a", "norm_1a"]
    assert [graph.name_of(block.stream) for block in blocks] == ["tokens", "sum_0"]
    values = run(inputs_of(graph, [tf.constant(IMAGES)]), graph.before([block.probabilities for block in blocks]))
    for block in blocks:
        P = values[block.probabilities].numpy()
        assert P.shape[-2:] == (12, 12)
        np.testing.assert_allclose(P.sum(-1), 1, rtol=1e-5)
    for method in (*METHODS, "grad_cam"):
        found = explained(method, model, IMAGES, 1)
        assert found.shape == (2, *GRID)
        assert np.isfinite(found).all()
    assert_untouched(model, before)


def test_the_probabilities_are_those_that_the_layer_returns() -> None:
    for make in (transformers.multi_head, transformers.grouped, transformers.single_head):
        model = transformers.network(make)
        graph, layer = graph_of(model), model.get_layer("attention_0")
        block = blocks_of(graph)[0]
        values = run(inputs_of(graph, [tf.constant(IMAGES)]), graph.before([block.probabilities, block.source]))
        x = values[block.source]
        if isinstance(layer, layers.Attention):
            given = [model.get_layer(name)(x) for name in ("query_0", "value_0")]
            _, want = layer(given, return_attention_scores=True)
        else:
            _, want = layer(x, x, return_attention_scores=True)
        np.testing.assert_allclose(values[block.probabilities], want, rtol=0, atol=1e-6)


def test_flash_attention_is_explained_on_the_exact_path() -> None:
    """TensorFlow has no flash attention, so such a model is built but cannot run."""
    model, plain = transformers.network(transformers.flash), transformers.network()
    model.set_weights(plain.get_weights())
    for method in METHODS:
        np.testing.assert_array_equal(explained(method, model, IMAGES, 1), explained(method, plain, IMAGES, 1))
    assert all(model.get_layer(f"attention_{i}")._flash_attention for i in (0, 1))


def test_no_flag_of_a_grouped_query_attention_changes() -> None:
    model = transformers.network(transformers.grouped)
    layer = model.get_layer("attention_0")
    for flag in (True, False):
        layer._return_attention_scores = flag
        tfviz.GradientAttention(model)(IMAGES, 1)
        assert layer._return_attention_scores is flag


def test_a_masked_attention_layer_stays_opaque() -> None:
    image = keras.Input(SIZE)
    x = layers.Masking()(transformers.patches(image))
    x = layers.GlobalAveragePooling1D()(x + layers.MultiHeadAttention(2, 6, name="attention")(x, x))
    model = with_random_weights(keras.Model(image, layers.Dense(3)(x)), 0)
    tfviz.Saliency(model)(IMAGES, 1)
    with pytest.raises(tfviz.UnsupportedModelError, match="tfviz cannot read the attention between tokens in"):
        tfviz.AttentionRollout(model)


def test_a_model_is_untouched_after_an_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    for method in METHODS:
        model = transformers.network(transformers.grouped)
        before = snapshot(model)
        explainer = tfviz.METHODS[method](model)
        with monkeypatch.context() as patched:
            patched.setattr(type(explainer), "grid_and_rows", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                explainer(IMAGES)
        assert_untouched(model, before)


# --- tokens ---------------------------------------------------------------------------------------


def with_prefix(count: int, *, at_end: bool = False) -> keras.Model:
    """A transformer with class tokens or registers before or after the patches."""
    image = keras.Input(SIZE)
    x = transformers.patches(image)
    more = layers.Dense(12, name="more")(ops.ones_like(x[:, :count]))
    x = layers.Concatenate(axis=1)([x, more] if at_end else [more, x])
    x = layers.LayerNormalization(name="last")(x + layers.MultiHeadAttention(2, 6)(x, x))
    return with_random_weights(keras.Model(image, layers.Dense(4)(layers.GlobalAveragePooling1D()(x))), 0)


@pytest.mark.parametrize("at_end", [False, True])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_only_patches_are_on_the_map(count: int, at_end: bool) -> None:
    model = with_prefix(count, at_end=at_end)
    graph = graph_of(model)
    (P,) = (block.probabilities for block in blocks_of(graph))
    P = run(inputs_of(graph, [tf.constant(IMAGES)]), graph.before([P]))[P].numpy()
    A = (P.mean(1) + np.eye(12 + count)) / 2
    want = A.mean(1)[:, :12] if at_end else A.mean(1)[:, count:]
    assert_maps(explained("attention_rollout", model, IMAGES, None), want.reshape(2, *GRID))


def test_means_over_positions_count_patches_only() -> None:
    model = with_prefix(3)
    explainer = tfviz.GradCAM(model, "last")
    A, G = (np.random.default_rng(seed).normal(size=(2, 15, 12)).astype(np.float32) for seed in (0, 1))
    A, G = (explainer.as_map(tf.constant(x), explainer.layer, {explainer.graph.inputs[0]: tf.constant(IMAGES)}) for x in (A, G))
    assert A.shape == (2, *GRID, 12)
    got = explainer.weigh(A, G)
    np.testing.assert_allclose(got, (G.numpy().mean((1, 2))[:, None, None] * A.numpy()).sum(-1), rtol=1e-4, atol=1e-5)


def test_patches_may_be_cut_by_reshapes() -> None:
    image = keras.Input(SIZE)
    x = ops.transpose(ops.reshape(image, (-1, 3, 8, 4, 8, 3)), (0, 1, 3, 2, 4, 5))
    x = layers.Dense(12, name="projection")(ops.reshape(x, (-1, 12, 192)))
    x = layers.GlobalAveragePooling1D()(transformers.encoder(x))
    model = with_random_weights(keras.Model(image, layers.Dense(5, name="out")(x)), 0)
    plain = transformers.network()
    weights = model.get_weights()
    plain.set_weights([weights[0].reshape(8, 8, 3, 12), *weights[1:]])
    for method in (*METHODS, "grad_cam"):
        assert_maps(explained(method, model, IMAGES, 1), explained(method, plain, IMAGES, 1), method)


def test_the_grid_follows_the_size_of_the_images() -> None:
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(12, 8, strides=8)(image)
    x = layers.Reshape((-1, 12))(x)
    x = layers.GlobalAveragePooling1D()(transformers.encoder(x))
    model = with_random_weights(keras.Model(image, layers.Dense(5)(x)), 0)
    for method in (*METHODS, "grad_cam", "eigen_cam"):
        explainer = tfviz.METHODS[method](model)
        for size in ((16, 40, 3), (40, 16, 3), (24, 24, 3)):
            assert explainer(transformers.images(size)).shape == (2, size[0] // 8, size[1] // 8)


def test_an_unknown_image_size_is_an_error() -> None:
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(12, 8, strides=8)(image)
    x = layers.Reshape((-1, 12))(x)
    x = layers.GlobalAveragePooling1D()(transformers.encoder(x))
    model = with_random_weights(keras.Model(image, layers.Dense(5)(x)), 0)
    for method in (*METHODS, "grad_cam"):
        signature = [tf.TensorSpec((None, None, None, 3))]
        function = tf.function(tfviz.METHODS[method](model), input_signature=signature, autograph=False)
        with pytest.raises(tfviz.ImageError, match="needs the image size at compile time"):
            function(IMAGES)


def test_attention_after_the_last_convolution_makes_the_tokens_the_automatic_layer() -> None:
    image = keras.Input(SIZE)
    x = layers.Conv2D(12, 3, strides=4, padding="same", activation="relu", name="c0")(image)
    x = layers.Conv2D(12, 3, strides=2, padding="same", activation="relu", name="c1")(x)
    x = layers.Reshape((12, 12))(x)
    x = layers.GlobalAveragePooling1D()(transformers.encoder(x, blocks=1))
    assert tfviz.GradCAM(keras.Model(image, layers.Dense(3)(x))).layer_path == "norm_0a"


def test_a_convolution_after_attention_is_the_automatic_layer() -> None:
    image = keras.Input(SIZE)
    x = layers.Reshape((*GRID, 12))(transformers.encoder(transformers.patches(image), blocks=1))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(6, 3, padding="same", activation="relu", name="c1")(x))
    assert tfviz.GradCAM(keras.Model(image, layers.Dense(3)(x))).layer_path == "c1"


def with_first_token(blocks: Callable[..., Any], **options: Any) -> keras.Model:
    """A transformer whose head reads the first token."""
    image = keras.Input(SIZE)
    x = blocks(transformers.patches(image), **options)
    return with_random_weights(keras.Model(image, layers.Dense(3)(x[:, 0])), 0)


def test_blocks_that_normalize_after_their_sums_are_found() -> None:
    explainer = tfviz.LeGrad(with_first_token(transformers.post_encoder))
    graph, transformer = explainer.graph, explainer.transformer
    assert [graph.name_of(block.stream) for block in transformer.blocks] == ["tokens", "n0b"]
    assert [graph.name_of(value) for value in transformer.ends] == ["n0b", "n1b"]
    assert np.ptp(explainer(IMAGES).numpy()) > 0


@pytest.mark.parametrize("blocks", [transformers.encoder, transformers.post_encoder])
@pytest.mark.parametrize("formula", transformers.NORMALIZATIONS)
def test_a_handwritten_normalization_equals_the_layer(formula: Callable[..., Any], blocks: Callable[..., Any]) -> None:
    twin = with_first_token(blocks, norm=transformers.NORMALIZATIONS[formula])
    model = with_first_token(blocks, norm=partial(transformers.HandwrittenNorm, formula))
    model.set_weights(twin.get_weights())
    for method in ("legrad", "gradient_attention"):
        assert_maps(explained(method, model, IMAGES, 1), explained(method, twin, IMAGES, 1), method)


# --- options and targets --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return transformers.network()


@pytest.mark.parametrize("method", METHODS)
def test_a_method_describes_itself(method: str) -> None:
    cls = tfviz.METHODS[method]
    assert cls.key == method
    assert cls.question.endswith("?")
    assert cls.takes_target == (method != "attention_rollout")
    assert getattr(tfviz, cls.__name__) is cls


@pytest.mark.parametrize("method", METHODS)
def test_batches_and_single_images_give_the_same_maps(method: str, model: keras.Model) -> None:
    explainer = tfviz.METHODS[method](model)
    many = transformers.images(count=5)
    want = np.concatenate([explainer(image[None]) for image in many])
    np.testing.assert_allclose(explainer(many), want, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(explainer.explain(many, batch_size=2, verbose=0), want, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(explainer.with_outputs(many).outputs, model(many), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", [key for key in METHODS if tfviz.METHODS[key].takes_target])
def test_target_and_score_matter(method: str, model: keras.Model) -> None:
    explainer = tfviz.METHODS[method](model)
    one, other = explainer(IMAGES, 1).numpy(), explainer(IMAGES, 2).numpy()
    assert abs(one - other).max() > 0.01 * np.ptp(one)
    top = model(IMAGES).numpy().argmax(1)
    np.testing.assert_allclose(explainer(IMAGES), explainer(IMAGES, top), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(explainer(IMAGES, [1, 2]), [one[0], other[1]], rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(explainer(IMAGES, lambda outputs: outputs[:, 1]), one, rtol=1e-4, atol=1e-7)
    assert set(explainer(IMAGES, "top2")) == {"top1", "top2"}
    through_softmax = tfviz.METHODS[method](model, score="outputs")(IMAGES, 1).numpy()
    assert abs(one - through_softmax).max() > 0.01 * np.ptp(one)


def test_output_selects_the_head() -> None:
    image = keras.Input(SIZE)
    x = layers.GlobalAveragePooling1D()(transformers.encoder(transformers.patches(image)))
    heads = {name: layers.Dense(4, name=name)(x) for name in ("one", "two")}
    model = with_random_weights(keras.Model(image, heads), 0)
    for method in ("gradient_attention", "legrad"):
        maps = [explained(method, model, IMAGES, 1, output=name) for name in ("one", "two")]
        assert abs(maps[0] - maps[1]).max() > 0.01 * np.ptp(maps[0])


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_gives_nearly_the_same_maps(policy: str, model: keras.Model) -> None:
    keras.config.set_dtype_policy(policy)
    try:
        half = transformers.network()
    finally:
        keras.config.set_dtype_policy("float32")
    for method in (*METHODS, "grad_cam"):
        got, want = explained(method, half, IMAGES, 1), explained(method, model, IMAGES, 1)
        assert np.linalg.norm(got - want) < 0.1 * np.linalg.norm(want), method


# --- refusals -------------------------------------------------------------------------------------


def windowed() -> keras.Model:
    """Attention within windows of 2 × 2 patches, as in Swin."""
    image = keras.Input((32, 32, 3))
    x = layers.LayerNormalization(name="norm")(layers.Conv2D(8, 8, strides=8, name="map")(image))
    windows = ops.reshape(ops.transpose(ops.reshape(x, (-1, 2, 2, 2, 2, 8)), (0, 1, 3, 2, 4, 5)), (-1, 4, 8))
    windows = layers.MultiHeadAttention(2, 4, name="attention")(windows, windows)
    y = ops.transpose(ops.reshape(windows, (-1, 2, 2, 2, 2, 8)), (0, 1, 3, 2, 4, 5))
    x = layers.Add(name="sum")([x, ops.reshape(y, (-1, 4, 4, 8))])
    return with_random_weights(keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x))), 0)


@pytest.mark.parametrize("method", METHODS)
def test_windowed_attention_is_refused_with_the_reason(method: str) -> None:
    with pytest.raises(tfviz.UnsupportedModelError, match=rf"{method} needs attention.*, but .attention/.*windows"):
        tfviz.METHODS[method](windowed())


def test_a_cam_works_on_the_maps_of_windowed_attention() -> None:
    explainer = tfviz.GradCAM(windowed())
    assert explainer.layer_path == "sum"
    assert explainer(transformers.images((32, 32, 3))).shape == (2, 4, 4)


def reduced() -> keras.Model:
    """Fewer keys than queries, as in SegFormer."""
    image = keras.Input(SIZE)
    x = transformers.patches(image)
    fewer = layers.AveragePooling1D(2)(x)
    x = x + layers.MultiHeadAttention(2, 6, name="attention")(x, fewer)
    return with_random_weights(keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling1D()(x))), 0)


@pytest.mark.parametrize("method", METHODS)
def test_fewer_keys_than_queries_are_refused(method: str) -> None:
    with pytest.raises(tfviz.UnsupportedModelError, match="attention between all patches"):
        tfviz.METHODS[method](reduced())(IMAGES)


@pytest.mark.parametrize("method", METHODS)
def test_a_network_without_attention_is_refused(method: str) -> None:
    inputs = keras.Input((16, 16, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(inputs))
    with pytest.raises(
        tfviz.UnsupportedModelError, match=rf"{method} supports only vision transformers, but there is no attention"
    ):
        tfviz.METHODS[method](keras.Model(inputs, layers.Dense(2)(x)))


@pytest.mark.parametrize("kind", ATTENTIONS)
def test_other_methods_say_that_they_are_not_defined_on_attention(kind: str) -> None:
    model = transformers.network(ATTENTIONS[kind])
    for method in EXCITATIONS:
        with pytest.raises(tfviz.UnsupportedModelError, match=r"is not defined for attention.*Use gradient_attention, legrad"):
            tfviz.METHODS[method](model)
    with pytest.raises(tfviz.UnsupportedModelError, match=r"VisualBackProp is not defined for attention.*Use attention_roll"):
        tfviz.VisualBackProp(model)


def test_a_head_that_also_reads_the_image_is_refused() -> None:
    image = keras.Input(SIZE)
    x = layers.GlobalAveragePooling1D()(transformers.encoder(transformers.patches(image)))
    x = layers.Concatenate()([x, layers.GlobalAveragePooling2D()(image)])
    model = with_random_weights(keras.Model(image, layers.Dense(3)(x)), 0)
    with pytest.raises(tfviz.UnsupportedModelError, match="depend on more than the tokens of the last attention block"):
        tfviz.LeGrad(model)


# --- export ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [*METHODS, "grad_cam"])
def test_an_exported_explainer_gives_the_same_maps(method: str, model: keras.Model, tmp_path: Path) -> None:
    explainer = tfviz.METHODS[method](model)
    loaded = tfviz.load_explainer(explainer.export(tmp_path / method))
    target = 1 if explainer.takes_target else None
    assert_maps(np.asarray(loaded(IMAGES, target)), explainer(IMAGES, target).numpy())
