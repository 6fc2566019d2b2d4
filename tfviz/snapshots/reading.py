"""Reading a folder of snapshots, also while somebody else writes it. Needs neither TensorFlow nor NumPy.

    run = read_run(folder)                 what run.json says
    follower = Follower(folder)
    records = follower.look()              the lines of snapshots.jsonl that are new since the last look

A run's folder holds

    run.json                               written in one step at the start
    snapshots.jsonl                        one line for each snapshot, added when all of its files are in place
    images/0.png                           the images
    pictures/00000017/grad_cam/0.png       the map of snapshot 17, method grad_cam, image 0, drawn over the image
    maps/00000017.npz                      the maps themselves
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tfviz.errors import SnapshotsError

RUN_FILE = "run.json"
INDEX_FILE = "snapshots.jsonl"
FORMAT = 1
MAX_DEPTH = 3  # how deep below a folder of runs a run may lie
_OWN_FOLDERS = ("images", "pictures", "maps")
_LARGEST_READ_BYTES = 1 << 24  # of the index at a time


def image_path(folder: str | Path, image: int) -> Path:
    """The image itself, as it was given."""
    return Path(folder) / "images" / f"{image}.png"


def picture_path(folder: str | Path, number: int, method: str, image: int) -> Path:
    """The picture of snapshot `number` by `method` of the image."""
    return Path(folder) / "pictures" / f"{number:08d}" / method / f"{image}.png"


def maps_path(folder: str | Path, number: int) -> Path:
    """The maps of snapshot `number`, an .npz file with an array for each method."""
    return Path(folder) / "maps" / f"{number:08d}.npz"


def is_run(folder: str | Path) -> bool:
    """Whether a run lies in this folder itself."""
    try:
        return (Path(folder) / RUN_FILE).is_file()
    except OSError:  # a folder that may not be entered
        return False


def find_runs(folder: str | Path, depth: int = MAX_DEPTH) -> list[Path]:
    """The folders of runs: `folder` itself and those at most `depth` below it, sorted. Links are not followed."""
    is_one = is_run(folder)
    below = [run for path in _folders_in(folder, is_one) for run in find_runs(path, depth - 1)] if depth else []
    return [Path(folder)] * is_one + below


def _folders_in(folder: str | Path, is_one: bool) -> list[str]:
    """The folders that may hold runs; those of a run's own files do not."""
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)]
    except OSError:  # not there yet, or gone meanwhile
        return []
    return sorted(entry.path for entry in found if not (is_one and entry.name in _OWN_FOLDERS))


def read_run(folder: str | Path) -> dict[str, Any]:
    """What run.json says. Raises SnapshotsError where there is none, or one that cannot be read."""
    path = Path(folder) / RUN_FILE
    try:
        run = _parsed(path.read_bytes())
    except OSError as error:
        raise SnapshotsError(
            f"There is no run in {folder}: {RUN_FILE} cannot be read ({error.strerror}). "
            "Give the log_dir of a SnapshotCallback."
        ) from error
    if run is None or not isinstance(run.get("id"), str):
        raise SnapshotsError(f"{path} is not the {RUN_FILE} that a SnapshotCallback writes. Is it damaged?")
    if run.get("format") != FORMAT:
        raise SnapshotsError(
            f"{path} has format {run.get('format')!r}; this tfviz reads format {FORMAT}. Install a newer tfviz."
        )
    return run


def read_records(folder: str | Path) -> list[dict[str, Any]]:
    """The records of all snapshots that are complete, in order; none where there is no run yet."""
    return Follower(folder).look()


class Follower:
    """Follows a run's index as it grows.

    The folder may appear later, vanish and come back. A line counts when it is complete. `restarts` grows by one when
    the index is another one than before, or shorter: the records that follow then start at the beginning again.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.last = -1  # the number of the last record that was given
        self.restarts = 0
        self._offset = 0
        self._file: tuple[int, int] | None = None

    def look(self) -> list[dict[str, Any]]:
        """The records that are new since the last look, in order; an empty list where there are none."""
        records: list[dict[str, Any]] = []
        while data := self._next_lines():
            records += [record for line in data.split(b"\n") if (record := self._record(line)) is not None]
        return records

    def _next_lines(self) -> bytes:
        """The next whole lines, and the offset moved behind them."""
        try:
            with (self.folder / INDEX_FILE).open("rb") as index:
                self._notice_another_file(os.fstat(index.fileno()))
                index.seek(self._offset)
                data = index.read(_LARGEST_READ_BYTES)
        except OSError:
            return b""
        data = data[: data.rfind(b"\n") + 1]
        self._offset += len(data)
        return data

    def _notice_another_file(self, found: os.stat_result) -> None:
        file = (found.st_dev, found.st_ino)
        if self._file is not None and (file != self._file or found.st_size < self._offset):
            self.restarts += 1
            self._offset, self.last = 0, -1
        self._file = file

    def _record(self, line: bytes) -> dict[str, Any] | None:
        """The record, if the line holds one that is new; a damaged line is passed over."""
        record = _parsed(line)
        if record is None or not isinstance(record.get("number"), int) or record["number"] <= self.last:
            return None
        self.last = record["number"]
        return record


def _parsed(data: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
