"""Images sorted into folders by their class, root/CLASS/image, as most tools for training have
them.
"""

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
    """An image, the name of its class's folder, and the image's path in there for its results,
    without the extension.
    """

    path: Path
    class_name: str
    name: str


def find_labeled_images(root: str | Path) -> list[LabeledImage]:
    """The images in root/CLASS/..., in sorted order; what is hidden does not count.

    Raises ImageError where the root is no folder, has no folders, has a file beside them, or one of
    them no images.
    """
    root = Path(root)
    if not root.is_dir():
        raise ImageError(f"There is no folder {shown(root)}; expected one laid out as ROOT/CLASS/image.jpg.")
    entries = sorted(entry for entry in root.iterdir() if not entry.name.startswith("."))
    if files := [entry for entry in entries if not entry.is_dir()]:
        raise ImageError(
            f"{shown(files[0])} is a file where a class's folder is expected: ROOT/CLASS/image.jpg. Move it into one, or away."
        )
    if not entries:
        raise ImageError(f"The folder {shown(root)} holds no folders of classes; expected ROOT/CLASS/image.jpg.")
    return [image for folder in entries for image in _in_folder(folder)]


def _in_folder(folder: Path) -> list[LabeledImage]:
    found = find_images(folder)
    counts = Counter(str(one.relative.with_suffix("")).casefold() for one in found)

    def name(relative: Path) -> str:
        bare = str(relative.with_suffix(""))
        return bare if counts[bare.casefold()] == 1 else str(relative)  # cat.jpg beside cat.png

    return [LabeledImage(one.path, folder.name, name(one.relative)) for one in found]


def class_numbers(folders: Sequence[str], labels: Labels, classes: int) -> dict[str, int]:
    """Which of a network's classes each folder means: by its label, or its number; else by the
    folders' sorted order.

    The order counts where no folder says, and there are as many as classes, as torchvision's
    ImageFolder has it. Raises LabelsError where neither tells.
    """
    names = sorted(set(folders))
    try:
        numbers = {name: labels.index(name) for name in names}
    except TargetError as error:
        if len(names) == classes and not labels.names:
            return {name: number for number, name in enumerate(names)}
        raise LabelsError(
            f"The folders are not called as the network's {classes} classes: {error} Name them so, or give the labels."
        ) from error
    if unknown := [name for name, number in numbers.items() if not 0 <= number < classes]:
        raise LabelsError(f"The folder {unknown[0]!r} is none of the network's {classes} classes, 0 to {classes - 1}.")
    return numbers
