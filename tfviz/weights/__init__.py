"""Weights files: what is in them, whether they fit a network, and into the network with them. A file for each format."""

from tfviz.weights.files import require_file
from tfviz.weights.foreign import FOREIGN_SUFFIXES, load_foreign
from tfviz.weights.keras_files import (
    WEIGHTS_SUFFIXES,
    first_line,
    load_weights,
    model_arrays,
    open_hdf5,
    stored_arrays,
    stored_class_count,
)

__all__ = [
    "FOREIGN_SUFFIXES",
    "WEIGHTS_SUFFIXES",
    "first_line",
    "load_foreign",
    "load_weights",
    "model_arrays",
    "open_hdf5",
    "require_file",
    "stored_arrays",
    "stored_class_count",
]
