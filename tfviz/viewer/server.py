"""Serve the live page for a folder of runs."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from tfviz.errors import MissingPackageError, OptionError, install_command, shown

try:
    from tfviz.viewer.app import make_app
    from tfviz.viewer.page_server import PageServer
except ImportError as error:
    raise MissingPackageError(
        f"The live page needs FastAPI and uvicorn ({error.name} is not installed). Run: {install_command('viewer')}"
    ) from error

from tfviz.viewer.limits import Limits

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 1337


class Viewer(PageServer):
    """A server that shows the runs in a folder and stores the runs sent to it.

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
        OptionError: the token is missing, is too short or cannot be sent; the folder is a file; or
            the server cannot listen on the address.
    """

    what: ClassVar[str] = "viewer"

    def __init__(
        self,
        folder: str | Path,
        *,
        host: str = DEFAULT_HOST,
        port: int = DEFAULT_PORT,
        token: str | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.require_usable(token, host)
        if Path(folder).exists() and not Path(folder).is_dir():
            raise OptionError(f"{shown(folder)} is a file. Pass a folder of runs, such as the log_dir of a SnapshotCallback.")
        limits = limits or Limits()
        self._app = make_app(folder, token=token, host=host, limits=limits)
        close = self._app.state.events.close
        super().__init__(self._app, host=host, port=port, token=token, limits=limits, close_streams=close)
