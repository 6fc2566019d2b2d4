"""Control access to the server and set the headers of every response.

Without a token, only this machine can reach the server. A website could still reach the server
through the browser, using a DNS name that resolves to 127.0.0.1 (DNS rebinding). Therefore, the
Host header must name this machine.

If the server has a token, training runs send the token as `Authorization: Bearer TOKEN`. A browser
gets a sign-in page, posts the token, and receives a cookie derived from it. The cookie allows the
page to read, and to post to the paths that the application lists, but not to upload anything else.
A link with `?token=TOKEN` sets the same cookie, but is less secure, because browsers, proxies and
chat programs store links.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Collection
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tfviz.viewer.log import log, on_one_line

READING = ("GET", "HEAD")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_FORM_BYTES = 1 << 14  # the maximum size of a sign-in form
_WITHOUT_TOKEN = ("/style.css", "/icon.svg")  # the sign-in page needs these


class Guard:
    """Middleware that checks access, adds headers to responses, and logs errors."""

    def __init__(self, app: ASGIApp, token: str | None, host: str, sign_in: bytes, posts: Collection[str] = ()) -> None:
        self._app, self._token, self._host, self._sign_in, self._posts = app, token, host, sign_in, posts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection. Only HTTP requests are checked."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
                _log(scope, message["status"])
            await send(message)

        answer = self._early_response(scope) or self._app
        if isinstance(answer, _SignIn):
            answer = self._sign_in_response(scope, await _posted_token(receive))
        await answer(scope, receive, send_with_headers)

    def _early_response(self, scope: Scope) -> Response | _SignIn | None:
        """Return an early response to a request, or None to pass the request to the application."""
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2].lower() != headers.get("host", "").lower():
            return _rejected(scope, 403, "Requests from other sites are not allowed. Open the page at its own address.")
        if self._token is None:
            return None if is_own_name(headers.get("host", ""), self._host) else _rejected(scope, 403, _UNKNOWN_HOST)
        if _has_bearer(headers, self._token):
            return None
        if scope["method"] in READING:
            return self._response_to_read(scope, headers, self._token)
        if scope["method"] == "POST" and scope["path"] == "/":
            return _SignIn()
        if scope["method"] == "POST" and scope["path"] in self._posts and _has_cookie(scope, headers, self._token):
            return None
        return _rejected(scope, 401, "The token is missing or wrong. Send it as 'Authorization: Bearer TOKEN'.")

    def _response_to_read(self, scope: Scope, headers: Headers, token: str) -> Response | None:
        offered = parse_qs(scope["query_string"].decode("latin-1")).get("token")
        if scope["path"] == "/" and offered is not None:
            return self._sign_in_response(scope, offered[0])
        if scope["path"] in _WITHOUT_TOKEN or _has_cookie(scope, headers, token):
            return None
        if scope["path"] != "/":
            return _rejected(scope, 401, "The token is missing or wrong. Open the page to enter it.")
        return self._sign_in_response(scope, "")

    def _sign_in_response(self, scope: Scope, offered: str) -> Response:
        """Set the cookie and redirect to the page, or return the sign-in page for a wrong token."""
        if self._token is None or not _is_same(offered, self._token):
            note(scope, "The token is missing or wrong.")
            # With "no-referrer", the policy of all other pages, browsers would post the form with
            # the Origin "null".
            return Response(self._sign_in, 401, media_type="text/html", headers={"Referrer-Policy": "same-origin"})
        answer = RedirectResponse("/", 303)
        answer.set_cookie(_cookie_name(scope), _cookie_for(self._token), httponly=True, samesite="strict")
        return answer


class _SignIn:
    """A placeholder for the response to a sign-in form that has not been read yet."""


async def _posted_token(receive: Receive) -> str:
    """Return the token in a posted form, or "" if there is none or the form is too large."""
    body, is_more = b"", True
    while is_more and len(body) <= _FORM_BYTES:
        message = await receive()
        body += message.get("body", b"")
        is_more = message.get("more_body", False)
    return "" if is_more else parse_qs(body.decode("latin-1")).get("token", [""])[0]


_UNKNOWN_HOST = "Without a token, this page is available only on this machine. Use an address such as http://127.0.0.1:1337."


def is_loopback(host: str) -> bool:
    """Return whether an address can only be reached from this machine."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def is_own_name(header: str, host: str) -> bool:
    """Return whether a Host header ("name" or "name:port") names this machine or `host`."""
    name, colon, port = header.rpartition(":")
    if not colon or header.endswith("]"):
        name = header
    elif not (port.isascii() and port.isdecimal()):
        return False
    return is_loopback(name) or name.lower() == host.lower()


def note(scope: Scope, reason: str) -> None:
    """Set the reason to log for an error response. With an empty reason, nothing is logged."""
    scope["tfviz.reason"] = reason


def _rejected(scope: Scope, status: int, reason: str) -> Response:
    note(scope, reason)
    return JSONResponse({"detail": reason}, status)


def _has_bearer(headers: Headers, token: str) -> bool:
    scheme, _, offered = headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and _is_same(offered.strip(), token)


def _cookie_name(scope: Scope) -> str:
    """Return a cookie name that includes the port, because browsers share cookies among ports."""
    return f"tfviz_viewer_{(scope.get('server') or ('', 0))[1]}"


def _has_cookie(scope: Scope, headers: Headers, token: str) -> bool:
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(_cookie_name(scope))
    except CookieError:
        return False
    return cookie is not None and _is_same(cookie.value, _cookie_for(token))


def _cookie_for(token: str) -> str:
    """Derive the cookie from the token.

    The cookie must not be the token itself, because browsers send cookies to all ports of a
    machine.
    """
    return hmac.new(token.encode(), b"tfviz viewer", hashlib.sha256).hexdigest()


def _is_same(offered: str, secret: str) -> bool:
    return hmac.compare_digest(offered.encode("utf-8", "surrogateescape"), secret.encode("utf-8"))


def _log(scope: Scope, status: int) -> None:
    reason = scope.get("tfviz.reason")
    if status < 400 or reason == "":
        return
    client = (scope.get("client") or ("?",))[0]
    log.warning("%s", on_one_line(f"{client} {scope['method']} {scope['path']} -> {status} {reason or ''}".rstrip()))
