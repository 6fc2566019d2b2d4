"""One run as the server knows it: its folder on the disk and, in memory, the line of each snapshot."""

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

RECEIVED_FILE = ".received"  # marks the folder of a run that a trainer sends; others belong to whoever writes them

Stamp = tuple[int, int, int]


class KnownRun:
    """A run, followed in its folder. `folder` is a real path: no part of it is a link.

    numbers: of the snapshots, rising; damaged ones are missing. lines: compact JSON, one for each of them.
    """

    def __init__(self, folder: Path, run: Run, stamp: Stamp) -> None:
        self.folder, self.run, self.stamp = folder, run, stamp
        self.numbers: list[int] = []
        self.lines: list[bytes] = []
        self.last_time: float | None = None
        self.is_received = (folder / RECEIVED_FILE).is_file()
        self.lock = threading.RLock()  # one thread at a time looks or adds
        self._index = IndexReader(folder, lambda value: record_fault(value, run))
        self._restarts = 0
        self._has_told_fault = False

    @property
    def last(self) -> int:
        """The number of the last snapshot, or -1."""
        return self.numbers[-1] if self.numbers else -1

    @property
    def method_names(self) -> list[str]:
        """The names of its methods."""
        return names_of(self.run)

    def poll(self) -> bool:
        """Takes in what the folder has got since the last poll; True where that is anything."""
        with self.lock:
            if not is_inside(self.folder / INDEX_FILE, self.folder):
                return False
            records = self._index.poll()
            has_restarted = self._index.restarts != self._restarts
            if has_restarted:
                self._restarts, self.numbers, self.lines, self._has_told_fault = self._index.restarts, [], [], False
            for record in records:
                self.lines.append(line_of(record))
                self.numbers.append(record["number"])
                self.last_time = record["time"]
            if self._index.fault is not None and not self._has_told_fault:
                self._has_told_fault = True
                log.warning("%s: a snapshot is left out: %s", shown(self.folder / INDEX_FILE), self._index.fault)
            return bool(records) or has_restarted

    def lines_after(self, number: int, most: int) -> list[bytes]:
        """The lines of the snapshots after that number, at most so many."""
        start = bisect_right(self.numbers, number)
        return self.lines[start : start + most]

    def image(self, image: int) -> Path:
        """Where the image lies, or would lie."""
        return image_path(self.folder, image)

    def picture(self, number: int, method: str, image: int) -> Path:
        """Where a map's picture lies, or would lie."""
        return picture_path(self.folder, number, method, image)

    def count_images(self) -> int:
        """How many of the images are there."""
        return sum(self.image(number).is_file() for number in range(len(self.run["images"])))


def stamp_of(folder: Path) -> Stamp | None:
    """What changes when run.json is written again; None where there is none, or only a link to one elsewhere."""
    path = folder / RUN_FILE
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_ino, found.st_size, found.st_mtime_ns) if is_inside(path, folder) else None
