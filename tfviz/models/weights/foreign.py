"""Build networks from torchvision's weights files and from .npy files for TensorFlow 1."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tfviz.errors import OptionError, WeightsError
from tfviz.images.files import shown
from tfviz.images.preprocessing import Preprocessing, Size
from tfviz.models import networks
from tfviz.models.weights import tensorflow_1, torchvision
from tfviz.models.weights.files import require_file
from tfviz.models.weights.filling import starting_from
from tfviz.models.weights.layouts import Layout
from tfviz.models.weights.npy import read_npy
from tfviz.models.weights.safetensors_files import read_safetensors
from tfviz.models.weights.torch_files import plain_names, read_checkpoint

if TYPE_CHECKING:
    import keras

_Reader = Callable[[str | Path], dict[str, np.ndarray]]
# Maps each file extension to the function that reads such a file and to the possible layouts, keyed
# by network.
_FORMATS: dict[str, tuple[_Reader, Mapping[str, Layout]]] = {
    ".npy": (read_npy, tensorflow_1.LAYOUTS),
    ".safetensors": (lambda path: plain_names(read_safetensors(path)), torchvision.LAYOUTS),
    ".pth": (lambda path: plain_names(read_checkpoint(path)), torchvision.LAYOUTS),
}
_FORMATS |= dict.fromkeys((".pt", ".pth.tar"), _FORMATS[".pth"])
FOREIGN_EXTENSIONS = tuple(_FORMATS)


def load_foreign(name: str, path: str | Path, size: Size | None = None) -> tuple[keras.Model, Preprocessing]:
    """Build a network with weights from another tool's file.

    Layer widths and the number of classes are inferred from the file.

    Args:
        name: the network's name, such as "VGG19".
        path: the weights file.
        size: the image size (height, width) in pixels. None means the default size.

    Returns:
        The network and its preprocessing.

    Raises:
        WeightsError: the file cannot be used, or its weights belong to another network.
        OptionError: the network does not support this image size.
        MissingPackageError: the package that reads the file is not installed.
    """
    require_file(path, FOREIGN_EXTENSIONS)
    read, layouts = _FORMATS[next(extension for extension in FOREIGN_EXTENSIONS if str(path).endswith(extension))]
    if name not in layouts:
        raise WeightsError(
            f"{shown(path)} cannot be loaded into {name}. Files of this format are supported only for {', '.join(layouts)}."
        )
    layout = layouts[name]
    size = _fitting_size(layout, size)
    arrays = read(path)
    shapes = {key: array.shape for key, array in arrays.items()}
    widths = layout.widths(shapes, networks.standard_widths(name))
    layout.require_fit(shapes, widths, shown(path), _hint(arrays, layouts))
    start: dict[str, dict[str, np.ndarray]] = {}
    for stored in layout.arrays:
        start.setdefault(stored.layer, {})[stored.weight] = stored.to_keras_order(arrays.pop(stored.name), widths)
    return networks.build(name, widths, size, starting_from(start)), layout.preprocessing(size)


def _fitting_size(layout: Layout, size: Size | None) -> Size:
    fixed = layout.fixed_size
    if fixed and size not in (None, fixed):
        raise OptionError(
            f"{layout.network} with trained weights supports only images of {fixed[0]}x{fixed[1]} pixels, because its first "
            "dense layer depends on the image size. Omit `size`."
        )
    return size or fixed or (224, 224)


def _hint(arrays: Mapping[str, np.ndarray], layouts: Mapping[str, Layout]) -> str:
    fitting = [name for name, layout in layouts.items() if layout.has_names(arrays)]
    return f"Its arrays belong to {fitting[0]}. Load it by that name." if fitting else "Load weights for the same network."
