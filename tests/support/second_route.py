"""Every method by a second route: a twin of the model, rewritten by hand."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import tensorflow as tf
from keras import tree

from support import rewritten
from support.explainers import CHANNEL_CAMS, SAMPLED, backgrounds_for, built
from support.networks import EXCITATIONS
from support.sampled_route import SampledRoute
from support.zoo import ALL_CAMS, Species
from tfviz.methods.explainer import Explainer

EXACT = 1e-4
GRADIENTS = {"saliency": rewritten.Rewritten, "guided_backprop": rewritten.Guided, "deconvnet": rewritten.Deconvnet}


def build(method: str, species: Species, model: Any) -> Explainer:
    takes_layer = method in (*ALL_CAMS, *CHANNEL_CAMS, *EXCITATIONS)
    options = {key: value for key, value in species.options.items() if key != "layer" or takes_layer}
    if method == "expected_gradients":
        options["backgrounds"] = backgrounds_for(model, np.shape(tree.flatten(species.images(model))[0])[1:])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        explainer = built(method, model, **options)
    said = [str(warning.message) for warning in caught]
    is_guided = method in ("guided_backprop", "deconvnet", "guided_grad_cam")
    if is_guided and species.warns:
        assert any(species.warns in message for message in said), said
    else:
        assert not said
    return explainer


def call(explainer: Explainer, images: Any, target: Any) -> Any:
    return explainer(images, target if explainer.takes_target else None)


def second_route(method: str, species: Species, twin: Any, images: Any) -> list[Any]:
    """Return what the method must give for each input of the model."""
    if method in GRADIENTS:
        with (rewritten.Rewritten if species.warns else GRADIENTS[method])(twin) as second:
            return second.back(images, seed_of(species))[1]
    if method == "gradient_times_input":
        return [
            np.asarray(x) * g
            for x, g in zip(tree.flatten(images), second_route("saliency", species, twin, images), strict=True)
        ]
    if method in SAMPLED:
        return sampled(method, species, twin, images)
    if method in ALL_CAMS:
        return cam(method, species, twin, images)
    if method in EXCITATIONS:
        return excitation(method, species, twin, images)
    with rewritten.Masks(twin) as second:
        return second.masks(images)


def sampled(method: str, species: Species, twin: Any, images: Any) -> list[Any]:
    def probability(logits: Any) -> Any:
        if species.head == "sigmoid":  # z of class 1, −z of class 0
            return tf.sigmoid(logits)
        return logits if logits.shape[-1] == 1 else tf.nn.softmax(tf.cast(logits, tf.float32))

    return SampledRoute(twin, images, seed_of(species), species.cam, probability).maps(method)


def seed_of(species: Species) -> Any:
    return species.seed or (lambda outputs: np.eye(outputs.shape[-1], dtype=np.float32)[[species.target] * outputs.shape[0]])


def cam(method: str, species: Species, twin: Any, images: Any) -> list[Any]:
    with rewritten.Rewritten(twin) as second:
        (G,), _ = second.back(images, seed_of(species), [species.cam])
        A = second.output_of(species.cam)
    maps = rewritten.cam(method, np.asarray(A), np.asarray(G))
    if method != "guided_grad_cam":
        return [maps]
    with (rewritten.Rewritten if species.warns else rewritten.Guided)(twin) as second:
        guided = second.back(images, seed_of(species))[1]
    return [
        np.asarray(g) * rewritten.resized(maps, tuple(g.shape[1:-1]))[..., None] if len(g.shape) == A.shape.rank else g
        for g in guided
    ]


def excitation(method: str, species: Species, twin: Any, images: Any) -> list[Any]:
    at = [species.cam] if "layer" in species.options else []
    is_contrastive = method == "contrastive_excitation_backprop"
    with rewritten.Contrastive(twin, images) if is_contrastive else rewritten.Excitation(twin) as second:
        at_layers, at_images = second.back(images, seed_of(species), at)
    found = [np.asarray(p).sum(-1) if len(p.shape) > 2 else np.asarray(p) for p in (at_layers or at_images)]
    return [np.maximum(p, 0) for p in found] if is_contrastive else found


def assert_equal(got: Any, want: Any, tolerance: float) -> None:
    if want is None:  # An input that is not used.
        assert not np.any(got)
        return
    want = np.asarray(want)
    assert got.shape == want.shape
    assert np.any(want), "the second route is all zero, which proves nothing"
    if tolerance > EXACT:  # Single elements differ more where rounding opens a ReLU.
        assert np.linalg.norm(got - want) < tolerance * np.linalg.norm(want)
    else:
        np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * abs(want).max())
