"""Finding image files: folders are walked, and each image gets a path of its own for its results."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tfviz.errors import ImageError, shown
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

    What is there but cannot be read (a folder without permission, a link to nothing or to itself, a pipe) is found as an
    image, and reading it says why it is none.

    Raises ImageError for a path that does not exist, and for a folder that holds no image, and where nothing can be read.
    """
    given = [Path(paths)] if isinstance(paths, (str, Path)) else [Path(path) for path in paths]
    found: dict[str, FoundImage] = {}
    taken: set[str] = set()
    for path in given:
        top = _free_name(Path(Path(os.path.realpath(path)).name), taken) if is_folder(path) and len(given) > 1 else Path()
        for file, inside in _files_of(path):
            if (real := os.path.realpath(file)) not in found:
                found[real] = FoundImage(file, _free_name(top / inside, taken))
    if all(is_folder(one.path) for one in found.values()):
        for one in found.values():
            _require_readable(one.path)
    return list(found.values())


def _require_readable(folder: Path) -> None:
    try:
        os.scandir(folder).close()
    except OSError as error:
        raise ImageError(f"The folder {shown(folder)} cannot be read ({error.strerror}).") from error


def is_folder(path: Path) -> bool:
    """Whether a folder is there, as far as it can be seen."""
    try:
        return path.is_dir()
    except OSError:  # it lies in a folder that may not be entered
        return False


def _files_of(path: Path) -> list[tuple[Path, Path]]:
    if os.path.lexists(path) and not is_folder(path):
        return [(path, Path(path.name))]
    if not is_folder(path):
        raise ImageError(f"There is no file or folder {shown(path)}. Give image files ({FORMATS}) or folders of them.")
    files = [(file, Path(path.name) if file == path else file.relative_to(path)) for file in _walk(path)]
    if not files:
        raise ImageError(f"The folder {shown(path)} holds no image. Expected files such as {', '.join(sorted(EXTENSIONS))}.")
    return files


def _walk(folder: Path) -> Iterator[Path]:
    locked: list[OSError] = []
    for here, folders, files in os.walk(folder, onerror=locked.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in EXTENSIONS:
                yield Path(here, name)
    yield from (Path(error.filename) for error in locked)


def _free_name(wanted: Path, taken: set[str]) -> Path:
    """`wanted`, or the first of "name-2", "name-3", ... that nobody has yet."""
    name, number = wanted, 1
    while (key := unicodedata.normalize("NFC", str(name)).casefold()) in taken:
        number += 1
        name = wanted.with_name(f"{wanted.stem}-{number}{wanted.suffix}")
    taken.add(key)
    return name
