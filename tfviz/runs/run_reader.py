"""Read a run, even while another process is writing it.

run = read_run(folder)                 the content of run.json
index = IndexReader(folder)
records = index.poll()                 the lines added to snapshots.jsonl since the last poll
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path
from typing import Any

from tfviz.errors import SnapshotsError, shown
from tfviz.runs.layout import INDEX_FILE, RUN_FILE
from tfviz.runs.regular_files import open_regular, read_regular
from tfviz.runs.schema import FORMAT, MAX_RUN_BYTES, Record, Run
from tfviz.runs.validation import record_fault, run_fault

_LARGEST_RUN_BYTES = 4 * MAX_RUN_BYTES  # run.json contains whitespace for readability
_LARGEST_READ_BYTES = 1 << 24  # the maximum per read of the index


def read_run(folder: str | Path) -> Run:
    """Return the content of run.json.

    Raises:
        SnapshotsError: the file is missing, unreadable or damaged, or has a different format.
    """
    path = Path(folder) / RUN_FILE
    try:
        run = parsed(read_regular(path, _LARGEST_RUN_BYTES))
    except OSError as error:
        raise SnapshotsError(
            f"There is no run in {shown(folder)}: {RUN_FILE} cannot be read ({error.strerror}). "
            "Pass the log_dir of a SnapshotCallback."
        ) from error
    if isinstance(run, dict) and isinstance(run.get("id"), str) and run.get("format") != FORMAT:
        raise SnapshotsError(
            f"{shown(path)} has format {run.get('format')!r}, but this version of tfviz reads only format {FORMAT}. Install a "
            "newer version of tfviz."
        )
    if (fault := run_fault(run, is_strict=False)) is not None:
        raise SnapshotsError(f"{shown(path)} is not a valid {RUN_FILE} ({fault}). Restore the file, or pass another folder.")
    return run


def read_records(folder: str | Path) -> list[Record]:
    """Return the records of all complete snapshots in order, or [] if there is no run yet."""
    return IndexReader(folder).poll()


class IndexReader:
    """Follows a run's index as it grows.

    The folder may appear later, or disappear and reappear. Incomplete lines are read once they are
    complete. Damaged lines and lines with out-of-order numbers are skipped.

    Attributes:
        last: the number of the last record returned by `poll`.
        restarts: how many times the index was replaced or truncated. After each restart, `poll`
            returns the records from the beginning.
        fault: the first fault found in the current index.
    """

    def __init__(self, folder: str | Path, fault_of: Callable[[Any], str | None] | None = None) -> None:
        self.folder = Path(folder)
        self.last = -1
        self.restarts = 0
        self.fault: str | None = None
        self._fault_of = fault_of or (lambda value: record_fault(value, is_strict=False))
        self._offset = 0
        self._is_inside_line = False  # True while skipping a line that is longer than one read.
        self._file: tuple[int, int] | None = None

    def poll(self) -> list[Record]:
        """Return the records added since the last poll, in order."""
        found: list[Record] = []
        restarts = self.restarts
        while data := self._next_lines():
            if restarts != self.restarts:  # The records read so far belong to the old file.
                restarts, found = self.restarts, []
            found += [record for line in data.split(b"\n") if line and (record := self._conforming(line)) is not None]
        following = [record["number"] for record in found[1:]]
        return [record for record, after in zip_longest(found, following) if self._is_in_order(record["number"], after)]

    def _next_lines(self) -> bytes:
        """Return the next complete lines and advance the offset past them."""
        try:
            with open_regular(self.folder / INDEX_FILE) as index:
                self._notice_another_file(os.fstat(index.fileno()))
                index.seek(self._offset)
                data = index.read(_LARGEST_READ_BYTES)
        except OSError:
            return b""
        end = data.rfind(b"\n") + 1
        if not end and len(data) == _LARGEST_READ_BYTES:
            self._offset += len(data)
            self._is_inside_line = True
            self.fault = self.fault or f"a line is longer than {_LARGEST_READ_BYTES} bytes"
            return b"\n"
        self._offset += end
        if end and self._is_inside_line:
            self._is_inside_line = False
            return data[data.index(b"\n") : end]
        return data[:end]

    def _notice_another_file(self, found: os.stat_result) -> None:
        file = (found.st_dev, found.st_ino)
        if self._file is not None and (file != self._file or found.st_size < self._offset):
            self.restarts += 1
            self._offset, self.last, self.fault, self._is_inside_line = 0, -1, None, False
        self._file = file

    def _conforming(self, line: bytes) -> Record | None:
        """Parse a line. Return the record, or None if it has a fault."""
        record = parsed(line)
        fault = self._fault_of(record)
        self.fault = self.fault or fault
        return record if fault is None else None

    def _is_in_order(self, number: int, following: int | None) -> bool:
        """Return whether a record's number is in order.

        It must be larger than the last number. If the following number is also larger than the last
        number, the record's number must not exceed the following one.
        """
        is_beyond = following is not None and self.last < following < number
        if number <= self.last or is_beyond:
            neighbor = f"before number {following}" if is_beyond else f"after number {self.last}"
            self.fault = self.fault or f"number {number} comes {neighbor}"
            return False
        self.last = number
        return True


def parsed(data: bytes) -> Any:
    """Parse JSON. Return None if the bytes are not valid JSON in UTF-8."""
    try:
        return json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
