"""Build an application from a page's routes, with access control and JSON error responses."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from tfviz.viewer.assets import Asset
from tfviz.viewer.guard import Guard, note
from tfviz.viewer.http_errors import UNPROCESSABLE, HttpError

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def guarded_app(
    router: APIRouter,
    assets: dict[str, Asset],
    *,
    token: str | None,
    host: str,
    lifespan: Lifespan,
    posts: Collection[str] = (),
) -> FastAPI:
    """Create a page's ASGI application.

    Args:
        router: the routes.
        assets: the page's files, including the sign-in page.
        token: the token that clients must send. If None, only this machine can connect.
        host: the address the server listens on. Without a token, a request's Host header must name
            this address or this machine.
        lifespan: a context manager that is active while the application runs.
        posts: the paths to which a signed-in page may post. All other paths are read-only for it.

    Returns:
        The application.
    """
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
    app.include_router(router)
    app.add_middleware(Guard, token=token, host=host, sign_in=assets["sign_in.html"].content, posts=posts)
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
