"""Limit the number of connections and their idle time.

Without these limits, clients that connect and send nothing could exhaust the process's file
descriptors. The server would then accept no more connections, and asyncio would log each failure.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from tfviz.viewer.limits import ServerLimits

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_ACCEPTED_AT_ONCE = 64


def allowed(limits: ServerLimits) -> tuple[int, int]:
    """Return the maximum number of open connections and of connections accepted at once.

    Both numbers are low enough to leave file descriptors for files.
    """
    if resource is None:
        return limits.connections, _ACCEPTED_AT_ONCE
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        return limits.connections, _ACCEPTED_AT_ONCE
    return max(1, min(limits.connections, descriptors // 2)), max(1, min(_ACCEPTED_AT_ONCE, descriptors // 16))


def protocol_for(limits: ServerLimits) -> type[asyncio.Protocol]:
    """Return a subclass of uvicorn's HTTP protocol that enforces a server's limits."""
    most, _ = allowed(limits)
    # The connections without a request in progress, longest-waiting first.
    waiting: dict[LimitedProtocol, None] = {}

    class LimitedProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
        """Closes idle connections and, if too many are open, the one that has waited longest."""

        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:
            """Count a new connection. Called by asyncio."""
            super().connection_made(transport)
            waiting[self] = None
            self._start_timer()
            if len(self.connections) > most:
                oldest = next(iter(waiting))
                # Remove it now, because more connections may be accepted before it is closed.
                del waiting[oldest]
                oldest.transport.abort()

        def data_received(self, data: bytes) -> None:
            """Mark the connection as busy once a request has arrived. Called by asyncio."""
            super().data_received(data)
            if self._has_request():
                waiting.pop(self, None)
                self._stop_timer()
            else:
                self._start_timer()

        def on_response_complete(self) -> None:
            """Mark the connection as waiting again. Called by uvicorn.

            uvicorn also closes kept-alive connections that stay idle.
            """
            super().on_response_complete()
            if not self._has_request():
                waiting[self] = None

        def connection_lost(self, error: Exception | None) -> None:
            """Forget the connection. Called by asyncio."""
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
