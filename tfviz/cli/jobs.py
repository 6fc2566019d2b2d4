"""Find the images to explain, and choose a results folder for each."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tfviz.errors import ImageError, OptionError, OutputError
from tfviz.images.files import shown
from tfviz.images.folders import FoundImage, find_images, is_folder

ARRAYS = ".npy"  # signals and volumes
# A folder whose name has one of these extensions could collide with a result file beside it.
_EXTENSIONS_OF_RESULTS = (".png", ARRAYS, ".html")


@dataclass(frozen=True)
class Job:
    """One image to explain.

    Attributes:
        path: the file.
        folder: the folder for the results, relative to the output folder.
        name: the name to show to the user.
    """

    path: Path
    folder: Path
    name: str

    @property
    def key(self) -> str:
        """The absolute path, which identifies the image in all runs."""
        return os.path.abspath(self.path)  # noqa: PTH100 - must not follow links


def find_jobs(paths: Sequence[str], output: Path) -> list[Job]:
    """Return one job per image, in page order.

    Images in the output folder come from an earlier run and are skipped, unless one of `paths`
    lies in that folder.

    Args:
        paths: image files, and folders to search.
        output: the output folder.

    Returns:
        The jobs.

    Raises:
        ImageError: a path does not exist, or there are no images to explain.
        OptionError: the output folder is one of `paths`.
    """
    root = _real(output)
    for path in map(Path, paths):
        if is_folder(path) and _real(path) == root:
            raise OptionError(f"The output folder {shown(output)} is also the image folder. Choose another --output.")
    is_within = any(root in _real(path).parents for path in paths)
    found = [one for one in find_images(paths, otherwise=(ARRAYS,)) if is_within or root not in _real(one.path).parents]
    if not found:
        raise ImageError(
            f"All of the images are in the output folder {shown(output)}, which is not searched. Choose another --output."
        )
    folders = _folders([one.relative for one in found])
    return [Job(one.path, folder, _name(one)) for one, folder in zip(found, folders, strict=True)]


def placed(jobs: Sequence[Job], known: Mapping[str, tuple[str, str]]) -> list[Job]:
    """Return the jobs with the folders and names that their images had in earlier results.

    New images get folders that don't collide with the earlier ones.

    Args:
        jobs: the jobs of this run.
        known: the folder and name of each image in earlier results, keyed by `Job.key`.

    Returns:
        The jobs, in the same order.
    """
    names = {name for _, name in known.values()}
    taken = {folder.casefold() for folder, _ in known.values()} | {str(job.folder).casefold() for job in jobs}
    owners = {folder.casefold(): key for key, (folder, _) in known.items()}
    found = []
    for job in jobs:
        folder, name = job.folder, job.name
        if job.key in known:
            folder, name = Path(known[job.key][0]), known[job.key][1]
        elif str(folder).casefold() in owners:
            relative = folder.with_name(f"{folder.name}{job.path.suffix}") if folder.suffix != job.path.suffix else folder
            folder = next(one for one in _candidates(relative) if str(one).casefold() not in taken)
            taken.add(str(folder).casefold())
            name = shown(job.path) if name in names else name
        found.append(Job(job.path, folder, name))
    return found


def _real(path: str | Path) -> Path:
    """Resolve symbolic links. Unlike Path.resolve, accept a link that points to itself."""
    return Path(os.path.realpath(path))


def _folders(relatives: Sequence[Path]) -> list[Path]:
    """Return one folder per image: its path, with the extension only if names would collide."""
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
    """Return an image's path inside the given folder, or its path as given if that is ambiguous."""
    parts = found.relative.parts
    return shown(found.relative if found.path.parts[-len(parts) :] == parts else found.path)


def require_writable(output: Path) -> None:
    """Raise OutputError if the folder cannot be written to or created, but don't create it."""
    folder = output.absolute()
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise OutputError(f"{shown(output)} cannot be created: {shown(folder)} is not a folder. Choose another --output.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{shown(output)} cannot be written to: {shown(folder)} is read-only. Choose another --output.")
