"""Read and look up class names. A class without a name is identified by its number."""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
import urllib.request
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from numbers import Integral, Number
from pathlib import Path
from typing import Any, TypeAlias

from tfviz.atomic_files import write_atomically
from tfviz.errors import LabelsError, OutputError, TargetError, near_matches
from tfviz.images.files import shown

# keras.applications downloads this file to the same path and checks the same MD5 sum.
_IMAGENET_FILE = "imagenet_class_index.json"
_IMAGENET_URL = f"https://storage.googleapis.com/download.tensorflow.org/data/{_IMAGENET_FILE}"
_IMAGENET_MD5 = "c2c37ea517e94d9795004a39431a14cb"
_FETCH_TIMEOUT_S = 5.0
_MAX_CLASSES = 1_000_000  # prevents a wrong class number in a file from exhausting memory
_MAX_WORD_LENGTH = 40  # the maximum length of a class name in a file name


@dataclass(frozen=True)
class Labels:
    """A model's class names, in the order of the model's outputs.

    Attributes:
        names: the class names. An unknown name is an empty string.
        wordnet_ids: the classes' WordNet ids, such as "n01440764", or () if they are unknown.
    """

    names: tuple[str, ...] = ()
    wordnet_ids: tuple[str, ...] = field(default=(), compare=False)

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        """Return a class's name, or "class 281" if it has none."""
        known = self.names[index] if 0 <= index < len(self.names) else ""
        return known or f"class {index}"

    def file_word(self, index: int) -> str:
        """Return a class's name, up to the first comma, in a form that is safe for file names.

        If the class has no name, return its number.
        """
        word = re.sub(r"\W+", "_", self.names[index].split(",")[0]).strip("_") if 0 <= index < len(self.names) else ""
        return word[:_MAX_WORD_LENGTH] or str(index)

    def index(self, name_or_number: str | int) -> int:
        """Return the number of the class with the given name or number.

        Args:
            name_or_number: 281, "281", "class 281", a name, or a WordNet id. In names, case is
                ignored, and underscores are equivalent to spaces. If a class is named "tabby, tabby
                cat", either part of its name is sufficient.

        Returns:
            The class number.

        Raises:
            TargetError: no class has this name, or several classes do. In the first case, the
                message suggests similar names if the class names are known.
        """
        if isinstance(name_or_number, int):
            return name_or_number
        found = [i for i, name in enumerate(self.names) if _key(name_or_number) in _keys(name)]
        if len(found) == 1:
            return found[0]
        if found:
            raise TargetError(
                f"Several classes are named {name_or_number!r}: {', '.join(map(str, found))}. Pass the class number."
            )
        if number := re.fullmatch(r"\s*(?:class )?(\d+)\s*", name_or_number):
            return int(number[1])
        if name_or_number in self.wordnet_ids:
            return self.wordnet_ids.index(name_or_number)
        raise TargetError(f"No class is named {name_or_number!r}. {self._advice(name_or_number)}")

    def index_of_folder(self, folder: str) -> int | None:
        """Return the number of the class that a folder such as `tabby/` is named after, or None.

        A folder whose name is a number, such as `2024/`, matches only a class with this name.
        """
        if folder.strip().isdecimal() and folder not in self.names:
            return None
        try:
            return self.index(folder)
        except TargetError:
            return None

    def _advice(self, name: str) -> str:
        if not self.names:
            return (
                "The model's class names are unknown. Pass the class number, the class names or a labels file "
                "(class_names=... in Python, --labels on the command line)."
            )
        return near_matches(_key(name), dict.fromkeys(key for label in self.names for key in sorted(_keys(label)) if key))


def _key(name: str) -> str:
    return " ".join(name.replace("_", " ").split()).casefold()


def _keys(name: str) -> set[str]:
    return {_key(name), *map(_key, name.split(","))}


LabelSource: TypeAlias = "Labels | Iterable[object] | Mapping[object, object] | str | Path | None"


def labels_from(source: LabelSource) -> Labels:
    """Create labels from any supported source.

    Args:
        source: a Labels object, a labels file (see `read_labels`), the names in output order, a
            mapping, or None for no names. A mapping goes from class numbers to names or, like a
            data generator's class_indices, from names to class numbers. A name may also be a
            number. If a name is missing, use None in its place.

    Returns:
        The labels.

    Raises:
        LabelsError: the source has an unsupported form, or the file cannot be used.
    """
    if isinstance(source, Labels):
        return source
    if isinstance(source, (str, Path)):
        return read_labels(source)
    if source is None:
        return Labels()
    try:
        return Labels(_from_mapping(source) if isinstance(source, Mapping) else tuple(_name(one) for one in source))
    except (ValueError, TypeError, IndexError) as error:
        expected = "['tench', …], {0: 'tench', …}, {'tench': 0, …} or a labels file"
        raise LabelsError(f"Expected labels as {expected}. Received: {source!r:.80} ({error}).") from error


def _from_mapping(names: Mapping[Any, Any]) -> tuple[str, ...]:
    if all(isinstance(key, Integral) for key in names):
        return _in_order((int(key), _name(value)) for key, value in names.items())
    return _in_order(_numbered(str(key), value) for key, value in names.items())


def _name(given: Any) -> str:
    return "" if given is None else _text(str(given) if isinstance(given, Number) else given)


def read_labels(path: str | Path) -> Labels:
    """Read labels from a file.

    A .json file contains a list of names, a list of objects like {"id": 0, "name": "tench"}, an
    object like Keras' {"0": ["n01440764", "tench"]}, like {"0": "tench"} or like a data generator's
    class_indices {"tench": 0}, or an object that contains any of these under the key "labels". Any
    other file is UTF-8 text with one name per line, starting with class 0.

    Args:
        path: the file to read.

    Returns:
        The labels.

    Raises:
        LabelsError: the file cannot be read, has another format, or contains no names.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        content = json.loads(text) if Path(path).suffix.lower() == ".json" else None
        names = _from_lines(text) if content is None else _from_json(content)
    except OSError as error:
        raise LabelsError(
            f"The labels file {shown(path)} cannot be read ({error.strerror}). Check the path and its permissions."
        ) from error
    except UnicodeDecodeError as error:
        raise LabelsError(f"The labels file {shown(path)} is not UTF-8 text ({error.reason}). {_EXPECTED}") from error
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise LabelsError(f"The labels file {shown(path)} has an unknown format ({error}). {_EXPECTED}") from error
    if not any(names):
        raise LabelsError(f"The labels file {shown(path)} contains no names. {_EXPECTED}")
    return Labels(names, _wordnet_ids(content, names))


_EXPECTED = (
    'Expected one name per line (.txt), or JSON: ["tench", ...], [{"id": 0, "name": "tench"}, ...], {"0": "tench", ...}.'
)


def _from_lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.rstrip().splitlines())


def _from_json(content: Any) -> tuple[str, ...]:
    content = _unwrapped(content)
    if isinstance(content, dict):
        return _in_order(_numbered(key, value) for key, value in content.items())
    if isinstance(content, list):
        return _in_order(_from_entry(position, entry) for position, entry in enumerate(content))
    raise TypeError(f"Expected a list or an object. Received: {content!r:.60}")


def _unwrapped(content: Any) -> Any:
    """Return the value under the "labels" key, or the content itself if it has no such key.

    If the value is an integer, "labels" is a class name, so the content itself is returned.
    """
    is_inside = isinstance(content, dict) and not isinstance(content.get("labels", 0), int)
    return content["labels"] if is_inside else content


def _numbered(key: str, value: Any) -> tuple[int, str]:
    if isinstance(value, Integral):
        return int(value), key
    return int(key), _text(value[-1] if isinstance(value, list) else value)


def _from_entry(position: int, entry: Any) -> tuple[int, str]:
    if isinstance(entry, dict):
        return int(entry.get("id", position)), _text(entry["name"])
    return position, _text(entry)


def _wordnet_ids(content: Any, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the classes' WordNet ids, or () if any class has none.

    In an object like Keras', each id precedes the class name. In a list, it has the key "wnid".
    """
    content = _unwrapped(content)
    if isinstance(content, dict):
        found = {int(key): value[0] for key, value in content.items() if isinstance(value, list) and len(value) > 1}
    else:
        entries = [(place, one) for place, one in enumerate(content or ()) if isinstance(one, dict) and "wnid" in one]
        found = {int(one.get("id", place)): one["wnid"] for place, one in entries}
    return tuple(str(found[place]) for place in range(len(names))) if set(found) >= set(range(len(names))) else ()


def _text(name: Any) -> str:
    if not isinstance(name, str):
        raise TypeError(f"Expected a name. Received: {name!r:.60}")
    return name


def _in_order(numbered: Iterable[tuple[int, str]]) -> tuple[str, ...]:
    names = dict(numbered)
    if names and not 0 <= min(names) <= max(names) < _MAX_CLASSES:
        raise ValueError(f"Class numbers must be from 0 to {_MAX_CLASSES - 1}. Received: {min(names)} to {max(names)}")
    return tuple(names.get(number, "") for number in range(max(names, default=-1) + 1))


@cache
def imagenet_labels() -> Labels:
    """Return the 1000 ImageNet class names from Keras' cache, or download them.

    If neither is possible, the labels are empty. This function never raises an exception. It
    returns within seconds even if the server does not respond, and later calls do not contact the
    server again.
    """
    path = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "models" / _IMAGENET_FILE
    try:
        return read_labels(path)
    except LabelsError:
        content = _fetch()
    if content is None or hashlib.md5(content, usedforsecurity=False).hexdigest() != _IMAGENET_MD5:
        return Labels()
    with suppress(OutputError):  # the names are valid even if they cannot be cached
        write_atomically(path, content)
    names = _from_json(json.loads(content))
    return Labels(names, _wordnet_ids(json.loads(content), names))


def _fetch() -> bytes | None:
    """Download the file with ImageNet's class names, or return None if the download fails.

    The download runs in a separate thread, because `urlopen`'s timeout does not cover the DNS
    lookup.
    """
    fetched: list[bytes] = []

    def fetch() -> None:
        with suppress(Exception), urllib.request.urlopen(_IMAGENET_URL, timeout=_FETCH_TIMEOUT_S) as response:
            fetched.append(response.read())

    thread = threading.Thread(target=fetch, daemon=True)
    thread.start()
    thread.join(_FETCH_TIMEOUT_S)
    return fetched[0] if fetched else None
