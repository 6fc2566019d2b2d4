"""The thread that sends a run to a viewer while training continues."""

from __future__ import annotations

import math
import random
import sys
import threading
import time

from tfviz.runs.run_reader import read_records
from tfviz.snapshots.upload.run_sender import RunSender
from tfviz.snapshots.upload.viewer_client import ViewerError, ViewerRejectionError

FIRST_RETRY_S, LAST_RETRY_S = 0.25, 8.0  # The delay doubles after each failure.
# The delay after a rejection is long, because a rejected token works only after the viewer is
# restarted with it.
REJECTION_RETRY_S = 30.0


class UploadThread:
    """Sends new snapshots when woken, retries after failures, and ends after `finish`.

    Attributes:
        has_attempted: an event that is set after the first attempt.
        trouble: the error that currently prevents sending, or None.
    """

    def __init__(self, sender: RunSender) -> None:
        self.sender = sender
        self.has_attempted = threading.Event()
        self.trouble: ViewerError | None = None
        self._unreported: ViewerError | None = None
        self._random = random.Random()  # Using the global generator would affect training.
        self._has_reported_omission = False
        self._change = threading.Condition()
        self._is_woken, self._deadline = False, math.inf
        self._thread = threading.Thread(target=self._work, name="tfviz-upload", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Signal that the folder has new snapshots."""
        with self._change:
            self._is_woken = True
            self._change.notify()

    def finish(self, timeout_s: float) -> None:
        """Send the remaining snapshots, then end the thread. Wait at most `timeout_s`."""
        with self._change:
            self._deadline = time.monotonic() + timeout_s
            self._change.notify()
        self._thread.join(timeout_s)

    def count_left(self) -> int:
        """Return the number of snapshots that the viewer doesn't have."""
        return sum(record["number"] > self.sender.last for record in read_records(self.sender.folder))

    def raise_trouble(self) -> None:
        """Raise the last error if it has not been raised yet."""
        unreported, self._unreported = self._unreported, None
        if unreported is not None:
            raise unreported

    def _work(self) -> None:
        failures, goes_on = 0, True
        while goes_on:
            trouble = self._attempt()
            self.has_attempted.set()
            failures = 0 if trouble is None else failures + 1
            goes_on = self._wait_for_news() if trouble is None else self._wait_to_retry(trouble, failures)
        self.sender.client.close()

    def _attempt(self) -> ViewerError | None:
        try:
            count = self.sender.send_all(self._is_over)
        except ViewerError as error:
            self._record_trouble(error)
        except Exception as error:  # a bug must not end the thread silently
            failure = ViewerError(f"Sending to the viewer failed ({type(error).__name__}: {error}).")
            failure.__cause__ = error
            self._record_trouble(failure)
        else:
            self._record_success(count)
        return self.trouble

    def _record_trouble(self, error: ViewerError) -> None:
        """Record an error, to be reported unless the previous error had the same type."""
        if type(error) is not type(self.trouble):
            self._unreported = error
        self.trouble = error

    def _record_success(self, count: int) -> None:
        if self.trouble is not None:
            # Report that the viewer is back only if its outage was reported.
            if self._unreported is None:
                print(f"The viewer at {self.sender.client.url} is back. {_sent_words(count)}", file=sys.stderr, flush=True)
            self.trouble = self._unreported = None
        if self.sender.omission is not None and not self._has_reported_omission:
            self._has_reported_omission = True
            self._unreported = self.sender.omission

    def _is_over(self) -> bool:
        return time.monotonic() > self._deadline

    def _wait_for_news(self) -> bool:
        """Wait for new snapshots to send. Return False if sending is over."""
        with self._change:
            self._change.wait_for(lambda: self._is_woken or self._deadline < math.inf)
            is_woken, self._is_woken = self._is_woken, False
            return is_woken and not self._is_over()

    def _wait_to_retry(self, trouble: ViewerError, failures: int) -> bool:
        """Wait before the next attempt. Return False if a retry would be too late or pointless."""
        is_rejected = isinstance(trouble, ViewerRejectionError)
        delay_s = REJECTION_RETRY_S if is_rejected else min(FIRST_RETRY_S * 2 ** min(failures - 1, 16), LAST_RETRY_S)
        # The random delay keeps many training runs from reconnecting at the same moment.
        delay_s *= self._random.uniform(0.5, 1)
        with self._change:
            if self._deadline < math.inf:  # finish() was called, followed by an attempt.
                self._change.wait(max(0.0, min(delay_s, FIRST_RETRY_S, self._deadline - time.monotonic())))
                return not is_rejected and not self._is_over()
            self._change.wait_for(lambda: self._deadline < math.inf, delay_s)
            return True


def _sent_words(count: int) -> str:
    return f"It received {count} snapshot{'s' if count != 1 else ''} that it had missed."
