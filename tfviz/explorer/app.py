"""The explorer's application."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import FastAPI

from tfviz.explorer.api import UPLOADS, make_router
from tfviz.explorer.session import Session
from tfviz.viewer.assets import read_assets
from tfviz.viewer.guarded_app import guarded_app


def make_app(session: Session, *, token: str | None, host: str) -> FastAPI:
    """Create the ASGI application of an explorer.

    Args:
        session: the model and its images.
        token: the token that pages must send. If None, only this machine can connect.
        host: the address the server listens on.

    Returns:
        The application.
    """
    assets = read_assets(Path(__file__).with_name("page"))

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        warming_up = asyncio.create_task(session.turns.run(lambda _: session.warm_up()))
        yield
        session.turns.close()
        warming_up.cancel()
        # If warming up failed, the first image fails in the same way and reports the error.
        await asyncio.gather(warming_up, return_exceptions=True)

    return guarded_app(make_router(session, assets), assets, token=token, host=host, lifespan=lifespan, posts=(UPLOADS,))
