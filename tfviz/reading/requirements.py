"""The Keras and TensorFlow that tfviz needs."""

from __future__ import annotations

import keras
import tensorflow as tf

from tfviz.errors import UnsupportedModelError


def require_tensorflow(model: object = None) -> None:
    """Raise for another Keras backend, disabled eager execution, or a Keras 2 model."""
    if keras.backend.backend() != "tensorflow":
        raise UnsupportedModelError(
            f"tfviz needs Keras with the TensorFlow backend, but the backend is {keras.backend.backend()}. Set the environment "
            "variable KERAS_BACKEND=tensorflow before importing keras, and load the model again. The model file needs no "
            "conversion."
        )
    if not tf.compat.v1.executing_eagerly_outside_functions():
        raise UnsupportedModelError(
            "tfviz needs TensorFlow's eager execution, but it is disabled. Remove tf.compat.v1.disable_eager_execution() or "
            "tf.compat.v1.disable_v2_behavior()."
        )
    if not isinstance(model, keras.Layer) and any(cls.__module__.startswith("tf_keras.") for cls in type(model).__mro__):
        raise UnsupportedModelError(
            f"'{getattr(model, 'name', 'model')}' is a Keras 2 model (tf_keras), but tfviz reads Keras 3 models. Save it with "
            "model.save('model.h5') and load it with tfviz.load_model('model.h5')."
        )
