"""Read annotations from tfviz's JSON files, COCO files, Pascal VOC files or mask images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tfviz.errors import OptionError, shown
from tfviz.metrics.annotations import boxes_json, coco, mask_folder, voc
from tfviz.metrics.annotations.annotated_image import AnnotatedImage
from tfviz.metrics.annotations.classes import ClassNames
from tfviz.metrics.annotations.json_files import read_json
from tfviz.models.labels import Labels

__all__ = ["AnnotatedImage", "read_annotations"]


def read_annotations(
    path: str | Path, labels: Labels, classes: int, say: Callable[[str], None] = lambda line: None
) -> list[AnnotatedImage]:
    """Read annotations from a file or folder.

    The format is detected automatically. A .json file that contains a list is in tfviz's format
    (see `boxes_json`); a .json file that contains an object is a COCO file. An .xml file, or a
    folder that contains .xml files, is in Pascal VOC format. Any other folder must contain masks.

    Args:
        path: the file or folder.
        labels: the model's class names, which are matched with the annotated classes.
        classes: the number of classes in the model.
        say: a function that prints a note.

    Returns:
        The annotated images.

    Raises:
        OptionError: the format is unknown, or an annotation is invalid.
        LabelsError: an annotated class is not one of the model's classes.
    """
    path, names = Path(path), ClassNames(labels, classes, Path(path))
    if not path.exists():
        raise OptionError(f"The annotation file or folder {shown(path)} does not exist. {_EXPECTED}")
    if path.is_dir():
        images = voc.read_folder(path, names) if any(path.rglob("*.xml")) else mask_folder.read(path, names)
    elif path.suffix.lower() == ".xml":
        images = [voc.read_file(path, names)]
    elif path.suffix.lower() == ".json":
        content = read_json(path)
        images = boxes_json.read(content, path, names) if isinstance(content, list) else coco.read(content, path, names)
    else:
        raise OptionError(f"The annotations in {shown(path)} have an unknown format. {_EXPECTED}")
    names.report(say)
    if not images:
        raise OptionError(f"The annotations in {shown(path)} contain no images. {_EXPECTED}")
    return images


_EXPECTED = (
    "Pass a JSON file of boxes, a COCO annotation file, a Pascal VOC .xml file or a folder of such files, or a folder of "
    "masks with one subfolder per class."
)
