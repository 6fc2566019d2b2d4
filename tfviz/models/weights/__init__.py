"""Read weights files, check that they fit a network, and load them.

Each file format has its own module.
"""

from tfviz.models.weights.files import TRUNCATED, require_file
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
    "FOREIGN_EXTENSIONS",
    "TRUNCATED",
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
