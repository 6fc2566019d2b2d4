"""Who may ask, and what every answer carries.

Without a token the server is for this machine alone. A page from elsewhere could still reach it through the browser, by
a name of its own that leads to 127.0.0.1; so the Host header must name this machine. With a token, trainers send it as
`Authorization: Bearer TOKEN`. A browser gets a page that asks for it, posts it, and then keeps a cookie made from it, which
can read but not send. A link with `?token=TOKEN` leads to the same cookie, but browsers, proxies and chats keep links.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
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
_FORM_BYTES = 1 << 14  # of the posted token
_WITHOUT_TOKEN = ("/style.css", "/icon.svg")  # the page that asks for the token needs these


class Guard:
    """Stands before the app: lets through who may ask, adds the headers, and logs what is refused."""

    def __init__(self, app: ASGIApp, token: str | None, host: str, sign_in: bytes) -> None:
        self._app, self._token, self._host, self._sign_in = app, token, host, sign_in

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
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

        answer = self._refusal(scope) or self._app
        if isinstance(answer, _SignIn):
            answer = self._signed_in(scope, await _posted_token(receive))
        await answer(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> Response | _SignIn | None:
        """The answer to a request that goes no further."""
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2].lower() != headers.get("host", "").lower():
            return _refused(scope, 403, "this page may be asked from its own address only")
        if self._token is None:
            return None if is_own_name(headers.get("host", ""), self._host) else _refused(scope, 403, _STRANGE_HOST)
        if _has_bearer(headers, self._token):
            return None
        if scope["method"] in READING:
            return self._refusal_to_read(scope, headers, self._token)
        if scope["method"] == "POST" and scope["path"] == "/":
            return _SignIn()
        return _refused(scope, 401, "the token is missing or wrong: send it as 'Authorization: Bearer TOKEN'")

    def _refusal_to_read(self, scope: Scope, headers: Headers, token: str) -> Response | None:
        offered = parse_qs(scope["query_string"].decode("latin-1")).get("token")
        if scope["path"] == "/" and offered is not None:
            return self._signed_in(scope, offered[0])
        if scope["path"] in _WITHOUT_TOKEN or _has_cookie(scope, headers, token):
            return None
        if scope["path"] != "/":
            return _refused(scope, 401, "the token is missing or wrong: open the page, which asks for it")
        return self._signed_in(scope, "")

    def _signed_in(self, scope: Scope, offered: str) -> Response:
        """The way to the page, without the token in its address, and the cookie for it; or the page that asks for the token."""
        if self._token is None or not _is_same(offered, self._token):
            note(scope, "no token, or a wrong one")
            # With "no-referrer", which all other pages have, browsers post forms without saying from where.
            return Response(self._sign_in, 401, media_type="text/html", headers={"Referrer-Policy": "same-origin"})
        answer = RedirectResponse("/", 303)
        answer.set_cookie(_cookie_name(scope), _cookie_for(self._token), httponly=True, samesite="strict")
        return answer


class _SignIn:
    """Stands for the answer to a posted token, whose body has yet to come."""


async def _posted_token(receive: Receive) -> str:
    """The token in a posted form; "" where there is none, or more than a form can be."""
    body, is_more = b"", True
    while is_more and len(body) <= _FORM_BYTES:
        message = await receive()
        body += message.get("body", b"")
        is_more = message.get("more_body", False)
    return "" if is_more else parse_qs(body.decode("latin-1")).get("token", [""])[0]


_STRANGE_HOST = "without a token this viewer answers on this machine only, at an address such as http://127.0.0.1:1337"


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def is_own_name(header: str, host: str) -> bool:
    """Whether a Host header, "name" or "name:port", names this machine or the address that is listened on."""
    name, colon, port = header.rpartition(":")
    if not colon or header.endswith("]"):
        name = header
    elif not (port.isascii() and port.isdecimal()):
        return False
    return is_loopback(name) or name.lower() == host.lower()


def note(scope: Scope, reason: str) -> None:
    """Why the request is refused, for the log; "" where the answer is an ordinary one."""
    scope["tfviz.reason"] = reason


def _refused(scope: Scope, status: int, reason: str) -> Response:
    note(scope, reason)
    return JSONResponse({"detail": reason}, status)


def _has_bearer(headers: Headers, token: str) -> bool:
    scheme, _, offered = headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and _is_same(offered.strip(), token)


def _cookie_name(scope: Scope) -> str:
    """One for each port, since a browser keeps the cookies of a machine's ports together."""
    return f"tfviz_viewer_{(scope.get('server') or ('', 0))[1]}"


def _has_cookie(scope: Scope, headers: Headers, token: str) -> bool:
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(_cookie_name(scope))
    except CookieError:
        return False
    return cookie is not None and _is_same(cookie.value, _cookie_for(token))


def _cookie_for(token: str) -> str:
    """Not the token itself: a browser sends a cookie to every port of a machine."""
    return hmac.new(token.encode(), b"tfviz viewer", hashlib.sha256).hexdigest()


def _is_same(offered: str, secret: str) -> bool:
    return hmac.compare_digest(offered.encode("utf-8", "surrogateescape"), secret.encode("utf-8"))


def _log(scope: Scope, status: int) -> None:
    reason = scope.get("tfviz.reason")
    if status < 400 or reason == "":
        return
    client = (scope.get("client") or ("?",))[0]
    log.warning("%s", on_one_line(f"{client} {scope['method']} {scope['path']} -> {status} {reason or ''}".rstrip()))
