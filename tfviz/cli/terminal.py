"""The terminal: lines, tables, a progress bar, and TensorFlow's own messages, which are held back."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from tfviz.errors import escaped, shown

_BAR_WIDTH = 24


def tell(line: str, stream: TextIO | None = None) -> None:
    """Writes a line, to stdout by default. A stream that takes nothing more is no error."""
    stream = stream or sys.stdout
    with tolerated(stream):
        print(escaped(line), file=stream, flush=True)


@contextmanager
def tolerated(stream: TextIO) -> Iterator[None]:
    """If a stream takes nothing more, what is written is dropped and the command goes on.

    Its reader has gone, as with `| head`, the disk is full, or the terminal was closed.
    """
    try:
        yield
    except (OSError, ValueError):  # ValueError: the stream is closed
        with suppress(OSError, ValueError):  # What is left in the stream would fail again at the end of the process.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def open_standard_streams() -> None:
    """Opens those that the process was started without: otherwise the next file would take the place of stderr."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - as long as the process
        elif hasattr(getattr(sys, name), "reconfigure"):
            getattr(sys, name).reconfigure(errors="replace")  # a name that the terminal cannot show must not stop a run


def flush_standard_streams() -> None:
    """Writes what is left, since at the end of the process a failure would become its exit code."""
    for stream in (sys.stdout, sys.stderr):
        with tolerated(stream):
            stream.flush()


@contextmanager
def noted_warnings(say: Callable[[str], None]) -> Iterator[None]:
    """What tfviz warns of in Python, as remarks: each is said once, in one line that begins with "Note: "."""
    told: set[str] = set()
    show = warnings.showwarning

    def note(message: Warning | str, category: type[Warning], filename: str, lineno: int, *where: Any) -> None:
        line = " ".join(f"Note: {message}".split())
        if category is not UserWarning:
            show(message, category, filename, lineno, *where)
        elif line not in told:
            told.add(line)
            say(line)

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = note  # type: ignore[assignment]
        yield


class Progress:
    """A bar on stderr where that is a terminal; elsewhere, only what is said. Leaving the `with` takes the bar away.

    Inside the `with`, warnings are said above the bar.
    """

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self.total = total
        self.stream = stream or sys.stderr
        self.is_shown = not self.stream.closed and self.stream.isatty()
        self._length = 0

    def __enter__(self) -> Progress:
        self._notes = noted_warnings(self.say)
        self._notes.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._notes.__exit__(*error)
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
        text = shown(text)[: shutil.get_terminal_size().columns - 1]
        blanks = " " * (self._length - len(text))
        with tolerated(self.stream):
            self.stream.write(f"\r{text}{blanks}" if text else f"\r{blanks}\r")
            self.stream.flush()
        self._length = len(text)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """The rows as lines of a table: each column as wide as its longest word, two spaces between columns."""
    rows = [[shown(word) for word in row] for row in rows]
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
    with tolerated(sys.stderr):
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
            with suppress(OSError):
                os.write(stderr, printed.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
