"""Small classifiers for metrics, and cases on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers

from support import networks
from tfviz.metrics.forward_passes import ForwardPasses
from tfviz.metrics.metric import Case, Metric, Score
from tfviz.metrics.pixel_maps import pixel_map
from tfviz.metrics.pixel_order import tie_permutation

COLOR = np.array([0.3, -0.1, 0.2], np.float32)
CLASSES = 4


def classifier(activation: str | None = "softmax", size: tuple[int, int] = (13, 17), units: int = CLASSES) -> keras.Model:
    model = keras.Sequential([
        keras.Input((*size, 3)),
        layers.Conv2D(6, 3, activation="relu", name="conv"),
        layers.Conv2D(6, 3, strides=2, activation="relu", name="top"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(units, activation=activation, name="head"),
    ])  # fmt: skip
    return networks.with_random_weights(model, 3)


def case(model: keras.Model, image: np.ndarray, values: np.ndarray, target: int = 1, **changes: Any) -> Case:
    logits, probabilities = ForwardPasses(model).all_classes(image[None])[:, 0, target]
    arguments = {
        "image": image,
        "target": target,
        "logit": float(logits),
        "probability": float(probabilities),
        "map": pixel_map(values),
        "explain": lambda images: [pixel_map(values) for _ in images],
        "mean_color": COLOR,
        "permutation": tie_permutation(image.shape[:2], 0),
    }
    return Case(**(arguments | changes))


def scored(model: keras.Model, metric: Metric, one: Case) -> dict[str, Score]:
    outputs = ForwardPasses(model, batch_size=one.batch_size).one_class(metric.perturbed(one), one.target)
    return metric.scores(one, outputs)


def value(model: keras.Model, metric: Metric, one: Case, key: str | None = None) -> float:
    return scored(model, metric, one)[key or metric.key].value


def logit_of(model: keras.Model, target: int) -> Callable[[np.ndarray], float]:
    """The logit of a class of a `classifier` without a last activation."""
    return lambda image: float(model(image[None].astype(np.float32))[0, target])


def probability_of(model: keras.Model, target: int) -> Callable[[np.ndarray], float]:
    """The probability of a class of a `classifier` with a softmax."""
    return lambda image: float(model(image[None].astype(np.float32))[0, target])
