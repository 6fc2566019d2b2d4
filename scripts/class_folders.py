"""Find images in class folders, ROOT/CLASS/image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tfviz.errors import ImageError, LabelsError, TargetError
from tfviz.images import find_images, shown
from tfviz.models.labels import Labels


@dataclass(frozen=True)
class LabeledImage:
    """An image in a class folder.

    Attributes:
        path: the image file.
        class_name: the class folder's name.
        name: the path inside that folder without the extension, for naming results.
    """

    path: Path
    class_name: str
    name: str


def find_labeled_images(root: str | Path) -> list[LabeledImage]:
    """Find the images in ROOT/CLASS/..., in sorted order, without hidden files and folders.

    Args:
        root: the folder that contains the class folders.

    Returns:
        The images.

    Raises:
        ImageError: the root is not a folder, contains a file or no folders, or a class folder
            contains no images.
    """
    root = Path(root)
    if not root.is_dir():
        raise ImageError(f"The folder {shown(root)} does not exist. Pass a folder with images at ROOT/CLASS/image.jpg.")
    entries = sorted(entry for entry in root.iterdir() if not entry.name.startswith("."))
    if files := [entry for entry in entries if not entry.is_dir()]:
        raise ImageError(
            f"{shown(files[0])} is a file, but only class folders are allowed here (ROOT/CLASS/image.jpg). Move it into a "
            "class folder, or remove it."
        )
    if not entries:
        raise ImageError(
            f"The folder {shown(root)} contains no class folders. Sort the images into class folders: ROOT/CLASS/image.jpg."
        )
    return [image for folder in entries for image in _in_folder(folder)]


def _in_folder(folder: Path) -> list[LabeledImage]:
    found = find_images(folder)
    counts = Counter(str(one.relative.with_suffix("")).casefold() for one in found)

    def name(relative: Path) -> str:
        bare = str(relative.with_suffix(""))
        return bare if counts[bare.casefold()] == 1 else str(relative)  # cat.jpg and cat.png

    return [LabeledImage(one.path, folder.name, name(one.relative)) for one in found]


def class_numbers(folders: Sequence[str], labels: Labels, classes: int) -> dict[str, int]:
    """Map each class folder to the network's class with that label or number.

    If the labels are unknown and there are as many folders as classes, the sorted folder order
    determines the class, as in torchvision's ImageFolder.

    Args:
        folders: the class folders' names.
        labels: the network's labels.
        classes: the number of classes.

    Returns:
        The class number for each folder name.

    Raises:
        LabelsError: a folder does not match any class.
    """
    names = sorted(set(folders))
    try:
        numbers = {name: labels.index(name) for name in names}
    except TargetError as error:
        if len(names) == classes and not labels.names:
            return {name: number for number, name in enumerate(names)}
        raise LabelsError(
            f"The folder names do not match the network's {classes} classes: {error} Rename the folders, or pass --labels."
        ) from error
    if unknown := [name for name, number in numbers.items() if not 0 <= number < classes]:
        raise LabelsError(f"The folder {unknown[0]!r} matches none of the network's {classes} classes (0 to {classes - 1}).")
    return numbers
