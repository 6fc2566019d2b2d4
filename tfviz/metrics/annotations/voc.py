"""Read Pascal VOC annotations, which store each image's boxes in a separate XML file.

VOC numbers pixels from 1, and its boxes include both endpoints. Columns xmin to xmax in VOC are
columns xmin − 1 to xmax − 1 in tfviz.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from tfviz.errors import OptionError, shown
from tfviz.metrics.annotations.annotated_image import AnnotatedImage, AnnotatedObject, Size
from tfviz.metrics.annotations.classes import ClassNames


def read_folder(folder: Path, names: ClassNames) -> list[AnnotatedImage]:
    """Read all .xml files in a folder and its subfolders using `read_file`."""
    return [read_file(path, names) for path in sorted(folder.rglob("*.xml"))]


def read_file(path: Path, names: ClassNames) -> AnnotatedImage:
    """Read the annotations from a VOC file.

    Args:
        path: the file.
        names: the model's classes.

    Returns:
        The image.

    Raises:
        OptionError: the file is not valid XML, or a required element is missing or invalid.
    """
    root = _root(path)
    image = AnnotatedImage(_text(root, "filename", path), _size_of(root, path))
    for one in root.findall("object"):
        index = names.known(_text(one, "name", path))
        xmin, ymin, xmax, ymax = (_number(one, f"bndbox/{name}", path) for name in ("xmin", "ymin", "xmax", "ymax"))
        if index is not None:
            image.objects.append(AnnotatedObject((index,), [[max(xmin - 1, 0), max(ymin - 1, 0), xmax, ymax]]))
    return image


def _root(path: Path) -> ElementTree.Element:
    try:
        content = path.read_bytes()
        if b"<!ENTITY" in content:  # entities can expand without bound
            raise OptionError(f"{shown(path)} declares XML entities, which are not allowed in annotations. Remove them.")
        return ElementTree.fromstring(content)
    except OSError as error:
        raise OptionError(f"{shown(path)} cannot be read ({error.strerror}). Check its permissions.") from error
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        if isinstance(error, OptionError):
            raise
        raise OptionError(f"{shown(path)} is not valid XML ({error}). Correct the file.") from error


def _size_of(root: ElementTree.Element, path: Path) -> Size | None:
    if root.find("size") is None:
        return None
    return int(_number(root, "size/height", path)), int(_number(root, "size/width", path))


def _text(element: ElementTree.Element, name: str, path: Path) -> str:
    text = (element.findtext(name) or "").strip()
    if not text:
        raise OptionError(f"{shown(path)} is not a Pascal VOC annotation: <{element.tag}> has no <{name}>.")
    return text


def _number(element: ElementTree.Element, name: str, path: Path) -> float:
    text = _text(element, name, path)
    try:
        return float(text)
    except ValueError as error:
        raise OptionError(f"{shown(path)} must have a number in <{name}>. Received: '{shown(text)}'.") from error
