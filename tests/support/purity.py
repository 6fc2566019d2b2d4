"""Everything that a user could find changed in a model, compared before and after."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from support import networks


def parts(model: Any) -> list[Any]:
    """Return the model and everything in it, at any depth, including operations of the graph."""
    found = [model]
    for part in found:
        inside = [*getattr(part, "operations", []), *getattr(part, "layers", []), getattr(part, "_functional", None)]
        found += [x for x in inside if x is not None and not any(x is known for known in found)]
    return found


def snapshot(model: Any) -> dict[str, Any]:
    """Record everything that a user could find changed."""
    inside = parts(model)
    return {
        "variables": [variable.numpy().tobytes() for variable in model.variables],
        "config": model.get_config(),
        "nodes": [(part.name, len(part._inbound_nodes), len(part._outbound_nodes)) for part in inside],
        "trainable": [getattr(part, "trainable", None) for part in inside],
        "calls": [getattr(part, "call", None) for part in inside],
        "losses": [float(loss) for loss in model.losses],
        "compiled": model.compiled,
    }


def assert_untouched(model: Any, before: dict[str, Any]) -> None:
    after = snapshot(model)
    for what, was in before.items():
        assert after[what] == was, what


def regularized() -> keras.Model:
    """A nested model with all kinds of losses, a frozen layer, BatchNormalization, randomness."""
    inner = keras.Sequential([layers.RandomFlip(), layers.GaussianNoise(0.1), layers.Rescaling(0.5)], name="inner")
    model = keras.Sequential([
        keras.Input((14, 14, 3)),
        inner,
        layers.Conv2D(6, 3, kernel_regularizer="l2", activity_regularizer="l1", name="conv"),
        layers.BatchNormalization(activity_regularizer="l2", name="norm"),
        layers.ReLU(name="relu"),
        layers.ActivityRegularization(0.1),
        layers.GlobalAveragePooling2D(),
        layers.Dense(4, activation="softmax"),
    ])  # fmt: skip
    model.get_layer("conv").trainable = False
    model.compile("sgd", "sparse_categorical_crossentropy")
    networks.with_random_weights(model, 0)
    model(networks.pictures(model))  # Leaves losses behind, which belong to the user.
    return model
