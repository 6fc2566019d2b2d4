"""Find image files in folders and assign each file a unique path for its results."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from tfviz.errors import ImageError, shown
from tfviz.images.formats import EXTENSIONS, FORMATS


@dataclass(frozen=True)
class FoundImage:
    """An image file and the relative path of its results.

    `relative` never leads out of the output folder. It is unique within a search, even on file
    systems that ignore case or Unicode normalization.
    """

    path: Path
    relative: Path


def find_images(paths: str | Path | Iterable[str | Path], *, otherwise: Collection[str] = ()) -> list[FoundImage]:
    """Find image files, and search folders recursively.

    In a folder, files with an image extension are returned in sorted order, except hidden files
    (".name"). Files that are passed explicitly are always included, but only once each. If `paths`
    is one folder, `relative` starts inside that folder. If there are several paths, `relative`
    starts with the folder's name.

    An entry that cannot be read (a folder without permission, a broken or circular link, a pipe) is
    returned like an image. The reason is reported when the entry is read later.

    Args:
        paths: files and folders.
        otherwise: file extensions to look for in folders without images.

    Returns:
        The images, in the order of `paths`.

    Raises:
        ImageError: a path does not exist, or a folder contains no images or cannot be read.
    """
    given = [Path(paths)] if isinstance(paths, (str, Path)) else [Path(path) for path in paths]
    found: dict[str, FoundImage] = {}
    taken: set[str] = set()
    for path in given:
        is_one_of_several = len(given) > 1 and is_folder(path)
        top = _free_name(Path(Path(os.path.realpath(path)).name), taken) if is_one_of_several else Path()
        for file, inside in _files_of(path, otherwise):
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
        raise ImageError(f"The folder {shown(folder)} cannot be read ({error.strerror}). Check its permissions.") from error


def is_folder(path: Path) -> bool:
    """Return whether a path is a folder. Return False if its parent is not accessible."""
    try:
        return path.is_dir()
    except OSError:  # The parent folder is not accessible.
        return False


def _files_of(path: Path, otherwise: Collection[str]) -> list[tuple[Path, Path]]:
    if os.path.lexists(path) and not is_folder(path):
        return [(path, Path(path.name))]
    if not is_folder(path):
        raise ImageError(
            f"The file or folder {shown(path)} does not exist. Pass image files ({FORMATS}) or folders that contain such files."
        )
    walked = _walk(path, EXTENSIONS) or _walk(path, otherwise)
    files = [(file, Path(path.name) if file == path else file.relative_to(path)) for file in walked]
    if not files:
        raise ImageError(
            f"The folder {shown(path)} contains no images. Supported file extensions: {', '.join(sorted(EXTENSIONS))}."
        )
    return files


def _walk(folder: Path, extensions: Collection[str]) -> list[Path]:
    locked: list[OSError] = []
    found = []
    for here, folders, files in os.walk(folder, onerror=locked.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in extensions:
                found.append(Path(here, name))
    return found + [Path(error.filename) for error in locked]


def _free_name(preferred: Path, taken: set[str]) -> Path:
    """Return `preferred`, or the first of "name-2", "name-3", ... that is not taken."""
    name, number = preferred, 1
    while (key := unicodedata.normalize("NFC", str(name)).casefold()) in taken:
        number += 1
        name = preferred.with_name(f"{preferred.stem}-{number}{preferred.suffix}")
    taken.add(key)
    return name
