"""Read request bodies, enforcing size and time limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Request
from starlette.requests import ClientDisconnect

from tfviz.viewer import http_errors
from tfviz.viewer.http_errors import HttpError
from tfviz.viewer.limits import ServerLimits

_TIMEOUT, _BAD_REQUEST = 408, 400


class Bodies:
    """Reads request bodies and limits their total size. Use it from a single event loop."""

    def __init__(self, limits: ServerLimits) -> None:
        self._limits = limits
        self._held_bytes = 0

    @asynccontextmanager
    async def received(self, request: Request, most: int) -> AsyncIterator[bytes]:
        """Read a request's body. It counts toward the total size limit until the block ends.

        Raises:
            HttpError: the body is larger than `most` bytes, arrives too slowly or is incomplete, or
                all bodies together exceed the limit.
        """
        declared = request.headers.get("content-length", "0")
        if not declared.isdecimal() or len(declared) > 20 or int(declared) > most:
            raise HttpError(
                http_errors.TOO_LARGE, f"The request body may have at most {most} bytes. Received: {declared[:20]} bytes."
            )
        parts: list[bytes] = []
        try:
            await asyncio.wait_for(self._read(request, most, parts), self._limits.body_timeout_s)
            yield b"".join(parts)
        except ClientDisconnect as error:
            raise HttpError(_BAD_REQUEST, "The request body is incomplete. Send it again.") from error
        except asyncio.TimeoutError as error:
            raise HttpError(_TIMEOUT, "The request body arrived too slowly. Send it again.") from error
        finally:
            self._held_bytes -= sum(map(len, parts))

    async def _read(self, request: Request, most: int, parts: list[bytes]) -> None:
        """Read a body into `parts`, counting its bytes because Content-Length may be wrong."""
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > most:
                raise HttpError(http_errors.TOO_LARGE, f"The request body exceeds the limit of {most} bytes. Send less data.")
            if self._held_bytes + len(chunk) > self._limits.upload_bytes:
                raise HttpError(http_errors.TOO_MANY, "Too much data is being uploaded at once. Send it again later.")
            self._held_bytes += len(chunk)
            parts.append(chunk)
