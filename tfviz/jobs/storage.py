"""Read and write a job's files in a local folder or, through fsspec, in an object store."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

from tfviz.atomic_files import remove_unfinished, write_atomically
from tfviz.errors import ImageError, MissingPackageError, OutputError, first_line, install_command, shown


def is_remote(path: str) -> bool:
    """Return whether a path is a URL such as gs://bucket/folder."""
    return "://" in path


class Storage:
    """A folder or object store in which each file is written atomically.

    Args:
        root: a local folder, or a URL that fsspec supports.

    Raises:
        MissingPackageError: the root is a URL, but fsspec or its driver is not installed.
    """

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/") if is_remote(root) else str(Path(root).absolute())
        self._remote = remote_files(self.root) if is_remote(root) else None

    def read(self, name: str) -> bytes:
        """Return a file's content.

        Raises:
            FileNotFoundError: the file does not exist.
        """
        if self._remote is not None:
            return bytes(self._remote.cat_file(self._path(name)))
        return Path(self._path(name)).read_bytes()

    def open(self, name: str) -> BinaryIO:
        """Open a file for reading, for callers that read only part of it."""
        if self._remote is not None:
            opened: BinaryIO = self._remote.open(self._path(name), "rb")
            return opened
        return Path(self._path(name)).open("rb")

    def write(self, name: str, content: bytes | str) -> None:
        """Write a file atomically, replacing an existing one.

        Raises:
            OutputError: the file cannot be written.
        """
        data = content.encode() if isinstance(content, str) else content
        if self._remote is None:
            write_atomically(self._path(name), data, is_synced=True)
            return
        try:
            self._remote.pipe_file(self._path(name), data)
        except Exception as error:  # Each object store raises different errors.
            raise OutputError(
                f"{shown(self.root)}/{name} cannot be written ({first_line(error)}). Check the permissions and the free space."
            ) from error

    def names(self, folder: str) -> list[str]:
        """Return the sorted names of the files in a folder, or [] if there is no such folder."""
        if self._remote is not None:
            self._remote.invalidate_cache()
            if not self._remote.exists(self._path(folder)):
                return []
            return sorted(entry.rsplit("/", 1)[-1] for entry in self._remote.ls(self._path(folder), detail=False))
        path = Path(self._path(folder))
        return sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []

    def exists(self, name: str) -> bool:
        """Return whether a file exists."""
        if self._remote is not None:
            self._remote.invalidate_cache()
            return bool(self._remote.exists(self._path(name)))
        return Path(self._path(name)).exists()

    def remove(self, name: str) -> None:
        """Remove a file if it exists."""
        if self._remote is not None:
            if self.exists(name):
                self._remote.rm_file(self._path(name))
        else:
            Path(self._path(name)).unlink(missing_ok=True)

    def remove_unfinished(self, folder: str) -> None:
        """Remove temporary files that killed processes left behind. Object stores have none."""
        if self._remote is None:
            remove_unfinished(Path(self._path(folder)))

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}"


def remote_files(url: str) -> Any:
    """Return the fsspec file system for a URL.

    Raises:
        MissingPackageError: fsspec or its driver for the URL is not installed.
    """
    try:
        import fsspec

        return fsspec.core.url_to_fs(url)[0]
    except ImportError as error:
        raise MissingPackageError(
            f"{shown(url)} needs a package that is not installed ({first_line(error)}). Run: {install_command('cloud')}"
        ) from error


def read_range(source: str, offset: int | None, length: int | None) -> bytes:
    """Read a file or part of it.

    Args:
        source: a local path or URL.
        offset, length: the byte range, or None for the entire file.

    Raises:
        ImageError: the file cannot be read.
    """
    try:
        if is_remote(source):
            end = None if offset is None or length is None else offset + length
            return bytes(remote_files(source).cat_file(source, start=offset, end=end))
        with Path(source).open("rb") as file:
            file.seek(offset or 0)
            return file.read() if length is None else file.read(length)
    except MissingPackageError:
        raise
    except Exception as error:  # Each object store raises different errors.
        reason = getattr(error, "strerror", None) or first_line(error)
        raise ImageError(f"{shown(source)} cannot be read ({reason}). Check the path and its permissions.") from error
