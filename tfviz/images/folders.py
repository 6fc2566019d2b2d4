"""Finding image files: folders are walked, and each image gets a path of its own for its results."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tfviz.errors import ImageError
from tfviz.images.files import shown
from tfviz.images.formats import EXTENSIONS, FORMATS


@dataclass(frozen=True)
class FoundImage:
    """An image file, and the path under which its results are to be kept.

    `relative` never leaves the output folder, and no two images of one search share it, not even on file systems
    that take upper and lower case, or composed and decomposed accents, for the same.
    """

    path: Path
    relative: Path


def find_images(paths: str | Path | Iterable[str | Path]) -> list[FoundImage]:
    """The image files among `paths`; folders are walked, and their structure is kept in `relative`.

    Of a folder, every file with the suffix of an image counts, in sorted order, but nothing hidden (".name"). A file
    that is named itself always counts. With one folder, `relative` starts inside it; with several paths, it starts
    with the folder's own name. A file that is named twice is found once.

    Raises ImageError for a path that does not exist and for a folder without images.
    """
    given = [Path(paths)] if isinstance(paths, (str, Path)) else [Path(path) for path in paths]
    found: dict[Path, FoundImage] = {}
    taken: set[str] = set()
    for path in given:
        top = _free_name(Path(path.resolve().name), taken) if path.is_dir() and len(given) > 1 else Path()
        for file, inside in _files_of(path):
            if (real := file.resolve()) not in found:
                found[real] = FoundImage(file, _free_name(top / inside, taken))
    return list(found.values())


def _files_of(path: Path) -> list[tuple[Path, Path]]:
    if path.is_file():
        return [(path, Path(path.name))]
    if not path.is_dir():
        raise ImageError(f"There is no file or folder {shown(path)}. Give image files ({FORMATS}) or folders of them.")
    files = [(file, file.relative_to(path)) for file in _walk(path)]
    if not files:
        raise ImageError(f"The folder {shown(path)} holds no image. Expected files such as {', '.join(sorted(EXTENSIONS))}.")
    return files


def _walk(folder: Path) -> Iterator[Path]:
    for here, folders, files in os.walk(folder, onerror=_refuse_folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in EXTENSIONS:
                yield Path(here, name)


def _refuse_folder(error: OSError) -> None:
    raise ImageError(f"The folder {shown(error.filename)} cannot be read ({error.strerror}).") from error


def _free_name(wanted: Path, taken: set[str]) -> Path:
    """`wanted`, or the first of "name-2", "name-3", ... that nobody has yet."""
    name, number = wanted, 1
    while (key := unicodedata.normalize("NFC", str(name)).casefold()) in taken:
        number += 1
        name = wanted.with_name(f"{wanted.stem}-{number}{wanted.suffix}")
    taken.add(key)
    return name
