"""All runs in a folder: those written by other processes and those uploaded."""

from __future__ import annotations

import contextlib
import os
import threading
from dataclasses import dataclass
from pathlib import Path

from tfviz.errors import shown
from tfviz.runs.layout import RUN_FILE, find_runs
from tfviz.runs.png import largest_png_bytes
from tfviz.runs.regular_files import is_inside, read_regular
from tfviz.runs.run_reader import parsed
from tfviz.runs.schema import MAX_RUN_BYTES, Run
from tfviz.runs.validation import run_fault
from tfviz.viewer.known_run import KnownRun, Stamp, stamp_of
from tfviz.viewer.log import log


@dataclass(frozen=True)
class News:
    """A change to a run, as reported to the pages.

    Attributes:
        run: the run id.
        last: the number of its last snapshot.
        is_new: whether its run.json was added, changed or removed.
    """

    run: str
    last: int
    is_new: bool = False


class Store:
    """The runs in a folder, which need not exist yet. All methods are thread-safe."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(os.path.realpath(folder))
        self.runs: dict[str, KnownRun] = {}
        self.lock = threading.RLock()  # guards `runs`; each run has its own lock for its records
        self._rejected: dict[Path, Stamp] = {}

    def known(self) -> list[KnownRun]:
        """Return a list of the current runs. Later changes to `runs` don't affect it."""
        return list(self.runs.values())

    def find(self) -> list[News]:
        """Search the folder and return news of runs that were added, changed or removed."""
        folders = [folder for folder in find_runs(self.folder) if is_inside(folder, self.folder)]
        with self.lock:
            news = [News(id, -1, True) for id in self._gone()]
            return news + [found for folder in folders if (found := self.learn(folder)) is not None]

    def poll(self) -> list[News]:
        """Read the new snapshots of all runs and return news of the runs that have changed."""
        return [News(known.run["id"], known.last) for known in self.known() if known.poll()]

    def learn(self, folder: Path) -> News | None:
        """Read a folder's run.json if it is new or has changed, and return any news."""
        stamp = stamp_of(folder)
        with self.lock:
            old = next((known for known in self.runs.values() if known.folder == folder), None)
            if stamp is None or stamp == self._rejected.get(folder) or (old and old.stamp == stamp):
                return None
            run = self._read(folder, stamp)
            if run is None:
                return None
            if old and old.run == run:
                old.stamp = stamp
                return None
            if old:
                del self.runs[old.run["id"]]
            known = KnownRun(folder, run, stamp)
            known.poll()
            self.runs[run["id"]] = known
            return News(run["id"], known.last, is_new=True)

    def _read(self, folder: Path, stamp: Stamp) -> Run | None:
        """Return a folder's run, or None if there is no valid run.

        An invalid run.json is logged only once, unless it changes.
        """
        try:
            # The file may be twice as large as the limit, because it is indented for readability.
            run = parsed(read_regular(folder / RUN_FILE, 2 * MAX_RUN_BYTES))
            fault = run_fault(run)
        except FileNotFoundError:
            return None  # removed in the meantime
        except OSError as error:
            fault = error.strerror or type(error).__name__
        if fault is None:
            other = self.runs.get(run["id"])
            if other is None or other.folder == folder:
                return run
            fault = f"it has the same id as the run in {shown(other.folder)}. Is it a copy?"
        self._rejected[folder] = stamp
        log.warning("%s is skipped: %s", shown(folder / RUN_FILE), fault)
        return None

    def _gone(self) -> list[str]:
        gone = [id for id, known in self.runs.items() if stamp_of(known.folder) is None]
        for id in gone:
            del self.runs[id]
        return gone

    def read(self, known: KnownRun, path: Path, image: int) -> bytes | None:
        """Return the bytes of a picture, or None if the file is missing, too large or a link."""
        if image >= len(known.run["images"]) or not is_inside(path, known.folder):
            return None
        with contextlib.suppress(OSError):
            return read_regular(path, largest_png_bytes(known.run["images"][image]))
        return None
