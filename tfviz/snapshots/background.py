"""Work that the training thread hands over: one thread, in order, and only so much of it waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any


class Background:
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
