"""Record the finished parts of a run in its output folder, so that the run can be resumed.

    OUTPUT/.evaluation/arguments.json   what the results depend on
    OUTPUT/.evaluation/finished.jsonl   one line per finished part

The folder's name indicates the kind of work, such as `.explanation`. A line is appended after
everything that it describes has been written. If a killed run leaves an incomplete line, the line
is dropped and its part is repeated.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tfviz.atomic_files import write_atomically
from tfviz.errors import OptionError, OutputError, shown
from tfviz.runs.folder_lock import FolderInUseError, FolderLock

Record = dict[str, Any]


class RunStore:
    """The finished parts of one run. A lock keeps other processes from writing to the folder."""

    def __init__(self, output: Path, work: str, arguments: Mapping[str, str], *, overwrite: bool) -> None:
        """Open the folder, or create it.

        Args:
            output: the output folder.
            work: the kind of work, "evaluation" or "explanation".
            arguments: the arguments that the results depend on, keyed by name.
            overwrite: whether to discard a run with other arguments.

        Raises:
            OptionError: the folder contains a run with other arguments.
            OutputError: the folder cannot be written to, or another run is writing to it.
        """
        self._output, self._work, self._folder = output, work, output / f".{work}"
        self._path = self._folder / "finished.jsonl"
        self._lock = FolderLock()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock.take(self._folder)
            self._open(dict(arguments), overwrite)
        except FolderInUseError as error:
            raise OutputError(
                f"Another {work} run is writing to {shown(output)}. Wait for it to finish, or choose another --output."
            ) from error
        except OSError as error:
            self.close()
            raise OutputError(
                f"{shown(self._folder)} cannot be written to ({error.strerror}). Choose another --output."
            ) from error
        except BaseException:
            self.close()
            raise

    def _open(self, arguments: dict[str, str], overwrite: bool) -> None:
        stored = self._folder / "arguments.json"
        before = _stored(stored)
        differences = _differences(before, arguments) if before is not None else []
        if differences and not overwrite:
            raise OptionError(
                f"{shown(self._output)} contains an {self._work} run with different arguments: {'; '.join(differences)}. "
                "Choose another --output, or pass --overwrite to discard it."
            )
        if before is None or differences:
            self._path.unlink(missing_ok=True)
            write_atomically(stored, json.dumps(arguments, indent=1))
        self._file = self._path.open("ab")
        _drop_cut_line(self._path)

    def add(self, record: Record) -> None:
        """Append the record of a finished part, and wait until it is on disk.

        Raises:
            OutputError: the record cannot be written.
        """
        self.require_present()
        try:
            self._file.write(f"{json.dumps(record)}\n".encode())
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise OutputError(
                f"{shown(self._folder)} cannot be written to ({error.strerror}). Free some disk space, or choose "
                "another --output."
            ) from error

    def require_present(self) -> None:
        """Raise OutputError if the output folder was removed or replaced during the run."""
        if not self.is_present():
            raise OutputError(
                f"{shown(self._output)} was removed or replaced during the run. Run the command again, and do not change the "
                "folder during the run."
            )

    def is_present(self) -> bool:
        """Return whether the output folder is still the one that the run started with."""
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self._file.fileno()))
        except OSError:
            return False

    def records(self) -> Iterator[Record]:
        """Yield the records of the finished parts, in the order they were added."""
        with suppress(FileNotFoundError), self._path.open("rb") as file:
            for line in file:
                with suppress(ValueError):
                    record = json.loads(line)
                    if isinstance(record, dict) and "kind" in record:
                        yield record

    def close(self) -> None:
        """Close the file and release the lock."""
        if hasattr(self, "_file"):
            with suppress(OSError):  # the disk may be full
                self._file.close()
        self._lock.release()


def _drop_cut_line(path: Path) -> None:
    """Remove an incomplete last line, so that the next record starts on a new line."""
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - 4096)
            file.seek(start)
            if (newline := file.read(end - start).rfind(b"\n")) >= 0:
                end = start + newline + 1
                break
            end = start
        file.truncate(end)


def _stored(path: Path) -> dict[str, str] | None:
    """Return the arguments for the folder's run, or None if there is no run."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    names = dict.fromkeys([*before, *now])
    return [
        f"{name} was {before.get(name, 'not set')} and is now {now.get(name, 'not set')}"
        for name in names
        if before.get(name) != now.get(name)
    ]
