"""Export explainers to folders that can be used without tfviz.

    export(explainer, "explainer/")        writes tfviz.json and the files of one of FORMATS
    load_explainer("explainer/")           loads a folder of any format

Each format is implemented by a module with three functions:

    check(explainer, **options)
        called before anything is written; raises an error if the format does not support the
        explainer
    write(explainer, folder, manifest, **options)
        writes the files to a new folder, and stores format-specific fields in manifest.extra
    read(folder, manifest, trusted) -> LoadedExplainer
        loads such a folder; raises an error if the program in an untrusted folder could do more
        than compute

The keyword arguments of `write` are the options of the format.
"""

from __future__ import annotations

import importlib
import inspect
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from tfviz.errors import ExportError, OptionError, near_matches, shown

if TYPE_CHECKING:  # the command line reads FORMATS for its help, which must be fast
    from tfviz.export.loading import LoadedExplainer
    from tfviz.images.preprocessing import Preprocessing
    from tfviz.methods.explainer import Explainer
    from tfviz.models.labels import LabelSource


@dataclass(frozen=True)
class Format:
    """An export format.

    Attributes:
        module: the module with `check`, `write` and `read`.
        description: a one-line description for tables of formats.
        extra: the extra in setup.cfg that installs the packages required by the format, or None.
        names_weights: whether the folder stores the model's original weights by name. If so,
            `export` does not freeze the explainer by default, because freezing changes the weights.
    """

    module: str
    description: str
    extra: str | None = None
    names_weights: bool = False

    def load(self) -> ModuleType:
        """Import the format's module."""
        return importlib.import_module(self.module)


FORMATS: dict[str, Format] = {
    "saved_model": Format("tfviz.export.saved_model", "TensorFlow SavedModel, for tf.saved_model.load and TensorFlow Serving"),
    "stablehlo": Format(
        "tfviz.export.stablehlo",
        "portable StableHLO and its weights, for JAX and other compilers",
        "stablehlo",
        names_weights=True,
    ),
    "litert": Format("tfviz.export.litert", "a .tflite file for LiteRT, on phones and small devices", "litert"),
    "onnx": Format("tfviz.export.onnx", "an .onnx file for onnxruntime", "onnx"),
}


# Reading and writing change process-wide settings, such as TensorFlow's log level, and restore them
# afterwards. Concurrent calls would overwrite each other's settings.
_LOCK = threading.RLock()


def format_named(key: str) -> Format:
    """Return the format for a key such as "saved_model". In keys, "-" and "_" are equivalent.

    Raise OptionError if there is no such format. The message suggests similar keys.
    """
    found = FORMATS.get(str(key).strip().lower().replace("-", "_"))
    if found is None:
        raise OptionError(f"Unknown export format {key!r}. {near_matches(str(key), FORMATS)}")
    return found


def export(
    explainer: Explainer,
    path: str | Path,
    *,
    format: str = "saved_model",
    overwrite: bool = False,
    preprocessing: str | Path | Preprocessing | None = None,
    labels: LabelSource = None,
    freeze: bool | None = None,
    **options: Any,
) -> Path:
    """Export an explainer atomically to a folder that can be used without tfviz.

    Args:
        explainer: an explainer for any method in `METHODS`. The model is not changed, and later
            changes to its weights do not affect the export.
        path: the folder to create.
        format: a key of FORMATS.
        overwrite: whether to replace an existing export once the new one is complete.
        preprocessing: the preprocessing, in any form that `load_model` accepts. None means the
            model's preprocessing, if any.
        labels: the class names, in any form that `load_model` accepts. None means the model's class
            names, if any.
        freeze: whether to freeze the explainer first, which folds BatchNormalizations (see
            `Explainer.freeze`). None means True, with two exceptions: "stablehlo", which stores the
            model's original weights by name, and models in half precision, whose constants would be
            rounded. Excitation backprop is never frozen: it also needs the unfolded kernels, so a
            frozen explainer would store weights twice.
        **options: the format's options (see `write` in its module).

    Returns:
        The folder.

    Raises:
        ExportError: the folder exists and may not be replaced, or the format does not support this
            explainer. The message states the reason.
        OptionError: the format or an option is unknown.
        MissingPackageError: the format needs a package that is not installed.
        OutputError: the folder cannot be written to.
    """
    from tfviz.export import folders
    from tfviz.export.signatures import is_model, manifest_of

    module = format_named(format).load()
    key = next(key for key, value in FORMATS.items() if value is format_named(format))
    _check_options(key, module, options)
    if freeze is None:
        freeze = not FORMATS[key].names_weights and _computes_in_float32(explainer)
    if freeze and is_model(explainer.model) and not explainer.reads_kernels:
        explainer = explainer.freeze()
    with _LOCK:
        folder = folders.destination(path, overwrite=overwrite)
        module.check(explainer, **options)
        manifest = manifest_of(explainer, key, preprocessing=preprocessing, labels=labels)
        with folders.atomic_folder(folder) as unfinished:
            module.write(explainer, unfinished, manifest, **options)
            manifest.note_files(unfinished)
            manifest.write(unfinished)
    return folder


def _computes_in_float32(explainer: Explainer) -> bool:
    from tfviz import keras_internals

    return all(layer.compute_dtype == "float32" for layer in keras_internals.layers_of(explainer.model))


def load_explainer(path: str | Path, *, trusted: bool = False) -> LoadedExplainer:
    """Load an exported explainer of any format. Call the result like the original explainer.

        explainer = tfviz.load_explainer("explainer/")
        attribution = explainer(images, target=281)                            # NumPy
        outputs, target, attribution = explainer.with_outputs(images)

    To load an untrusted folder, leave `trusted` unset. However, the results may be wrong, loading
    and running the explainer may use any amount of memory or time, and the runtimes that read the
    folder (TensorFlow, XLA, LiteRT, onnxruntime) are native code. If these risks matter, load the
    folder in a separate process or container.

    Args:
        path: the folder created by `explainer.export` or `tfviz export`.
        trusted: if True, the folder is loaded without checks. By default, every file must be
            unchanged since the export, and a SavedModel or StableHLO program may only contain
            operations that compute in memory. If it contains an operation that reads or writes
            files, opens connections or calls Python, an error is raised before TensorFlow or JAX
            loads the program.

    Returns:
        The explainer.

    Raises:
        ExportError: the folder contains no exported explainer, the explainer is damaged, or its
            program may do more than compute.
        MissingPackageError: the format needs a package that is not installed.
    """
    from tfviz.export.manifest import Manifest, reporting_damage

    folder = Path(path)
    manifest = Manifest.read(folder)
    if trusted:
        manifest.files = {}
    if manifest.format not in list(FORMATS):
        raise ExportError(
            f"{shown(folder)} contains an explainer in the format {manifest.format!r}, but this version of tfviz reads only "
            f"{', '.join(FORMATS)}. Export it again, or use the version of tfviz that wrote it."
        )
    manifest.require_regular(folder)
    with _LOCK, reporting_damage(folder):
        return FORMATS[manifest.format].load().read(folder, manifest, trusted)


def _check_options(key: str, module: ModuleType, options: Mapping[str, object]) -> None:
    _, _, _, *taken = inspect.signature(module.write).parameters
    for name in options:
        if name not in taken:
            known = near_matches(name, taken) if taken else "It has no options."
            raise OptionError(f"The export format {key!r} has no option {name!r}. {known}")
