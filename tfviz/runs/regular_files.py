"""Open only regular files, and check that paths lie inside a folder.

A run folder may contain anything. Opening a named pipe blocks until another process writes to it,
reading a device may never end, and a link may point to a file that the folder's owner is not
allowed to read.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

_NONBLOCKING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def open_regular(path: str | Path) -> BinaryIO:
    """Open a file for reading. Raise OSError if it cannot be opened or is not a regular file."""
    # Check the type before opening, because opening a device may have side effects.
    require_regular(Path(path).stat(), path)
    descriptor = os.open(path, os.O_RDONLY | _NONBLOCKING)
    try:
        require_regular(os.fstat(descriptor), path)  # The file may have been replaced meanwhile.
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: str | Path, most: int | None = None) -> bytes:
    """Return a file's content. Raise OSError if it cannot be read or exceeds `most` bytes."""
    with open_regular(path) as file:
        content = file.read() if most is None else file.read(most + 1)
    if most is not None and len(content) > most:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return content


def is_inside(path: Path, folder: Path) -> bool:
    """Return whether the path lies below `folder` and contains no symbolic link.

    `folder` itself must be an absolute path without symbolic links.
    """
    real = Path(os.path.realpath(path))
    return real == path and real.is_relative_to(folder)


def require_regular(found: os.stat_result, path: str | Path) -> None:
    """Raise OSError unless the stat result describes a regular file."""
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "Not a regular file", str(path))
