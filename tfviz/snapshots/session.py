"""The snapshot queue of one `fit` call and the thread that writes the snapshots in order."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tfviz.errors import OptionError, shown
from tfviz.snapshots.exposure import Exposure, Moment
from tfviz.snapshots.fixed_images import FixedImages
from tfviz.snapshots.writer import Writer

_open_sessions: dict[Path, tuple[weakref.finalize, _Background]] = {}


class Session:
    """A writer and its thread during one `fit` call.

    If `close` is never called because training raised an exception, all queued snapshots are still
    written, and the sinks are closed once the session is garbage-collected or the program ends.
    """

    def __init__(self, writer: Writer, max_queued: int) -> None:
        self.writer = writer
        self._background = _Background(max_queued)
        path = writer.folder.path.resolve()
        self._finish = weakref.finalize(self, _finish, path, self._background, writer)
        _open_sessions[path] = self._finish, self._background

    def put(self, moment: Moment, exposures: Mapping[str, Exposure], images: FixedImages) -> None:
        """Queue a snapshot. If the queue is full, block until it has room.

        Raises:
            OptionError: another callback has taken over the folder.
        """
        if not self._finish.alive:
            raise OptionError(
                f"Two callbacks cannot both write to log_dir {shown(self.writer.folder.path)}. Pass a different folder to each."
            )
        self._background.do(self.writer.write, moment, exposures, images)

    def close(self) -> None:
        """Wait until everything is written and the sinks are closed."""
        self._finish()
        self._background.wait()


def finish_previous_session(path: Path) -> None:
    """Wait for an earlier callback that may still be writing to the folder."""
    if (other := _open_sessions.get(path.resolve())) is not None:
        finish, background = other
        finish()
        background.wait()


def _finish(path: Path, background: _Background, writer: Writer) -> None:
    def last_job() -> None:
        writer.close()
        if path in _open_sessions and _open_sessions[path][1] is background:
            del _open_sessions[path]

    background.finish(last_job)


class _Background:
    """A thread that runs jobs one after another.

    No job is dropped: while `most_waiting` jobs are unfinished, `do` blocks. Queued jobs always
    run, even after an exception in training or after this object is garbage-collected. They also
    run if the program ends, because Python waits for executor jobs before it exits.
    """

    def __init__(self, most_waiting: int) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="tfviz-snapshots")
        self._slots = threading.BoundedSemaphore(most_waiting)

    def do(self, job: Callable[..., None], *args: Any) -> None:
        """Queue a job. If the queue is full, block until it has room. Jobs must not raise."""
        self._slots.acquire()
        try:
            self._executor.submit(_run_and_release, self._slots, job, args)
        except BaseException:
            self._slots.release()
            raise

    def finish(self, last_job: Callable[[], None]) -> None:
        """Queue the last job after all others and return without waiting for it."""
        try:
            self._executor.submit(last_job)
        except RuntimeError:
            # The program is ending: all other jobs are done, and executors accept no new ones.
            last_job()
        self._executor.shutdown(wait=False)

    def wait(self) -> None:
        """Wait until all jobs are done. Call `finish` first."""
        self._executor.shutdown(wait=True)


def _run_and_release(slots: threading.BoundedSemaphore, job: Callable[..., None], args: tuple[Any, ...]) -> None:
    try:
        job(*args)
    finally:
        slots.release()
