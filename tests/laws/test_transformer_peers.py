"""The same vision transformer in PyTorch: the papers' formulas there, and pytorch-grad-cam.

pytorch-grad-cam scales its maps and cuts them at 0, so they are compared before that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from support import transformers
from support.networks import with_random_weights

import tfviz

torch = pytest.importorskip("torch")

from support import torch_transformer as reference  # noqa: E402

IMAGES = transformers.images()
X = torch.from_numpy(IMAGES.transpose(0, 3, 1, 2).copy())


def of_kerashub() -> keras.Model:
    hub = pytest.importorskip("keras_hub", reason="pip install keras-hub")
    body = hub.models.ViTBackbone(
        image_shape=transformers.SIZE, patch_size=8, num_layers=2, num_heads=2, hidden_dim=12, mlp_dim=16
    )
    return with_random_weights(hub.models.ViTImageClassifier(body, num_classes=5), 0)


# how to build them, and a class for which no map is zero everywhere
PAIRS: dict[str, tuple[Callable[[], keras.Model], dict[str, Any], int]] = {
    "KerasHub, class token": (of_kerashub, {"has_class_token": True, "epsilon": 1e-6}, 1),
    "Keras, mean of the tokens": (lambda: transformers.network(head=None), {"has_class_token": False, "epsilon": 1e-3}, 3),
}
Pair = tuple[keras.Model, reference.VisionTransformer, int]


@pytest.fixture(scope="module", params=PAIRS)
def pair(request: pytest.FixtureRequest) -> Pair:
    """Return one network in Keras and in PyTorch, and the class to explain."""
    build, options, target = PAIRS[request.param]
    model = build()
    network = reference.with_weights_of(model, reference.VisionTransformer(transformers.GRID, **options))
    np.testing.assert_allclose(model(IMAGES), network(X).detach(), rtol=1e-4, atol=1e-5)
    return model, network, target


def assert_equal(got: Any, want: np.ndarray) -> None:
    got = np.asarray(got)
    assert np.ptp(want) > 0
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * np.ptp(want))
    assert np.corrcoef(got.ravel(), want.ravel())[0, 1] >= 0.999


@pytest.mark.parametrize("method", reference.METHODS)
def test_attention_methods_equal_the_papers_formulas(method: str, pair: Pair) -> None:
    model, network, target = pair
    want = reference.METHODS[method](network, X, target)
    want = want[:, network.prefix :].unflatten(1, network.grid).detach().numpy()
    explainer = tfviz.METHODS[method](model)
    assert_equal(explainer(IMAGES, target if explainer.takes_target else None), want)


CAMS = {"grad_cam": "GradCAM", "hires_cam": "HiResCAM", "layer_cam": "LayerCAM", "xgrad_cam": "XGradCAM"}


@pytest.mark.parametrize("method", CAMS)
def test_cams_on_tokens_equal_those_of_pytorch_grad_cam(method: str, pair: Pair) -> None:
    peers = pytest.importorskip("pytorch_grad_cam")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model, network, target = pair
    layer, chosen = network.blocks[-1].norm1, [ClassifierOutputTarget(target)] * 2
    cam = getattr(peers, CAMS[method])(network, [layer], network.as_map)
    cam(X, chosen)  # stores the activations and gradients
    A, G = (stored[0].numpy() for stored in (cam.activations_and_grads.activations, cam.activations_and_grads.gradients))
    cam.activations_and_grads.release()
    want = cam.get_cam_image(X, layer, chosen, A, G, False)
    assert_equal(tfviz.METHODS[method](model)(IMAGES, target), np.maximum(want, 0))


def test_grad_cam_on_tokens_equals_its_formula(pair: Pair) -> None:
    """relu(Σ_k mean_patches(G)_k A_k); A is the last block's first normalization."""
    model, network, target = pair
    hook = network.blocks[-1].norm1.register_forward_hook(lambda module, given, output: stored.append(output))
    stored: list[Any] = []
    score = network(X)[:, target].sum()
    hook.remove()
    A, G = network.as_map(stored[0]), network.as_map(torch.autograd.grad(score, stored[0])[0])
    want = torch.relu((G.mean((2, 3), keepdim=True) * A).sum(1)).detach().numpy()
    assert_equal(tfviz.GradCAM(model)(IMAGES, target), want)
