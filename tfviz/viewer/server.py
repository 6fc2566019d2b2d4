"""Run the viewer, in the current thread or in a background thread."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from tfviz.errors import MissingPackageError, OptionError, install_command, shown

try:
    import uvicorn

    from tfviz.viewer.app import make_app
    from tfviz.viewer.connections import allowed, protocol_for
except ImportError as error:
    raise MissingPackageError(
        f"The live page needs FastAPI and uvicorn ({error.name} is not installed). Run: {install_command('viewer')}"
    ) from error

from tfviz.viewer.guard import is_loopback
from tfviz.viewer.limits import Limits

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 1337
_MIN_TOKEN_LENGTH = 16  # if other machines can guess it
_START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 5.0
_KEEP_ALIVE_S = 15
_BACKLOG = 512


class Viewer:
    """A server that shows the runs in a folder, and stores there what training runs send.

        with Viewer("runs", port=0) as viewer:
            print(viewer.address)

    Args:
        folder: the folder of runs. It need not exist yet.
        host: the address to listen on.
        port: the port to listen on. 0 selects a free one.
        token: the token that pages and training runs must send. If other machines can reach the
            host, a token of at least 16 characters is required.
        limits: limits on sizes, counts and times.

    Raises:
        OptionError: the token is missing, too short or cannot be sent, the folder is a file, or the
            server cannot listen on the address.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        host: str = DEFAULT_HOST,
        port: int = DEFAULT_PORT,
        token: str | None = None,
        limits: Limits | None = None,
    ) -> None:
        _check(Path(folder), host, token)
        limits = limits or Limits()
        self._app = make_app(folder, token=token, host=host, limits=limits)
        self._socket = _listening(host, port, token)
        config = uvicorn.Config(
            self._app,
            http=protocol_for(limits),
            backlog=allowed(limits)[1],
            log_config=None,
            access_log=False,
            ws="none",
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=int(_STOP_TIMEOUT_S),
        )
        self._server = _Server(config, self._app.state.events.close)
        self._thread: threading.Thread | None = None
        self.host, self.port = host, self._socket.getsockname()[1]

    @property
    def address(self) -> str:
        """The address of the page, with this machine's name if it listens on all addresses."""
        host = socket.gethostname() if self.host in ("0.0.0.0", "::") else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/"

    def run(self) -> None:
        """Serve until SIGINT or SIGTERM."""
        self._server.run(sockets=[self._socket])

    def start(self) -> Viewer:
        """Serve in a background thread, and return once the server responds.

        Raises:
            OptionError: the server did not start in time.
        """
        self._thread = threading.Thread(target=self.run, name="tfviz-viewer", daemon=True)
        self._thread.start()
        if not self._server.is_ready.wait(_START_TIMEOUT_S):
            raise OptionError(f"The viewer at {self.address} did not start within {_START_TIMEOUT_S:.0f} s.")
        return self

    def stop(self) -> None:
        """Stop the background thread. All data remains in the folder."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(2 * _STOP_TIMEOUT_S)
        self._socket.close()

    def __enter__(self) -> Viewer:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.stop()


class _Server(uvicorn.Server):
    """Signals when it is ready, and ends the event streams of pages when it stops."""

    def __init__(self, config: uvicorn.Config, close_streams: Callable[[], None]) -> None:
        super().__init__(config)
        self._close_streams = close_streams
        self.is_ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening. uvicorn calls this."""
        await super().startup(sockets)
        for listener in sockets or []:
            listener.listen(_BACKLOG)  # asyncio has shortened the queue
        self.is_ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop serving. uvicorn calls this."""
        self._close_streams()
        await super().shutdown(sockets)


def _check(folder: Path, host: str, token: str | None) -> None:
    if token is not None and not re.fullmatch(r"[!-~]+", token):
        raise OptionError(
            "The token must consist of printable ASCII characters without spaces, such as 7f3a90c2e1. Choose another token."
        )
    if token is None and not is_loopback(host):
        raise OptionError(
            f"Other machines can reach the viewer at {host}, so it needs a token. Set TFVIZ_TOKEN or --token to a secret of at "
            f"least {_MIN_TOKEN_LENGTH} characters."
        )
    if folder.exists() and not folder.is_dir():
        raise OptionError(f"{shown(folder)} is a file. Pass a folder of runs, such as the log_dir of a SnapshotCallback.")


def _require_long(token: str | None, host: str) -> None:
    if token is not None and len(token) < _MIN_TOKEN_LENGTH and not is_loopback(host):
        raise OptionError(
            f"The token has {len(token)} characters, so machines that can reach the viewer at {host} could guess it. Choose "
            f"one of at least {_MIN_TOKEN_LENGTH}, for instance from: python -c 'import secrets; print(secrets.token_hex())'."
        )


def _listening(host: str, port: int, token: str | None) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        _require_long(token, host)
        # asyncio turns off Nagle's algorithm only if the protocol is named. With it, each response
        # would be delayed by 40 ms.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            # listen now, because the printed address should work at once
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            raise
    except (OSError, OverflowError, UnicodeError) as error:  # UnicodeError: an impossible host name
        reason = getattr(error, "strerror", None) or error
        raise OptionError(f"The viewer cannot listen on {host}, port {port} ({reason}). Choose another --port.") from error
    return listener
