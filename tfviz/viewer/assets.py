"""Read a page's files once and serve them from memory. No other files can be requested."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, Request, Response

from tfviz.viewer import http_errors
from tfviz.viewer.http_errors import HttpError

REVALIDATE = "no-cache"  # cached, but revalidated each time

_FOLDER = Path(__file__).with_name("page")
_HEAD, _MODULES = b"<!-- head.html -->\n", b"<!-- modules -->\n"  # placeholders in the pages
# The files that all pages use.
_OF_ALL_PAGES = ("head.html", "sign_in.html", "style.css", "icon.svg", "elements.js", "redraws.js", "words.js")
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class Asset:
    """A page's file. `tag` is an HTTP ETag, which changes with the content."""

    content: bytes
    media_type: str
    tag: str


def read_assets(folder: Path | None = None) -> dict[str, Asset]:
    """Return a page's files, keyed by name, including those shared by all pages.

    Args:
        folder: the page's folder. None means the live page's folder.
    """
    files = sorted(path for path in (folder or _FOLDER).iterdir() if path.suffix in _TYPES)
    files += [] if folder is None else [_FOLDER / name for name in _OF_ALL_PAGES]
    contents = {path.name: path.read_bytes() for path in files}
    head = contents.pop("head.html")
    preloads = "".join(f'<link rel="modulepreload" href="{name}">\n' for name in contents if name.endswith(".js"))
    contents["index.html"] = contents["index.html"].replace(_MODULES, preloads.encode())
    return {name: _asset(name, content.replace(_HEAD, head)) for name, content in contents.items()}


def add_page(router: APIRouter, assets: dict[str, Asset]) -> None:
    """Add a page's routes to the router. Call this last, because one route matches any name."""

    @router.get("/")
    async def get_page(request: Request) -> Response:
        return _response(request, assets["index.html"])

    @router.get("/{name}")
    async def get_asset(request: Request, name: str) -> Response:
        if name not in assets:
            raise HttpError(http_errors.NOT_FOUND, "Nothing was found at this address.")
        return _response(request, assets[name])


def _response(request: Request, asset: Asset) -> Response:
    headers = {"Cache-Control": REVALIDATE, "ETag": asset.tag}
    if request.headers.get("if-none-match") == asset.tag:
        return Response(status_code=304, headers=headers)
    return Response(asset.content, media_type=asset.media_type, headers=headers)


def _asset(name: str, content: bytes) -> Asset:
    return Asset(content, _TYPES[Path(name).suffix], f'"{hashlib.sha256(content).hexdigest()[:16]}"')
