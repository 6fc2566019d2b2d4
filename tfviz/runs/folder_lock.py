"""A lock that lets only one process at a time write to a folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import IO

from tfviz.errors import OutputError, shown

if sys.platform != "win32":
    import fcntl


def _open_nonblocking(path: Path) -> int:
    """Open a file for appending, without blocking even if it is a named pipe without a reader."""
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)


class FolderInUseError(OutputError):
    """Another process is writing to the folder."""


class FolderLock:
    """A lock that blocks other writers from a folder until it is released or the process ends.

    The lock has no effect on Windows or on file systems that don't support locks.
    """

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None

    def take(self, folder: Path) -> None:
        """Acquire the lock.

        Raises:
            FolderInUseError: another process holds the lock.
            OSError: the lock file cannot be created.
        """
        self.release()
        if sys.platform == "win32":
            return
        file = os.fdopen(_open_nonblocking(folder / ".lock"), "ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.close()
            raise FolderInUseError(
                f"Another training run is writing to log_dir {shown(folder)}. Wait for it to finish, or pass a different "
                "folder."
            ) from error
        except OSError:  # The file system has no locks.
            file.close()
            return
        self._file = file

    def release(self) -> None:
        if self._file is not None:
            if sys.platform != "win32":
                # Closing the file is not enough, because forked children also hold it.
                fcntl.flock(self._file, fcntl.LOCK_UN)
            self._file.close()
            self._file = None
