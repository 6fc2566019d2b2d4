"""Every method on every species of model equals the second route, or raises the listed error."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from keras import tree
from support.explainers import KEYS
from support.purity import assert_untouched, snapshot
from support.second_route import EXACT, SecondRoute, assert_equal, build, call
from support.zoo import ZOO, Species

import tfviz
from tfviz.methods.compilation import CompiledFunctions


@pytest.fixture(scope="module", params=ZOO)
def species(request: pytest.FixtureRequest) -> Species:
    return ZOO[request.param]


@pytest.fixture(scope="module")
def model(species: Species) -> Any:
    return species.model()


@pytest.fixture(scope="module")
def images(species: Species, model: Any) -> Any:
    return species.images(model)


@pytest.fixture(scope="module")
def second(species: Species, model: Any, images: Any) -> SecondRoute:
    return SecondRoute(species, species.twin_of(model), images)


def tolerance_for(method: str, species: Species) -> float:
    """Return the tolerance, which is larger for differences of rounded scores."""
    is_difference = method in ("occlusion", "ablation_cam") and species.tolerance > EXACT
    return 5 * species.tolerance if is_difference else species.tolerance


@pytest.mark.parametrize("method", KEYS)
def test_every_method_is_correct_or_raises_the_documented_error(
    method: str, species: Species, model: Any, images: Any, second: SecondRoute
) -> None:
    before = snapshot(model)
    if method in species.errors:
        with pytest.raises(species.error, match=species.errors[method]):
            call(build(method, species, model), images, species.target)
    else:
        attribution = call(build(method, species, model), images, species.target)
        for got, want in zip(tree.flatten(attribution), second.maps(method), strict=True):
            assert got.dtype == tf.float32
            if method == "var_grad" and want is not None and got.shape.rank == 2:
                assert not np.any(want), "the gradient of a linear branch does not vary with the noise"
                assert np.max(np.abs(got)) < 1e-9
            elif method == "ablation_cam" and not np.any(want):  # no channel raises this score
                assert not np.any(got)
            else:
                assert_equal(got, want, tolerance_for(method, species))
    assert_untouched(model, before)


@pytest.mark.parametrize("method", ["saliency", "excitation_backprop", "visual_backprop"])
def test_maps_of_several_inputs_are_nested_like_the_inputs(method: str) -> None:
    species = ZOO["two images"]
    model = species.model()
    images = species.images(model)
    explainer = tfviz.METHODS[method](model)
    maps = call(explainer, images, 1)
    assert set(maps) == {"left", "right"}
    assert maps["left"].shape[:3] == maps["right"].shape[:3] == (2, 12, 10)
    batched = explainer.explain(images, 1 if explainer.takes_target else None, batch_size=1, verbose=0)
    for name, found in batched.items():
        np.testing.assert_allclose(found, maps[name], rtol=1e-4, atol=1e-6)


def test_a_vector_input_gets_one_number_per_element() -> None:
    model = ZOO["image and vector"].model()
    for method in ("saliency", "excitation_backprop"):
        image, vector = tfviz.METHODS[method](model)(ZOO["image and vector"].images(model), 1)
        assert image.shape[:3] == (2, 12, 10)
        assert vector.shape == (2, 5)


@pytest.mark.parametrize("name", ["outputs in a dict", "outputs in a list"])
def test_several_outputs_require_a_choice(name: str) -> None:
    model = ZOO[name].model()
    message = r"The model has 2 outputs\. Choose an output when you create the explainer \(output=0"
    with pytest.raises(tfviz.TargetError, match=message):
        tfviz.Saliency(model)(ZOO[name].images(model), 1)


def test_a_function_of_all_outputs_may_be_the_target() -> None:
    species = ZOO["outputs in a dict"]
    model = species.model()
    images = species.images(model)
    both = tfviz.Saliency(model)(images, lambda outputs: outputs["kind"][:, 1] + outputs["color"][:, 2])
    apart = tfviz.Saliency(model, output="kind")(images, 1) + tfviz.Saliency(model, output="color")(images, 2)
    np.testing.assert_allclose(both, apart, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["nested with augmentation", "layer over layers", "subclassed", "Lambda", "int8"])
@pytest.mark.parametrize("method", ["saliency", "guided_backprop", "grad_cam", "excitation_backprop"])
def test_a_model_is_untouched_after_a_failure_in_the_middle_of_a_trace(
    name: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    species = ZOO[name]
    model = species.model()
    images = species.images(model)
    before, want = snapshot(model), np.asarray(model(images, training=False))
    with monkeypatch.context() as patch:
        patch.setattr(CompiledFunctions, "compiled", failing_in_the_middle())
        with pytest.raises(ZeroDivisionError):
            call(tfviz.METHODS[method](model), images, 1)
    assert_untouched(model, before)
    np.testing.assert_array_equal(model(images, training=False), want)


def failing_in_the_middle() -> Any:
    """Patch `CompiledFunctions.compiled` so that the step in the middle of the graph fails."""
    compiled = CompiledFunctions.compiled

    def broken(self: CompiledFunctions, computation: Any, specs: Any, target: Any) -> Any:
        steps = computation.__self__.graph.steps
        vars(steps[len(steps) // 2])["compute"] = lambda inputs: 1 / 0
        return compiled(self, computation, specs, target)

    return broken


@pytest.mark.parametrize("name", ["sequential with Input", "layer over layers", "subclassed"])
def test_nothing_accumulates_over_200_calls(name: str) -> None:
    """New functions, nodes and objects slow tools down. `scripts/bench_calls` measures the time."""
    model = ZOO[name].model()
    images = ZOO[name].images(model)
    explainer = tfviz.GuidedBackprop(model)
    explainer(images, 1)
    before, compiled = snapshot(model), len(explainer._functions)
    objects = objects_after(lambda: explainer(images, 1), 5)
    assert objects_after(lambda: explainer(images, 1), 200) < objects + 100
    assert explainer.traces == 1
    assert len(explainer._functions) == compiled
    assert_untouched(model, before)


def objects_after(call: Callable[[], Any], times: int) -> int:
    for _ in range(times):
        call()
    gc.collect()
    return len(gc.get_objects())
