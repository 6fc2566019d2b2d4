"""Every method on every network equals the slow float64 reference."""

from __future__ import annotations

from functools import partial

import cv2
import keras
import numpy as np
import pytest
from keras import layers
from support import networks, reference
from support.explainers import CHANNEL_CAMS, backgrounds_for
from support.networks import CAMS, EXCITATIONS, GRADIENTS, NETWORKS, Case, named

import tfviz

TOLERANCE = 1e-4  # relative to the largest value
TARGETS = [1, 3]


class Subject:
    """One network, for tfviz and for the reference."""

    def __init__(self, model: keras.Model, case: Case | None = None) -> None:
        self.model, self.case = model, case
        self.images = networks.pictures(self.model)
        self.net = reference.Network(self.model)
        self.weights = np.eye(self.net.logits(self.images).shape[1])[TARGETS]

    def check(self, method: str, layer: str | None = None, **options: object) -> None:
        """Compare one method, at one layer if it takes one, with the reference's function."""
        ours, theirs = named(layer) if layer else (None, None)
        at = {"layer": ours} if ours else {}
        at |= {"sum_channels": False} if method in EXCITATIONS else {}
        explainer = tfviz.METHODS[method](self.model, **at, **options)
        got = explainer(self.images, TARGETS if explainer.takes_target else None)
        arguments = [self.images, self.weights] if explainer.takes_target else [self.images]
        want = getattr(reference, method)(self.net, *arguments, *([theirs] if theirs else []), **options)
        assert_equal(got, want, f"{method} {ours or ''} {options}")

    def check_guided_grad_cam(self, layer: str) -> None:
        ours, theirs = named(layer)
        maps = reference.grad_cam(self.net, self.images, self.weights, theirs)
        size = self.images.shape[2:0:-1]  # OpenCV takes width first.
        maps = np.stack([cv2.resize(cam, size, interpolation=cv2.INTER_LINEAR) for cam in maps])
        want = reference.guided_backprop(self.net, self.images, self.weights) * maps[..., None]
        assert_equal(tfviz.GuidedGradCAM(self.model, ours)(self.images, TARGETS), want, f"guided_grad_cam {ours}")

    def check_copies(self, method: str) -> None:
        """Compare a method that runs perturbed copies with the reference, on the same copies."""
        random = np.random.default_rng(5)
        draws = random.normal(size=(3, *self.images.shape[1:]))
        masks = random.uniform(size=(4, *self.images.shape[1:3]))
        zero, x, weights = np.zeros(self.images.shape), self.images, self.weights
        backgrounds, positions = backgrounds_for(self.model, x.shape[1:]), np.linspace(0, 1, 5)
        base = partial(reference.saliency, self.net, weights=weights)
        ours, theirs = {
            "integrated_gradients": ({"steps": 3}, lambda: [[zero], 3]),
            "expected_gradients": (
                {"backgrounds": backgrounds, "positions": positions, "samples": 5},
                lambda: [backgrounds, positions],
            ),
            "occlusion": ({"window": 7}, lambda: [7]),
            "rise": ({"masks": masks}, lambda: [masks]),
        }.get(method, ({"draws": draws}, lambda: [draws]))
        explainer = tfviz.METHODS[method](self.model, **ours)
        is_noise = method in NOISE
        want = getattr(reference, method)(*([base, x] if is_noise else [self.net, x, weights]), *theirs())
        assert_equal(explainer(x, TARGETS), want, method)


NOISE = ("smooth_grad", "square_grad", "var_grad")


def assert_equal(got: object, want: np.ndarray, label: str) -> None:
    assert abs(want).max() > 0, f"{label}: the reference is all zero, which proves nothing"
    np.testing.assert_allclose(got, want, rtol=0, atol=TOLERANCE * abs(want).max(), err_msg=label)


@pytest.fixture(scope="module", params=NETWORKS)
def subject(request: pytest.FixtureRequest) -> Subject:
    return Subject(networks.build(request.param), NETWORKS[request.param])


@pytest.mark.parametrize("method", GRADIENTS)
def test_gradient_methods_equal_the_reference(subject: Subject, method: str) -> None:
    subject.check(method)


@pytest.mark.parametrize("method", CAMS)
def test_cams_equal_the_reference_at_each_layer(subject: Subject, method: str) -> None:
    for layer in subject.case.cams:
        subject.check(method, layer)


@pytest.mark.parametrize("method", CHANNEL_CAMS)
def test_cams_with_one_run_per_channel_equal_the_reference(subject: Subject, method: str) -> None:
    for layer in subject.case.cams:
        subject.check(method, layer)


@pytest.mark.parametrize("method", ["integrated_gradients", "expected_gradients", *NOISE, "occlusion", "rise"])
def test_methods_that_run_perturbed_copies_equal_the_reference(subject: Subject, method: str) -> None:
    subject.check_copies(method)


def test_guided_grad_cam_is_guided_backprop_times_the_resized_map(subject: Subject) -> None:
    for layer in subject.case.cams[-1:]:
        subject.check_guided_grad_cam(layer)


@pytest.mark.parametrize("method", EXCITATIONS)
def test_excitation_equals_the_reference_at_the_image_and_at_each_layer(subject: Subject, method: str) -> None:
    if method not in subject.case.no:
        for layer in (None, *subject.case.cuts):
            subject.check(method, layer)


@pytest.mark.parametrize("method", EXCITATIONS)
def test_excitation_with_merged_batch_norm_equals_the_reference(subject: Subject, method: str) -> None:
    if method not in subject.case.no:
        subject.check(method, merge_batch_norm=True)


def test_visual_backprop_equals_the_reference(subject: Subject) -> None:
    if "visual_backprop" not in subject.case.no:
        subject.check("visual_backprop")


@pytest.mark.parametrize("method", ["hires_cam", "excitation_backprop"])
def test_a_dropout_next_to_a_shortcut_gets_its_own_share_only(method: str) -> None:
    """At inference it returns the tensor that the shortcut also reads."""
    inputs = keras.Input((9, 9, 3))
    x = layers.Conv2D(4, 3, activation="relu", name="conv")(inputs)
    through = layers.Conv2D(4, 3, padding="same", activation="relu", name="through")(layers.Dropout(0.5, name="drop")(x))
    x = layers.Concatenate()([through, layers.Conv2D(4, 3, padding="same", activation="relu", name="beside")(x)])
    model = keras.Model(inputs, layers.Dense(4)(layers.GlobalAveragePooling2D()(x)))
    for layer in ("drop", "conv"):
        Subject(networks.with_random_weights(model, 2)).check(method, layer)


@pytest.mark.parametrize("size", [1e-4, 1e4])
def test_visual_backprop_of_a_deep_network_neither_overflows_nor_vanishes(size: float) -> None:
    x = inputs = keras.Input((9, 9, 1))
    for i in range(30):
        x = layers.Conv2D(2, 3, padding="same", activation="relu", name=f"c{i}")(x)
    model = keras.Model(inputs, layers.Dense(4)(layers.Flatten()(x)))
    random = np.random.default_rng(0)
    for layer in model.layers[1:-2]:
        kernel, bias = layer.get_weights()
        layer.set_weights([random.normal(0, 0.1, kernel.shape), random.uniform(0.5, 1, bias.shape) * size])
    Subject(model).check("visual_backprop")
