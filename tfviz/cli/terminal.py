"""The terminal: lines, tables, a progress bar, and TensorFlow's own messages, which are held back."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

_BAR_WIDTH = 24


def tell(line: str, stream: TextIO | None = None) -> None:
    """Writes a line, to stdout by default. A stream whose reader has gone is no error."""
    stream = stream or sys.stdout
    with tolerating_a_closed_pipe(stream):
        print(line, file=stream, flush=True)


@contextmanager
def tolerating_a_closed_pipe(stream: TextIO) -> Iterator[None]:
    """If the reader of a stream has gone, as with `| head`, what is written is dropped and the command goes on."""
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
        """Draws the bar: `done` of all images, a part of one included, and what is at work."""
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
        with tolerating_a_closed_pipe(self.stream):
            self.stream.write(f"\r{text}{blanks}" if text else f"\r{blanks}\r")
            self.stream.flush()
        self._length = len(text)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """The rows as lines of a table: each column as wide as its longest word, two spaces between columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines)


def import_tensorflow() -> None:
    """Imports TensorFlow and starts its devices. Where that fails, what it printed is shown after all."""
    if "tensorflow" in sys.modules:
        return
    with held_back():
        import tensorflow as tf

        tf.zeros(())  # some lines come with the first tensor


@contextmanager
def held_back() -> Iterator[None]:
    """What is written to file descriptor 2 is dropped, unless an exception ends the block: then it comes after all.

    TensorFlow's C++ side writes there, and before its log is set up it heeds no log level.
    """
    sys.stderr.flush()
    try:
        stderr = os.dup(2)
    except OSError:  # there is none
        yield
        return
    with tempfile.TemporaryFile() as printed:
        os.dup2(printed.fileno(), 2)
        try:
            yield
        except Exception:
            printed.seek(0)
            os.write(stderr, printed.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
