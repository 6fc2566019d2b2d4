"""Mark traces that will be converted for a runtime other than TensorFlow.

The graph of such a trace draws no random numbers, because each runtime would draw different ones.
All its tensor sizes are static, except for the number of images.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# The name of the loop over perturbed copies. Converted graphs must not unroll it, because its body
# contains the entire network.
LOOP_OVER_COPIES = "loop_over_copies"

_converting: ContextVar[bool] = ContextVar("converting", default=False)
_in_float32: ContextVar[bool] = ContextVar("in_float32", default=False)


@contextmanager
def tracing_for_conversion(in_float32: bool) -> Iterator[None]:
    """Mark all traces within the block as traces for another runtime.

    Args:
        in_float32: whether half-precision values will be converted to float32 later.
    """
    tokens = _converting.set(True), _in_float32.set(in_float32)
    try:
        yield
    finally:
        _converting.reset(tokens[0])
        _in_float32.reset(tokens[1])


def is_traced_for_conversion() -> bool:
    """Return whether the current trace is for another runtime."""
    return _converting.get()


def is_traced_for_float32() -> bool:
    """Return whether half-precision values in the current trace will be converted to float32."""
    return _in_float32.get()
