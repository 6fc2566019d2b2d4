"""The application: the routes behind their guard, and the polling in the background."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from tfviz.viewer.api import make_router
from tfviz.viewer.assets import read_assets
from tfviz.viewer.events import Events
from tfviz.viewer.guard import Guard, note
from tfviz.viewer.http_errors import UNPROCESSABLE, HttpError
from tfviz.viewer.limits import Limits
from tfviz.viewer.polling import poll
from tfviz.viewer.store import Store


def make_app(folder: str | Path, *, token: str | None = None, host: str = "127.0.0.1", limits: Limits | None = None) -> FastAPI:
    """Create the ASGI application of a viewer. `app.state.events` notifies its pages.

    Args:
        folder: the folder of runs. It need not exist yet.
        token: the token that training runs and pages must send. None allows only this machine.
        host: the address the server listens on. Without a token, the Host header must name it or
            this machine.
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

    # FastAPI's documentation pages are off because they load scripts from other servers.
    app = FastAPI(
        title="tfviz",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=lifespan,
        exception_handlers={
            HttpError: _answer_error,
            RequestValidationError: _answer_invalid,
            HTTPException: _answer_starlette,
        },
    )
    app.state.store, app.state.events = store, events
    app.include_router(make_router(store, events, limits or Limits(), assets))
    app.add_middleware(Guard, token=token, host=host, sign_in=assets["sign_in.html"].content)
    return app


async def _answer_error(request: Request, error: HttpError) -> JSONResponse:
    note(request.scope, "" if error.is_ordinary else error.reason)
    return JSONResponse({"detail": error.reason, **error.facts}, error.status)


async def _answer_invalid(request: Request, error: RequestValidationError) -> JSONResponse:
    first = error.errors()[0]
    reason = f"Invalid {first['loc'][-1]}: {first['msg']}."
    note(request.scope, reason)
    return JSONResponse({"detail": reason}, UNPROCESSABLE)


async def _answer_starlette(request: Request, error: HTTPException) -> JSONResponse:
    note(request.scope, error.detail)
    return JSONResponse({"detail": error.detail}, error.status_code, error.headers)
