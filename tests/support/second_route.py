"""Every method by a second route: a twin of the model, rewritten by hand."""

from __future__ import annotations

import warnings
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf
from keras import tree

from support import rewritten
from support.explainers import CHANNEL_CAMS, SAMPLED, backgrounds_for, built
from support.networks import CAMS, EXCITATIONS
from support.sampled_route import SampledRoute
from support.zoo import ALL_CAMS, Species
from tfviz.methods.explainer import Explainer

EXACT = 1e-4


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


def seed_of(species: Species) -> Any:
    return species.seed or (lambda outputs: np.eye(outputs.shape[-1], dtype=np.float32)[[species.target] * outputs.shape[0]])


class SecondRoute:
    """All methods on one network and batch. Shared gradients are computed once."""

    def __init__(self, species: Species, twin: Any, images: Any) -> None:
        self.species, self.twin, self.images, self.seed = species, twin, images, seed_of(species)

    def maps(self, method: str) -> list[Any]:
        """Return what the method must give for each input of the model."""
        if method in SAMPLED:
            return self._sampled.maps(method)
        if method in CAMS:
            return [self._cam(method)]
        if method in EXCITATIONS:
            return self._excitation(method)
        return getattr(self, f"_{method}")()

    # --- gradients

    @cached_property
    def _plain(self) -> list[Any]:
        return self._gradient(rewritten.Rewritten)

    @cached_property
    def _guided(self) -> list[Any]:
        return self._plain if self.species.warns else self._gradient(rewritten.Guided)

    def _gradient(self, kind: type[rewritten.Rewritten]) -> list[Any]:
        with kind(self.twin) as second:
            return second.back(self.images, self.seed)[1]

    def _saliency(self) -> list[Any]:
        return self._plain

    def _guided_backprop(self) -> list[Any]:
        return self._guided

    def _deconvnet(self) -> list[Any]:
        return self._plain if self.species.warns else self._gradient(rewritten.Deconvnet)

    def _gradient_times_input(self) -> list[Any]:
        return [np.asarray(x) * g for x, g in zip(tree.flatten(self.images), self._plain, strict=True)]

    # --- class activation maps

    @cached_property
    def _at_layer(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the maps of the CAMs' layer, and their gradient."""
        with rewritten.Rewritten(self.twin) as second:
            (G,), _ = second.back(self.images, self.seed, [self.species.cam])
            return np.asarray(second.output_of(self.species.cam)), np.asarray(G)

    def _cam(self, method: str) -> np.ndarray:
        return rewritten.cam(method, *self._at_layer)

    def _guided_grad_cam(self) -> list[Any]:
        maps, rank = self._cam("guided_grad_cam"), self._at_layer[0].ndim
        return [
            np.asarray(g) * rewritten.resized(maps, tuple(g.shape[1:-1]))[..., None] if len(g.shape) == rank else g
            for g in self._guided
        ]

    # --- the others

    @cached_property
    def _sampled(self) -> SampledRoute:
        return SampledRoute(self.twin, self.images, self.seed, self.species.cam, self._probability)

    def _probability(self, logits: Any) -> Any:
        if self.species.head == "sigmoid":  # z of class 1, −z of class 0
            return tf.sigmoid(logits)
        return logits if logits.shape[-1] == 1 else tf.nn.softmax(tf.cast(logits, tf.float32))

    def _excitation(self, method: str) -> list[Any]:
        at = [self.species.cam] if "layer" in self.species.options else []
        is_contrastive = method == "contrastive_excitation_backprop"
        with rewritten.Contrastive(self.twin, self.images) if is_contrastive else rewritten.Excitation(self.twin) as second:
            at_layers, at_images = second.back(self.images, self.seed, at)
        found = [np.asarray(p).sum(-1) if len(p.shape) > 2 else np.asarray(p) for p in (at_layers or at_images)]
        return [np.maximum(p, 0) for p in found] if is_contrastive else found

    def _visual_backprop(self) -> list[Any]:
        with rewritten.Masks(self.twin) as second:
            return second.masks(self.images)


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
