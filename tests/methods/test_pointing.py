"""The packaged network on new two-object scenes: does a map point at the requested object?"""

from __future__ import annotations

import cv2
import numpy as np
import pytest

import tfviz
from tfviz.models import load_model, preprocessing_of
from tfviz.shapes import KINDS, draw_scene

SCENES = 200


@pytest.fixture(scope="module")
def model():
    return load_model("shapes")


@pytest.fixture(scope="module")
def scenes(model):
    """Return new scenes with two kinds of object, images (N, H, W, 3) and classes (N, 2)."""
    rng = np.random.default_rng(20_000)
    drawn = [draw_scene(rng, [str(kind) for kind in rng.choice(KINDS, 2, replace=False)]) for _ in range(SCENES)]
    images = np.stack([preprocessing_of(model).tensor(scene.image) for scene in drawn])
    return drawn, images, np.array([[thing.label for thing in scene.objects] for scene in drawn])


def full_size(attribution, scene):
    """Resize a map to the image size, without channels."""
    values = np.abs(attribution).max(axis=-1) if attribution.ndim == 3 else attribution
    height, width = scene.image.shape[:2]
    return cv2.resize(values, (width, height), interpolation=cv2.INTER_CUBIC) if values.shape != (height, width) else values


def hits(maps, drawn, which):
    """Return the fraction of scenes in which the maximum lies on object `which`."""
    return np.mean(
        [scene.objects[which].mask.flat[full_size(one, scene).argmax()] for one, scene in zip(maps, drawn, strict=True)]
    )


def astray(maps, drawn, which):
    """Return the fraction of the map on the two objects that lies on the other one."""
    shares = []
    for one, scene in zip(maps, drawn, strict=True):
        values = full_size(one, scene).clip(0)
        own, other = (values[scene.objects[i].mask].sum() for i in (which, 1 - which))
        shares.append(other / max(own + other, 1e-30))
    return np.mean(shares)


def measured(model, scenes, key, **options):
    """Return the fractions of hits and of astray attribution, for the farther and nearer object."""
    drawn, images, classes = scenes
    explainer = tfviz.METHODS[key](model, **options)
    maps = [explainer.explain(images, classes[:, which], verbose=0) for which in (0, 1)]
    return [(hits(maps[which], drawn, which), astray(maps[which], drawn, which)) for which in (0, 1)]


def test_the_contrastive_map_points_at_the_object_asked_for(model, scenes):
    for hit, other in measured(model, scenes, "contrastive_excitation_backprop"):
        assert hit >= 0.9
        assert other <= 0.05


def test_the_contrast_removes_the_other_object(model, scenes):
    plain = measured(model, scenes, "excitation_backprop")
    contrastive = measured(model, scenes, "contrastive_excitation_backprop")
    for (_, before), (_, after) in zip(plain, contrastive, strict=True):
        assert after < before / 3


def test_every_map_points_better_than_the_center(model, scenes):
    drawn, _, _ = scenes
    center = np.zeros(drawn[0].image.shape[:2])
    center[center.shape[0] // 2, center.shape[1] // 2] = 1
    for key in ("grad_cam", "guided_backprop", "excitation_backprop"):
        for which, (hit, _) in enumerate(measured(model, scenes, key)):
            assert hit > 2 * hits([center] * SCENES, drawn, which)
