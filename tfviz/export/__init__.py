"""Explainers that leave Python: a folder that explains pictures without tfviz.

    export(explainer, "explainer/")        tfviz.json, and the files of one of FORMATS
    load_explainer("explainer/")           any of them again, behind one call

A format is a module with three functions:

    check(explainer, **options)                       raises, before anything is written, where the format cannot do it
    write(explainer, folder, manifest, **options)     fills a fresh folder; what only this format knows goes to manifest.extra
    read(folder, manifest, trusted) -> LoadedExplainer         opens such a folder, and unless it is trusted, refuses one
                                                      that could do more than compute

The keyword arguments of `write` are the options that the format takes.
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

if TYPE_CHECKING:  # The command line reads FORMATS for its help, and shall not wait for more.
    from tfviz.export.loading import LoadedExplainer
    from tfviz.images.preprocessing import Preprocessing
    from tfviz.methods.explainer import Explainer
    from tfviz.models.labels import LabelSource


@dataclass(frozen=True)
class Format:
    """One way to export. `says` is a line for tables; `extra`: the extra of setup.cfg that it needs."""

    module: str
    says: str
    extra: str | None = None

    def load(self) -> ModuleType:
        """The module with `check`, `write` and `read`."""
        return importlib.import_module(self.module)


FORMATS: dict[str, Format] = {
    "saved_model": Format("tfviz.export.saved_model", "TensorFlow SavedModel, for tf.saved_model.load and TensorFlow Serving"),
    "stablehlo": Format(
        "tfviz.export.stablehlo", "portable StableHLO and its weights, for JAX and other compilers", "stablehlo"
    ),
    "litert": Format("tfviz.export.litert", "a .tflite file for LiteRT, on phones and small devices", "litert"),
    "onnx": Format("tfviz.export.onnx", "an .onnx file for onnxruntime", "onnx"),
}


# Writing a file sets what belongs to the whole process, such as TensorFlow's log level, and puts it back; so does opening one.
# Two at a time would put back what the other one had set.
_ONE_AT_A_TIME = threading.RLock()


def format_named(key: str) -> Format:
    """The format for a key such as "saved_model"; "-" counts as "_". Raises OptionError with the near matches."""
    found = FORMATS.get(str(key).strip().lower().replace("-", "_"))
    if found is None:
        raise OptionError(f"There is no format {key!r} to export to. {near_matches(str(key), FORMATS)}")
    return found


def export(
    explainer: Explainer,
    path: str | Path,
    *,
    format: str = "saved_model",
    overwrite: bool = False,
    preprocessing: str | Path | Preprocessing | None = None,
    labels: LabelSource = None,
    **options: Any,
) -> Path:
    """Writes an explainer to a folder that runs without tfviz, whole or not at all.

    Args:
        explainer: any explainer of `METHODS`. Its weights are those of this moment; the model is left as it is.
        path: the folder to make.
        format: one of FORMATS.
        overwrite: True replaces an exported explainer; the old one stays until the new one is whole.
        preprocessing: how the model wants its pictures, as for `load_model`; by default what is known of the model.
        labels: the names of the classes, as for `load_model`; by default those that are known.
        **options: the format's own; see `write` in its module.

    Returns: the folder.

    Raises:
        ExportError: a folder that exists, or an explainer that this format cannot hold; the message says why.
        OptionError: an unknown format or option.
        MissingPackageError: a format that needs a package that is not installed.
        OutputError: a place that cannot be written.
    """
    from tfviz.export import folders
    from tfviz.export.signatures import manifest_of

    module = format_named(format).load()
    key = next(key for key, value in FORMATS.items() if value is format_named(format))
    _check_options(key, module, options)
    with _ONE_AT_A_TIME:
        folder = folders.destination(path, overwrite=overwrite)
        module.check(explainer, **options)
        manifest = manifest_of(explainer, key, preprocessing=preprocessing, labels=labels)
        with folders.written_whole(folder) as unfinished:
            module.write(explainer, unfinished, manifest, **options)
            manifest.note_files(unfinished)
            manifest.write(unfinished)
    return folder


def load_explainer(path: str | Path, *, trusted: bool = False) -> LoadedExplainer:
    """An exported explainer, of any format, behind the call of the one that it was made of.

        explainer = tfviz.load_explainer("explainer/")
        attribution = explainer(images, target=281)                            # NumPy
        outputs, target, attribution = explainer.with_outputs(images)

    Args:
        path: the folder that `explainer.export` or `tfviz export` made.
        trusted: True loads the folder as it is. By default every file must be the one that was exported, and a SavedModel or
            StableHLO program must consist of operations that compute in memory: those that read or write files, open
            connections or call Python are refused by name, before TensorFlow or JAX sees them.

    A folder from a stranger may be loaded without `trusted`. Its numbers may still be wrong, it may still take all memory
    or time, and the runtimes that read it (TensorFlow, XLA, LiteRT, onnxruntime) are native code: where that matters, load
    it in a process or container of its own.

    Raises:
        ExportError: the folder holds no exported explainer, a damaged one, or one that may do more than compute.
        MissingPackageError: the format needs a package that is not installed.
    """
    from tfviz.export.manifest import Manifest, whole

    folder = Path(path)
    manifest = Manifest.read(folder)
    if trusted:
        manifest.files = {}
    if manifest.format not in list(FORMATS):
        raise ExportError(
            f"{shown(folder)} holds an explainer of the format {manifest.format!r}, which this tfviz does not know; it reads "
            f"{', '.join(FORMATS)}. Export it again, or use the tfviz that wrote it."
        )
    manifest.require_regular(folder)
    with _ONE_AT_A_TIME, whole(folder):
        return FORMATS[manifest.format].load().read(folder, manifest, trusted)


def _check_options(key: str, module: ModuleType, options: Mapping[str, object]) -> None:
    _, _, _, *taken = inspect.signature(module.write).parameters
    for name in options:
        if name not in taken:
            known = near_matches(name, taken) if taken else "It takes none."
            raise OptionError(f"The format {key!r} has no option {name!r}. {known}")
