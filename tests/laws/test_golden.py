"""The public classes against float64 answers on small networks and published steering masks."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from support.golden import GOLDEN, golden

import tfviz
from tfviz.graph.backprop import inputs_of, run
from tfviz.graph.logits import scored
from tfviz.reading.reader import graph_of

TOLERANCE = 1e-4  # relative to the largest value
MASK_TOLERANCE = 1e-3


def attribution(model: keras.Model, key: str, images: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the attribution for a key such as "excitation_backprop/c1/merge"."""
    method, layer, *rest = [*key.split("/"), "images"][:3]
    options = {} if layer == "images" else {"layer": layer}
    if method.endswith("excitation_backprop"):
        options |= {"sum_channels": False, "merge_batch_norm": rest == ["merge"]}
    explainer = tfviz.METHODS[method](model, **options)
    return explainer(images, target if explainer.takes_target else None).numpy()


@pytest.mark.parametrize("name", GOLDEN)
def test_every_golden_array_is_reproduced(name: str, shared: Path) -> None:
    model, arrays = golden(shared, name)
    images, target = arrays.pop("images"), arrays.pop("target")
    del arrays["logits"]
    for key, want in arrays.items():
        got = attribution(model, key, images, target)
        np.testing.assert_allclose(got, want, rtol=0, atol=TOLERANCE * abs(want).max(), err_msg=f"{name} {key}")


@pytest.mark.parametrize("name", GOLDEN)
def test_every_golden_array_of_the_later_methods_is_met(name: str, shared: Path) -> None:
    model, arrays = golden(shared, name)
    later = dict(np.load(shared / "golden" / f"{name}.methods.npz"))
    for key, want in later.items():
        if key.split("/")[0] in tfviz.METHODS:
            got = attribution(model, key, arrays["images"], arrays["target"])
            np.testing.assert_allclose(got, want, rtol=0, atol=TOLERANCE * abs(want).max(), err_msg=f"{name} {key}")


@pytest.mark.parametrize("name", GOLDEN)
def test_the_score_is_the_golden_logits(name: str, shared: Path) -> None:
    model, arrays = golden(shared, name)
    graph = scored(graph_of(model), "logits")
    values = run(inputs_of(graph, [arrays["images"]]), graph.before(graph.outputs))
    (output,) = graph.outputs
    np.testing.assert_allclose(values[output], arrays["logits"], rtol=0, atol=TOLERANCE * abs(arrays["logits"]).max())


def steering(shared: Path) -> tuple[keras.Model, dict[str, np.ndarray]]:
    road = dict(np.load(shared / "data" / "driving" / "reference.npz"))
    return keras.models.load_model(shared / "data" / "models" / "pilotnet_steering.keras", compile=False), road


def test_the_road_images_get_the_published_masks(shared: Path) -> None:
    model, road = steering(shared)
    masks = tfviz.VisualBackProp(model)(road["images"][..., None])
    np.testing.assert_allclose(masks, road["masks"], rtol=0, atol=MASK_TOLERANCE)


def test_the_steering_network_with_masks_gives_the_same_before_and_after_it_is_saved(shared: Path, tmp_path: Path) -> None:
    model, road = steering(shared)
    images = road["images"][..., None]
    built = tfviz.with_visual_backprop(model)
    built.save(tmp_path / "steering.keras")
    for two in (built, keras.models.load_model(tmp_path / "steering.keras")):
        angles, masks = two.predict(images, verbose=0)
        np.testing.assert_allclose(masks, road["masks"], rtol=0, atol=MASK_TOLERANCE)
        np.testing.assert_allclose(angles[:, 0], road["angles"], atol=MASK_TOLERANCE)
