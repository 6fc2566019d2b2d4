"""Score-CAM and Ablation-CAM, and CAMs at lists of layers."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from support import networks, reference
from support.explainers import CHANNEL_CAMS, built
from support.networks import CAMS, NETWORKS, named
from support.zoo import alive, noise

import tfviz

TARGETS = [1, 3]
ALL = (*CAMS, *CHANNEL_CAMS)


def assert_equal(got: Any, want: np.ndarray) -> None:
    assert abs(want).max() > 0
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * abs(want).max())


class Subject:
    def __init__(self, name: str) -> None:
        self.name = name
        self.model = networks.build(name)
        self.images = networks.pictures(self.model)
        self.net = reference.Network(self.model)
        self.weights = np.eye(self.net.logits(self.images).shape[1])[TARGETS]

    def reference(self, method: str, layer: str, **options: Any) -> np.ndarray:
        arguments = [self.images] if method == "eigen_cam" else [self.images, self.weights]
        return getattr(reference, method)(self.net, *arguments, named(layer)[1], **options)

    def tfviz(self, method: str, layer: Any, **options: Any) -> np.ndarray:
        explainer = tfviz.METHODS[method](self.model, layer, **options)
        return explainer(self.images, TARGETS if explainer.takes_target else None).numpy()


@pytest.fixture(scope="module", params=["plain", "residual", "inception", "nested"])
def subject(request: pytest.FixtureRequest) -> Subject:
    return Subject(request.param)


@pytest.fixture(scope="module")
def plain() -> Subject:
    return Subject("plain")


# --- weights and channels -------------------------------------------------------------------------


def test_score_cam_with_softmax_weights_equals_the_reference(subject: Subject) -> None:
    for layer in NETWORKS[subject.name].cams:
        got = subject.tfviz("score_cam", named(layer)[0], weights="softmax")
        assert_equal(got, subject.reference("score_cam", layer, kind="softmax"))


@pytest.mark.parametrize("method", CHANNEL_CAMS)
@pytest.mark.parametrize("channels", [1, 3, np.int64(5), 100])
def test_only_the_channels_of_highest_deviation_count(channels: int, method: str, plain: Subject) -> None:
    want, whole = (plain.reference(method, "c1", channels=one) for one in (int(channels), None))
    np.testing.assert_allclose(plain.tfviz(method, "c1", channels=channels), want, rtol=0, atol=1e-4 * abs(whole).max())
    assert (abs(want - whole).max() > 1e-3 * abs(whole).max()) or channels > 3


def test_softmax_weights_are_shared_by_the_chosen_channels(plain: Subject) -> None:
    want = plain.reference("score_cam", "c1", kind="softmax", channels=2)
    assert_equal(plain.tfviz("score_cam", "c1", weights="softmax", channels=2), want)


@pytest.mark.parametrize("weights", ["probability", "softmax"])
def test_constant_channels_count_for_nothing(weights: str) -> None:
    subject = Subject("plain")
    kernel, bias = subject.model.get_layer("c2").get_weights()
    kernel[..., 2], bias[2] = 0, 5  # a constant channel, and a dead one
    kernel[..., 4], bias[4] = 0, -1
    subject.model.get_layer("c2").set_weights([kernel, bias])
    subject.net = reference.Network(subject.model)
    got = subject.tfviz("score_cam", "c2", weights=weights)
    assert_equal(got, subject.reference("score_cam", "c2", kind=weights))
    A = subject.net.forward(subject.images)["c2"]
    assert np.ptp(A[..., 2]) == np.ptp(A[..., 4]) == 0


def test_ablation_divides_by_the_size_of_the_score() -> None:
    """Divided by S itself, a negative score would turn all weights round."""
    inputs = keras.Input((4, 4, 1))
    x = layers.Conv2D(2, 1, use_bias=False, name="maps")(inputs)
    model = keras.Model(inputs, layers.Dense(2, name="out")(layers.GlobalAveragePooling2D()(x)))
    model.get_layer("maps").set_weights([np.array([[[[1.0, 2.0]]]])])
    image = np.random.default_rng(0).uniform(1, 2, (1, 4, 4, 1)).astype(np.float32)
    for bias in (10.0, -10.0):
        model.get_layer("out").set_weights([np.array([[1.0, 0], [0, 0]]), np.array([bias, 0])])
        S = float(model(image)[0, 0])
        want = image[..., 0] * image.mean() / abs(S)  # only the first channel counts
        np.testing.assert_allclose(tfviz.AblationCAM(model, "maps")(image, 0), want, rtol=1e-5)
    model.get_layer("out").set_weights([np.array([[1.0, 0], [0, 0]]), np.array([-image.mean(), 0])])
    got = tfviz.AblationCAM(model, "maps")(image, 0)
    assert abs(float(model(image)[0, 0])) < 1e-6
    np.testing.assert_allclose(got, image[..., 0] * image.mean(), rtol=1e-5)


def test_one_sigmoid_unit_is_two_classes() -> None:
    inputs = keras.Input((12, 10, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(5, 3, activation="relu", name="maps")(inputs))
    model = alive(keras.Model(inputs, layers.Dense(1, activation="sigmoid")(x)))
    images = networks.pictures(model)
    maps = [built(method, model)(images, target).numpy() for method in CHANNEL_CAMS for target in (0, 1)]
    assert np.any(maps[0])
    assert np.any(maps[1])
    assert abs(maps[0] - maps[1]).max() > 0


@pytest.mark.parametrize(
    ("method", "options", "said"),
    [
        ("score_cam", {"weights": "logits"}, r"`weights` must be 'probability' or 'softmax'\. Received: 'logits'"),
        ("score_cam", {"channels": 0}, "`channels` must be a positive integer"),
        ("ablation_cam", {"channels": 2.5}, "`channels` must be a positive integer"),
        ("ablation_cam", {"batch_size": 0}, "`batch_size` must be a positive integer"),
    ],
)
def test_wrong_options_are_rejected(method: str, options: dict[str, Any], said: str, plain: Subject) -> None:
    with pytest.raises(tfviz.OptionError, match=said):
        tfviz.METHODS[method](plain.model, **options)


# --- lists of layers ------------------------------------------------------------------------------


@pytest.mark.parametrize("combine", ["mean", "max", "product"])
@pytest.mark.parametrize("method", ALL)
def test_maps_of_a_list_of_layers_are_combined(method: str, combine: str, plain: Subject) -> None:
    maps = [plain.reference(method, layer) for layer in ("c1", "c2")]
    want = reference.combined(maps, plain.images.shape[1:3], combine)
    assert_equal(plain.tfviz(method, ["c1", "c2"], combine=combine), want)


def test_guided_grad_cam_takes_a_list_of_layers(plain: Subject) -> None:
    maps = [plain.reference("grad_cam", layer) for layer in ("c1", "c2")]
    cam = reference.combined(maps, plain.images.shape[1:3], "product")
    want = reference.guided_backprop(plain.net, plain.images, plain.weights) * cam[..., None]
    assert_equal(plain.tfviz("guided_grad_cam", ["c1", "c2"], combine="product"), want)


@pytest.mark.parametrize("method", ["grad_cam", *CHANNEL_CAMS])
def test_a_list_of_one_layer_is_resized_and_scaled(method: str, plain: Subject) -> None:
    alone = plain.reference(method, "c2")
    want = reference.combined([alone], plain.images.shape[1:3], "mean")
    for layer in (["c2"], ("c2",), [plain.model.get_layer("c2")]):
        assert_equal(plain.tfviz(method, layer), want)
    assert_equal(plain.tfviz(method, ["c2", "c2"], combine="product"), want**2)


@pytest.mark.parametrize("method", CHANNEL_CAMS)
def test_channels_limits_each_layer(method: str, plain: Subject) -> None:
    maps = [plain.reference(method, layer, channels=3) for layer in ("c1", "c2")]
    want = reference.combined(maps, plain.images.shape[1:3], "mean")
    for batch_size in (1, 32):
        assert_equal(plain.tfviz(method, ["c1", "c2"], channels=3, batch_size=batch_size), want)


def test_layers_on_different_branches_are_ablated_one_at_a_time() -> None:
    subject = Subject("inception")
    for pair in (["left", "middle"], ["p1", "cat"], ["head", "c1"]):
        maps = [subject.reference("ablation_cam", layer) for layer in pair]
        want = reference.combined(maps, subject.images.shape[1:3], "mean")
        assert_equal(subject.tfviz("ablation_cam", pair), want)


def test_the_product_is_zero_where_one_map_is() -> None:
    subject = Subject("plain")
    kernel, bias = subject.model.get_layer("c2").get_weights()
    subject.model.get_layer("c2").set_weights([-abs(kernel), -abs(bias) - 5])
    with pytest.warns(UserWarning, match="zero everywhere"):
        assert not np.any(subject.tfviz("grad_cam", ["c1", "c2"], combine="product"))


def test_a_list_of_layers_has_a_name_options_and_one_trace(plain: Subject) -> None:
    explainer = tfviz.GradCAM(plain.model, ["c1", "c2"], combine="max")
    assert explainer.layer_path == "c1, c2"
    assert explainer.options == {"layer": ["c1", "c2"], "combine": "max"}
    explainer(plain.images, 1)
    assert explainer(plain.images[:1], 2).shape == (1, 20, 17)
    assert explainer.traces == 1


@pytest.mark.parametrize("method", [*ALL, "guided_grad_cam"])
def test_wrong_lists_are_rejected(method: str, plain: Subject) -> None:
    with pytest.raises(tfviz.OptionError, match=r"`layer` is an empty list\. Pass at least one layer"):
        tfviz.METHODS[method](plain.model, [])
    with pytest.raises(tfviz.OptionError, match=r"`combine` must be one of mean, max, product\. Received: 'sum'"):
        tfviz.METHODS[method](plain.model, ["c1", "c2"], combine="sum")
    with pytest.raises(tfviz.UnknownLayerError, match="c9"):
        tfviz.METHODS[method](plain.model, ["c1", "c9"])
    with pytest.raises(tfviz.UnknownLayerError, match="Layer 'd1'"):
        tfviz.METHODS[method](plain.model, ["c1", "d1"])


def video() -> keras.Model:
    """A ConvLSTM gives one map for the whole video."""
    inputs = keras.Input((3, 10, 9, 2))
    x = layers.ConvLSTM2D(4, 3, name="memory")(inputs)
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


def test_maps_that_cannot_be_resized_to_the_image_are_rejected() -> None:
    model = video()
    message = r"Layer 'memory' has shape .*Their axes do not match, so .* cannot resize the map"
    for build in (tfviz.ScoreCAM, lambda model: tfviz.GradCAM(model, ["memory"])):
        with pytest.raises(tfviz.UnknownLayerError, match=message):
            build(model)
    assert tfviz.AblationCAM(model)(noise(3, 10, 9, 2), 1).shape == (2, 8, 7)


@pytest.mark.parametrize("method", ["grad_cam", *CHANNEL_CAMS])
def test_lists_work_on_series_and_volumes(method: str) -> None:
    for size in ((24, 3), (6, 8, 10, 2)):
        rank = len(size) - 1
        conv = {1: layers.Conv1D, 3: layers.Conv3D}[rank]
        pool = {1: layers.GlobalAveragePooling1D, 3: layers.GlobalAveragePooling3D}[rank]
        inputs = keras.Input(size)
        x = conv(4, 3, activation="relu", name="b")(conv(4, 3, activation="relu", strides=2, padding="same", name="a")(inputs))
        model, images = alive(keras.Model(inputs, layers.Dense(3)(pool()(x)))), noise(*size)
        explainer = tfviz.METHODS[method](model, ["a", "b"])
        maps = [explainer(images, target).numpy() for target in range(3)]
        assert maps[0].shape == images.shape[:-1]
        assert np.any(maps)
