"""Each kind of network has the same maps when it is nested, Sequential or subclassed."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.kinds import KINDS, WAYS, Kind, built
from support.purity import assert_untouched, snapshot
from support.tape import compiled_gradient

import tfviz


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture(scope="module")
def plain(kind: Kind) -> keras.Model:
    return built(kind)


@pytest.fixture(scope="module")
def maps(kind: Kind, plain: keras.Model) -> dict[str, np.ndarray]:
    return {method: explained(method, plain, kind) for method in kind.methods}


def explained(method: str, model: keras.Model, kind: Kind) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # guided backprop without ReLUs
        explainer = tfviz.METHODS[method](model)
    return explainer(kind.images(), kind.target(kind.images()) if explainer.takes_target else None).numpy()


def assert_close(got: Any, want: np.ndarray, label: str = "") -> None:
    assert np.ptp(want) > 0, f"{label} is constant, which proves nothing"
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * abs(want).max(), err_msg=label)


def test_saliency_is_the_gradient_of_the_model(kind: Kind, plain: keras.Model) -> None:
    target = kind.target(kind.images())

    score = kind.score or (target if callable(target) else lambda outputs: outputs[:, target])

    def total(images: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(score(plain(images)))

    got = tfviz.Saliency(plain, score="outputs")(kind.images(), target)
    assert_close(got, np.asarray(compiled_gradient(total, kind.images())))


@pytest.mark.parametrize("way", WAYS)
def test_the_maps_are_the_same_in_every_way_of_building(
    way: str, kind: Kind, plain: keras.Model, maps: dict[str, np.ndarray]
) -> None:
    model = WAYS[way](kind)
    model.set_weights(plain.get_weights())
    before = snapshot(model)
    for method, want in maps.items():
        assert_close(explained(method, model, kind), want, method)
    for method, message in kind.errors.items():
        with pytest.raises(tfviz.UnsupportedModelError, match=message):
            explained(method, model, kind)
    assert_untouched(model, before)
