"""Write export folders atomically: a folder is either complete or absent."""

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
    """Return the resolved path of the folder to create or replace.

    Raise ExportError unless the folder does not exist, is empty, or contains an exported explainer
    that may be overwritten.
    """
    folder = Path(os.path.realpath(path))
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return folder
    if not folder.is_dir():
        raise ExportError(f"{shown(path)} is a file, but an explainer is exported to a folder. Pass the name of a new folder.")
    if not (folder / FILE_NAME).is_file():
        raise ExportError(
            f"The folder {shown(path)} contains other files but no exported explainer (no {FILE_NAME}), so it is not "
            "replaced. Pass the name of a new folder."
        )
    if not overwrite:
        raise ExportError(
            f"The folder {shown(path)} already contains an exported explainer. Pass another name, or pass overwrite=True "
            "(--overwrite on the command line) to replace it."
        )
    return folder


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield a new, empty folder that replaces `folder` if the block ends without an exception.

    If the block is interrupted or the process ends, the old folder remains unchanged. Raise
    OutputError if the folder cannot be written to.
    """
    unfinished = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}.tmp")
    new_parents = [parent for parent in folder.parents if not parent.exists()]
    try:
        unfinished.mkdir(parents=True)
        yield unfinished
        _move(unfinished, folder)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise OutputError(f"{shown(folder)} cannot be written to ({reason}). Pass a writable folder.") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        for parent in new_parents:
            with suppress(OSError):  # the parent contains the exported folder
                parent.rmdir()


def _move(new: Path, folder: Path) -> None:
    """Move the new folder into place.

    A folder cannot be renamed to the path of a non-empty one. The old folder is therefore renamed
    first, and restored if renaming the new folder fails.
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
