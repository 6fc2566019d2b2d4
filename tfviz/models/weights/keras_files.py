"""Keras' own weights files: what is in them, whether it fits a network, and into the network with
it.

Keras overlooks arrays of a file that the network has no place for (VGG19 into a shorter network,
say) and stops at the first one missing. So the two sets of arrays are compared here, by shape,
before Keras loads anything.
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
from tfviz.models.weights.files import CUT_SHORT, beginning, require_file

if TYPE_CHECKING:
    import h5py
    import keras

_WEIGHTS = "model.weights.h5"  # in a .keras file
WEIGHTS_EXTENSIONS = (".weights.h5", ".h5", ".hdf5", ".keras")
Shape = tuple[int, ...]


def load_weights(model: keras.Model, path: str | Path, *, name: str | None = None) -> None:
    """Put the arrays of a .weights.h5, .h5 or .keras file into `model`, all of them or none.

    `name` is what a message calls the model. Raises WeightsError for a file that is missing, no
    weights file, cut short, or of another network; its message lists what is missing and what is
    too much.
    """
    name = name or model.name
    _require_fit(model_arrays(model), stored_arrays(path), shown(path), name)
    try:
        model.load_weights(str(path))
    except Exception as error:
        raise WeightsError(f"{shown(path)} does not fit {name}: {first_line(error)}") from error


def stored_arrays(path: str | Path) -> dict[str, Shape]:
    """The arrays in a weights file by name, with their shapes; the state of an optimizer is left
    out.
    """
    with open_hdf5(path) as file:
        try:
            return _arrays_in(file)
        except Exception as error:  # a damaged file fails in whatever its bytes ask for
            raise WeightsError(f"{shown(path)} {CUT_SHORT}") from error


def _arrays_in(file: h5py.File) -> dict[str, Shape]:
    import h5py

    arrays: dict[str, Shape] = {}

    def note(name: str, entry: object) -> None:
        if isinstance(entry, h5py.Dataset) and _is_weight(name, entry.shape):
            arrays[_readable(entry)] = entry.shape

    file.get("model_weights", file).visititems(note)
    return arrays


def model_arrays(model: keras.Model) -> dict[str, Shape]:
    """The arrays of a model by name, with their shapes, as `stored_arrays` gives those
    of a file.
    """
    shapes = {weight.path: tuple(weight.shape) for weight in model.weights}
    return {name: shape for name, shape in shapes.items() if _is_weight(name, shape)}


def _is_weight(name: str, shape: Shape) -> bool:
    """Not the optimizer's, and not a counter or the state of a random generator, which some
    versions store.
    """
    return not name.startswith("optimizer") and "seed_generator" not in name and len(shape) > 0


def _readable(dataset: h5py.Dataset) -> str:
    """ "layers/conv2d_3/vars/0" by the layer's own name, where the file tells it:
    "layers/conv2d_3/block2_conv1/0".
    """
    own, path = dataset.parent.attrs.get("name"), str(dataset.name).lstrip("/")
    return path.replace("/vars/", f"/{own}/") if isinstance(own, str) else path


def stored_class_count(model: keras.Model, path: str | Path) -> int | None:
    """The number of classes in the file, where it is all that tells it apart from `model`; None
    otherwise.

    Two networks of one architecture differ then in two arrays: the kernel of the last layer and its
    bias.
    """
    missing, extra = _difference(model_arrays(model), stored_arrays(path))
    of_model, of_file = sorted(missing.values(), key=len), sorted(extra.values(), key=len)
    if len(of_model) != 2 or len(of_file) != 2 or len(of_file[0]) != 1:
        return None
    (bias, kernel), classes = of_model, of_file[0][0]
    return classes if of_file[1] == (*kernel[:-1], classes) and kernel[-1:] == bias else None


def _difference(wanted: dict[str, Shape], there: dict[str, Shape]) -> tuple[dict[str, Shape], dict[str, Shape]]:
    """What `wanted` has more of than `there`, and the reverse.

    Layers that Keras named by counting may be called otherwise in the file, so shapes decide; but
    arrays of layers with one name are paired first, so that what remains is called by the right
    name.
    """
    wanted, there = _without_pairs(wanted, there, by_layer=True), _without_pairs(there, wanted, by_layer=True)
    return _without_pairs(wanted, there, by_layer=False), _without_pairs(there, wanted, by_layer=False)


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


def _require_fit(wanted: dict[str, Shape], there: dict[str, Shape], file: str, name: str) -> None:
    missing, extra = _difference(wanted, there)
    if not missing and not extra:
        return
    parts = [f"{what}: {_listed(arrays)}" for what, arrays in (("not in the file", missing), ("only there", extra)) if arrays]
    raise WeightsError(f"{file} holds the weights of another network than {name}; {'; '.join(parts)}.")


def _listed(arrays: dict[str, Shape], most: int = 4) -> str:
    shown_ones = ", ".join(f"{name} {shape}" for name, shape in list(arrays.items())[:most])
    return shown_ones + (f" and {len(arrays) - most} more" if len(arrays) > most else "")


@contextmanager
def open_hdf5(path: str | Path) -> Iterator[h5py.File]:
    """The HDF5 file, or the one inside a .keras file, open for reading.

    Raises WeightsError where there is none, where it reads from other files, or claims to hold far
    more than its size.
    """
    import h5py

    require_file(path, WEIGHTS_EXTENSIONS)
    with ExitStack() as stack:
        try:
            source: Any = path
            if Path(path).suffix == ".keras":
                archive = stack.enter_context(zipfile.ZipFile(path))
                require_plain_entries(archive, path)
                # HDF5 reads parts of an entry, and its checksum is of the whole
                if archive.testzip() is not None:
                    raise zipfile.BadZipFile
                source = stack.enter_context(archive.open(_WEIGHTS))
            file = stack.enter_context(h5py.File(source, "r"))
            require_own_data(file, path)
        except WeightsError:
            raise
        except Exception as error:  # a damaged file fails in whatever its bytes ask for
            raise WeightsError(f"{shown(path)} {_fault(path)}") from error
        yield file


def keras_2_config(path: str | Path, file: h5py.File) -> str | None:
    """The config, in JSON, of the model in a .keras file or an open .h5 file that Keras 2 or 1
    saved; None for any other.
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
    except Exception as error:  # a damaged file fails in whatever its bytes ask for
        raise WeightsError(f"{shown(path)} {CUT_SHORT}") from error
    if version[0] in "12":
        return config
    if lost:
        raise WeightsError(
            f"{shown(path)} cannot be opened: the layer '{lost['name']}' has axis={lost['axis']}, and Keras 3 reads one axis "
            "from its .h5 files. Save the model as .keras."
        )
    return None


def _lost_axes(value: Any) -> Iterator[dict[str, Any]]:
    """The configs of layers that Keras 3 would build with their default axis in place of several: those without a module."""
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
        return CUT_SHORT
    return f"is not a Keras file, whatever its name: {beginning(path)}."
