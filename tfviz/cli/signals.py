"""Stop a command on SIGTERM or SIGHUP, just as on Ctrl-C. The exit code identifies the signal."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_TERMINATING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Stopped(KeyboardInterrupt):
    """Raised on SIGTERM or SIGHUP, so that the command stops as it does on Ctrl-C."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.number = number


def exit_code(stop: KeyboardInterrupt) -> int:
    """Return 128 plus the signal number, as shells do."""
    return 128 + (stop.number if isinstance(stop, Stopped) else signal.SIGINT)


@contextmanager
def stopping_on_signals() -> Iterator[None]:
    """Raise Stopped in the `with` block on the first SIGTERM or SIGHUP, and ignore later ones.

    A signal that is already ignored, such as SIGHUP under nohup, stays ignored. Python can only
    install signal handlers in the main thread, so this function has no effect in other threads.
    """
    handled = [one for one in _TERMINATING if signal.getsignal(one) is signal.SIG_DFL]
    if threading.current_thread() is not threading.main_thread():
        handled = []

    def stop(number: int, _frame: FrameType | None) -> None:
        for one in handled:
            signal.signal(one, signal.SIG_IGN)
        raise Stopped(number)

    for one in handled:
        signal.signal(one, stop)
    try:
        yield
    finally:
        for one in handled:
            signal.signal(one, signal.SIG_DFL)
