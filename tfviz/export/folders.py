"""Folders that are either there and whole, or not there."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tfviz.errors import ExportError, OutputError, shown
from tfviz.export.manifest import FILE_NAME


def destination(path: str | Path, *, overwrite: bool) -> Path:
    """The folder to make, if it may be made: nothing is there, an empty folder, or, to overwrite,
    an exported explainer.

    Raises ExportError otherwise.
    """
    folder = Path(os.path.realpath(path))
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return folder
    if not folder.is_dir():
        raise ExportError(f"{shown(path)} is a file; an explainer is exported to a folder. Give the name of a new folder.")
    if not (folder / FILE_NAME).is_file():
        raise ExportError(
            f"The folder {shown(path)} holds other files, but no exported explainer (no {FILE_NAME}): it is not replaced. "
            "Give the name of a new folder."
        )
    if not overwrite:
        raise ExportError(
            f"The folder {shown(path)} holds an exported explainer already. Give another name, or replace it: overwrite=True "
            "(on the command line --overwrite)."
        )
    return folder


@contextmanager
def written_whole(folder: Path) -> Iterator[Path]:
    """A fresh folder to fill; what stood at `folder` is replaced by it when the block ends without
    an exception.

    Whatever stops the block, even the end of the process, the old folder stays as it was. Raises
    OutputError where nothing can be written.
    """
    unfinished = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}.tmp")
    made = [one for one in folder.parents if not one.exists()]
    try:
        unfinished.mkdir(parents=True)
        yield unfinished
        _move(unfinished, folder)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise OutputError(f"{shown(folder)} cannot be written ({reason}). Give a folder that can be written to.") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        for one in made:
            with suppress(OSError):  # it is not empty where the folder is in it
                one.rmdir()


def _move(new: Path, folder: Path) -> None:
    """A folder cannot be renamed onto a full one, so that the old one steps aside, and comes back
    if need be.
    """
    if not folder.exists():
        new.rename(folder)
        return
    old = new.with_suffix(".old")
    folder.rename(old)
    try:
        new.rename(folder)
    except BaseException:
        old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
