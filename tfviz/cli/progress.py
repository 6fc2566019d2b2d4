"""How far a run is: a line on the terminal that is written over, and lines that stay."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

_BAR_WIDTH = 24


def tell(line: str, stream: TextIO | None = None) -> None:
    """Writes a line, to stdout by default; where nobody reads it any more, nothing happens."""
    stream = stream or sys.stdout
    with unread_if_need_be(stream):
        print(line, file=stream, flush=True)


@contextmanager
def unread_if_need_be(stream: TextIO) -> Iterator[None]:
    """Where nobody reads a stream any more, as behind `| head`, all that is written goes nowhere: that is no reason to stop."""
    try:
        yield
    except BrokenPipeError:  # What is left in the stream would break again at the end of the process.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


class Progress:
    """A bar on stderr where that is a terminal; elsewhere, only what is said. Leaving the `with` takes the bar away."""

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self.total = total
        self.stream = stream or sys.stderr
        self.is_shown = self.stream.isatty()
        self._length = 0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._replace("")

    def show(self, done: float, text: str) -> None:
        """Draws the bar: `done` of all pictures, a part of one included, and what is at work."""
        full = int(_BAR_WIDTH * done / max(self.total, 1))
        bar = "#" * full + "." * (_BAR_WIDTH - full)
        self._replace(f"[{bar}] {int(done)}/{self.total} {text}")

    def say(self, line: str) -> None:
        """A line that stays, above the bar."""
        self._replace("")
        tell(line, self.stream)

    def _replace(self, text: str) -> None:
        if not self.is_shown or not (text or self._length):
            return
        text = text[: shutil.get_terminal_size().columns - 1]
        blanks = " " * (self._length - len(text))
        with unread_if_need_be(self.stream):
            self.stream.write(f"\r{text}{blanks}" if text else f"\r{blanks}\r")
            self.stream.flush()
        self._length = len(text)
