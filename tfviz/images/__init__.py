"""Read, write, find, batch and preprocess images."""

from tfviz.images.files import MAX_SIDE_PX, MIN_SIDE_PX, read_image, read_written, require_image, shown, write_image
from tfviz.images.folders import FoundImage, find_images
from tfviz.images.image_array import LoadedImages
from tfviz.images.preprocessing import Preprocessing

__all__ = [
    "MAX_SIDE_PX",
    "MIN_SIDE_PX",
    "FoundImage",
    "LoadedImages",
    "Preprocessing",
    "find_images",
    "read_image",
    "read_written",
    "require_image",
    "shown",
    "write_image",
]
