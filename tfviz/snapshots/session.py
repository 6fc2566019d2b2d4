"""One training's snapshots on their way to the folder."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from pathlib import Path

from tfviz.errors import OptionError
from tfviz.snapshots.background import Background
from tfviz.snapshots.snapshot import Exposure, Moment
from tfviz.snapshots.writer import Writer

_under_way: dict[Path, tuple[weakref.finalize, Background]] = {}


class Session:
    """A writer and the thread it works on, from the beginning of a `fit` to its end, however it ends.

    Where nobody calls `close` (an exception in the training), everything that was handed over is still written, and the
    sinks are closed when the session is forgotten or the program ends.
    """

    def __init__(self, writer: Writer, max_queued: int) -> None:
        self.writer = writer
        self._background = Background(max_queued)
        path = writer.folder.path.resolve()
        self._finish = weakref.finalize(self, _finish, path, self._background, writer)
        _under_way[path] = self._finish, self._background

    def put(self, moment: Moment, exposures: Mapping[str, Exposure]) -> None:
        """Hands a snapshot over; waits while too many wait already.

        Raises OptionError where another callback took the folder over meanwhile.
        """
        if not self._finish.alive:
            raise OptionError(f"log_dir: two callbacks cannot both write to {self.writer.folder.path}; give each its own")
        self._background.do(self.writer.write, moment, exposures)

    def close(self) -> None:
        """Waits until everything is written and the sinks are closed."""
        self._finish()
        self._background.wait()


def close_other_session(path: Path) -> None:
    """Waits for what another callback, of a training that was broken off, may still have to write there."""
    if (other := _under_way.get(path.resolve())) is not None:
        finish, background = other
        finish()
        background.wait()


def _finish(path: Path, background: Background, writer: Writer) -> None:
    def last_job() -> None:
        writer.close()
        if path in _under_way and _under_way[path][1] is background:
            del _under_way[path]

    background.finish(last_job)
