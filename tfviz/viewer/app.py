"""The application: the addresses behind their guard, and the polling that goes on beside them."""

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
    """The viewer of `folder` as an ASGI application; `app.state.events` is where pages are told of
    news.

    Args:
        folder: where runs are, or will be. token: what trainers and pages must bring; None: this
            machine only.
        host: the address that is listened on; without a token, a Host header may name it or this
            machine.
        limits: how much is taken.
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

    # FastAPI's own pages of documentation load their scripts from elsewhere.
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
    why = f"{first['loc'][-1]}: {first['msg']}"
    note(request.scope, why)
    return JSONResponse({"detail": why}, UNPROCESSABLE)


async def _answer_starlette(request: Request, error: HTTPException) -> JSONResponse:
    note(request.scope, error.detail)
    return JSONResponse({"detail": error.detail}, error.status_code, error.headers)
