"""What a run of `tfviz evaluate` has finished, so that a stopped run goes on where it stopped.

    OUTPUT/.evaluation/arguments.json   what the scores depend on
    OUTPUT/.evaluation/finished.jsonl   one line per finished image or sanity check

A line is appended once everything it describes is written. A line that a kill has cut off is
dropped, and its image is scored again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tfviz.atomic_files import write_atomically
from tfviz.errors import OptionError, OutputError, shown
from tfviz.runs.folder_lock import FolderInUseError, FolderLock

FOLDER = ".evaluation"
Record = dict[str, Any]


class ScoreStore:
    """The finished parts of one evaluation.

    Attributes:
        records: the finished parts, in the order in which they were added.
    """

    def __init__(self, output: Path, arguments: Mapping[str, str], *, overwrite: bool) -> None:
        """Open the folder, or create it.

        Args:
            output: the output folder.
            arguments: what the scores depend on, by name.
            overwrite: whether to discard an evaluation with other arguments.

        Raises:
            OptionError: the folder has an evaluation with other arguments.
            OutputError: the folder cannot be written, or another run writes to it.
        """
        self._folder = output / FOLDER
        self._lock = FolderLock()
        self._take_lock(output)
        try:
            self._open(output, dict(arguments), overwrite)
        except BaseException:
            self.close()
            raise

    def _take_lock(self, output: Path) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock.take(self._folder)
        except FolderInUseError as error:
            raise OutputError(
                f"Another evaluation is writing to {shown(output)}. Wait until it ends, or choose another --output."
            ) from error
        except OSError as error:
            raise OutputError(
                f"{shown(self._folder)} cannot be written ({error.strerror}). Choose another --output."
            ) from error

    def _open(self, output: Path, arguments: dict[str, str], overwrite: bool) -> None:
        stored, finished = self._folder / "arguments.json", self._folder / "finished.jsonl"
        before = _stored(stored)
        differences = _differences(before, arguments) if before is not None else []
        if differences and not overwrite:
            raise OptionError(
                f"{shown(output)} has an evaluation with other arguments: {'; '.join(differences)}. Choose another --output, "
                "or pass --overwrite to discard it."
            )
        if before is None or differences:
            finished.unlink(missing_ok=True)
            write_atomically(stored, json.dumps(arguments, indent=1))
        self.records = list(_records(finished))
        # Without a line that was cut off, the next one starts at the beginning of a line.
        write_atomically(finished, "".join(f"{json.dumps(record)}\n" for record in self.records))
        self._file = finished.open("a", encoding="utf-8")

    def add(self, record: Record) -> None:
        """Append a finished part.

        Raises:
            OutputError: it cannot be written.
        """
        try:
            self._file.write(f"{json.dumps(record)}\n")
            self._file.flush()
        except OSError as error:
            raise OutputError(f"{shown(self._folder)} cannot be written ({error.strerror}). Free some space.") from error
        self.records.append(record)

    def of_kind(self, kind: str) -> Iterator[Record]:
        """Yield the finished parts of a kind, "image", "sanity" or "note"."""
        return (record for record in self.records if record["kind"] == kind)

    def close(self) -> None:
        """Close the file, and let other processes write."""
        if hasattr(self, "_file"):
            with suppress(OSError):
                self._file.close()
        self._lock.release()


def _stored(path: Path) -> dict[str, str] | None:
    """Return the arguments of the evaluation in the folder; None if there is none."""
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
        f"{name} was {before.get(name, 'not stored')}, now {now.get(name, 'not used')}"
        for name in names
        if before.get(name) != now.get(name)
    ]


def _records(path: Path) -> Iterator[Record]:
    try:
        lines = path.read_text("utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        with suppress(ValueError):
            record = json.loads(line)
            if isinstance(record, dict) and "kind" in record:
                yield record
