"""Read and write tfviz.json, which describes an exported explainer.

Every format stores this file next to the model. It describes the inputs, the outputs and the
preprocessing, so the folder can be used without other documentation.
"""

from __future__ import annotations

import hashlib
import json
import keyword
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tfviz.atomic_files import write_atomically
from tfviz.errors import ExportError, TfvizError, first_line, shown
from tfviz.export.manifest_schema import manifest_fault
from tfviz.images.preprocessing import Preprocessing
from tfviz.runs.regular_files import open_regular, read_regular

FILE_NAME = "tfviz.json"
FORMAT_VERSION = 1
# Model inputs and outputs must not have these names, because tfviz uses them for its own arguments
# and results.
_RESERVED = ("outputs", "target", "weights", "attribution", "image_bytes", "size", "overlay_bytes")
_MAX_BYTES = 64 << 20  # the maximum size of tfviz.json, which consists mostly of labels
# Inputs must not have these names either, because signatures take inputs as keyword arguments.
NO_PARAMETERS = (*keyword.kwlist, "self")


@dataclass(frozen=True)
class Input:
    """A model input. The first axis of `shape` is the batch axis, and None means any size."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str


@dataclass
class Manifest:
    """The content of tfviz.json.

    Attributes:
        format: a key of FORMATS.
        method: a key of METHODS.
        options: the arguments to the method's constructor.
        layer: the path of the layer, or None if the method has no layer or explains the image
            itself.
        model: the model's name.
        inputs: the model's inputs, in order.
        input_structure: the input names, nested like the model's inputs.
        outputs: the output names, nested like the model's outputs. A single output is "outputs".
        attribution: the names of the maps: "attribution" for a single input, or "attribution_NAME"
            for each of several inputs.
        takes_target: whether the method accepts a target.
        targets: the kinds of targets that the export accepts: "top" (the top class), "class" (one
            class per image), "weights" (weights of shape (N, ..., classes) for the outputs) and
            "fixed" (a target fixed by the export).
        classes: the number of classes to choose from, or None.
        scores: the shape of the explained output and of its weights, or None if the model has
            several outputs.
        preprocessing: the fields of `tfviz.Preprocessing`, or None if the preprocessing is unknown.
        labels: the class names, or None.
        style: how to draw the map.
        versions: the package versions used to write the file.
        extra: format-specific fields. For formats with a single function, they include the
            function's "arguments" and "results", each a list of {"name", "shape", "dtype"} with the
            names used in the file.
        files: the SHA-256 of each file next to tfviz.json, keyed by path. The dict is empty if the
            hashes are unknown.
    """

    format: str
    method: str
    options: dict[str, Any]
    layer: str | None
    model: str
    inputs: list[Input]
    input_structure: Any
    outputs: Any
    attribution: Any
    takes_target: bool
    targets: list[str]
    classes: int | None
    scores: list[int | None] | None
    preprocessing: dict[str, Any] | None
    labels: list[str] | None
    style: str
    versions: dict[str, Any]
    extra: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        """Write tfviz.json to the folder."""
        return write_atomically(
            folder / FILE_NAME, json.dumps(asdict(self), indent=1, ensure_ascii=False, allow_nan=False, default=str)
        )

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read the manifest in a folder.

        Raise ExportError if the folder has no manifest, or if this version of tfviz cannot read it.
        """
        content = _read(folder)
        with reporting_damage(folder):
            version = content.get("versions", {}).get("format_version")
            if version != FORMAT_VERSION:
                raise ExportError(
                    f"{shown(folder / FILE_NAME)} has format version {version!r}, but this version of tfviz reads only version "
                    f"{FORMAT_VERSION}. Export the explainer again, or use the version of tfviz that wrote the file."
                )
            inputs = [Input(one["name"], tuple(one["shape"]), one["dtype"]) for one in content["inputs"]]
            manifest = cls(**{**content, "inputs": inputs})
            fault = manifest_fault(content)
            if fault is None and sorted(flat_names(manifest.input_structure)) != sorted(one.name for one in inputs):
                fault = "input_structure: expected the input names"
        if fault is not None:
            raise ExportError(f"{shown(folder / FILE_NAME)} is incomplete or damaged ({fault}). Export the explainer again.")
        return manifest

    def note_files(self, folder: Path) -> None:
        """Record the SHA-256 of every file in the folder."""
        files = (path for path in sorted(folder.rglob("*")) if path.is_file())
        self.files = {path.relative_to(folder).as_posix(): _digest(path) for path in files}

    @staticmethod
    def require_regular(folder: Path) -> None:
        """Raise ExportError if the folder contains anything except regular files and folders.

        Opening a pipe or a device, for example, could block.
        """
        for path in folder.rglob("*"):
            if not (path.is_file() or path.is_dir()):
                raise ExportError(f"{shown(path)} is not a regular file. Export the explainer again.")

    def require_exported(self, folder: Path, *names: str) -> None:
        """Raise ExportError if a file was changed after the export.

        Check the files in `names` or, by default, all recorded files. Raise OSError if a file
        cannot be read.
        """
        for name in names or self.files:
            if ".." in Path(name).parts or Path(name).is_absolute():
                raise ExportError(f"The export does not contain the file {name!r}")
            if self.files.get(name, digest := _digest(folder / name)) != digest:
                raise ExportError(f"{name} was changed or damaged after the export; its SHA-256 is {digest}")

    @property
    def picture_preprocessing(self) -> Preprocessing | None:
        """The `Preprocessing` built from the `preprocessing` fields, or None."""
        if self.preprocessing is None:
            return None
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in self.preprocessing.items()
        }
        return Preprocessing(**fields)


@contextmanager
def reporting_damage(folder: Path) -> Iterator[None]:
    """Convert exceptions in the block to an ExportError that reports a damaged tfviz.json.

    Only TfvizErrors are raised unchanged.
    """
    try:
        yield
    except TfvizError:
        raise
    except Exception as error:  # the file may contain values of any type anywhere
        reason = f"{type(error).__name__}: {error}"
        raise ExportError(
            f"{shown(folder / FILE_NAME)} is incomplete or damaged ({reason}). Export the explainer again."
        ) from error


def _read(folder: Path) -> dict[str, Any]:
    path = folder / FILE_NAME
    try:
        content = json.loads(read_regular(path, _MAX_BYTES).decode("utf-8"), parse_constant=_reject_constant)
    except FileNotFoundError:
        raise ExportError(
            f"{shown(folder)} contains no exported explainer: it has no {FILE_NAME}. Pass the folder that "
            "explainer.export or `tfviz export` created."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise ExportError(f"{shown(path)} cannot be read ({first_line(error)}). Export the explainer again.") from error
    if not isinstance(content, dict):
        raise ExportError(f"{shown(path)} does not contain a JSON object. Export the explainer again.")
    return content


def _reject_constant(name: str) -> None:
    raise ValueError(f"JSON does not allow {name}")


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def plain_names(names: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
    """Convert names to unique names allowed in every format.

    Each new name consists of an ASCII letter followed by ASCII letters, digits and "_".

    The new names differ from each other, from the names that tfviz uses and from those in `taken`.
    Case is ignored in these comparisons, because TensorFlow treats "A" and "a" as equal.
    """
    used = {name.lower() for name in (*_RESERVED, *taken)}
    plain = []
    for name in names:
        bare = free = _plain(name)
        number = 1
        while free.lower() in used:
            number += 1
            free = f"{bare}_{number}"
        used.add(free.lower())
        plain.append(free)
    return plain


def _plain(name: str) -> str:
    bare = re.sub(r"\W", "_", name, flags=re.ASCII)
    return bare if bare[:1].isalpha() else f"x_{bare.lstrip('_')}"


def map_name(name: str) -> str:
    """Return the name of the map for one input of a model with several inputs."""
    return f"attribution_{name}"


def flat_names(structure: Any) -> list[str]:
    """Return the names in a nested structure in Keras' order, which sorts dicts by key."""
    if isinstance(structure, str):
        return [structure]
    parts = [structure[key] for key in sorted(structure)] if isinstance(structure, dict) else structure
    return [name for part in parts for name in flat_names(part)]


def nested(structure: Any, value_of: Callable[[str], Any]) -> Any:
    """Replace each name in a nested structure with its value."""
    if isinstance(structure, str):
        return value_of(structure)
    if isinstance(structure, dict):
        return {key: nested(part, value_of) for key, part in structure.items()}
    return [nested(part, value_of) for part in structure]
