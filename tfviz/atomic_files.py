"""Write files atomically, so that a file is either complete or absent.

A run may be interrupted at any moment, for example by Ctrl-C or a full disk. tfviz therefore writes
each file under a temporary name in the same folder and renames it in one step.
"""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from pathlib import Path

from tfviz.errors import OutputError, shown

_FULL = (errno.ENOSPC, errno.EDQUOT)


def write_atomically(path: str | Path, content: bytes | str, *, is_synced: bool = False) -> Path:
    """Write a file atomically, creating its folder if needed.

    An existing file is replaced. If writing fails, the old file stays unchanged and no partial file
    remains.

    Args:
        path: the file.
        content: the content. Text is encoded as UTF-8.
        is_synced: whether to wait until the content is on the disk. Otherwise, a power failure may
            leave an empty file.

    Returns:
        The path.

    Raises:
        OutputError: the folder cannot be created, or the file cannot be written.
    """
    path = Path(path)
    data = content.encode("utf-8") if isinstance(content, str) else content
    unfinished = path.with_name(f".tfviz-{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(data)
        if is_synced:
            with unfinished.open("rb+") as file:
                os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        advice = "Free some disk space." if error.errno in _FULL else "Pass a writable folder."
        raise OutputError(f"{shown(path)} cannot be written ({reason}). {advice}") from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
    return path


def remove_unfinished(folder: Path) -> None:
    """Remove the temporary files left in a folder by processes that were killed.

    If another process is still writing to the folder, it fails with OutputError.
    """
    for file in folder.glob(".tfviz-*.tmp"):
        file.unlink(missing_ok=True)
