"""Print lines, tables and a progress bar, and suppress TensorFlow's own messages."""

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


def print_line(line: str, stream: TextIO | None = None) -> None:
    """Print a line to stdout or the given stream, ignoring write errors."""
    stream = stream or sys.stdout
    with ignored_write_errors(stream):
        print(escaped(line), file=stream, flush=True)


@contextmanager
def ignored_write_errors(stream: TextIO) -> Iterator[None]:
    """Ignore errors when the block writes to the stream, so that the command continues.

    Writing fails if the reader has exited (as with `| head`), the disk is full or the terminal is
    closed.
    """
    try:
        yield
    except (OSError, ValueError):  # ValueError: the stream is closed.
        # Discard the rest of the output. Otherwise, flushing it would fail again at exit.
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def open_standard_streams() -> None:
    """Open missing standard streams.

    Otherwise, the next files to be opened would take their descriptors.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # uses the lowest unused descriptor
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - open until exit
        elif hasattr(getattr(sys, name), "reconfigure"):
            # A file name that the terminal cannot display must not stop the command.
            getattr(sys, name).reconfigure(errors="replace")


def flush_standard_streams() -> None:
    """Flush the standard streams now, because a failure at exit would change the exit code."""
    for stream in (sys.stdout, sys.stderr):
        with ignored_write_errors(stream):
            stream.flush()


@contextmanager
def warnings_as_notes(say: Callable[[str], None]) -> Iterator[None]:
    """Turn each distinct UserWarning into one line that starts with "Note: "."""
    printed: set[str] = set()
    show = warnings.showwarning

    def note(message: Warning | str, category: type[Warning], filename: str, lineno: int, *where: Any) -> None:
        line = " ".join(f"Note: {message}".split())
        if category is not UserWarning:
            show(message, category, filename, lineno, *where)
        elif line not in printed:
            printed.add(line)
            say(line)

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = note  # type: ignore[assignment]
        yield


class Progress:
    """A progress bar on stderr.

    If stderr is not a terminal, only lines passed to `say` are printed. Inside the `with` block,
    warnings become lines above the bar. The bar disappears when the block ends.
    """

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self.total = total
        self.stream = stream or sys.stderr
        self.is_shown = not self.stream.closed and self.stream.isatty()
        self._length = 0

    def __enter__(self) -> Progress:
        self._notes = warnings_as_notes(self.say)
        self._notes.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._notes.__exit__(*error)
        self._replace("")

    def show(self, done: float, text: str) -> None:
        """Draw the bar with the current activity. `done` may include a fraction of an image."""
        full = int(_BAR_WIDTH * done / max(self.total, 1))
        bar = "#" * full + "." * (_BAR_WIDTH - full)
        self._replace(f"[{bar}] {int(done)}/{self.total} {text}")

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._replace("")
        print_line(line, self.stream)

    def _replace(self, text: str) -> None:
        if not self.is_shown or not (text or self._length):
            return
        text = shown(text)[: shutil.get_terminal_size().columns - 1]
        blanks = " " * (self._length - len(text))
        with ignored_write_errors(self.stream):
            self.stream.write(f"\r{text}{blanks}" if text else f"\r{blanks}\r")
            self.stream.flush()
        self._length = len(text)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Format rows as a table with left-aligned columns, two spaces apart."""
    rows = [[shown(word) for word in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines)


def import_tensorflow() -> None:
    """Import TensorFlow and initialize its devices silently.

    On failure, show TensorFlow's output.
    """
    if "tensorflow" in sys.modules:
        return
    with quiet_stderr():
        import tensorflow as tf

        let_memory_grow()
        tf.zeros(())  # Creating the first tensor prints messages too.


def let_memory_grow() -> None:
    """Let TensorFlow allocate GPU memory on demand, so that several processes can share a GPU.

    Only commands and their worker processes call this function, before they create a tensor. The
    library leaves this setting to the program that uses it.
    """
    import tensorflow as tf

    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Hide the output to file descriptor 2 unless the block raises an exception.

    TensorFlow's C++ code writes to this descriptor and ignores the log level until its logging is
    set up.
    """
    with ignored_write_errors(sys.stderr):
        sys.stderr.flush()
    try:
        stderr = os.dup(2)
    except OSError:  # There is no stderr.
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
