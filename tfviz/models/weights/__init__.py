"""Weights files: what is in them, whether they fit a network, and into the network with them. A file for each format."""

from tfviz.models.weights.files import CUT_SHORT, require_file
from tfviz.models.weights.foreign import FOREIGN_EXTENSIONS, load_foreign
from tfviz.models.weights.keras_files import (
    WEIGHTS_EXTENSIONS,
    keras_2_config,
    load_weights,
    model_arrays,
    open_hdf5,
    stored_arrays,
    stored_class_count,
)

__all__ = [
    "CUT_SHORT",
    "FOREIGN_EXTENSIONS",
    "WEIGHTS_EXTENSIONS",
    "keras_2_config",
    "load_foreign",
    "load_weights",
    "model_arrays",
    "open_hdf5",
    "require_file",
    "stored_arrays",
    "stored_class_count",
]
