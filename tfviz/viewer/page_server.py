"""Serve a page, in the current thread or in a background thread."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import ClassVar, TypeVar

import uvicorn
from fastapi import FastAPI

from tfviz.errors import OptionError
from tfviz.viewer.connections import allowed, protocol_for
from tfviz.viewer.guard import is_loopback
from tfviz.viewer.limits import ServerLimits

_MIN_TOKEN_LENGTH = 16  # required if other machines can reach the server
_START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 5.0
_KEEP_ALIVE_S = 15
_BACKLOG = 512

Self = TypeVar("Self", bound="PageServer")


class PageServer:
    """A server for an application with access control.

    Args:
        app: the application.
        host: the address to listen on.
        port: the port to listen on. 0 selects a free one.
        token: the token that pages must send.
        limits: limits on connections and times.
        close_streams: a function that ends the open event streams when the server stops.

    Attributes:
        what: the server's name in messages.

    Raises:
        OptionError: the token is missing, is too short or cannot be sent; or the server cannot
            listen on the address.
    """

    what: ClassVar[str] = "page"

    def __init__(
        self,
        app: FastAPI,
        *,
        host: str,
        port: int,
        token: str | None,
        limits: ServerLimits,
        close_streams: Callable[[], None] = lambda: None,
    ) -> None:
        self._socket = self._listening(host, port, token)
        config = uvicorn.Config(
            app,
            http=protocol_for(limits),
            backlog=allowed(limits)[1],
            log_config=None,
            access_log=False,
            ws="none",
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=int(_STOP_TIMEOUT_S),
        )
        self._server = _Server(config, close_streams)
        self._thread: threading.Thread | None = None
        self.host, self.port = host, self._socket.getsockname()[1]

    @property
    def address(self) -> str:
        """The page's address, with this machine's name if the server listens on all addresses."""
        host = socket.gethostname() if self.host in ("0.0.0.0", "::") else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/"

    def run(self) -> None:
        """Serve until the process receives SIGINT or SIGTERM."""
        self._server.run(sockets=[self._socket])

    def start(self: Self) -> Self:
        """Serve in a background thread and return once the server responds.

        Raises:
            OptionError: the server did not start in time.
        """
        self._thread = threading.Thread(target=self.run, name=f"tfviz-{self.what}", daemon=True)
        self._thread.start()
        if not self._server.is_ready.wait(_START_TIMEOUT_S):
            raise OptionError(f"The {self.what} at {self.address} did not start within {_START_TIMEOUT_S:.0f} s. Try again.")
        return self

    def stop(self) -> None:
        """Stop the server and its background thread."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(2 * _STOP_TIMEOUT_S)
        self._socket.close()

    def __enter__(self: Self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.stop()

    @classmethod
    def require_usable(cls, token: str | None, host: str) -> None:
        """Check that the server can use the token. Call this before loading anything.

        Raises:
            OptionError: the token cannot be sent, or is missing although other machines can reach
                the host.
        """
        if token is not None and not re.fullmatch(r"[!-~]+", token):
            raise OptionError(
                "The token must consist of printable ASCII characters without spaces, such as 7f3a90c2e1. Choose another token."
            )
        if token is None and not is_loopback(host):
            raise OptionError(
                f"Other machines can reach the {cls.what} at {host}, so it needs a token. Set TFVIZ_TOKEN or --token to a "
                f"secret of at least {_MIN_TOKEN_LENGTH} characters."
            )

    def _require_long(self, token: str | None, host: str) -> None:
        if token is not None and len(token) < _MIN_TOKEN_LENGTH and not is_loopback(host):
            raise OptionError(
                f"The token has {len(token)} characters, so machines that can reach the {self.what} at {host} could guess it. "
                f"Choose a token of at least {_MIN_TOKEN_LENGTH} characters. To generate one, run: python -c 'import secrets; "
                "print(secrets.token_hex())'."
            )

    def _listening(self, host: str, port: int, token: str | None) -> socket.socket:
        self.require_usable(token, host)
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            self._require_long(token, host)
            return _bound_socket(family, host, port)
        # UnicodeError is raised for an invalid host name.
        except (OSError, OverflowError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise OptionError(
                f"The {self.what} cannot listen on {host}, port {port} ({reason}). Choose another --port."
            ) from error


class _Server(uvicorn.Server):
    """A server that signals when it is ready and ends all event streams when it stops."""

    def __init__(self, config: uvicorn.Config, close_streams: Callable[[], None]) -> None:
        super().__init__(config)
        self._close_streams = close_streams
        self.is_ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening. Called by uvicorn."""
        await super().startup(sockets)
        for listener in sockets or []:
            listener.listen(_BACKLOG)  # restore the queue length, which asyncio has reduced
        self.is_ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop serving. Called by uvicorn."""
        self._close_streams()
        await super().shutdown(sockets)


def _bound_socket(family: int, host: str, port: int) -> socket.socket:
    # asyncio turns off Nagle's algorithm only if the protocol is given explicitly. The algorithm
    # would delay each response by 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        # Listen now, because the printed address should work immediately.
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener
