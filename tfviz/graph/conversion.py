"""Whether a graph is traced to be converted for a runtime other than TensorFlow.

Such a graph has no half precision, no random numbers and no tensors whose size depends on the
images.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# The name of the loop over perturbed copies. Converted graphs keep it as a loop: its steps hold the
# whole network, so they must not be copied.
LOOP_OVER_COPIES = "loop_over_copies"

_converting: ContextVar[bool] = ContextVar("converting", default=False)


@contextmanager
def tracing_for_conversion() -> Iterator[None]:
    """Trace for another runtime within the block."""
    token = _converting.set(True)
    try:
        yield
    finally:
        _converting.reset(token)


def is_traced_for_conversion() -> bool:
    """Return whether the current trace is for another runtime."""
    return _converting.get()
