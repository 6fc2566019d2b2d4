"""All the runs of a folder: those that others write into it, and those that trainers send."""

from __future__ import annotations

import contextlib
import os
import threading
from dataclasses import dataclass
from pathlib import Path

from tfviz.errors import shown
from tfviz.runs.layout import RUN_FILE, find_runs
from tfviz.runs.regular_files import is_inside, read_regular
from tfviz.runs.run_reader import parsed
from tfviz.runs.schema import MAX_RUN_BYTES, Run
from tfviz.runs.validation import run_fault
from tfviz.viewer.known_run import KnownRun, Stamp, stamp_of
from tfviz.viewer.log import log
from tfviz.viewer.png import largest_png_bytes


@dataclass(frozen=True)
class News:
    """What the pages are told: the run has snapshots up to `last`; `is_new`: its run.json is new,
    or gone.
    """

    run: str
    last: int
    is_new: bool = False


class Store:
    """The runs in `folder`, which need not exist yet. Every method may be called from
    any thread.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(os.path.realpath(folder))
        self.runs: dict[str, KnownRun] = {}
        self.lock = threading.RLock()  # of the table; each run has its own for its records
        self._refused: dict[Path, Stamp] = {}

    def known(self) -> list[KnownRun]:
        """The runs at this moment; the table itself may change while somebody goes through it."""
        return list(self.runs.values())

    def find(self) -> list[News]:
        """Looks for runs that are new, changed or gone."""
        folders = [folder for folder in find_runs(self.folder) if is_inside(folder, self.folder)]
        with self.lock:
            news = [News(id, -1, True) for id in self._gone()]
            return news + [found for folder in folders if (found := self.learn(folder)) is not None]

    def poll(self) -> list[News]:
        """Looks for snapshots that are new in the runs that are known."""
        return [News(known.run["id"], known.last) for known in self.known() if known.poll()]

    def learn(self, folder: Path) -> News | None:
        """Reads run.json, if it is new or has changed."""
        stamp = stamp_of(folder)
        with self.lock:
            old = next((known for known in self.runs.values() if known.folder == folder), None)
            if stamp is None or stamp == self._refused.get(folder) or (old and old.stamp == stamp):
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
        """The run in the folder; one that cannot be used is named once, until its file changes."""
        try:
            # twice: white space makes it legible
            run = parsed(read_regular(folder / RUN_FILE, 2 * MAX_RUN_BYTES))
            fault = run_fault(run)
        except FileNotFoundError:
            return None  # gone since
        except OSError as error:
            fault = error.strerror or type(error).__name__
        if fault is None:
            other = self.runs.get(run["id"])
            if other is None or other.folder == folder:
                return run
            fault = f"it has the id of the run in {shown(other.folder)}; is it a copy?"
        self._refused[folder] = stamp
        log.warning("%s is left out: %s", shown(folder / RUN_FILE), fault)
        return None

    def _gone(self) -> list[str]:
        gone = [id for id, known in self.runs.items() if stamp_of(known.folder) is None]
        for id in gone:
            del self.runs[id]
        return gone

    def read(self, known: KnownRun, path: Path, image: int) -> bytes | None:
        """A picture of one of the images; None where there is none, a larger file, or a link in its
        way.
        """
        if image >= len(known.run["images"]) or not is_inside(path, known.folder):
            return None
        with contextlib.suppress(OSError):
            return read_regular(path, largest_png_bytes(known.run["images"][image]))
        return None
