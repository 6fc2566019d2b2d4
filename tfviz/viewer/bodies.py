"""Reading what is sent: as much as is allowed, and as long as is allowed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Request
from starlette.requests import ClientDisconnect

from tfviz.viewer import http_errors
from tfviz.viewer.http_errors import HttpError
from tfviz.viewer.limits import Limits

_TOO_SLOW, _GONE = 408, 400


class Bodies:
    """The bodies of all requests that are being received or worked on. To be used from one event
    loop.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._held_bytes = 0

    @asynccontextmanager
    async def received(self, request: Request, most: int) -> AsyncIterator[bytes]:
        """The body of a request; it counts as held until the block ends.

        Raises HttpError where it is larger than `most` bytes, comes too slowly or breaks off, or
        where others leave no room.
        """
        said = request.headers.get("content-length", "0")
        if not said.isdecimal() or len(said) > 20 or int(said) > most:
            raise HttpError(http_errors.TOO_LARGE, f"expected at most {most} bytes, got {said[:20]}")
        parts: list[bytes] = []
        try:
            await asyncio.wait_for(self._read(request, most, parts), self._limits.body_timeout_s)
            yield b"".join(parts)
        except ClientDisconnect as error:
            raise HttpError(_GONE, "the body broke off") from error
        except asyncio.TimeoutError as error:
            raise HttpError(_TOO_SLOW, "the body came too slowly") from error
        finally:
            self._held_bytes -= sum(map(len, parts))

    async def _read(self, request: Request, most: int, parts: list[bytes]) -> None:
        """Counts the bytes while they come: what the header says of the length need not be true."""
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > most:
                raise HttpError(http_errors.TOO_LARGE, f"expected at most {most} bytes, got more")
            if self._held_bytes + len(chunk) > self._limits.upload_bytes:
                raise HttpError(http_errors.TOO_MANY, "too much is being sent at the same time: send it again later")
            self._held_bytes += len(chunk)
            parts.append(chunk)
