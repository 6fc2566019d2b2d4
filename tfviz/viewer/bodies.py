"""Reading what is sent: as much as is allowed, and as long as is allowed."""

from __future__ import annotations

import asyncio

from fastapi import Request
from starlette.requests import ClientDisconnect

from tfviz.viewer import refusals
from tfviz.viewer.limits import Limits
from tfviz.viewer.refusals import RefusalError

_TOO_SLOW, _GONE = 408, 400


async def read_body(request: Request, most: int, limits: Limits) -> bytes:
    """The body, counted while it comes: what the header says of its length need not be true.

    Raises RefusalError where it is larger than `most` bytes, comes too slowly or breaks off.
    """
    said = request.headers.get("content-length", "0")
    if not said.isdecimal() or len(said) > 20 or int(said) > most:
        raise RefusalError(refusals.TOO_LARGE, f"expected at most {most} bytes, got {said[:20]}")
    try:
        return await asyncio.wait_for(_read(request, most), limits.body_timeout_s)
    except ClientDisconnect as error:
        raise RefusalError(_GONE, "the body broke off") from error
    except asyncio.TimeoutError as error:
        raise RefusalError(_TOO_SLOW, "the body came too slowly") from error


async def _read(request: Request, most: int) -> bytes:
    parts, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most:
            raise RefusalError(refusals.TOO_LARGE, f"expected at most {most} bytes, got more")
        parts.append(chunk)
    return b"".join(parts)
