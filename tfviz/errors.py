"""Everything tfviz raises on purpose.

    TfvizError (ValueError)
    ├── UnsupportedModelError   the model cannot be explained this way
    ├── UnknownLayerError       no such layer, or more than one of that name
    ├── UnknownMethodError      no such method
    ├── TargetError             the target does not fit the model's outputs
    ├── OptionError             an option has a value that it cannot take
    ├── ImageError              an image, or an array of images, that cannot be used
    ├── WeightsError            a model or weights file that cannot be loaded
    ├── LabelsError             a labels file that cannot be used
    ├── OutputError             a result that cannot be written
    ├── ExportError             an explainer that cannot be exported, or a folder that holds no exported one
    ├── SnapshotsError          a folder of snapshots that cannot be read
    └── MissingPackageError     a package that is needed for this only is not installed; an ImportError too

Each message says what was expected, what came, and what to do. Names of files, layers and classes may come from strangers,
and messages go to terminals: control characters in a message are escaped here, whoever raises it.
"""

from __future__ import annotations

import difflib
import os
import sys
import unicodedata
import warnings
from collections.abc import Iterable

# Control codes, invisible ones (which turn the direction of text around), and separators of lines and paragraphs.
_UNSAFE = frozenset({"Cc", "Cf", "Zl", "Zp"})


class TfvizError(ValueError):
    """The base of all errors that tfviz raises on purpose."""

    def __init__(self, message: object = "") -> None:
        super().__init__(escaped(str(message)))


class UnsupportedModelError(TfvizError):
    """The model, or an operation in it, cannot be explained by this method."""


class UnknownLayerError(TfvizError):
    """The model has no such layer, or several of that name."""


class UnknownMethodError(TfvizError):
    """tfviz has no method of that name."""


class TargetError(TfvizError):
    """The target does not fit the model's outputs."""


class OptionError(TfvizError):
    """An option has a value that it cannot take."""


class ImageError(TfvizError):
    """An image, or an array of images, cannot be used."""


class WeightsError(TfvizError):
    """A model or weights file cannot be loaded."""


class LabelsError(TfvizError):
    """A labels file cannot be used."""


class OutputError(TfvizError):
    """A result cannot be written."""


class ExportError(TfvizError):
    """An explainer cannot be exported, or a folder holds no exported explainer."""


class SnapshotsError(TfvizError):
    """A folder of snapshots cannot be read."""


class MissingPackageError(TfvizError, ImportError):
    """A package that only this needs is not installed; the message says what to install."""


def near_matches(name: str, known: Iterable[str], most: int = 5) -> str:
    """The names in `known` that look like `name`, as the end of an error message.

    Returns "Did you mean 'a' or 'b'?" or, where nothing is near, the first names there are.
    """
    known = list(known)
    near = difflib.get_close_matches(name, known, n=most, cutoff=0.6)
    if near:
        return f"Did you mean {' or '.join(map(repr, near))}?"
    shown = ", ".join(map(repr, known[:most]))
    rest = len(known) - most
    return f"There are: {shown}{f' and {rest} more' if rest > 0 else ''}."


def escaped(text: str, kept: str = "\n\t") -> str:
    """The text without anything that moves a terminal's cursor or changes its state; the characters in `kept` stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(letter if letter in kept else _escaped_letter(letter) for letter in text)


def _escaped_letter(letter: str) -> str:
    category = unicodedata.category(letter)
    if category == "Cs":  # half of a character: JSON and file systems allow it, and no encoding does
        return "\N{REPLACEMENT CHARACTER}"
    return repr(letter)[1:-1] if category in _UNSAFE else letter


def shown(name: str | os.PathLike[str]) -> str:
    """A path, or a name that a file holds, for a message: on one line, with control characters escaped."""
    return escaped(os.fspath(name), kept="")


def first_line(error: BaseException) -> str:
    """The first line of another library's message."""
    return shown(next(iter(str(error).strip().splitlines()), type(error).__name__))


def warn(message: str) -> None:
    """Warns, and points at the line of the user's that led here, however deep in tfviz that is."""
    frame, depth = sys._getframe(1), 2
    while frame.f_back is not None and str(frame.f_globals.get("__name__", "")).startswith("tfviz."):
        frame, depth = frame.f_back, depth + 1
    warnings.warn(escaped(message), stacklevel=depth)
