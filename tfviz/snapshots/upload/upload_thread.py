"""The thread that sends a run to a viewer while the training goes on."""

from __future__ import annotations

import math
import random
import sys
import threading
import time

from tfviz.runs.run_reader import read_records
from tfviz.snapshots.upload.run_sender import RunSender
from tfviz.snapshots.upload.viewer_client import ViewerError, ViewerRefusalError

FIRST_RETRY_S, LAST_RETRY_S = 0.25, 8.0  # each wait is twice the one before
# a wrong token stays wrong, but the viewer may be started again with this one
REFUSAL_RETRY_S = 30.0


class UploadThread:
    """A thread that sends whenever it is woken, tries again while it fails, and ends when it is
    told to finish.

    has_tried: set after the first attempt. trouble: what stops the sending just now, or None.
    """

    def __init__(self, sender: RunSender) -> None:
        self.sender = sender
        self.has_tried = threading.Event()
        self.trouble: ViewerError | None = None
        self._untold: ViewerError | None = None
        self._random = random.Random()  # the global one is the training's
        self._has_told_left_out = False
        self._change = threading.Condition()
        self._is_woken, self._deadline = False, math.inf
        self._thread = threading.Thread(target=self._work, name="tfviz-upload", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def wake(self) -> None:
        """There is something new in the folder."""
        with self._change:
            self._is_woken = True
            self._change.notify()

    def finish(self, timeout_s: float) -> None:
        """Sends what is left, and ends; returns when that is done, and after `timeout_s` in any
        case.
        """
        with self._change:
            self._deadline = time.monotonic() + timeout_s
            self._change.notify()
        self._thread.join(timeout_s)

    def count_left(self) -> int:
        """How many snapshots in the folder the viewer has not got."""
        return sum(record["number"] > self.sender.last for record in read_records(self.sender.folder))

    def raise_trouble(self) -> None:
        """Raises what has gone wrong and was not raised yet."""
        untold, self._untold = self._untold, None
        if untold is not None:
            raise untold

    def _work(self) -> None:
        failures, goes_on = 0, True
        while goes_on:
            trouble = self._attempt()
            self.has_tried.set()
            failures = 0 if trouble is None else failures + 1
            goes_on = self._wait_for_news() if trouble is None else self._wait_to_retry(trouble, failures)
        self.sender.client.close()

    def _attempt(self) -> ViewerError | None:
        try:
            count = self.sender.send_all(self._is_over)
        except ViewerError as error:
            self._note_trouble(error)
        except Exception as error:  # a fault of ours must not end the sending without a word
            failure = ViewerError(f"Sending to the viewer failed ({type(error).__name__}: {error}).")
            failure.__cause__ = error
            self._note_trouble(failure)
        else:
            self._note_success(count)
        return self.trouble

    def _note_trouble(self, error: ViewerError) -> None:
        """One outage is told once, however often it is met; that the viewer now refuses
        is another.
        """
        if type(error) is not type(self.trouble):
            self._untold = error
        self.trouble = error

    def _note_success(self, count: int) -> None:
        if self.trouble is not None:
            # nobody wants to hear that it is back who has not heard that it was away
            if self._untold is None:
                print(f"The viewer at {self.sender.client.url} is back; {_missed(count)}.", file=sys.stderr, flush=True)
            self.trouble = self._untold = None
        if self.sender.left_out is not None and not self._has_told_left_out:
            self._has_told_left_out = True
            self._untold = self.sender.left_out

    def _is_over(self) -> bool:
        return time.monotonic() > self._deadline

    def _wait_for_news(self) -> bool:
        """Whether there is something to send; False when there will be nothing more."""
        with self._change:
            self._change.wait_for(lambda: self._is_woken or self._deadline < math.inf)
            is_woken, self._is_woken = self._is_woken, False
            return is_woken and not self._is_over()

    def _wait_to_retry(self, trouble: ViewerError, failures: int) -> bool:
        """Whether to try again; False when it is too late, or of no use."""
        is_refused = isinstance(trouble, ViewerRefusalError)
        delay_s = REFUSAL_RETRY_S if is_refused else min(FIRST_RETRY_S * 2 ** min(failures - 1, 16), LAST_RETRY_S)
        # so that many trainers do not come back at the same moment
        delay_s *= self._random.uniform(0.5, 1)
        with self._change:
            if self._deadline < math.inf:  # it has been tried since
                self._change.wait(max(0.0, min(delay_s, FIRST_RETRY_S, self._deadline - time.monotonic())))
                return not is_refused and not self._is_over()
            self._change.wait_for(lambda: self._deadline < math.inf, delay_s)
            return True


def _missed(count: int) -> str:
    return f"{count} snapshot{'s' if count != 1 else ''} that it had missed {'were' if count != 1 else 'was'} sent"
