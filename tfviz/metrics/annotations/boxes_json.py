"""tfviz's JSON format: a list with one entry per object or per group of objects of the same class.

    [{"file": "cat.jpg", "width": 480, "height": 320,
      "classes": [281], "boxes": [[50, 35, 339, 320]]}]

`classes` contains indices, names or WordNet ids; `imagenet_ids` and `class_names` are synonyms for
this key. If there are several classes, any of them is correct for the object. Objects of different
classes need separate entries. Boxes are [x0, y0, x1, y1] in pixels. `width` and `height` are
optional; if they are given, the image must have this size. Other keys are ignored. Entries with an
empty class list add no objects.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tfviz.errors import OptionError, shown
from tfviz.metrics.annotations.annotated_image import AnnotatedImage, AnnotatedObject, Size
from tfviz.metrics.annotations.classes import ClassNames
from tfviz.metrics.annotations.json_files import field_of

_CLASSES = ("classes", "imagenet_ids", "class_names")


def read(entries: list[object], path: Path, names: ClassNames) -> list[AnnotatedImage]:
    """Convert a file's entries to annotated images.

    Args:
        entries: the parsed JSON list.
        path: the file, for error messages.
        names: the model's classes.

    Returns:
        The images.

    Raises:
        OptionError: an entry is invalid.
        LabelsError: an annotated class is not one of the model's classes.
    """
    images: dict[str, AnnotatedImage] = {}
    for number, entry in enumerate(entries):
        where = f"Entry {number} of {shown(path)}"
        name = field_of(entry, "file", str, where)
        image = images.setdefault(name, AnnotatedImage(name, _size_of(entry, where)))
        words = _words_of(entry, where)
        if words:
            boxes = field_of(entry, "boxes", list, where)
            image.objects.append(AnnotatedObject(tuple(map(names.index, words)), boxes))
    return list(images.values())


def _words_of(entry: object, where: str) -> list[str | int]:
    key = next((key for key in _CLASSES if isinstance(entry, Mapping) and key in entry), _CLASSES[0])
    words = field_of(entry, key, (list, int, str), where)
    words = words if isinstance(words, list) else [words]
    if any(not isinstance(word, (int, str)) for word in words):
        raise OptionError(f"{where} must contain class numbers or names. Received: {words!r:.120}.")
    return words


def _size_of(entry: object, where: str) -> Size | None:
    if not isinstance(entry, Mapping) or not {"width", "height"} & set(entry):
        return None
    return field_of(entry, "height", int, where), field_of(entry, "width", int, where)
