"""Run prepared calls and other tasks in background threads, and stop them cleanly."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, TimeoutError
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf

    from tfviz.methods.prepared_call import PreparedCall

_REFRESH_S = 0.2


class RunningCall:
    """A call that is running or queued.

    Attributes:
        call: the call.
        rows: the number of perturbed copies processed so far.
    """

    def __init__(self, call: PreparedCall) -> None:
        self.call = call
        self.rows = 0
        self.future: Future[tf.Tensor]

    def result(self, show: Callable[[], None]) -> tf.Tensor:
        """Wait for the attribution, check its maps and return it.

        Args:
            show: a function that is called repeatedly while waiting, to show the progress.
        """
        while True:
            show()
            try:
                attribution = self.future.result(timeout=_REFRESH_S)
            except TimeoutError:
                continue
            self.call.check(attribution)
            return attribution


class Background:
    """A background thread that runs calls one after another.

    If the `with` block raises an exception, such as KeyboardInterrupt, the running call stops after
    its current batch, and queued calls are dropped.

    Args:
        batch_size: the maximum number of perturbed copies to run at once.
    """

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._is_stopped = False
        self._thread = ThreadPoolExecutor(max_workers=1)

    def __enter__(self) -> Background:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._is_stopped = kind is not None
        self._thread.shutdown(wait=True, cancel_futures=self._is_stopped)

    def start(self, call: PreparedCall) -> RunningCall:
        """Queue a call, which runs once all earlier calls have finished."""
        running = RunningCall(call)

        def advance(rows: int) -> None:
            running.rows += rows
            if self._is_stopped:
                raise CancelledError

        running.future = self._thread.submit(call.run_in_batches, self._batch_size, advance)
        return running


class Backlog:
    """A background thread that runs tasks in order and limits how many can wait.

    If a task raises an exception, later tasks are dropped. A later call to `add` or the end of the
    `with` block raises the exception again. If the block itself raises an exception, the running
    task finishes, and waiting tasks are dropped.

    Args:
        most: the maximum number of waiting tasks.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._is_stopped = False
        self._waiting: deque[Future[None]] = deque()
        self._thread = ThreadPoolExecutor(max_workers=1)

    def __enter__(self) -> Backlog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._is_stopped = self._is_stopped or kind is not None
        self._thread.shutdown(wait=True, cancel_futures=self._is_stopped)
        if kind is None:
            self._require_success(0)

    def add(self, task: Callable[[], None]) -> None:
        """Queue a task. If too many tasks are waiting, wait for earlier ones first."""
        self._require_success(self._most)
        self._waiting.append(self._thread.submit(self._run, task))

    def _require_success(self, most: int) -> None:
        while len(self._waiting) > most:
            self._waiting.popleft().result()

    def _run(self, task: Callable[[], None]) -> None:
        if self._is_stopped:
            return
        try:
            task()
        except BaseException:
            self._is_stopped = True
            raise
