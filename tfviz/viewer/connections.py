"""How many connections there may be, and how long they may stay silent.

Without these limits, clients that connect and send nothing use up the process's file descriptors:
no connection is accepted any more, and asyncio logs each failure.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from tfviz.viewer.limits import Limits

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_ACCEPTED_AT_ONCE = 64


def allowed(limits: Limits) -> tuple[int, int]:
    """How many connections there may be, and how many may be accepted at once; both leave file
    descriptors for files.
    """
    if resource is None:
        return limits.connections, _ACCEPTED_AT_ONCE
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        return limits.connections, _ACCEPTED_AT_ONCE
    return max(1, min(limits.connections, descriptors // 2)), max(1, min(_ACCEPTED_AT_ONCE, descriptors // 16))


def protocol_for(limits: Limits) -> type[asyncio.Protocol]:
    """Uvicorn's HTTP protocol, within the limits of one server."""
    most, _ = allowed(limits)
    # the connections without a request under way, the longest waiting first
    waiting: dict[LimitedProtocol, None] = {}

    class LimitedProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
        """Closes a connection whose request does not come, and the longest waiting one where there
        are too many.
        """

        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:
            """Called by asyncio."""
            super().connection_made(transport)
            waiting[self] = None
            self._start_timer()
            if len(self.connections) > most:
                oldest = next(iter(waiting))
                del waiting[oldest]  # now: more may be accepted before it is closed
                oldest.transport.abort()

        def data_received(self, data: bytes) -> None:
            """Called by asyncio."""
            super().data_received(data)
            if self._has_request():
                waiting.pop(self, None)
                self._stop_timer()
            else:
                self._start_timer()

        def on_response_complete(self) -> None:
            """Called by uvicorn, which closes the connection itself where nothing more comes."""
            super().on_response_complete()
            if not self._has_request():
                waiting[self] = None

        def connection_lost(self, error: Exception | None) -> None:
            """Called by asyncio."""
            super().connection_lost(error)
            waiting.pop(self, None)
            self._stop_timer()

        def _has_request(self) -> bool:
            return self.cycle is not None and not self.cycle.response_complete

        def _start_timer(self) -> None:
            if self._timer is None:
                self._timer = self.loop.call_later(limits.header_timeout_s, self.transport.abort)

        def _stop_timer(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    return LimitedProtocol
