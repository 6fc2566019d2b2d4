"""Build the live page's application: its routes, and polling in the background."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import FastAPI

from tfviz.viewer.api import make_router
from tfviz.viewer.assets import read_assets
from tfviz.viewer.events import Events
from tfviz.viewer.guarded_app import guarded_app
from tfviz.viewer.limits import Limits
from tfviz.viewer.polling import poll
from tfviz.viewer.store import Store


def make_app(folder: str | Path, *, token: str | None = None, host: str = "127.0.0.1", limits: Limits | None = None) -> FastAPI:
    """Create a viewer's ASGI application. Its `state.events` object sends news to the pages.

    Args:
        folder: the folder of runs. It need not exist yet.
        token: the token that training runs and pages must send. If None, only this machine can
            connect.
        host: the address the server listens on. Without a token, a request's Host header must name
            this address or this machine.
        limits: limits on sizes, counts and times.

    Returns:
        The application.
    """
    store, events, assets = Store(folder), Events(), read_assets()

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(store.find)
        polling = asyncio.create_task(poll(store, events))
        yield
        polling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await polling

    router = make_router(store, events, limits or Limits(), assets)
    app = guarded_app(router, assets, token=token, host=host, lifespan=lifespan)
    app.state.store, app.state.events = store, events
    return app
