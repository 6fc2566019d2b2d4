"""Models by name or from a file, and what is known about them: their preprocessing and their labels.

A keras.Model holds neither its preprocessing nor the names of its classes. Both are kept here, keyed weakly by the model:
the model itself is not changed, and the entry disappears with it.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tfviz.errors import (
    ImageError,
    LabelsError,
    OptionError,
    TfvizError,
    UnsupportedModelError,
    WeightsError,
    first_line,
    near_matches,
    warn,
)
from tfviz.images.files import read_image, shown
from tfviz.images.folders import find_images
from tfviz.images.image_array import LoadedImages, loaded
from tfviz.images.preprocessing import Preprocessing, Size, named, preprocessing_from
from tfviz.models.architectures import ARCHITECTURES, OWN_ARCHITECTURES, Architecture, find_architecture
from tfviz.models.labels import Labels, imagenet_labels, labels_from
from tfviz.models.weights import (
    CUT_SHORT,
    FOREIGN_EXTENSIONS,
    WEIGHTS_EXTENSIONS,
    keras_2_config,
    load_foreign,
    load_weights,
    open_hdf5,
    require_file,
    stored_class_count,
)
from tfviz.shapes import MODEL_PATH

if TYPE_CHECKING:
    import keras

PACKAGED = "shapes"
MODEL_EXTENSIONS = (".keras", ".h5", ".hdf5")
_PACKAGED_FOLDER = MODEL_PATH.parent
_IMAGENET_CLASSES = 1000


@dataclass(frozen=True)
class _Notes:
    preprocessing: Preprocessing | None = None
    is_preprocessing_given: bool = False
    labels: Callable[[], Labels] = Labels


_notes: weakref.WeakKeyDictionary[keras.Model, _Notes] = weakref.WeakKeyDictionary()


def load_model(
    name_or_path: str | Path,
    *,
    weights: str | Path | None = "imagenet",
    preprocessing: Preprocessing | str | Path | None = None,
    labels: Labels | Sequence[str] | str | Path | None = None,
    size: Size | None = None,
) -> keras.Model:
    """A network by name or from a file; `preprocessing_of` and `labels_of` know it afterwards.

    name_or_path: a network of keras.applications ("vgg16", "ResNet50", "mobilenet_v2"), "vgg16_bn" or "vgg19_bn" (with
        batch normalization), "shapes" (the small one that comes with tfviz), or a .keras or .h5 file.
    weights: for a network by name "imagenet" (fetched by Keras), None (random), or a file, whose number of classes is
        taken: Keras' .weights.h5, .h5 or .keras; torchvision's VGG16, VGG19 (both also with batch normalization) and
        ResNet50 as .safetensors, .pth, .pt or .pth.tar (needs PyTorch); the vgg16.npy and vgg19.npy of TensorFlow 1.
        For a model file, Keras' weights replace those in it.
    preprocessing: "tf", "torch", "caffe", "unit", "none", a JSON file, or a Preprocessing. By default that of
        the name, or of the weights of another tool. A model file has none: its images are fed as RGB in 0..255.
    labels: a labels file, or the names. By default ImageNet's for 1000 classes of a network of keras.applications.
    size: (height, width) in pixels, for a network that can take more than one.

    Raises WeightsError for what cannot be loaded, MissingPackageError where PyTorch is needed, OptionError for a size or
    preprocessing that does not fit, and LabelsError for labels that do not.
    """
    architecture = find_architecture(str(name_or_path))
    if architecture:
        model, own = _build(architecture, weights, size)
        preprocessing = preprocessing or own
    else:
        path = _model_file(name_or_path)
        model = _open(path)
        if weights is not None and weights != "imagenet":
            load_weights(model, weights, name=shown(path))
        if path.parent == _PACKAGED_FOLDER:
            preprocessing = preprocessing or path.with_suffix(".json")
            labels = path.with_suffix(".json") if labels is None else labels
    names = labels_from(labels)
    _check_labels(names, model, labels)
    is_imagenet = architecture and weights and labels is None and model.output_shape[-1] == _IMAGENET_CLASSES
    _notes[model] = _Notes(
        _fitted(model, preprocessing, size),
        preprocessing is not None,
        imagenet_labels if is_imagenet else lambda: names,
    )
    return model


def preprocessing_of(model: keras.Model) -> Preprocessing:
    """The preprocessing that `load_model` noted for the model, or else "none" (RGB in 0..255) at the model's own size.

    Raises UnsupportedModelError for a model that does not take one image, OptionError where it takes channels that
    images do not have.
    """
    known = _notes.get(model, _Notes()).preprocessing
    return known or named("none", *_image_input(model))


def is_preprocessing_known(model: keras.Model) -> bool:
    """Whether the preprocessing was given, by the architecture or by the caller of `load_model`."""
    return _notes.get(model, _Notes()).is_preprocessing_given


def labels_of(model: keras.Model) -> Labels:
    """The names of the model's classes, as far as known. May look for ImageNet's in the network, for some seconds."""
    if model not in _notes and _is_imagenet_application(model):
        return imagenet_labels()
    return _notes.get(model, _Notes()).labels()


def _is_imagenet_application(model: keras.Model) -> bool:
    """Whether keras.applications itself built the model, with ImageNet's classes, as far as its name says."""
    name = re.sub(r"[\W_]", "", model.name.lower())
    is_known = len(name) >= _SHORTEST_NAME and any(known.startswith(name) or name.startswith(known) for known in _APPLICATIONS)
    return is_known and [tensor.shape[-1] for tensor in getattr(model, "outputs", None) or ()] == [_IMAGENET_CLASSES]


_APPLICATIONS = tuple(map(str.lower, ARCHITECTURES))  # a model's own name has more, "mobilenetv2_1.00_224", or less, "NASNet"
_SHORTEST_NAME = 5


def load_images(paths: str | Path | Iterable[str | Path], for_: keras.Model | Preprocessing) -> LoadedImages:
    """The images in image files, and in folders of them (walked, sorted), as `for_`, a model or a Preprocessing, takes them.

    Returns float32 (N, height, width, channels): an array that also carries the RGB images that it was made from, in
    `.pictures`, uint8 (N, height, width, 3). `overlay`, `plot` and `SnapshotCallback` draw those.

    Warns, once for each model, where no preprocessing is known for it. Raises ImageError for a file that cannot be used,
    and for images of several sizes where `for_` sets none.
    """
    named_paths = [paths] if isinstance(paths, (str, Path)) else list(paths)
    if not named_paths:
        raise ImageError("Expected at least one image file; got none.")
    preprocessing = for_ if isinstance(for_, Preprocessing) else preprocessing_for_files(for_)
    files = [file for path in named_paths for file in _files_at(Path(path))]
    tensors, pictures = [], []
    for file in files:
        rgb = read_image(file)
        tensors.append(preprocessing.tensor(rgb))
        pictures.append(preprocessing.resized_picture(rgb))
        if tensors[-1].shape != tensors[0].shape:
            sizes = f"{shown(files[0])} is {tensors[0].shape[:2]}, {shown(file)} is {tensors[-1].shape[:2]}"
            raise ImageError(f"Images of one batch must have one size (height, width): {sizes}. Give a size to resize them to.")
    return loaded(np.stack(tensors), np.stack(pictures))


def preprocessing_for_files(model: keras.Model) -> Preprocessing:
    """As `preprocessing_of`, with a warning, once for each model, where it is not known."""
    preprocessing = preprocessing_of(model)
    if not is_preprocessing_known(model) and model not in _warned:
        _warned.add(model)
        warn(
            f"No preprocessing is known for the model '{model.name}'; images are fed as RGB in 0-255. If it takes other "
            'numbers, pass preprocessing="unit" (0-1), "tf", "torch" or "caffe" to tfviz.load_model, or give load_images a '
            'tfviz.images.Preprocessing in place of the model. If 0-255 is right, pass "none".'
        )
    return preprocessing


_warned: weakref.WeakSet[keras.Model] = weakref.WeakSet()


def _files_at(path: Path) -> list[Path]:
    return [found.path for found in find_images([path])] if path.is_dir() else [path]


def _build(
    architecture: Architecture, weights: str | Path | None, size: Size | None
) -> tuple[keras.Model, str | Preprocessing]:
    """The network, and the preprocessing that belongs to the weights."""
    if weights is not None and str(weights).endswith(FOREIGN_EXTENSIONS):
        return load_foreign(architecture.name, weights, size)
    return _build_as_keras_does(architecture, weights, size), architecture.mode


def _build_as_keras_does(architecture: Architecture, weights: str | Path | None, size: Size | None) -> keras.Model:
    if weights is None:
        return architecture.build(size=size)
    if weights == "imagenet":
        return _with_imagenet_weights(architecture, size or architecture.size)
    require_file(weights, (*WEIGHTS_EXTENSIONS, *FOREIGN_EXTENSIONS))
    with open_hdf5(weights):  # says what is wrong with the file before some seconds are spent on the network
        pass
    model = architecture.build(size=size)
    if classes := stored_class_count(model, weights):
        model = architecture.build(classes=classes, size=size)
    load_weights(model, weights, name=architecture.name)
    return model


def _with_imagenet_weights(architecture: Architecture, size: Size) -> keras.Model:
    if not architecture.is_in_keras:
        raise WeightsError(
            f"Keras has no ImageNet weights of {architecture.name} to fetch. Pass a file, such as torchvision's: "
            "weights=FILE, or --weights FILE on the command line."
        )
    try:
        model = architecture.build("imagenet")
    except Exception as error:  # Keras raises a bare Exception where the network fails
        raise WeightsError(
            f"The ImageNet weights of {architecture.name} cannot be fetched ({first_line(error)}). Fetch that file on "
            "another machine and pass it: weights=FILE, or --weights FILE on the command line."
        ) from error
    if size == architecture.size:
        return model
    resized = architecture.build(size=size)
    if [weight.shape for weight in resized.weights] != [weight.shape for weight in model.weights]:
        own = "x".join(map(str, architecture.size))
        raise OptionError(
            f"{architecture.name} with ImageNet weights takes {own} pixels only: its first dense layer counts them."
        )
    resized.set_weights(model.get_weights())
    return resized


def _model_file(name_or_path: str | Path) -> Path:
    if str(name_or_path) == PACKAGED:
        return _PACKAGED_FOLDER / f"{PACKAGED}.keras"
    path = Path(name_or_path)
    if path.is_dir():
        raise WeightsError(f"{shown(path)} is a folder; expected {_EXPECTED}. Save the model as .keras.")
    if not path.exists():
        hint = "" if path.suffix else f" {near_matches(str(name_or_path).lower(), _NAMES)}"
        raise WeightsError(f"There is no network and no file {shown(path)!r}; expected {_EXPECTED}.{hint}")
    if not path.name.endswith(MODEL_EXTENSIONS) or path.name.endswith(".weights.h5"):
        raise WeightsError(f"{shown(path)} is not a whole model; expected {_EXPECTED}. {_FOR_WEIGHTS}")
    return path


_NAMES = (PACKAGED, *map(str.lower, (*ARCHITECTURES, *OWN_ARCHITECTURES)))
_EXPECTED = f'a name of keras.applications such as "vgg16", "{PACKAGED}", or a file {" or ".join(MODEL_EXTENSIONS[:2])}'
_FOR_WEIGHTS = "For a file of weights, give the network's name, and the file as weights."


def _open(path: Path) -> keras.Model:
    try:
        with open_hdf5(path) as file:  # says plainly what is wrong with a file that is none, or cut short
            if path.suffix != ".keras" and "model_config" not in file.attrs:
                raise WeightsError(f"{shown(path)} holds weights, but no network. {_FOR_WEIGHTS}")
            old = keras_2_config(path, file)
            if old is not None:
                from tfviz.models.weights import keras_2

                return keras_2.load(old, file)
        import keras

        return keras.models.load_model(path, compile=False)
    except UnsupportedModelError as error:
        raise UnsupportedModelError(f"{shown(path)} cannot be opened: {error}") from error
    except TfvizError:
        raise
    except OSError as error:  # of HDF5, which has no other
        raise WeightsError(f"{shown(path)} {CUT_SHORT}") from error
    except Exception as error:
        raise WeightsError(
            f"{shown(path)} cannot be opened: {first_line(error)} If the model has layers of your own, or Lambda "
            "layers that you trust, open it with keras.models.load_model and its custom_objects or safe_mode, and "
            "give the model itself to tfviz."
        ) from error


def _fitted(model: keras.Model, given: Preprocessing | str | Path | None, size: Size | None) -> Preprocessing | None:
    if given is None and size is None:
        return None
    own, channels = _image_input(model)
    if size and own not in (None, size):
        raise OptionError(f"The model takes images of {own} (height, width) only; got size={size}.")
    if not isinstance(given, Preprocessing):
        given = preprocessing_from(given or "none", own, channels)
    return (replace(given, size=size) if size else given).for_input(own, channels)


def _image_input(model: keras.Model) -> tuple[Size | None, int]:
    """The size (None: any) and the number of channels of the images that the model takes."""
    shapes = [tuple(tensor.shape) for tensor in getattr(model, "inputs", None) or ()]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][3] is None:
        came = ", ".join(map(str, shapes)) or "none that is declared"
        raise UnsupportedModelError(
            f"Images from files can be given to a model with one input (batch, height, width, channels); this one's "
            f"inputs: {came}. From Python, give the arrays themselves."
        )
    _, height, width, channels = shapes[0]
    return ((height, width) if height and width else None), channels


def _check_labels(names: Labels, model: keras.Model, source: object) -> None:
    classes = {tensor.shape[-1] for tensor in getattr(model, "outputs", None) or () if tensor.shape}
    if names.names and not classes & {len(names), None, 1}:
        raise LabelsError(
            f"The labels ({source if isinstance(source, (str, Path)) else 'given'}) are {len(names)} names; "
            f"the model has {' and '.join(map(str, sorted(classes)))} outputs."
        )
