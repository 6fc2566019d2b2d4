"""The same network in PyTorch, explained by captum and pytorch-grad-cam where definitions agree.

They do not agree, and are not compared, in these points:
    pytorch-grad-cam resizes with aligned corners in Score-CAM, so the layer has the image's size;
    its Score-CAM uses the paper's softmax, over constant channels too;
    its Ablation-CAM divides by S, not |S|, and sets channels to min − 1e7 where no activation is 0;
    its Eigen-CAM subtracts the mean of each channel, and keeps whatever sign the SVD returns;
    it cuts all maps at 0 and scales them twice, so the maps before that are compared;
    captum's ScoreCAM and RISE do not exist.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import tfviz

torch = pytest.importorskip("torch")

SHAPE = (12, 10, 3)
TARGETS = [1, 2]


def networks() -> tuple[keras.Model, Any]:
    """Return one network in Keras and in PyTorch."""
    random = np.random.default_rng(4)
    inputs = keras.Input(SHAPE)
    x = layers.Conv2D(5, 3, padding="same", activation="relu", name="maps")(inputs)
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(layers.MaxPooling2D(2)(x))
    model = keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))
    model.set_weights([random.normal(0.1, 0.3, w.shape) for w in model.get_weights()])

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.maps = torch.nn.Conv2d(3, 5, 3, padding=1), torch.nn.ReLU()
            self.second, self.head = torch.nn.Conv2d(5, 4, 3, padding=1), torch.nn.Linear(4, 3)

        def forward(self, x: Any) -> Any:
            x = torch.nn.functional.max_pool2d(self.maps(self.first(x)), 2)
            return self.head(torch.relu(self.second(x)).mean((2, 3)))

    network = Network().eval()
    kernels = [torch.from_numpy(w.transpose(3, 2, 0, 1) if w.ndim == 4 else w.T).float() for w in model.get_weights()]
    with torch.no_grad():
        for parameter, values in zip(network.parameters(), kernels, strict=True):
            parameter.copy_(values)
    return model, network


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).uniform(0.1, 1, (2, *SHAPE)).astype(np.float32)


def assert_equal(got: Any, want: Any) -> None:
    want = np.asarray(want)
    assert abs(want).max() > 0
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * abs(want).max())


def channels_first(images: np.ndarray) -> Any:
    return torch.from_numpy(images.transpose(0, 3, 1, 2).copy())


def test_integrated_gradients_equal_captums_with_the_midpoint_rule(images: np.ndarray) -> None:
    attr = pytest.importorskip("captum.attr")
    model, network = networks()
    for baseline in (np.zeros(SHAPE, np.float32), np.random.default_rng(1).uniform(size=SHAPE).astype(np.float32)):
        start = channels_first(np.stack([baseline, baseline]))
        options = {"target": torch.tensor(TARGETS), "n_steps": 20, "method": "riemann_middle"}
        want = attr.IntegratedGradients(network).attribute(channels_first(images), start, **options)
        got = tfviz.IntegratedGradients(model, baseline=baseline, steps=20)(images, TARGETS)
        assert_equal(got, want.detach().numpy().transpose(0, 2, 3, 1))


@pytest.mark.parametrize(("window", "stride"), [(4, 2), (5, 3)])
def test_occlusion_equals_captums(window: int, stride: int, images: np.ndarray) -> None:
    attr = pytest.importorskip("captum.attr")
    model, network = networks()
    sizes = {"sliding_window_shapes": (3, window, window), "strides": (3, stride, stride), "baselines": 0.5}
    want = attr.Occlusion(network).attribute(channels_first(images), target=torch.tensor(TARGETS), **sizes)
    got = tfviz.Occlusion(model, window=window, stride=stride, value=0.5)(images, TARGETS)
    assert_equal(got, want.numpy()[:, 0])


@pytest.mark.parametrize("method", ["score_cam", "ablation_cam"])
def test_cams_with_one_run_per_channel_equal_those_of_pytorch_grad_cam(method: str, images: np.ndarray) -> None:
    peers = pytest.importorskip("pytorch_grad_cam")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model, network = networks()
    assert (model(images).numpy()[[0, 1], TARGETS] > 0).all(), "pytorch-grad-cam divides by S"
    peer = {"score_cam": peers.ScoreCAM, "ablation_cam": peers.AblationCAM}[method](network, [network.maps])
    chosen = [ClassifierOutputTarget(target) for target in TARGETS]
    x = channels_first(images)
    peer(x, chosen)  # stores the activations
    activations = peer.activations_and_grads.activations[0].numpy()
    assert (activations.min((0, 2, 3)) < activations.max((0, 2, 3))).all(), "no channel is constant"
    want = peer.get_cam_image(x, network.maps, chosen, activations, None, False)
    options = {"weights": "softmax"} if method == "score_cam" else {}
    assert_equal(tfviz.METHODS[method](model, "maps", **options)(images, TARGETS), np.maximum(want, 0))
