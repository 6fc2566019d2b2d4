"""Class names. A class without a name is called by its number, so missing labels never cause a failure."""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
import urllib.request
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from numbers import Integral, Number
from pathlib import Path
from typing import Any, TypeAlias

from tfviz.atomic_files import write_atomically
from tfviz.errors import LabelsError, OutputError, TargetError, near_matches
from tfviz.images.files import shown

# The file that keras.applications itself fetches, keeps in the same place and checks with the same sum.
_IMAGENET_FILE = "imagenet_class_index.json"
_IMAGENET_URL = f"https://storage.googleapis.com/download.tensorflow.org/data/{_IMAGENET_FILE}"
_IMAGENET_MD5 = "c2c37ea517e94d9795004a39431a14cb"
_FETCH_TIMEOUT_S = 5.0
_MOST_CLASSES = 1_000_000  # so that a stray number in a file cannot fill the memory
_LONGEST_WORD = 40  # letters of a class's name in a file's name


@dataclass(frozen=True)
class Labels:
    """The names of a network's classes, in the order of its outputs; every index has a name, known or not."""

    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        """The name of a class, or "class 281" where it has none."""
        known = self.names[index] if 0 <= index < len(self.names) else ""
        return known or f"class {index}"

    def file_word(self, index: int) -> str:
        """The first name of a class as a part of a file's name, "tabby"; its number where it has none."""
        word = re.sub(r"\W+", "_", self.names[index].split(",")[0]).strip("_") if 0 <= index < len(self.names) else ""
        return word[:_LONGEST_WORD] or str(index)

    def index(self, name_or_number: str | int) -> int:
        """The number of a class: 281, "281", "class 281", or a name.

        Capitals, blanks and underscores do not count, and of names such as "tabby, tabby cat" each part counts.
        Raises TargetError for a name that no class has (near names are listed) or that several have.
        """
        if isinstance(name_or_number, int):
            return name_or_number
        found = [i for i, name in enumerate(self.names) if _key(name_or_number) in _keys(name)]
        if len(found) == 1:
            return found[0]
        if found:
            raise TargetError(f"{name_or_number!r} names the classes {', '.join(map(str, found))}. Give the number.")
        if number := re.fullmatch(r"\s*(?:class )?(\d+)\s*", name_or_number):
            return int(number[1])
        raise TargetError(f"No class is called {name_or_number!r}. {self._advice(name_or_number)}")

    def _advice(self, name: str) -> str:
        if not self.names:
            return (
                "The network's classes have no names here: give the number, or a file with the labels or the names "
                "(class_names=... in Python, --labels on the command line)."
            )
        return near_matches(_key(name), dict.fromkeys(key for label in self.names for key in sorted(_keys(label)) if key))


def _key(name: str) -> str:
    return " ".join(name.replace("_", " ").split()).casefold()


def _keys(name: str) -> set[str]:
    return {_key(name), *map(_key, name.split(","))}


LabelSource: TypeAlias = "Labels | Iterable[object] | Mapping[object, object] | str | Path | None"


def labels_from(source: LabelSource) -> Labels:
    """Labels from what a user may give: a file (see `read_labels`), names in order, or None (no names).

    Numbers are names too, and None is no name. A mapping leads from numbers to names or, as a data generator's class_indices,
    the other way round. Raises LabelsError for anything else.
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
        expected = "['tench', …], {0: 'tench', …}, {'tench': 0, …} or a file with the labels"
        raise LabelsError(f"labels: expected {expected}; got {source!r:.80} ({error})") from error


def _from_mapping(names: Mapping[Any, Any]) -> tuple[str, ...]:
    if all(isinstance(key, Integral) for key in names):
        return _in_order((int(key), _name(value)) for key, value in names.items())
    return _in_order(_numbered(str(key), value) for key, value in names.items())


def _name(given: Any) -> str:
    return "" if given is None else _text(str(given) if isinstance(given, Number) else given)


def read_labels(path: str | Path) -> Labels:
    """The labels in a file.

    .json: a list of names; a list of {"id": 0, "name": "tench"}; Keras' {"0": ["n01440764", "tench"]}; {"0": "tench"};
    a data generator's class_indices {"tench": 0}; or an object with any of these under "labels".
    Any other extension: UTF-8 text, one name per line, the first line being class 0.

    Raises LabelsError for anything else, and for a file without names.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        names = _from_json(json.loads(text)) if Path(path).suffix.lower() == ".json" else _from_lines(text)
    except OSError as error:
        raise LabelsError(f"The labels file {shown(path)} cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise LabelsError(f"The labels file {shown(path)} is not text in UTF-8 ({error.reason}).") from error
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise LabelsError(f"The labels file {shown(path)} is not understood ({error}). {_EXPECTED}") from error
    if not any(names):
        raise LabelsError(f"The labels file {shown(path)} holds no names. {_EXPECTED}")
    return Labels(names)


_EXPECTED = 'Expected a name a line (.txt), or JSON: ["tench", ...], [{"id": 0, "name": "tench"}, ...], {"0": "tench", ...}.'


def _from_lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.rstrip().splitlines())


def _from_json(content: Any) -> tuple[str, ...]:
    if isinstance(content, dict) and not isinstance(content.get("labels", 0), int):
        content = content["labels"]
    if isinstance(content, dict):
        return _in_order(_numbered(key, value) for key, value in content.items())
    if isinstance(content, list):
        return _in_order(_listed(place, entry) for place, entry in enumerate(content))
    raise TypeError(f"a list or an object was expected, not {content!r:.60}")


def _numbered(key: str, value: Any) -> tuple[int, str]:
    if isinstance(value, Integral):
        return int(value), key
    return int(key), _text(value[-1] if isinstance(value, list) else value)


def _listed(place: int, entry: Any) -> tuple[int, str]:
    if isinstance(entry, dict):
        return int(entry.get("id", place)), _text(entry["name"])
    return place, _text(entry)


def _text(name: Any) -> str:
    if not isinstance(name, str):
        raise TypeError(f"a name was expected, not {name!r:.60}")
    return name


def _in_order(numbered: Iterable[tuple[int, str]]) -> tuple[str, ...]:
    names = dict(numbered)
    if names and not 0 <= min(names) <= max(names) < _MOST_CLASSES:
        raise ValueError(f"class numbers from {min(names)} to {max(names)}")
    return tuple(names.get(number, "") for number in range(max(names, default=-1) + 1))


@cache
def imagenet_labels() -> Labels:
    """The 1000 classes of ImageNet, from Keras' own cache, else from the network, else without names.

    Never raises, and takes a few seconds at most: a network that does not answer is given up, once per process.
    """
    path = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "models" / _IMAGENET_FILE
    try:
        return read_labels(path)
    except LabelsError:
        content = _fetch()
    if content is None or hashlib.md5(content, usedforsecurity=False).hexdigest() != _IMAGENET_MD5:
        return Labels()
    with suppress(OutputError):  # the names are known all the same
        write_atomically(path, content)
    return Labels(_from_json(json.loads(content)))


def _fetch() -> bytes | None:
    """The file from the network, or None. In a thread, because no timeout covers the search for the address."""
    fetched: list[bytes] = []

    def fetch() -> None:
        with suppress(Exception), urllib.request.urlopen(_IMAGENET_URL, timeout=_FETCH_TIMEOUT_S) as answer:
            fetched.append(answer.read())

    thread = threading.Thread(target=fetch, daemon=True)
    thread.start()
    thread.join(_FETCH_TIMEOUT_S)
    return fetched[0] if fetched else None
