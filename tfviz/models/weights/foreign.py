"""Networks from the weights of other tools: torchvision's (.pth, .safetensors), and the
TensorFlow-1 world's (.npy).
"""

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
# The file extension -> how the file is read, and what kinds of it there are.
_FORMATS: dict[str, tuple[_Reader, Mapping[str, Layout]]] = {
    ".npy": (read_npy, tensorflow_1.LAYOUTS),
    ".safetensors": (lambda path: plain_names(read_safetensors(path)), torchvision.LAYOUTS),
    ".pth": (lambda path: plain_names(read_checkpoint(path)), torchvision.LAYOUTS),
}
_FORMATS |= dict.fromkeys((".pt", ".pth.tar"), _FORMATS[".pth"])
FOREIGN_EXTENSIONS = tuple(_FORMATS)


def load_foreign(name: str, path: str | Path, size: Size | None = None) -> tuple[keras.Model, Preprocessing]:
    """The network `name`, such as "VGG19", with the weights in a file of another tool, and its
    preprocessing.

    The widths of the layers and the number of classes are the file's. `size` is (height, width) in
    pixels.

    Raises WeightsError for a file that cannot be used or is of another network, OptionError for a
    size that the network cannot take, MissingPackageError where reading the file needs one.
    """
    require_file(path, FOREIGN_EXTENSIONS)
    read, layouts = _FORMATS[next(extension for extension in FOREIGN_EXTENSIONS if str(path).endswith(extension))]
    if name not in layouts:
        raise WeightsError(f"{shown(path)}: such files can be loaded for {', '.join(layouts)}; not for {name}.")
    layout = layouts[name]
    size = _fitting_size(layout, size)
    arrays = read(path)
    shapes = {key: array.shape for key, array in arrays.items()}
    widths = layout.widths(shapes, networks.standard_widths(name))
    layout.require_fit(shapes, widths, shown(path), _hint(arrays, layouts))
    start: dict[str, dict[str, np.ndarray]] = {}
    for stored in layout.arrays:
        start.setdefault(stored.layer, {})[stored.weight] = stored.turned(arrays.pop(stored.name), widths)
    return networks.build(name, widths, size, starting_from(start)), layout.preprocessing(size)


def _fitting_size(layout: Layout, size: Size | None) -> Size:
    own = layout.fixed_size
    if own and size not in (None, own):
        raise OptionError(
            f"{layout.network} with trained weights takes {own[0]}x{own[1]} pixels only: its first dense layer counts them."
        )
    return size or own or (224, 224)


def _hint(arrays: Mapping[str, np.ndarray], layouts: Mapping[str, Layout]) -> str:
    fitting = [name for name, layout in layouts.items() if layout.is_fit(arrays)]
    return f" It looks like {fitting[0]}: load it by that name." if fitting else ""
