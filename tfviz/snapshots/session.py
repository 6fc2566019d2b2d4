"""One training's snapshots on their way to the folder: one thread, in order, and only so much of it waiting."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tfviz.errors import OptionError, shown
from tfviz.snapshots.exposure import Exposure, Moment
from tfviz.snapshots.writer import Writer

_under_way: dict[Path, tuple[weakref.finalize, _Background]] = {}


class Session:
    """A writer and the thread it works on, from the beginning of a `fit` to its end, however it ends.

    Where nobody calls `close` (an exception in the training), everything that was handed over is still written, and the
    sinks are closed when the session is forgotten or the program ends.
    """

    def __init__(self, writer: Writer, max_queued: int) -> None:
        self.writer = writer
        self._background = _Background(max_queued)
        path = writer.folder.path.resolve()
        self._finish = weakref.finalize(self, _finish, path, self._background, writer)
        _under_way[path] = self._finish, self._background

    def put(self, moment: Moment, exposures: Mapping[str, Exposure]) -> None:
        """Hands a snapshot over; waits while too many wait already.

        Raises OptionError where another callback took the folder over meanwhile.
        """
        if not self._finish.alive:
            raise OptionError(
                f"log_dir: two callbacks cannot both write to {shown(self.writer.folder.path)}; give each its own"
            )
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


def _finish(path: Path, background: _Background, writer: Writer) -> None:
    def last_job() -> None:
        writer.close()
        if path in _under_way and _under_way[path][1] is background:
            del _under_way[path]

    background.finish(last_job)


class _Background:
    """A thread that does one job after the other.

    Nothing is dropped: where `most_waiting` jobs wait already, `do` waits for room. What was handed over is done in any
    case: after an exception in the training, when this object is forgotten, and when the program ends, for Python itself
    waits for an executor's jobs then.
    """

    def __init__(self, most_waiting: int) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="tfviz-snapshots")
        self._room = threading.BoundedSemaphore(most_waiting)

    def do(self, job: Callable[..., None], *args: Any) -> None:
        """Hands a job over; waits while there is no room. Jobs must not raise."""
        self._room.acquire()
        try:
            self._executor.submit(_done_and_room_made, self._room, job, args)
        except BaseException:
            self._room.release()
            raise

    def finish(self, last_job: Callable[[], None]) -> None:
        """Nothing more will come: does the last job after all others, without waiting for it."""
        try:
            self._executor.submit(last_job)
        except RuntimeError:  # The program is ending: all others are done, and threads take nothing new.
            last_job()
        self._executor.shutdown(wait=False)

    def wait(self) -> None:
        """Waits, after `finish`, until everything is done."""
        self._executor.shutdown(wait=True)


def _done_and_room_made(room: threading.BoundedSemaphore, job: Callable[..., None], args: tuple[Any, ...]) -> None:
    try:
        job(*args)
    finally:
        room.release()
