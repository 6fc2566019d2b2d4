"""Targets for embeddings, detectors and autoencoders, against scores and gradients by hand."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from support import networks
from support.tape import compiled_gradient

import tfviz
from tfviz.target_functions.boxes import closeness, corners, from_offsets

RANDOM = np.random.default_rng(3)


def assert_close(got: Any, want: Any) -> None:
    want = np.asarray(want)
    assert np.any(want)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * abs(want).max())


# --- embeddings -----------------------------------------------------------------------------------


def embedding(normalized: bool = False) -> keras.Model:
    inputs = keras.Input((12, 10, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(6, 3, activation="relu", name="conv")(inputs))
    x = layers.Dense(5, name="embedding")(x)
    return networks.with_random_weights(keras.Model(inputs, layers.UnitNormalization()(x) if normalized else x), 0)


def cosine(y: Any, r: Any) -> Any:
    """Return the cosine similarity as Keras computes it."""
    return -keras.losses.cosine_similarity(r, y)


@pytest.mark.parametrize("is_normalized", [False, True])
@pytest.mark.parametrize("references", [1, 4])
def test_similarity_is_the_cosine_to_the_reference(is_normalized: bool, references: int) -> None:
    model, r = embedding(is_normalized), RANDOM.normal(size=(references, 5)).astype("float32")
    images = networks.pictures(model, 4)
    target = tfviz.Similarity(r[0] if references == 1 else r)
    y = model(images)
    np.testing.assert_allclose(target(y), cosine(y, r), rtol=1e-5, atol=1e-6)
    want = compiled_gradient(lambda x: cosine(model(x), r), images)
    assert_close(tfviz.Saliency(model)(images, target), want)
    assert_close(tfviz.Saliency(model).explain(images, target, batch_size=3, verbose=0), want)


def test_similarity_ignores_the_length_of_either_vector() -> None:
    y, r = RANDOM.normal(size=(3, 5)).astype("float32"), RANDOM.normal(size=5).astype("float32")
    for factor in (1e-30, 1e30):
        np.testing.assert_allclose(tfviz.Similarity(r * factor)(tf.constant(y / factor)), cosine(y, r[None]), rtol=1e-4)


def test_an_output_of_zero_has_neither_similarity_nor_gradient() -> None:
    y = tf.zeros((2, 5))
    with tf.GradientTape() as tape:
        tape.watch(y)
        score = tfviz.Similarity(np.ones(5))(y)
    np.testing.assert_array_equal(score, [0, 0])
    np.testing.assert_array_equal(tape.gradient(score, y), np.zeros((2, 5)))


def test_every_kind_of_method_takes_a_similarity() -> None:
    model = embedding()
    images = networks.pictures(model, 2)
    target = tfviz.Similarity(model(images[:1])[0])
    for method in ("guided_backprop", "grad_cam", "excitation_backprop", "contrastive_excitation_backprop"):
        assert np.any(tfviz.METHODS[method](model)(images, target))
    np.testing.assert_allclose(tfviz.Saliency(model).with_outputs(images, target).outputs, model(images), rtol=1e-5)


def test_other_references_and_batches_are_not_compiled_again() -> None:
    model = embedding()
    images, references = networks.pictures(model, 7), RANDOM.normal(size=(7, 5))
    explainer = tfviz.Saliency(model)
    explainer.explain(images, tfviz.Similarity(references), batch_size=2, verbose=0)
    explainer(images, tfviz.Similarity(references[3]))
    assert explainer.traces == 1


def test_a_symbolic_reference_works_inside_a_function() -> None:
    model = embedding()
    images = tf.constant(networks.pictures(model, 3))
    explainer = tfviz.Saliency(model)

    @tf.function
    def to_the_first(images: tf.Tensor) -> tf.Tensor:
        return explainer(images, tfviz.Similarity(model(images[:1])[0]))

    assert_close(to_the_first(images), explainer(images, tfviz.Similarity(model(images[:1])[0])))


# --- detectors ------------------------------------------------------------------------------------

CLASSES = 3
FORMATS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "xyxy": lambda b: b,
    "yxyx": lambda b: b[..., [1, 0, 3, 2]],
    "xywh": lambda b: np.concatenate([b[..., :2], b[..., 2:] - b[..., :2]], -1),
    "center_xywh": lambda b: np.concatenate([(b[..., :2] + b[..., 2:]) / 2, b[..., 2:] - b[..., :2]], -1),
}


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Return the intersection over union of two boxes (left, top, right, bottom), by counting."""
    cells = list(itertools.product(np.arange(0, 20, 0.25), repeat=2))
    inside = [{(x, y) for x, y in cells if c[0] <= x < c[2] and c[1] <= y < c[3]} for c in (a, b)]
    return len(inside[0] & inside[1]) / len(inside[0] | inside[1])


def random_boxes(*shape: int) -> np.ndarray:
    low = RANDOM.integers(0, 40, (*shape, 2)) / 4
    return np.concatenate([low, low + RANDOM.integers(4, 36, (*shape, 2)) / 4], -1).astype("float32")


@pytest.mark.parametrize("box_format", FORMATS)
def test_overlap_is_the_share_of_common_cells_in_every_format(box_format: str) -> None:
    boxes, box = random_boxes(2, 6), random_boxes(2)
    converted = (corners(tf.constant(FORMATS[box_format](one)), box_format) for one in (boxes, box))
    want = [[overlap(one, box[n]) for one in boxes[n]] for n in range(2)]
    np.testing.assert_allclose(np.maximum(closeness(*converted), 0), want, atol=1e-5)


def test_the_nearest_box_counts_if_none_overlaps() -> None:
    boxes = np.array([[[0, 0, 1, 1], [10, 10, 12, 12], [30, 0, 31, 1]]], "float32")
    assert int(tf.argmax(closeness(tf.constant(boxes), tf.constant([[14.0, 12, 15, 13]]))[0])) == 1


def test_offsets_from_anchors_are_decoded_as_in_keras() -> None:
    anchors, offsets = random_boxes(6), RANDOM.normal(0, 0.3, (2, 6, 4)).astype("float32")
    want = keras.utils.bounding_boxes.decode_deltas_to_boxes(
        anchors=anchors, boxes_delta=offsets, anchor_format="xyxy", encoded_format="center_xywh", box_format="xyxy"
    )
    np.testing.assert_allclose(from_offsets(tf.constant(offsets), tf.constant(anchors[None])), want, rtol=1e-4, atol=1e-4)


def detector(form: str = "dict", classes: int = CLASSES) -> keras.Model:
    """Build a detector of 12 boxes that depend on the image."""
    inputs = keras.Input((12, 9, 3))
    x = layers.Conv2D(8, 3, strides=3, activation="relu", name="conv")(inputs)
    low = layers.Reshape((12, 2))(layers.Conv2D(2, 1, activation="softplus", name="low")(x))
    size = layers.Reshape((12, 2))(layers.Conv2D(2, 1, activation="softplus", name="size")(x))
    boxes = layers.Concatenate(name="boxes")([low * 4, low * 4 + size * 4])
    scores = layers.Reshape((12, classes), name="scores")(layers.Conv2D(classes, 1, name="classes")(x))
    outputs = {"dict": {"boxes": boxes, "scores": scores}, "list": [scores, boxes]}[form]
    return networks.with_random_weights(keras.Model(inputs, outputs), 4)


def by_hand(model: keras.Model, images: np.ndarray, box: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return the gradient of the class scores of the boxes that overlap most."""
    outputs = model(images)
    boxes = np.asarray(outputs["boxes"] if isinstance(outputs, dict) else outputs[1])
    chosen = [int(np.argmax([overlap(one, box[n]) for one in boxes[n]])) for n in range(len(images))]
    assert len(set(chosen)) > 1, "the same box of every image proves little"

    def score(x: Any) -> Any:
        outputs = model(x)
        scores = outputs["scores"] if isinstance(outputs, dict) else outputs[0]
        return tf.stack([scores[n, chosen[n], classes[n]] for n in range(len(images))])

    return np.asarray(compiled_gradient(score, images))


@pytest.mark.parametrize("form", ["dict", "list"])
@pytest.mark.parametrize("box_format", ["xyxy", "yxyx"])
def test_a_detection_is_the_class_score_at_the_box(form: str, box_format: str) -> None:
    model = detector(form)
    images = networks.pictures(model, 4)
    classes, boxes = np.array([0, 2, 1, 2]), np.asarray(model(images)["boxes" if form == "dict" else 1])
    box = np.round(4 * boxes[np.arange(4), [3, 7, 0, 5]]) / 4 + np.float32([0, 0, 0.25, 0.25])
    if box_format == "yxyx":
        turn = layers.Lambda(lambda b: tf.gather(b, [1, 0, 3, 2], axis=-1), output_shape=lambda shape: shape)
        outputs = model.output
        key = "boxes" if form == "dict" else 1
        turned = {**outputs, key: turn(outputs[key])} if form == "dict" else [outputs[0], turn(outputs[1])]
        shown = keras.Model(model.input, turned)
    else:
        shown = model
    target = tfviz.Detection(FORMATS[box_format](box), classes, box_format=box_format)
    want = by_hand(model, images, box, classes)
    assert_close(tfviz.Saliency(shown)(images, target), want)
    assert_close(tfviz.Saliency(shown).explain(images, target, batch_size=3, verbose=0), want)


def test_one_box_and_class_apply_to_all_images() -> None:
    model = detector()
    images = networks.pictures(model, 3)
    explainer = tfviz.Saliency(model)
    box = np.array([2.0, 2, 8, 8])
    one = explainer(images, tfviz.Detection(box, 1, box_format="xyxy"))
    assert_close(explainer(images, tfviz.Detection([box] * 3, [1] * 3, box_format="xyxy")), one)
    with pytest.raises(AssertionError):
        assert_close(explainer(images, tfviz.Detection(box, 2, box_format="xyxy")), one)


def test_four_classes_are_told_from_boxes_by_the_key() -> None:
    model = detector(classes=4)
    images = networks.pictures(model, 2)
    explainer = tfviz.Saliency(model)
    target = tfviz.Detection([2, 2, 8, 8], 3, box_format="xyxy")
    read = tfviz.Detection([2, 2, 8, 8], 3, box_format="xyxy", read=lambda y: (y["boxes"], y["scores"]))
    assert_close(explainer(images, target), explainer(images, read))


def test_the_choice_of_the_original_image_can_be_kept() -> None:
    model = detector()
    outputs = model(networks.pictures(model, 2))
    target = tfviz.Detection([2, 2, 8, 8], 1, box_format="xyxy")
    chosen = target.choose(outputs)
    np.testing.assert_array_equal(target.score(outputs, chosen), target(outputs))
    others = [(chosen[0] + 1) % 12]
    want = [outputs["scores"][n, int(others[0][n]), 1] for n in range(2)]
    np.testing.assert_array_equal(target.score(outputs, others), want)


def test_anchors_turn_offsets_into_boxes() -> None:
    model = detector()
    images = networks.pictures(model, 2)
    anchors = random_boxes(12)
    target = tfviz.Detection([2, 2, 8, 8], 1, box_format="xyxy", anchors=anchors)
    outputs = model(images)
    decoded = keras.utils.bounding_boxes.decode_deltas_to_boxes(
        anchors=anchors, boxes_delta=outputs["boxes"], anchor_format="xyxy", encoded_format="center_xywh", box_format="xyxy"
    )
    want = tfviz.Detection([2, 2, 8, 8], 1, box_format="xyxy").choose({**outputs, "boxes": decoded})
    np.testing.assert_array_equal(target.choose(outputs), want)
    assert np.any(tfviz.Saliency(model)(images, target))


@pytest.fixture(scope="module")
def retina() -> Any:
    hub = pytest.importorskip("keras_hub", reason="pip install keras-hub")
    keras.utils.set_random_seed(0)
    encoder = hub.models.ResNetBackbone(
        input_conv_filters=[8], input_conv_kernel_sizes=[7], stackwise_num_filters=[64, 16, 16, 16],
        stackwise_num_blocks=[1] * 4, stackwise_num_strides=[1, 2, 2, 2], block_type="bottleneck_block",
        image_shape=(128, 128, 3),
    )  # fmt: skip
    backbone = hub.models.RetinaNetBackbone(image_encoder=encoder, min_level=3, max_level=4, use_p5=False)
    return hub.models.RetinaNetObjectDetector(backbone=backbone, num_classes=5, bounding_box_format="yxyx")


def test_keras_hubs_retinanet_brings_its_anchors(retina: Any) -> None:
    images = np.random.default_rng(0).uniform(0, 1, (2, 128, 128, 3)).astype("float32")
    box = np.array([40.0, 16, 90, 100])  # top, left, bottom, right
    outputs = retina(images)
    anchors = np.concatenate([np.asarray(one) for one in retina.anchor_generator(images).values()])
    boxes = keras.utils.bounding_boxes.decode_deltas_to_boxes(
        anchors=anchors, boxes_delta=outputs["bbox_regression"], anchor_format="yxyx", encoded_format="center_xywh",
        box_format="yxyx",
    )  # fmt: skip
    ious = keras.utils.bounding_boxes.compute_iou(boxes, np.tile(box, (2, 1, 1)).astype("float32"), "yxyx")
    assert np.asarray(ious)[..., 0].max(1).min() > 0, "Keras' overlap chooses nothing where no box overlaps"
    chosen = np.asarray(ious)[..., 0].argmax(1)

    def score(x: Any) -> Any:
        return tf.stack([retina(x)["cls_logits"][n, chosen[n], 3] for n in range(2)])

    explainer = tfviz.Saliency(retina)
    want = compiled_gradient(score, images)
    assert_close(explainer(images, tfviz.Detection(box, 3)), want)
    assert_close(explainer(images, tfviz.Detection(box[[1, 0, 3, 2]], 3, box_format="xyxy")), want)
    assert_close(explainer(images, tfviz.Detection(box, 3, anchors=anchors)), want)


def test_offsets_without_anchors_are_rejected(retina: Any) -> None:
    plain = keras.Model(retina.inputs, retina.output)
    with pytest.raises(tfviz.TargetError, match="'bbox_regression' contains offsets from anchors, not boxes"):
        tfviz.Saliency(plain)(np.zeros((1, 128, 128, 3), "float32"), tfviz.Detection([0, 0, 9, 9], 1))


# --- autoencoders ---------------------------------------------------------------------------------


def coder() -> keras.Model:
    inputs = keras.Input((12, 10, 3))
    x = layers.Conv2D(6, 3, strides=2, padding="same", activation="relu", name="code")(inputs)
    return networks.with_random_weights(keras.Model(inputs, layers.Conv2DTranspose(3, 3, 2, "same")(x)), 0)


@pytest.mark.parametrize("count", [1, 4])
def test_the_reconstruction_error_is_minus_the_mean_square(count: int) -> None:
    model = coder()
    images = networks.pictures(model, 4)
    original = images[:count]
    target = tfviz.ReconstructionError(original)
    want = -np.square(np.asarray(model(images)) - original).mean((1, 2, 3))
    np.testing.assert_allclose(target(model(images)), want, rtol=1e-5)
    want = compiled_gradient(lambda x: -tf.reduce_mean((model(x) - original) ** 2, axis=(1, 2, 3)), images)
    assert_close(tfviz.Saliency(model).explain(images, target, batch_size=3, verbose=0), want)
    assert np.any(tfviz.GradCAM(model, "code")(images, target))


# --- snapshots and errors -------------------------------------------------------------------------


def test_the_callback_selects_the_rows_of_its_images(tmp_path: Any) -> None:
    model = embedding()
    model.compile("sgd", "mse")
    images = RANDOM.uniform(size=(6, 12, 10, 3)).astype("float32")
    references = RANDOM.normal(size=(6, 5)).astype("float32")
    callback = tfviz.SnapshotCallback(
        ["saliency"], images, log_dir=tmp_path, target=tfviz.Similarity(references), max_images=3, choose="spread"
    )
    assert callback._target.reference.shape == (3, 5)
    np.testing.assert_array_equal(callback._target.reference, references[callback._images.numbers])
    model.fit(images, references, verbose=0, callbacks=[callback])


REFUSED: dict[str, tuple[Any, str]] = {
    "a word": (lambda: tfviz.Similarity("tabby"), "Expected a reference embedding .* Received: str 'tabby'"),
    "a table of tables": (lambda: tfviz.Similarity(np.ones((2, 3, 5))), r"Expected a reference .* shape \(2, 3, 5\)"),
    "NaN": (lambda: tfviz.Similarity([np.nan, 1]), "with finite values. Received: NaN or infinity"),
    "nothing": (lambda: tfviz.Similarity([]), r"with finite values. Received: shape \(0,\)"),
    "zero": (lambda: tfviz.Similarity(np.zeros(5)), "reference embedding is zero, so cosine similarity is undefined"),
    "five corners": (lambda: tfviz.Detection(np.ones(5), 1), r"`box` must have 4 numbers per box\. Received: shape \(5,\)"),
    "a class name": (lambda: tfviz.Detection(np.ones(4), "dog"), "`class_index` must be an int, .* Received: str 'dog'"),
    "half a class": (lambda: tfviz.Detection(np.ones(4), 0.5), "`class_index` must be an int, .* Received: float '0.5'"),
    "a vector": (lambda: tfviz.ReconstructionError(np.ones(5)), r"Expected the originals in the output's shape.*\(5,\)"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_argument_that_does_not_fit_is_rejected(name: str) -> None:
    build, message = REFUSED[name]
    with pytest.raises(tfviz.TargetError, match=message):
        build()


def test_an_unknown_box_format_is_rejected() -> None:
    with pytest.raises(tfviz.OptionError, match="Unknown box format 'yxhw'"):
        tfviz.Detection(np.ones(4), 1, box_format="yxhw")


UNFIT: dict[str, tuple[Callable[[], keras.Model], Callable[[], Any], str]] = {
    "another length": (embedding, lambda: tfviz.Similarity(np.ones(4)), r"an output of shape \(N, 4\), like the reference"),
    "several outputs": (detector, lambda: tfviz.Similarity(np.ones(4)), "the model has several outputs. Choose an output"),
    "too few references": (embedding, lambda: tfviz.Similarity(np.ones((3, 5))), "has rows for 3 images. Received: 2 images"),
    "one output": (embedding, lambda: tfviz.Detection(np.ones(4), 1), "needs a dict or list of two outputs.*one output"),
    "a class too high": (detector, lambda: tfviz.Detection(np.ones(4), 3), "Class 3 is out of range. .* has 3 classes"),
    "a class below 0": (detector, lambda: tfviz.Detection(np.ones(4), [0, -1]), "Class -1 is out of range"),
    "boxes and classes": (
        detector, lambda: tfviz.Detection(np.ones((2, 4)), [0, 1, 2]), "same number of rows .* class_index, anchors: .* 2 and 3"
    ),
    "too few anchors": (
        detector, lambda: tfviz.Detection(np.ones(4), 0, anchors=np.ones((7, 4))), "per prediction, 12 in total. Received: 7"
    ),
    "four classes in a list": (
        lambda: detector("list", 4), lambda: tfviz.Detection(np.ones(4), 0), "Pass read=lambda outputs"
    ),
    "another size": (
        coder, lambda: tfviz.ReconstructionError(np.ones((2, 6, 5, 3))), r"needs the originals in the output's shape"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNFIT)
def test_a_target_that_does_not_fit_the_model_is_rejected(name: str) -> None:
    build, target, message = UNFIT[name]
    model = build()
    with pytest.raises(tfviz.TargetError, match=message):
        tfviz.Saliency(model)(networks.pictures(model, 2), target())
