"""Load models by name or from a file, with their preprocessing and class labels."""

from tfviz.models.loading import (
    PACKAGED,
    is_preprocessing_known,
    known_preprocessing,
    labels_of,
    load_images,
    load_model,
    preprocessing_of,
)

__all__ = [
    "PACKAGED",
    "is_preprocessing_known",
    "known_preprocessing",
    "labels_of",
    "load_images",
    "load_model",
    "preprocessing_of",
]
