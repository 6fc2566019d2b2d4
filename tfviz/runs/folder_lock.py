"""One writer for a folder at a time."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import IO

from tfviz.errors import OutputError, shown

if sys.platform != "win32":
    import fcntl


def _opened_at_once(path: Path) -> int:
    """Opening a named pipe, which a stranger's folder may hold, would wait for a reader."""
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)


class FolderInUseError(OutputError):
    """Another training writes to the folder."""


class FolderLock:
    """Keeps other processes from writing to a folder, until it is released or the process ends.

    Windows, and file systems that know no locks, go without.
    """

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None

    def take(self, folder: Path) -> None:
        """Raises FolderInUseError where another process has it, OSError where its file cannot be made."""
        self.release()
        if sys.platform == "win32":
            return
        file = os.fdopen(_opened_at_once(folder / ".lock"), "ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.close()
            raise FolderInUseError(
                f"log_dir: another training is writing to {shown(folder)}. Wait for it, or give each training a folder of "
                "its own."
            ) from error
        except OSError:  # no locks here
            file.close()
            return
        self._file = file

    def release(self) -> None:
        if self._file is not None:
            if sys.platform != "win32":
                fcntl.flock(self._file, fcntl.LOCK_UN)  # Closing is not enough: children of a fork hold the file too.
            self._file.close()
            self._file = None
