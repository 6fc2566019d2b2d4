"""Read mask images from a folder with one subfolder per class and one mask per image.

`masks/tabby/cat.png` is the mask for the class "tabby" in the image cat.jpg. Each subfolder's name
is a class index, a class name or a WordNet id. Pixels that are not black belong to the class.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from tfviz.errors import ImageError, OptionError, shown
from tfviz.images.files import read_image
from tfviz.images.folders import find_images
from tfviz.metrics.annotations.annotated_image import AnnotatedImage, AnnotatedObject, Size
from tfviz.metrics.annotations.classes import ClassNames


def read(folder: Path, names: ClassNames) -> list[AnnotatedImage]:
    """List the masks in a folder. The mask files are read only when needed.

    Args:
        folder: the folder.
        names: the model's classes.

    Returns:
        The images. Their names have no extension.

    Raises:
        OptionError: the folder has no subfolders.
        LabelsError: a subfolder is not named after one of the model's classes.
    """
    subfolders = sorted(one for one in folder.iterdir() if one.is_dir() and not one.name.startswith("."))
    if not subfolders:
        raise OptionError(
            f"The folder {shown(folder)} has neither Pascal VOC files (.xml) nor subfolders with masks. Sort the masks into "
            "one subfolder per class."
        )
    images: dict[str, AnnotatedImage] = {}
    for subfolder in subfolders:
        index = names.index(subfolder.name)
        for found in find_images(subfolder):
            name = found.relative.with_suffix("").as_posix()
            image = images.setdefault(name, AnnotatedImage(name, None, has_extension=False))
            image.objects.append(AnnotatedObject((index,), mask=partial(_mask, found.path)))
    return list(images.values())


def _mask(path: Path, _size: Size) -> np.ndarray:
    try:
        return np.any(read_image(path), axis=-1)
    except ImageError as error:
        raise OptionError(f"A mask cannot be read. {error}") from error
