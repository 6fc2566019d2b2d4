"""Importing TensorFlow without what its C++ side prints about the machine."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


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
