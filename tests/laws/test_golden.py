"""The public classes against float64 answers on small networks and published steering masks."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.golden import GOLDEN, golden

import tfviz
from tfviz.graph.backprop import inputs_of, run
from tfviz.graph.logits import scored
from tfviz.methods.baselines import baseline_for
from tfviz.methods.explainer import Explainer
from tfviz.methods.interpolation import resized_and_cropped
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


class Later:
    """The arrays of NAME.methods.npz, and the same from tfviz."""

    def __init__(self, shared: Path, name: str) -> None:
        self.model, arrays = golden(shared, name)
        self.images, self.target = arrays["images"], arrays["target"]
        self.arrays = dict(np.load(shared / "golden" / f"{name}.methods.npz"))

    def got(self, key: str) -> np.ndarray:
        method, _, part = key.partition("/")
        special = getattr(self, key.replace("/", "_"), getattr(self, method, None))
        return attribution(self.model, key, self.images, self.target) if special is None else special(part)

    def explained(self, explainer: Explainer) -> np.ndarray:
        return explainer(self.images, self.target).numpy()

    def path(self, baseline: str) -> tfviz.IntegratedGradients:
        stored = baseline == "mean"  # the images' own means, not a mean of training data
        return tfviz.IntegratedGradients(self.model, baseline=self.arrays["baseline/mean"] if stored else baseline)

    def integrated_gradients(self, baseline: str) -> np.ndarray:
        return self.explained(self.path(baseline))

    def completeness(self, baseline: str) -> np.ndarray:
        explainer = self.path(baseline)
        return explainer.completeness_error(self.images, self.explained(explainer), self.target)

    def baseline(self, name: str) -> np.ndarray:
        return np.broadcast_to(baseline_for(name, self.model, tf.constant(self.images)), self.images.shape)

    def expected_gradients(self, _: str) -> np.ndarray:
        backgrounds, positions = (self.arrays[f"expected_gradients/{one}"] for one in ("backgrounds", "alphas"))
        return self.explained(tfviz.ExpectedGradients(self.model, backgrounds, positions=positions))

    def expected_gradients_background_index(self, _: str) -> np.ndarray:
        explainer = tfviz.ExpectedGradients(self.model, self.arrays["expected_gradients/backgrounds"])
        return explainer.path()[0].numpy()

    def noise_sigma(self, _: str) -> np.ndarray:
        explainer = tfviz.SmoothGrad(self.model, draws=self.arrays["noise"])
        context, _ = explainer.start([tf.constant(self.images)], {}, None)
        return context["0"].numpy().ravel()

    def smooth_grad(self, base: str) -> np.ndarray:
        return self.explained(tfviz.SmoothGrad(self.model, base, draws=self.arrays["noise"]))

    def square_grad(self, base: str) -> np.ndarray:
        return self.explained(tfviz.SquareGrad(self.model, base, draws=self.arrays["noise"]))

    def var_grad(self, base: str) -> np.ndarray:
        return self.explained(tfviz.VarGrad(self.model, base, draws=self.arrays["noise"]))

    def rise(self, _: str) -> np.ndarray:
        return self.explained(tfviz.RISE(self.model, masks=self.arrays["rise/masks"]))

    def rise_masks(self, _: str) -> np.ndarray:
        size = self.images.shape[1:3]
        grids, offsets = tf.constant(self.arrays["rise/grids"], tf.float32), tf.constant(self.arrays["rise/offsets"], tf.int32)
        return resized_and_cropped(grids, [8 * -(-n // 7) for n in size], offsets, size).numpy()

    def score_cam_softmax(self, layer: str) -> np.ndarray:
        return self.explained(tfviz.ScoreCAM(self.model, layer, weights="softmax"))

    def grad_cam_product(self, names: str) -> np.ndarray:
        return self.explained(tfviz.GradCAM(self.model, names.strip("[]").split(","), combine="product"))

    def against(self, _: str) -> np.ndarray:
        return tfviz.Saliency(self.model)(self.images, tfviz.Against(self.target)).numpy()

    def against_classes(self, _: str) -> np.ndarray:
        return tfviz.Against(self.target).choose(self._logits())[1].numpy()

    def against_score(self, _: str) -> np.ndarray:
        return tfviz.Against(self.target)(self._logits()).numpy()

    def _logits(self) -> tf.Tensor:
        graph = scored(graph_of(self.model), "logits")
        return run(inputs_of(graph, [tf.constant(self.images)]), graph.before(graph.outputs))[graph.outputs[0]]


# What the other arrays were computed from, and what describes them.
GIVEN = ("expected_gradients/backgrounds", "expected_gradients/alphas", "noise", "rise/grids", "rise/offsets", "baseline/mean")


@pytest.mark.parametrize("name", GOLDEN)
def test_every_golden_array_of_the_later_methods_is_reproduced(name: str, shared: Path) -> None:
    later = Later(shared, name)
    for key, want in later.arrays.items():
        if key not in GIVEN and key.split("/")[0] != "singular_ratio":
            # a completeness error is a ratio of small differences
            tolerance = 1e-3 if key.startswith("completeness/") else TOLERANCE * abs(want).max()
            np.testing.assert_allclose(later.got(key), want, rtol=0, atol=tolerance, err_msg=f"{name} {key}")


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
