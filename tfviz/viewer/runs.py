"""One run as the server knows it: its folder on the disk and, in memory, the line of each snapshot."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from pydantic import ValidationError

from tfviz.snapshots.reading import INDEX_FILE, RUN_FILE, Follower, image_path, picture_path
from tfviz.viewer.forms import Record, Run, reason
from tfviz.viewer.journal import journal

RECEIVED_FILE = ".received"  # marks the folder of a run that a trainer sends; others belong to whoever writes them

Stamp = tuple[int, int, int]


class KnownRun:
    """A run, followed in its folder. `folder` is a real path: no part of it is a link.

    lines: compact JSON, one for each snapshot; the n-th has the number n.
    """

    def __init__(self, folder: Path, run: Run, stamp: Stamp) -> None:
        self.folder, self.run, self.stamp = folder, run, stamp
        self.lines: list[bytes] = []
        self.last_time: float | None = None
        self.is_received = (folder / RECEIVED_FILE).is_file()
        self.lock = threading.RLock()  # one thread at a time looks or adds
        self._follower = Follower(folder)
        self._restarts = 0
        self._is_damaged = False

    @property
    def last(self) -> int:
        """The number of the last snapshot, or -1."""
        return len(self.lines) - 1

    def look(self) -> bool:
        """Takes in what the folder has got since the last look; True where that is anything."""
        with self.lock:
            if not is_inside(self.folder / INDEX_FILE, self.folder):
                return False
            records = self._follower.look()
            has_news = bool(records)
            if self._follower.restarts != self._restarts:
                self._restarts, self.lines, self._is_damaged, has_news = self._follower.restarts, [], False, True
            for record in records:
                self._take(record)
            return has_news

    def _take(self, found: dict) -> None:
        try:
            record = Record.model_validate(found)
            fault = record.misfit(self.run) or self._gap(record)
        except ValidationError as error:
            fault = reason(error)
        if fault is None:
            self.lines.append(record.line())
            self.last_time = record.time
        elif not self._is_damaged:  # said once: whatever comes after it has no place either
            self._is_damaged = True
            journal.warning("%s: a snapshot is left out, and those after it: %s", self.folder / INDEX_FILE, fault)

    def _gap(self, record: Record) -> str | None:
        if record.number == len(self.lines):
            return None
        return f"expected number {len(self.lines)}, got {record.number}"

    def image(self, image: int) -> Path:
        """Where the image lies, or would lie."""
        return image_path(self.folder, image)

    def picture(self, number: int, method: str, image: int) -> Path:
        """Where a map's picture lies, or would lie."""
        return picture_path(self.folder, number, method, image)

    def count_images(self) -> int:
        """How many of the images are there."""
        return sum(self.image(number).is_file() for number in range(len(self.run.images)))


def stamp_of(folder: Path) -> Stamp | None:
    """What changes when run.json is written anew; None where there is none, or only a link to one elsewhere."""
    path = folder / RUN_FILE
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_ino, found.st_size, found.st_mtime_ns) if is_inside(path, folder) else None


def is_inside(path: Path, folder: Path) -> bool:
    """Whether the path really lies where it says, below `folder`, with no link on the way.

    `folder` must be a real path itself.
    """
    real = Path(os.path.realpath(path))
    return real == path and real.is_relative_to(folder)
