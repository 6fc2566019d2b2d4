"""A client for the viewer's HTTP protocol, based on the standard library."""

from __future__ import annotations

import http.client
import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tfviz.errors import OptionError, TfvizError

_MAX_RESPONSE_BYTES = 1 << 16
_MAX_REASON = 200  # characters quoted from a response that is not JSON
_JSON, _PNG = "application/json", "image/png"
_TOO_MANY, _UNAUTHORIZED = 429, (401,)


class ViewerError(TfvizError):
    """Snapshots cannot be sent to the viewer. They remain in the folder."""


class ViewerUnavailableError(ViewerError):
    """The viewer does not respond or sends an unexpected response. It may recover."""


class ViewerRejectionError(ViewerError):
    """The viewer rejected a request. `status` is the HTTP status, 400 to 499."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class ViewerState:
    """The parts of a run that the viewer already has.

    Attributes:
        last: the number of the last snapshot, or −1 if there is none.
        images: the number of the run's images that the viewer has.
    """

    last: int
    images: int


class ViewerClient:
    """A connection to a viewer.

    Methods raise ViewerUnavailableError if the viewer does not respond, and ViewerRejectionError if
    it rejects the request.

    Args:
        url: the address, such as "http://192.168.1.7:1337".
        token: the viewer's token, if it has one.
        timeout_s: the time limit for each step of a request.

    Raises:
        OptionError: `url` or `token` is invalid.
    """

    def __init__(self, url: str, token: str | None = None, timeout_s: float = 10.0) -> None:
        self._make, self._host, self._port, self._base = _address(url)
        self.url, self.timeout_s = url.rstrip("/"), timeout_s
        self._headers = {} if token is None else {"Authorization": f"Bearer {_checked_token(token)}"}
        self._connection: http.client.HTTPConnection | None = None

    def put_run(self, run_id: str, content: bytes) -> None:
        """Send run.json."""
        self._put(f"/api/runs/{run_id}", content, _JSON)

    def state(self, run_id: str) -> ViewerState:
        """Return which parts of a registered run the viewer has."""
        response_body = self._request("GET", f"/api/runs/{run_id}/state", None, {})
        try:
            state = json.loads(response_body)
            return ViewerState(int(state["last"]), int(state["images"]))
        except (ValueError, TypeError, KeyError) as error:
            raise ViewerUnavailableError(self._not_a_viewer(_quoted(response_body))) from error

    def put_image(self, run_id: str, image: int, png: bytes) -> None:
        """Send one of the fixed images."""
        self._put(f"/api/runs/{run_id}/images/{image}.png", png, _PNG)

    def put_picture(self, run_id: str, number: int, last: int, method: str, image: int, png: bytes) -> None:
        """Send a snapshot's picture. `last` is the number of the previous snapshot."""
        self._put(f"/api/runs/{run_id}/pictures/{number}/{method}/{image}.png{_after(number, last)}", png, _PNG)

    def put_record(self, run_id: str, number: int, last: int, record: bytes) -> None:
        """Send a record after its pictures. `last` is the number of the previous snapshot."""
        self._put(f"/api/runs/{run_id}/snapshots/{number}{_after(number, last)}", record, _JSON)

    def close(self) -> None:
        """Close the connection. The next request opens a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _put(self, path: str, content: bytes, kind: str) -> None:
        self._request("PUT", path, content, {"Content-Type": kind})

    def _request(self, method: str, path: str, content: bytes | None, headers: dict[str, str]) -> bytes:
        """Send a request and return the response body.

        If the server has closed an idle connection, the request is sent again. All requests are
        idempotent.
        """
        is_new = self._connection is None
        try:
            try:
                status, response_body = self._exchange(method, path, content, headers)
            except (ConnectionError, http.client.RemoteDisconnected):
                if is_new:
                    raise
                self.close()  # the server has closed an idle connection
                status, response_body = self._exchange(method, path, content, headers)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
            raise ViewerUnavailableError(
                f"The viewer at {self.url} is not responding ({reason}). The missing snapshots will be sent later."
            ) from error
        self._check(method, status, response_body)
        return response_body

    def _exchange(self, method: str, path: str, content: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        if self._connection is None:
            self._connection = self._make(self._host, self._port, timeout=self.timeout_s)
        self._connection.request(method, self._base + path, content, {**self._headers, **headers})
        response = self._connection.getresponse()
        response_body = response.read(_MAX_RESPONSE_BYTES)
        if not response.isclosed():  # longer than any viewer response
            self.close()
        return response.status, response_body

    def _check(self, method: str, status: int, response_body: bytes) -> None:
        if status == (200 if method == "GET" else 204):
            return
        reason = _reason(response_body)
        if 400 <= status < 500 and status != _TOO_MANY:
            advice = " Pass the token that `tfviz watch` was started with." if status in _UNAUTHORIZED else ""
            raise ViewerRejectionError(f"The viewer at {self.url} rejected a request ({status}: {reason}).{advice}", status)
        if status >= 400:
            raise ViewerUnavailableError(
                f"The viewer at {self.url} cannot accept snapshots now ({status}: {reason}). The snapshots will be sent later."
            )
        raise ViewerUnavailableError(self._not_a_viewer(f"{status} {reason}".rstrip()))

    def _not_a_viewer(self, received: str) -> str:
        advice = "Pass the address that `tfviz watch` prints."
        return f"The server at {self.url} is not a tfviz viewer. Received: {received!r}. {advice}"


def _after(number: int, last: int) -> str:
    """Return "?after=<last>" if damaged records leave a gap before `number`, or else ""."""
    return "" if last == number - 1 else f"?after={last}"


def _address(url: str) -> tuple[Any, str, int | None, str]:
    """Return the connection class, the host, the port and the path before "/api"."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except (ValueError, AttributeError):  # the port is not a number, or the URL is not a string
        host = None
    if not host or parts.scheme not in ("http", "https") or parts.query or not re.fullmatch("[!-~]+", url):
        raise OptionError(f'`viewer` must be an address such as "http://192.168.1.7:1337". Received: {url!r}.')
    make = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return make, host, port, parts.path.rstrip("/")


def _checked_token(token: str) -> str:
    if not isinstance(token, str) or not re.fullmatch(r"[!-~]+", token):
        raise OptionError(
            "`token` must be a string of printable ASCII characters without spaces, such as '7f3a90c2e1'. Choose another token."
        )
    return token


def _reason(response_body: bytes) -> str:
    """Return the reason given in the server's response, without its final period."""
    try:
        return " ".join(str(json.loads(response_body)["detail"]).split()).removesuffix(".")
    except (ValueError, TypeError, KeyError):
        return _quoted(response_body)


def _quoted(response_body: bytes) -> str:
    words = " ".join(response_body.decode("utf-8", "replace").split())
    return words[:_MAX_REASON] + ("…" if len(words) > _MAX_REASON else "")
