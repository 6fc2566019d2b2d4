"""Load models by name or from a file and look up their preprocessing and labels.

A keras.Model stores neither its preprocessing nor its class names. This module keeps both in a
`WeakKeyDictionary` keyed by model. The model itself is not changed, and its entry is removed when
the model is deleted.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
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
from tfviz.models.architectures import ARCHITECTURES, OWN_ARCHITECTURES, Architecture, channels_last, find_architecture
from tfviz.models.labels import Labels, imagenet_labels, labels_from
from tfviz.models.weights import (
    FOREIGN_EXTENSIONS,
    TRUNCATED,
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
class ModelNotes:
    """The data that `load_model` records for a model.

    Attributes:
        preprocessing: the model's preprocessing.
        is_preprocessing_given: whether the architecture or the caller defined the preprocessing.
        labels: the model's labels. None means ImageNet's labels, which are downloaded when needed.
    """

    preprocessing: Preprocessing | None = None
    is_preprocessing_given: bool = False
    labels: Labels | None = field(default_factory=Labels)


_notes: weakref.WeakKeyDictionary[keras.Model, ModelNotes] = weakref.WeakKeyDictionary()


def notes_of(model: object) -> ModelNotes | None:
    """Return the data recorded for a model, or None. Use `set_notes` to share it with a copy."""
    import keras

    return _notes.get(model) if isinstance(model, keras.Model) else None


def set_notes(model: keras.Model, notes: ModelNotes) -> None:
    """Record data for a model. For a copy of a model, pass the original model's data."""
    _notes[model] = notes


def load_model(
    name_or_path: str | Path,
    *,
    weights: str | Path | None = "imagenet",
    preprocessing: Preprocessing | str | Path | None = None,
    labels: Labels | Sequence[str] | str | Path | None = None,
    size: Size | None = None,
) -> keras.Model:
    """Load a network by name or from a file and record its preprocessing and labels.

    Afterward, `preprocessing_of` and `labels_of` return the recorded values.

    Args:
        name_or_path: the name of a keras.applications network ("vgg16", "ResNet50",
            "mobilenet_v2"), "vgg16_bn" or "vgg19_bn" (with batch normalization), "shapes" (the
            small network that comes with tfviz), or a .keras or .h5 file.
        weights: for a network that is loaded by name, "imagenet" (Keras downloads the weights),
            None (random weights), or a file, which also determines the number of classes. The file
            may be a .weights.h5, .h5 or .keras file from Keras, torchvision's weights for ResNet50,
            VGG16 or VGG19 (each VGG with or without batch normalization), or vgg16.npy or vgg19.npy
            for TensorFlow 1. torchvision's weights may be a .safetensors, .pth, .pt or .pth.tar
            file. Of these, only .safetensors does not require PyTorch. For a model file, `weights`
            is a Keras weights file that replaces the stored weights.
        preprocessing: "tf", "torch", "caffe", "unit", "none", a JSON file, or a Preprocessing. None
            means the network's default or, for another tool's weights, that tool's default. A model
            file has no default, so the model receives images as RGB values in 0-255.
        labels: a labels file, or the names in output order. If None, a network that is loaded by
            name with trained weights and 1000 classes gets ImageNet's names.
        size: the image size (height, width) in pixels, for a network that supports several sizes.

    Returns:
        The model.

    Raises:
        WeightsError: the model or its weights cannot be loaded.
        MissingPackageError: the weights need PyTorch, which is not installed.
        OptionError: the size or the preprocessing does not fit the model.
        LabelsError: the labels do not fit the model.
        UnsupportedModelError: Keras' backend is not TensorFlow, or eager execution is disabled.
    """
    from tfviz.keras_internals import require_tensorflow

    require_tensorflow()
    architecture = find_architecture(str(name_or_path))
    if architecture:
        with channels_last():
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
    _notes[model] = ModelNotes(
        _fitted(model, preprocessing, size),
        preprocessing is not None,
        None if is_imagenet else names,
    )
    return model


def preprocessing_of(model: keras.Model) -> Preprocessing:
    """Return a model's preprocessing.

    Args:
        model: the model. Its preprocessing is known only if `load_model` loaded the model.

    Returns:
        The model's preprocessing. If it is unknown, this is "none" (RGB values in 0-255) at the
        model's input size.

    Raises:
        UnsupportedModelError: the model does not have a single image input.
        OptionError: image files cannot be read with the model's number of channels.
    """
    known = _notes.get(model, ModelNotes()).preprocessing
    return known or named("none", *_image_input(model))


def is_preprocessing_known(model: keras.Model) -> bool:
    """Return whether the architecture or the caller of `load_model` set the preprocessing."""
    return _notes.get(model, ModelNotes()).is_preprocessing_given


def known_preprocessing(model: object) -> Preprocessing | None:
    """Return the model's preprocessing, or None if it is unknown."""
    import keras

    return preprocessing_of(model) if isinstance(model, keras.Model) and is_preprocessing_known(model) else None


def labels_of(model: keras.Model) -> Labels:
    """Return a model's class names, if they are known.

    This function may download ImageNet's names, which takes at most a few seconds.

    Args:
        model: the model.

    Returns:
        The labels, which are empty if the class names are unknown.
    """
    if model not in _notes and _is_imagenet_application(model):
        return imagenet_labels()
    labels = _notes.get(model, ModelNotes()).labels
    return imagenet_labels() if labels is None else labels


def _is_imagenet_application(model: keras.Model) -> bool:
    """Return whether the model's name and outputs match one of Keras' ImageNet networks."""
    name = re.sub(r"[\W_]", "", model.name.lower())
    is_known = len(name) >= _MIN_NAME_LENGTH and any(
        known.startswith(name) or name.startswith(known) for known in _APPLICATIONS
    )
    return is_known and [tensor.shape[-1] for tensor in getattr(model, "outputs", None) or ()] == [_IMAGENET_CLASSES]


# A model's name may be longer than its network's name, as in "mobilenetv2_1.00_224", or shorter, as
# in "NASNet".
_APPLICATIONS = tuple(map(str.lower, ARCHITECTURES))
_MIN_NAME_LENGTH = 5


def load_images(paths: str | Path | Iterable[str | Path], for_: keras.Model | Preprocessing) -> LoadedImages:
    """Load images from files and folders and preprocess them for a model.

    If the model's preprocessing is unknown, this function issues a warning once per model.

    Args:
        paths: image files, and folders, which are searched recursively in sorted order.
        for_: a model, or a Preprocessing.

    Returns:
        A float32 array of shape (N, height, width, channels). Its attribute `pictures` contains the
        RGB images before preprocessing as a uint8 array of shape (N, height, width, 3). `overlay`,
        `plot` and `SnapshotCallback` draw on these images.

    Raises:
        ImageError: a file cannot be used, or the images differ in size and `for_` does not set a
            size.
    """
    named_paths = [paths] if isinstance(paths, (str, Path)) else list(paths)
    if not named_paths:
        raise ImageError("Expected at least one image file. Received: none. Pass image files or folders.")
    preprocessing = for_ if isinstance(for_, Preprocessing) else preprocessing_for_files(for_)
    files = [file for path in named_paths for file in _files_at(Path(path))]
    tensors, pictures = [], []
    for file in files:
        rgb = read_image(file)
        tensors.append(preprocessing.tensor(rgb))
        pictures.append(preprocessing.resized_picture(rgb))
        if tensors[-1].shape != tensors[0].shape:
            sizes = f"{shown(files[0])} is {tensors[0].shape[:2]}, {shown(file)} is {tensors[-1].shape[:2]}"
            raise ImageError(
                f"All images in a batch must have the same size (height, width). Received: {sizes}. Pass a Preprocessing with "
                "a size."
            )
    return loaded(np.stack(tensors), np.stack(pictures))


def preprocessing_for_files(model: keras.Model) -> Preprocessing:
    """Return a model's preprocessing. If it is unknown, issue a warning once per model."""
    preprocessing = preprocessing_of(model)
    if not is_preprocessing_known(model) and model not in _warned:
        _warned.add(model)
        warn(
            f"No preprocessing is known for the model '{model.name}', so images are passed as RGB values in 0-255. If the "
            'model expects other values, pass preprocessing="unit" (0-1), "tf", "torch" or "caffe" to tfviz.load_model, or a '
            'tfviz.images.Preprocessing to load_images instead of the model. If 0-255 is correct, pass preprocessing="none".'
        )
    return preprocessing


_warned: weakref.WeakSet[keras.Model] = weakref.WeakSet()


def _files_at(path: Path) -> list[Path]:
    return [found.path for found in find_images([path])] if path.is_dir() else [path]


def _build(
    architecture: Architecture, weights: str | Path | None, size: Size | None
) -> tuple[keras.Model, str | Preprocessing]:
    """Build the network and return it with the preprocessing required by its weights."""
    if weights is not None and str(weights).endswith(FOREIGN_EXTENSIONS):
        return load_foreign(architecture.name, weights, size)
    return _build_with_keras_weights(architecture, weights, size), architecture.mode


def _build_with_keras_weights(architecture: Architecture, weights: str | Path | None, size: Size | None) -> keras.Model:
    if weights is None:
        return architecture.build(size=size)
    if weights == "imagenet":
        return _with_imagenet_weights(architecture, size or architecture.size)
    require_file(weights, (*WEIGHTS_EXTENSIONS, *FOREIGN_EXTENSIONS))
    # Building the network takes seconds, so report an unreadable file first.
    with open_hdf5(weights):
        pass
    model = architecture.build(size=size)
    if classes := stored_class_count(model, weights):
        model = architecture.build(classes=classes, size=size)
    load_weights(model, weights, name=architecture.name)
    return model


def _with_imagenet_weights(architecture: Architecture, size: Size) -> keras.Model:
    if not architecture.is_in_keras:
        raise WeightsError(
            f"Keras does not provide ImageNet weights for {architecture.name}. Pass a weights file, such as torchvision's: "
            "weights=FILE (--weights FILE on the command line)."
        )
    try:
        model = architecture.build("imagenet")
    except Exception as error:  # Keras raises a bare Exception if the download fails
        raise WeightsError(
            f"The ImageNet weights for {architecture.name} cannot be downloaded ({first_line(error)}). Download the file on "
            "another machine, and pass it: weights=FILE (--weights FILE on the command line)."
        ) from error
    if size == architecture.size:
        return model
    resized = architecture.build(size=size)
    if [weight.shape for weight in resized.weights] != [weight.shape for weight in model.weights]:
        own = "x".join(map(str, architecture.size))
        raise OptionError(
            f"{architecture.name} with ImageNet weights supports only images of {own} pixels, because its first dense layer "
            "depends on the image size. Omit `size`."
        )
    resized.set_weights(model.get_weights())
    return resized


def _model_file(name_or_path: str | Path) -> Path:
    if str(name_or_path) == PACKAGED:
        return _PACKAGED_FOLDER / f"{PACKAGED}.keras"
    path = Path(name_or_path)
    if path.is_dir():
        raise WeightsError(
            f"{shown(path)} is a folder, not a model file. Expected {_EXPECTED}. Save the model as a .keras file."
        )
    if not path.exists():
        hint = "" if path.suffix else f" {near_matches(str(name_or_path).lower(), _NAMES)}"
        raise WeightsError(f"{shown(path)!r} is neither the name of a network nor a file. Expected {_EXPECTED}.{hint}")
    if not path.name.endswith(MODEL_EXTENSIONS) or path.name.endswith(".weights.h5"):
        raise WeightsError(f"{shown(path)} is not a complete model. Expected {_EXPECTED}. {_WEIGHTS_ADVICE}")
    return path


_NAMES = (PACKAGED, *map(str.lower, (*ARCHITECTURES, *OWN_ARCHITECTURES)))
_EXPECTED = (
    f'a network from keras.applications such as "vgg16", the name "{PACKAGED}", or a {" or ".join(MODEL_EXTENSIONS[:2])} file'
)
_WEIGHTS_ADVICE = "To load a weights file, pass the network's name, and pass the file as `weights`."


def _open(path: Path) -> keras.Model:
    try:
        # This raises a clear error if the file is truncated or in another format.
        with open_hdf5(path) as file:
            if path.suffix != ".keras" and "model_config" not in file.attrs:
                raise WeightsError(f"{shown(path)} contains weights but no network. {_WEIGHTS_ADVICE}")
            old = keras_2_config(path, file)
            if old is not None:
                from tfviz.models.weights import keras_2

                return keras_2.load(old, file)
        import keras

        return keras.models.load_model(path, compile=False)
    except UnsupportedModelError as error:
        raise UnsupportedModelError(f"{shown(path)} cannot be opened. {error}") from error
    except TfvizError:
        raise
    except OSError as error:  # HDF5 raises only this type
        raise WeightsError(f"{shown(path)} {TRUNCATED}") from error
    except Exception as error:
        raise WeightsError(
            f"{shown(path)} cannot be opened. Keras reports: {_reason(error)} If the model has custom layers, or "
            "Lambda layers that you trust, open it with keras.models.load_model and its custom_objects or safe_mode, "
            "and pass the model itself to tfviz."
        ) from error


def _reason(error: BaseException) -> str:
    """Return the message of the first exception in a chain."""
    while (before := error.__cause__ or error.__context__) is not None:
        error = before
    return first_line(error).split(" Full object config")[0]


def _fitted(model: keras.Model, given: Preprocessing | str | Path | None, size: Size | None) -> Preprocessing | None:
    if given is None and size is None:
        return None
    own, channels = _image_input(model)
    if size and own not in (None, size):
        raise OptionError(f"The model supports only images of {own} (height, width). Received: size={size}. Omit `size`.")
    if not isinstance(given, Preprocessing):
        given = preprocessing_from(given or "none", own, channels)
    return (replace(given, size=size) if size else given).for_input(own, channels)


def _image_input(model: keras.Model) -> tuple[Size | None, int]:
    """Return a model's image size (None for any size) and number of input channels."""
    shapes = [tuple(tensor.shape) for tensor in getattr(model, "inputs", None) or ()]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][3] is None:
        received = ", ".join(map(str, shapes)) or "none declared"
        raise UnsupportedModelError(
            "Image files can be loaded only for models with one input (batch, height, width, channels). This model's inputs: "
            f"{received}. In Python, pass arrays instead."
        )
    _, height, width, channels = shapes[0]
    return ((height, width) if height and width else None), channels


def _check_labels(names: Labels, model: keras.Model, source: object) -> None:
    classes = {tensor.shape[-1] for tensor in getattr(model, "outputs", None) or () if tensor.shape}
    if names.names and not classes & {len(names), None, 1}:
        raise LabelsError(
            f"The number of labels must equal the number of outputs, {' or '.join(map(str, sorted(classes)))}. "
            f"Received: {len(names)} ({source if isinstance(source, (str, Path)) else 'passed as names'}). Pass one "
            "name per output."
        )
