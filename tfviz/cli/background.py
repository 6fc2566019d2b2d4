"""Run prepared calls in another thread, with progress, and stop them between batches of rows."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, TimeoutError
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf

    from tfviz.methods.prepared_call import PreparedCall

_REFRESH_S = 0.2


class RunningCall:
    """A call that runs, or waits to run.

    Attributes:
        call: the call.
        rows: the number of rows of perturbed copies that were run.
    """

    def __init__(self, call: PreparedCall) -> None:
        self.call = call
        self.rows = 0
        self.future: Future[tf.Tensor]

    def result(self, show: Callable[[], None]) -> tf.Tensor:
        """Wait for the attribution, and check its maps.

        Args:
            show: shows the progress; called while waiting.
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
    """A thread that runs one call after the other.

    If the `with` block raises an exception, such as KeyboardInterrupt, the running call stops after
    its current batch of rows, and the waiting ones are dropped.

    Args:
        batch_size: the largest number of rows of perturbed copies to run at once.
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
        """Run a call once all earlier ones are finished."""
        running = RunningCall(call)

        def advance(rows: int) -> None:
            running.rows += rows
            if self._is_stopped:
                raise CancelledError

        running.future = self._thread.submit(call.run_in_batches, self._batch_size, advance)
        return running
