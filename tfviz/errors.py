"""The errors that tfviz raises deliberately.

    TfvizError (ValueError)
    ├── UnsupportedModelError   the method cannot explain the model
    ├── UnknownLayerError       the model has no such layer, or several with that name
    ├── UnknownMethodError      there is no such method
    ├── TargetError             the target does not fit the model's outputs
    ├── OptionError             an option has an invalid value
    ├── ImageError              an image or image array cannot be used
    ├── WeightsError            a model or weights file cannot be loaded
    ├── LabelsError             a labels file cannot be used
    ├── OutputError             a result cannot be written
    ├── ExportError             an explainer cannot be exported, or a folder contains none
    ├── JobError                a job cannot start, or its folder belongs to another job
    ├── SnapshotsError          a snapshot folder cannot be read
    └── MissingPackageError     an optional package is not installed; also an ImportError

Each message states what is wrong, what was received, and what to do. File, layer and class names
may come from untrusted sources and are printed in terminals, so the base class escapes control
characters in every message.
"""

from __future__ import annotations

import difflib
import os
import sys
import unicodedata
import warnings
from collections.abc import Iterable

# Control codes, invisible characters (which may reverse text), line and paragraph separators.
_UNSAFE = frozenset({"Cc", "Cf", "Zl", "Zp"})


class TfvizError(ValueError):
    """The base class for all errors that tfviz raises deliberately."""

    def __init__(self, message: object = "") -> None:
        super().__init__(escaped(str(message)))


class UnsupportedModelError(TfvizError):
    """The method cannot explain the model or an operation in it."""


class UnknownLayerError(TfvizError):
    """The model has no such layer, or the layer name is ambiguous."""


class UnknownMethodError(TfvizError):
    """There is no such method."""


class TargetError(TfvizError):
    """The target does not fit the model's outputs."""


class OptionError(TfvizError):
    """An option has an invalid value."""


class ImageError(TfvizError):
    """An image or an array of images cannot be used."""


class WeightsError(TfvizError):
    """A model or weights file cannot be loaded."""


class LabelsError(TfvizError):
    """A labels file cannot be used."""


class OutputError(TfvizError):
    """A result cannot be written."""


class ExportError(TfvizError):
    """An explainer cannot be exported, or a folder contains no exported explainer."""


class JobError(TfvizError):
    """A job cannot start, or its folder belongs to another job."""


class SnapshotsError(TfvizError):
    """A snapshot folder cannot be read."""


class MissingPackageError(TfvizError, ImportError):
    """An optional package is not installed. The message contains the package name."""


# The packages in each extra in setup.cfg. Error messages list the packages instead of the extra, so
# that the install command works in any folder, even if tfviz is not on a package index.
_EXTRAS = {
    "torch": "torch",
    "digits": "scikit-learn",
    "tensorboard": "tensorboard",
    "viewer": "fastapi uvicorn",
    "wandb": "wandb pillow",
    "mlflow": "mlflow-skinny pillow",
    "trackio": "trackio",
    "film": "av",
    "stablehlo": "jax",
    "litert": "ai-edge-litert",
    "onnx": "tf2onnx onnx onnxruntime",
    "kerashub": "keras-hub",
    "jobs": "pyarrow",
    "ray": "pyarrow ray pandas fsspec",
    "docs": "fastapi uvicorn av pyarrow sphinx myst-parser sphinx-gallery sphinx-design pydata-sphinx-theme pillow",
    "cloud": "pyarrow fsspec gcsfs s3fs",
}


def install_command(extra: str) -> str:
    """Return the command that installs an extra's packages, such as "pip install av"."""
    return f"pip install {_EXTRAS[extra]}"


def near_matches(name: str, known: Iterable[str], most: int = 5) -> str:
    """Return the last sentence of an error message, which suggests valid names similar to `name`.

    Args:
        name: the unknown name.
        known: all valid names.
        most: the maximum number of names to list.

    Returns:
        "Did you mean 'a' or 'b'?", or the first valid names if none is similar.
    """
    known = list(known)
    near = difflib.get_close_matches(name, known, n=most, cutoff=0.6)
    if near:
        return f"Did you mean {' or '.join(map(repr, near))}?"
    shown = ", ".join(map(repr, known[:most]))
    rest = len(known) - most
    return f"Available: {shown}{f' and {rest} more' if rest > 0 else ''}."


def escaped(text: str, kept: str = "\n\t") -> str:
    """Escape characters that move a terminal's cursor or change its state, unless in `kept`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(letter if letter in kept else _escaped_letter(letter) for letter in text)


def _escaped_letter(letter: str) -> str:
    category = unicodedata.category(letter)
    # A lone surrogate is valid in JSON and in file names, but no encoding can represent it.
    if category == "Cs":
        return "\N{REPLACEMENT CHARACTER}"
    return repr(letter)[1:-1] if category in _UNSAFE else letter


def shown(name: str | os.PathLike[str]) -> str:
    """Return a path or name as one line, with control characters escaped."""
    return escaped(os.fspath(name), kept="")


def first_line(error: BaseException) -> str:
    """Return the first line of another library's error message."""
    return shown(next(iter(str(error).strip().splitlines()), type(error).__name__))


def warn(message: str) -> None:
    """Issue a warning that points to the line of user code that called tfviz."""
    frame, depth = sys._getframe(1), 2
    while frame.f_back is not None and str(frame.f_globals.get("__name__", "")).startswith("tfviz."):
        frame, depth = frame.f_back, depth + 1
    warnings.warn(escaped(message), stacklevel=depth)
