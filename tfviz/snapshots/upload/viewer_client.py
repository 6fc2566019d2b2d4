"""Asking a viewer, and sending it one thing at a time. The standard library's HTTP, one connection,
kept open.
"""

from __future__ import annotations

import http.client
import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tfviz.errors import OptionError, TfvizError

_MOST_ANSWER_BYTES = 1 << 16
_MOST_REASON = 200  # characters of an answer that is no JSON
_JSON, _PNG = "application/json", "image/png"
_TOO_MANY, _TOKEN_REFUSED = 429, (401,)


class ViewerError(TfvizError):
    """Snapshots cannot be sent to the viewer. They are in the folder all the same."""


class ViewerAwayError(ViewerError):
    """The viewer does not answer, or not in a way that makes sense: later it may."""


class ViewerRefusalError(ViewerError):
    """The viewer answers, and does not take what it is sent. status: of HTTP, 400 to 499."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class ViewerState:
    """What the viewer has of a run: the number of its last snapshot, −1 for none, and how many of
    the images.
    """

    last: int
    images: int


class ViewerClient:
    """A viewer at `url`, such as "http://192.168.1.7:1337". Raises OptionError for a url or token
    that cannot be one.

    Every method waits at most `timeout_s` for each step of the exchange, and raises ViewerAwayError
    where there is no answer and ViewerRefusalError where the answer is no.
    """

    def __init__(self, url: str, token: str | None = None, timeout_s: float = 10.0) -> None:
        self._make, self._host, self._port, self._base = _address(url)
        self.url, self.timeout_s = url.rstrip("/"), timeout_s
        self._headers = {} if token is None else {"Authorization": f"Bearer {_checked_token(token)}"}
        self._connection: http.client.HTTPConnection | None = None

    def put_run(self, run_id: str, content: bytes) -> None:
        """Sends run.json."""
        self._put(f"/api/runs/{run_id}", content, _JSON)

    def state(self, run_id: str) -> ViewerState:
        """What the viewer has of a run that was sent."""
        answer = self._ask("GET", f"/api/runs/{run_id}/state", None, {})
        try:
            state = json.loads(answer)
            return ViewerState(int(state["last"]), int(state["images"]))
        except (ValueError, TypeError, KeyError) as error:
            raise ViewerAwayError(self._no_viewer(_quoted(answer))) from error

    def put_image(self, run_id: str, image: int, png: bytes) -> None:
        """Sends one of the fixed images."""
        self._put(f"/api/runs/{run_id}/images/{image}.png", png, _PNG)

    def put_picture(self, run_id: str, number: int, last: int, method: str, image: int, png: bytes) -> None:
        """Sends the picture of a snapshot by a method of an image. last: the number of the snapshot
        before it.
        """
        self._put(f"/api/runs/{run_id}/pictures/{number}/{method}/{image}.png{_after(number, last)}", png, _PNG)

    def put_record(self, run_id: str, number: int, last: int, record: bytes) -> None:
        """Sends a snapshot's record, after its pictures. last: the number of the snapshot before
        it.
        """
        self._put(f"/api/runs/{run_id}/snapshots/{number}{_after(number, last)}", record, _JSON)

    def close(self) -> None:
        """Closes the connection; the next request opens a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _put(self, path: str, content: bytes, kind: str) -> None:
        self._ask("PUT", path, content, {"Content-Type": kind})

    def _ask(self, method: str, path: str, content: bytes | None, headers: dict[str, str]) -> bytes:
        """The body of an answer that says yes. Everything asked may be asked twice."""
        is_new = self._connection is None
        try:
            try:
                status, answer = self._exchange(method, path, content, headers)
            except (ConnectionError, http.client.RemoteDisconnected):
                if is_new:
                    raise
                self.close()  # the server has closed a connection that was idle for long
                status, answer = self._exchange(method, path, content, headers)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
            raise ViewerAwayError(
                f"The viewer at {self.url} does not answer ({reason}). What it misses is sent when it is back."
            ) from error
        self._check(method, status, answer)
        return answer

    def _exchange(self, method: str, path: str, content: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        if self._connection is None:
            self._connection = self._make(self._host, self._port, timeout=self.timeout_s)
        self._connection.request(method, self._base + path, content, {**self._headers, **headers})
        response = self._connection.getresponse()
        answer = response.read(_MOST_ANSWER_BYTES)
        if not response.isclosed():  # there is more than a viewer would say
            self.close()
        return response.status, answer

    def _check(self, method: str, status: int, answer: bytes) -> None:
        if status == (200 if method == "GET" else 204):
            return
        said = _reason(answer)
        if 400 <= status < 500 and status != _TOO_MANY:
            advice = " Give the token that `tfviz watch` was started with." if status in _TOKEN_REFUSED else ""
            raise ViewerRefusalError(f"The viewer at {self.url} refuses what it is sent ({status}: {said}).{advice}", status)
        if status >= 400:
            raise ViewerAwayError(
                f"The viewer at {self.url} cannot take snapshots now ({status}: {said}). They are sent when it can."
            )
        raise ViewerAwayError(self._no_viewer(f"{status} {said}".rstrip()))

    def _no_viewer(self, said: str) -> str:
        return f"What answers at {self.url} is no viewer; it said {said!r}. Give the address that `tfviz watch` prints."


def _after(number: int, last: int) -> str:
    """Says that the numbers between are missing in the folder too: their records are damaged."""
    return "" if last == number - 1 else f"?after={last}"


def _address(url: str) -> tuple[Any, str, int | None, str]:
    """The kind of connection, host, port and path before "/api"."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except (ValueError, AttributeError):  # a port that is no number, a url that is no text
        host = None
    if not host or parts.scheme not in ("http", "https") or parts.query or not re.fullmatch("[!-~]+", url):
        raise OptionError(f'viewer: expected an address such as "http://192.168.1.7:1337", got {url!r}.')
    make = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return make, host, port, parts.path.rstrip("/")


def _checked_token(token: str) -> str:
    if not isinstance(token, str) or not re.fullmatch(r"[!-~]+", token):
        raise OptionError("token: expected letters, digits and signs without spaces, as text, such as '7f3a90c2e1'.")
    return token


def _reason(answer: bytes) -> str:
    """Why the server says no, as far as it tells."""
    try:
        return " ".join(str(json.loads(answer)["detail"]).split())
    except (ValueError, TypeError, KeyError):
        return _quoted(answer)


def _quoted(answer: bytes) -> str:
    words = " ".join(answer.decode("utf-8", "replace").split())
    return words[:_MOST_REASON] + ("…" if len(words) > _MOST_REASON else "")
