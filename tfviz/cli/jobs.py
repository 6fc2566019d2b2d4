"""What is read and where its results go: one job for each image."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tfviz.errors import ImageError, OptionError, OutputError
from tfviz.images.files import shown
from tfviz.images.folders import FoundImage, find_images, is_folder

# An image's folder must not have the name of a file that is written beside it.
_EXTENSIONS_OF_RESULTS = (".png", ".npy", ".html")


@dataclass(frozen=True)
class Job:
    """One image. `folder`: where its results go, relative to the output. `name`: what the user calls it."""

    path: Path
    folder: Path
    name: str


def find_jobs(paths: Sequence[str], output: Path) -> list[Job]:
    """One job for each image among `paths`, files and folders, in the order of the page.

    What an earlier run left in the output folder is no image to explain, unless it is named itself.

    Raises ImageError for a path that does not exist and a folder without images, OptionError where the output would
    land among the images.
    """
    root = _real(output)
    for path in map(Path, paths):
        if is_folder(path) and _real(path) == root:
            raise OptionError(f"--output {shown(output)} is the folder of the images themselves. Name another.")
    is_within = any(root in _real(path).parents for path in paths)
    found = [one for one in find_images(paths) if is_within or root not in _real(one.path).parents]
    if not found:
        raise ImageError(f"There are no images but those in the output folder {shown(output)}.")
    folders = _folders([one.relative for one in found])
    return [Job(one.path, folder, _name(one)) for one, folder in zip(found, folders, strict=True)]


def _real(path: str | Path) -> Path:
    """The path without links; Path.resolve raises where one leads to itself."""
    return Path(os.path.realpath(path))


def _folders(relatives: Sequence[Path]) -> list[Path]:
    """A folder for each image: its path without the extension, or with it where that is taken."""
    taken: set[str] = set()
    folders = []
    for relative in relatives:
        free = (one for one in _candidates(relative) if str(one).casefold() not in taken)
        folders.append(next(free))
        taken.add(str(folders[-1]).casefold())
    return folders


def _candidates(relative: Path) -> Iterator[Path]:
    bare = relative.with_suffix("")
    if bare.suffix.lower() not in _EXTENSIONS_OF_RESULTS:
        yield bare
    number = 1
    while True:
        yield relative.with_name(f"{relative.name}{'' if number == 1 else f'-{number}'}")
        number += 1


def _name(found: FoundImage) -> str:
    """The path inside the folder that was given; the path as typed where two files would bear one name."""
    parts = found.relative.parts
    return shown(found.relative if found.path.parts[-len(parts) :] == parts else found.path)


def require_writable(output: Path) -> None:
    """Raises OutputError unless the folder can be written or made; nothing is made yet."""
    folder = output.absolute()
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise OutputError(f"{shown(output)} cannot be made: {shown(folder)} is not a folder. Give another --output.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{shown(output)} cannot be written: {shown(folder)} is read-only. Give another --output.")
