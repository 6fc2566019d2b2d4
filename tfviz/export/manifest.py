"""tfviz.json: what an exported explainer says of itself.

It lies beside the model in every format, so that whoever finds the folder knows what goes in, what comes out and how the
pictures are made ready.
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
# What inputs and outputs of a model must not be called: tfviz gives these names to its own, files of pictures among them.
_RESERVED = ("outputs", "target", "weights", "attribution", "image_bytes", "size", "overlay_bytes")
_MOST_BYTES = 64 << 20  # of tfviz.json; labels are most of it
NO_PARAMETERS = (*keyword.kwlist, "self")  # what an input must not be called, for signatures are called by names


@dataclass(frozen=True)
class Input:
    """One input of the model. `shape` has the batch first; None is free."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str


@dataclass
class Manifest:
    """What tfviz.json says.

    format: a key of FORMATS. method: a key of METHODS, with `options` as its constructor takes them, and `layer` as a path
        (None where the method has none, or looks at the image).
    model: its name. inputs: what it takes, in order; `input_structure` has their names nested as the model takes them.
    outputs: the names of what it returns, nested as it returns them; "outputs" for one.
    attribution: the names of the maps, "attribution" for one, and "attribution_NAME" for each of several inputs.
    takes_target: whether the method explains a class that can be asked for. targets: what the file takes, of "top" (the top
        class), "class" (N,) and "weights" (N, …, classes); "fixed" where it was fixed when exported.
    classes: how many there are to ask for, or None. scores: the shape of what is explained, which weights have too; None for
        several outputs.
    preprocessing: the fields of `tfviz.Preprocessing`, or None where nobody said. labels: the names of the classes, or None.
    style: how the map is drawn. versions: of what wrote the file. extra: what only the format knows; of a file with one
        function its "arguments" and "results", {"name", "shape", "dtype"} each, as they are called there.
    files: the SHA-256 of each file beside tfviz.json, by its path; empty where it is unknown.
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
        """Writes tfviz.json into the folder."""
        return write_atomically(
            folder / FILE_NAME, json.dumps(asdict(self), indent=1, ensure_ascii=False, allow_nan=False, default=str)
        )

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest in a folder. Raises ExportError where there is none, or one that this tfviz does not know."""
        content = _read(folder)
        with whole(folder):
            version = content.get("versions", {}).get("format_version")
            if version != FORMAT_VERSION:
                raise ExportError(
                    f"{shown(folder / FILE_NAME)} has format version {version!r}; this tfviz reads {FORMAT_VERSION}. "
                    "Export it anew, or use the tfviz that wrote it."
                )
            inputs = [Input(one["name"], tuple(one["shape"]), one["dtype"]) for one in content["inputs"]]
            manifest = cls(**{**content, "inputs": inputs})
        fault = manifest_fault(content)
        if fault is None and sorted(flat_names(manifest.input_structure)) != sorted(one.name for one in inputs):
            fault = "input_structure: expected the names of the inputs"
        if fault is not None:
            raise ExportError(f"{shown(folder / FILE_NAME)} is not whole ({fault}). Export the explainer again.")
        return manifest

    def note_files(self, folder: Path) -> None:
        """Notes what the files in a folder hold."""
        files = (path for path in sorted(folder.rglob("*")) if path.is_file())
        self.files = {path.relative_to(folder).as_posix(): _digest(path) for path in files}

    @staticmethod
    def require_regular(folder: Path) -> None:
        """Raises ExportError where a pipe or device stands in the folder: opening one may wait forever."""
        for path in folder.rglob("*"):
            if not (path.is_file() or path.is_dir()):
                raise ExportError(f"{shown(path)} is not a regular file. Export the explainer again.")

    def require_exported(self, folder: Path, *names: str) -> None:
        """Raises ExportError, or OSError, unless the files (by default all) hold what was exported."""
        for name in names or self.files:
            if ".." in Path(name).parts or Path(name).is_absolute():
                raise ExportError(f"{name!r} is not a file of the export")
            if self.files.get(name, digest := _digest(folder / name)) != digest:
                raise ExportError(f"{name} is not the file that was exported, but changed or damaged")

    @property
    def picture_preprocessing(self) -> Preprocessing | None:
        """`preprocessing` as the object that does it."""
        if self.preprocessing is None:
            return None
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in self.preprocessing.items()
        }
        return Preprocessing(**fields)


@contextmanager
def whole(folder: Path) -> Iterator[None]:
    """Makes an ExportError of what the block stumbles over where tfviz.json lacks something or has it of another kind."""
    try:
        yield
    except TfvizError:
        raise
    except Exception as error:  # Values of any kind may stand in the file, and in any place.
        reason = f"{type(error).__name__}: {error}"
        raise ExportError(f"{shown(folder / FILE_NAME)} is not whole ({reason}). Export the explainer again.") from error


def _read(folder: Path) -> dict[str, Any]:
    path = folder / FILE_NAME
    try:
        content = json.loads(read_regular(path, _MOST_BYTES).decode("utf-8"), parse_constant=_refuse_constant)
    except FileNotFoundError:
        raise ExportError(
            f"{shown(folder)} holds no exported explainer: there is no {FILE_NAME} in it. Give the folder that "
            "explainer.export or `tfviz export` made."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise ExportError(f"{shown(path)} cannot be read ({first_line(error)}). Export the explainer again.") from error
    if not isinstance(content, dict):
        raise ExportError(f"{shown(path)} holds no object. Export the explainer again.")
    return content


def _refuse_constant(name: str) -> None:
    raise ValueError(f"it holds {name}, which is not JSON")


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def plain_names(names: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
    """Names that may stand in a signature of every format: a letter of ASCII, then letters, digits and "_".

    Each is there once (TensorFlow takes "A" and "a" for the same), and none of those that tfviz itself gives, nor of `taken`.
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
    """What the map of an input is called where there are several."""
    return f"attribution_{name}"


def flat_names(structure: Any) -> list[str]:
    """The names in a structure of names, in the order in which Keras flattens one: dicts by their sorted keys."""
    if isinstance(structure, str):
        return [structure]
    parts = [structure[key] for key in sorted(structure)] if isinstance(structure, dict) else structure
    return [name for part in parts for name in flat_names(part)]


def nested(structure: Any, value_of: Callable[[str], Any]) -> Any:
    """The structure, with each name replaced by its value."""
    if isinstance(structure, str):
        return value_of(structure)
    if isinstance(structure, dict):
        return {key: nested(part, value_of) for key, part in structure.items()}
    return [nested(part, value_of) for part in structure]
