"""Read Keras' own weights files, check that they fit a network, and load them.

Keras silently skips arrays that the network lacks, such as the additional arrays in a VGG19 file if
the network is VGG16, and stops at the first missing array. This module therefore compares the
shapes of the file's and the network's arrays before Keras loads anything.
"""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfviz.errors import WeightsError, first_line
from tfviz.images.files import shown
from tfviz.models.weights.containers import require_own_data, require_plain_entries
from tfviz.models.weights.files import TRUNCATED, beginning, require_file

if TYPE_CHECKING:
    import h5py
    import keras

_WEIGHTS = "model.weights.h5"  # inside a .keras file
WEIGHTS_EXTENSIONS = (".weights.h5", ".h5", ".hdf5", ".keras")
Shape = tuple[int, ...]


def load_weights(model: keras.Model, path: str | Path, *, name: str | None = None) -> None:
    """Load all weights from a .weights.h5, .h5 or .keras file into a model.

    Args:
        model: the model to load the arrays into.
        path: the file to read.
        name: the model's name in messages. None means `model.name`.

    Raises:
        WeightsError: the file is missing or truncated, is not a weights file, or contains weights
            for another network. In the last case, the message lists missing and unexpected arrays.
    """
    name = name or model.name
    _require_fit(model_arrays(model), stored_arrays(path), shown(path), name)
    try:
        model.load_weights(str(path))
    except Exception as error:
        raise WeightsError(f"The weights in {shown(path)} do not match {name}. Keras reports: {first_line(error)}") from error


def stored_arrays(path: str | Path) -> dict[str, Shape]:
    """Return the array shapes in a weights file, keyed by name.

    The optimizer's arrays are excluded.
    """
    with open_hdf5(path) as file:
        try:
            return _arrays_in(file)
        except Exception as error:  # a damaged file can raise anything
            raise WeightsError(f"{shown(path)} {TRUNCATED}") from error


def _arrays_in(file: h5py.File) -> dict[str, Shape]:
    import h5py

    arrays: dict[str, Shape] = {}

    def collect(name: str, entry: object) -> None:
        if isinstance(entry, h5py.Dataset) and _is_weight(name, entry.shape):
            arrays[_readable_name(entry)] = entry.shape

    file.get("model_weights", file).visititems(collect)
    return arrays


def model_arrays(model: keras.Model) -> dict[str, Shape]:
    """Return a model's array shapes, keyed by name, in the same form as `stored_arrays`."""
    shapes = {weight.path: tuple(weight.shape) for weight in model.weights}
    return {name: shape for name, shape in shapes.items() if _is_weight(name, shape)}


def _is_weight(name: str, shape: Shape) -> bool:
    """Return whether an array is a weight.

    Other arrays hold a counter, or the state of an optimizer or random number generator.
    """
    return not name.startswith("optimizer") and "seed_generator" not in name and len(shape) > 0


def _readable_name(dataset: h5py.Dataset) -> str:
    """Return the path of an array, with the layer's name if the file contains it.

    "layers/conv2d_3/vars/0" becomes "layers/conv2d_3/block2_conv1/0".
    """
    own, path = dataset.parent.attrs.get("name"), str(dataset.name).lstrip("/")
    return path.replace("/vars/", f"/{own}/") if isinstance(own, str) else path


def stored_class_count(model: keras.Model, path: str | Path) -> int | None:
    """Return the number of classes in the file if it is the only difference from the model.

    In that case, only two arrays differ: the last layer's kernel and bias. Otherwise, return None.
    """
    missing, unexpected = _difference(model_arrays(model), stored_arrays(path))
    of_model, of_file = sorted(missing.values(), key=len), sorted(unexpected.values(), key=len)
    if len(of_model) != 2 or len(of_file) != 2 or len(of_file[0]) != 1:
        return None
    (bias, kernel), classes = of_model, of_file[0][0]
    return classes if of_file[1] == (*kernel[:-1], classes) and kernel[-1:] == bias else None


def _difference(expected: dict[str, Shape], stored: dict[str, Shape]) -> tuple[dict[str, Shape], dict[str, Shape]]:
    """Return the arrays found only in `expected` and those found only in `stored`.

    Layers whose names Keras numbered may have different names in the file, so arrays are matched by
    shape. Arrays in layers with the same name are paired first, so that the remaining arrays are
    reported under the right names.
    """
    expected, stored = _without_pairs(expected, stored, by_layer=True), _without_pairs(stored, expected, by_layer=True)
    return _without_pairs(expected, stored, by_layer=False), _without_pairs(stored, expected, by_layer=False)


def _without_pairs(arrays: dict[str, Shape], others: dict[str, Shape], by_layer: bool) -> dict[str, Shape]:
    def key(name: str, shape: Shape) -> tuple[str, Shape]:
        return (name.split("/")[-2] if by_layer and "/" in name else "", shape)

    unpaired, left = Counter(key(*other) for other in others.items()), {}
    for name, shape in arrays.items():
        if unpaired[key(name, shape)]:
            unpaired[key(name, shape)] -= 1
        else:
            left[name] = shape
    return left


def _require_fit(expected: dict[str, Shape], stored: dict[str, Shape], file: str, name: str) -> None:
    missing, unexpected = _difference(expected, stored)
    if not missing and not unexpected:
        return
    parts = [f"{kind}: {_listed(arrays)}." for kind, arrays in (("Missing", missing), ("Unexpected", unexpected)) if arrays]
    raise WeightsError(f"The weights in {file} do not match {name}. {' '.join(parts)}")


def _listed(arrays: dict[str, Shape], most: int = 4) -> str:
    listed = ", ".join(f"{name} {shape}" for name, shape in list(arrays.items())[:most])
    return listed + (f" and {len(arrays) - most} more" if len(arrays) > most else "")


@contextmanager
def open_hdf5(path: str | Path) -> Iterator[h5py.File]:
    """Open an HDF5 file, or the HDF5 file inside a .keras file, for reading.

    Args:
        path: the .h5 or .keras file.

    Yields:
        The open file.

    Raises:
        WeightsError: the file is missing or damaged, is not a Keras file, refers to other files, or
            claims to contain far more data than its size allows.
    """
    import h5py

    require_file(path, WEIGHTS_EXTENSIONS)
    with ExitStack() as stack:
        try:
            source: Any = path
            if Path(path).suffix == ".keras":
                archive = stack.enter_context(zipfile.ZipFile(path))
                require_plain_entries(archive, path)
                # Verify the checksums first. They cover entire entries, but HDF5 reads only parts
                # of an entry.
                if archive.testzip() is not None:
                    raise zipfile.BadZipFile
                source = stack.enter_context(archive.open(_WEIGHTS))
            file = stack.enter_context(h5py.File(source, "r"))
            require_own_data(file, path)
        except WeightsError:
            raise
        except Exception as error:  # a damaged file can raise anything
            raise WeightsError(f"{shown(path)} {_fault(path)}") from error
        yield file


def keras_2_config(path: str | Path, file: h5py.File) -> str | None:
    """Return the model config (JSON) from a .keras or .h5 file saved by Keras 1 or 2.

    Args:
        path: the file.
        file: the open HDF5 file.

    Returns:
        The config, or None if another version saved the file or the file has no config.

    Raises:
        WeightsError: the file is damaged, or Keras 3 saved it as .h5 and cannot restore all axes of
            a layer from it.
    """
    try:
        if Path(path).suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                version = str(json.loads(archive.read("metadata.json"))["keras_version"])
                return archive.read("config.json").decode() if version[0] in "12" else None
        if "model_config" not in file.attrs:
            return None
        version, config = str(file.attrs.get("keras_version", "1")), str(file.attrs["model_config"])
        lost = next(_lost_axes(json.loads(config)), None)
    except Exception as error:  # a damaged file can raise anything
        raise WeightsError(f"{shown(path)} {TRUNCATED}") from error
    if version[0] in "12":
        return config
    if lost:
        raise WeightsError(
            f"{shown(path)} cannot be opened. Layer '{lost['name']}' has axis={lost['axis']}, but Keras 3 reads only "
            "one axis from an .h5 file. Save the model as .keras."
        )
    return None


def _lost_axes(value: Any) -> Iterator[dict[str, Any]]:
    """Yield the configs of layers with several axes that Keras 3 cannot restore.

    For layers saved without a "module" key, Keras 3 would silently use a default axis instead.
    """
    if isinstance(value, list):
        for part in value:
            yield from _lost_axes(part)
    elif isinstance(value, dict):
        config = value.get("config")
        if "class_name" in value and "module" not in value and isinstance(config, dict):
            axis = config.get("axis")
            if isinstance(axis, list) and len(axis) > 1:
                yield config
        for part in value.values():
            yield from _lost_axes(part)


def _fault(path: str | Path) -> str:
    with Path(path).open("rb") as file:
        start = file.read(12)
    if start.startswith((b"PK", b"\x89HDF")):
        return TRUNCATED
    return f"is not a Keras file. {beginning(path)}. Pass a file saved by Keras."
