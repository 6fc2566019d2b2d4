"""One run: its folder on disk and its index lines in memory."""

from __future__ import annotations

import threading
from bisect import bisect_right
from pathlib import Path

from tfviz.errors import shown
from tfviz.runs.layout import INDEX_FILE, RUN_FILE, image_path, picture_path
from tfviz.runs.regular_files import is_inside
from tfviz.runs.run_reader import IndexReader
from tfviz.runs.schema import Run, line_of, names_of
from tfviz.runs.validation import record_fault
from tfviz.viewer.log import log

# This file marks the folders of uploaded runs. All other run folders belong to the processes that
# write them.
RECEIVED_FILE = ".received"

Stamp = tuple[int, int, int]


class KnownRun:
    """A run whose folder is polled.

    Attributes:
        folder: the run folder's real path, without symbolic links.
        numbers: the numbers of all undamaged snapshots, in ascending order.
        lines: the records of these snapshots as compact JSON.
    """

    def __init__(self, folder: Path, run: Run, stamp: Stamp) -> None:
        self.folder, self.run, self.stamp = folder, run, stamp
        self.numbers: list[int] = []
        self.lines: list[bytes] = []
        self.last_time: float | None = None
        self.is_received = (folder / RECEIVED_FILE).is_file()
        self.lock = threading.RLock()  # one thread at a time polls or appends
        self._index = IndexReader(folder, lambda value: record_fault(value, run))
        self._restarts = 0
        self._has_logged_fault = False

    @property
    def last(self) -> int:
        """The number of the last snapshot, or -1 if there is none."""
        return self.numbers[-1] if self.numbers else -1

    @property
    def method_names(self) -> list[str]:
        """The names of the run's methods."""
        return names_of(self.run)

    def poll(self) -> bool:
        """Read new snapshots from the folder and return whether anything has changed."""
        with self.lock:
            if not is_inside(self.folder / INDEX_FILE, self.folder):
                return False
            records = self._index.poll()
            has_restarted = self._index.restarts != self._restarts
            if has_restarted:
                self._restarts, self.numbers, self.lines, self._has_logged_fault = self._index.restarts, [], [], False
            for record in records:
                self.lines.append(line_of(record))
                self.numbers.append(record["number"])
                self.last_time = record["time"]
            if self._index.fault is not None and not self._has_logged_fault:
                self._has_logged_fault = True
                log.warning("%s: a snapshot is skipped: %s", shown(self.folder / INDEX_FILE), self._index.fault)
            return bool(records) or has_restarted

    def lines_after(self, number: int, most: int) -> list[bytes]:
        """Return the lines of the first `most` snapshots after snapshot `number`."""
        start = bisect_right(self.numbers, number)
        return self.lines[start : start + most]

    def image(self, image: int) -> Path:
        """Return the path of an image."""
        return image_path(self.folder, image)

    def picture(self, number: int, method: str, image: int) -> Path:
        """Return the path of a picture."""
        return picture_path(self.folder, number, method, image)

    def count_images(self) -> int:
        """Return how many of the run's image files exist."""
        return sum(self.image(number).is_file() for number in range(len(self.run["images"])))


def stamp_of(folder: Path) -> Stamp | None:
    """Return a value that changes with run.json, or None if the file is missing or is a link."""
    path = folder / RUN_FILE
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_ino, found.st_size, found.st_mtime_ns) if is_inside(path, folder) else None
