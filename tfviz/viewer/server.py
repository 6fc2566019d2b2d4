"""The viewer, running: in this thread until it is stopped, or in one beside it."""

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
_LEAST_TOKEN = 16  # characters, where others can guess
_START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 5.0
_KEEP_ALIVE_S = 15
_BACKLOG = 512


class Viewer:
    """A server that shows the runs in a folder, and keeps there what trainers send.

        with Viewer("runs", port=0) as viewer:
            print(viewer.address)

    Args:
        folder: where runs are, or will be. host: the address to listen on. port: 0 takes a free
            one.
        token: what pages and trainers must bring; needed, and at least 16 characters long, for
            every host that other machines can reach.
        limits: how much is taken.

    Raises OptionError for a host that other machines can reach without a token or with a short one,
    a token that cannot be sent, a folder that is a file, and an address that cannot be listened on.
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
        """Where the page is, for a browser on this machine or, where every address is listened on,
        on another.
        """
        host = socket.gethostname() if self.host in ("0.0.0.0", "::") else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/"

    def run(self) -> None:
        """Serves until SIGINT or SIGTERM."""
        self._server.run(sockets=[self._socket])

    def start(self) -> Viewer:
        """Serves in a thread of its own, and returns when the server answers."""
        self._thread = threading.Thread(target=self.run, name="tfviz-viewer", daemon=True)
        self._thread.start()
        if not self._server.is_ready.wait(_START_TIMEOUT_S):
            raise OptionError(f"The viewer does not answer at {self.address} after {_START_TIMEOUT_S:.0f} s.")
        return self

    def stop(self) -> None:
        """Ends the server that `start` has started; nothing is lost, since all is in the folder."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(2 * _STOP_TIMEOUT_S)
        self._socket.close()

    def __enter__(self) -> Viewer:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.stop()


class _Server(uvicorn.Server):
    """Tells when it answers, and lets go of the pages when it stops: their streams would never end
    by themselves.
    """

    def __init__(self, config: uvicorn.Config, let_go: Callable[[], None]) -> None:
        super().__init__(config)
        self._let_go = let_go
        self.is_ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Called by uvicorn."""
        await super().startup(sockets)
        for listener in sockets or []:
            listener.listen(_BACKLOG)  # asyncio has shortened the queue to what it accepts at once
        self.is_ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Called by uvicorn."""
        self._let_go()
        await super().shutdown(sockets)


def _check(folder: Path, host: str, token: str | None) -> None:
    if token is not None and not re.fullmatch(r"[!-~]+", token):
        raise OptionError("token: expected letters, digits and signs without spaces, such as 7f3a90c2e1. Choose another.")
    if token is None and not is_loopback(host):
        raise OptionError(
            f"Other machines can reach the viewer at {host}, so it needs a token: set TFVIZ_TOKEN, or add --token, with a "
            f"secret of at least {_LEAST_TOKEN} characters."
        )
    if folder.exists() and not folder.is_dir():
        raise OptionError(f"{shown(folder)} is a file; expected a folder of runs, such as the log_dir of a SnapshotCallback.")


def _require_long(token: str | None, host: str) -> None:
    if token is not None and len(token) < _LEAST_TOKEN and not is_loopback(host):
        raise OptionError(
            f"The token has {len(token)} characters, and other machines, which could guess it, can reach the viewer at {host}. "
            f"Choose one of at least {_LEAST_TOKEN}, for instance from: python -c 'import secrets; print(secrets.token_hex())'"
        )


def _listening(host: str, port: int, token: str | None) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        _require_long(token, host)
        # asyncio turns Nagle's algorithm off only where the protocol is named; with it each answer
        # waits for 40 ms.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            # now, so that the address that is printed can be asked at once
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            raise
    except (OSError, OverflowError, UnicodeError) as error:  # UnicodeError: a host that no name can be
        reason = getattr(error, "strerror", None) or error
        raise OptionError(f"The viewer cannot listen on {host}, port {port} ({reason}). Choose another --port.") from error
    return listener
