"""Snapshots to a viewer on another machine.

    tfviz.SnapshotCallback("grad_cam", images, log_dir="runs/1", viewer="http://192.168.1.7:1337", token="…")

They are read from the folder, by a thread of its own that asks the viewer what it has and sends what it lacks, in order.
Training never waits for it, and nothing is lost while the viewer is away: when it is back, it gets what it missed.
"""

from __future__ import annotations

from pathlib import Path

from tfviz.errors import shown
from tfviz.runs.schema import Run
from tfviz.runs.snapshot import Snapshot
from tfviz.snapshots.sinks.sink import Sink
from tfviz.snapshots.upload.run_sender import RunSender
from tfviz.snapshots.upload.upload_thread import UploadThread
from tfviz.snapshots.upload.viewer_client import ViewerClient, ViewerError

_FIRST_CONTACT_S = 1.0


class ViewerSink(Sink):
    """Sends snapshots to the viewer at `url`, which was started with `token` or without one.

    timeout_s: how long each step of an exchange may take. drain_timeout_s: how long `close` waits, at most, until all is
    sent. What stops the sending is raised once, as ViewerError, by the next call of `open`, `write` or `close`; when it
    goes on, a line on stderr says so.

    Raises OptionError for a url or token that cannot be one.
    """

    def __init__(self, url: str, token: str | None = None, *, timeout_s: float = 10.0, drain_timeout_s: float = 10.0) -> None:
        self._new_client = lambda: ViewerClient(url, token, timeout_s)
        self.url, self.drain_timeout_s = self._new_client().url, drain_timeout_s
        self._upload: UploadThread | None = None

    def open(self, run: Run, folder: Path) -> None:
        """Begins to send what is in the folder, and waits a moment for the first answer: an address may be mistyped."""
        self._upload = UploadThread(RunSender(self._new_client(), Path(folder)))
        self._upload.start()
        self._upload.has_tried.wait(_FIRST_CONTACT_S)
        self._upload.raise_trouble()

    def write(self, snapshot: Snapshot) -> None:
        """Says that there is something new; returns at once."""
        if self._upload is not None:
            self._upload.wake()
            self._upload.raise_trouble()

    def close(self) -> None:
        """Waits until all is sent, but no longer than `drain_timeout_s`. Raises ViewerError where something is left."""
        upload, self._upload = self._upload, None
        if upload is None:
            return
        upload.finish(self.drain_timeout_s)
        left, folder = upload.count_left(), upload.sender.folder
        if left:
            raise ViewerError(
                f"{left} snapshot{'s were' if left > 1 else ' was'} not sent to the viewer at {self.url}. "
                f"{f'{upload.trouble} ' if upload.trouble else ''}They are in {shown(folder)}: the next training into that "
                f"folder sends them, and `tfviz watch {shown(folder)}` shows them."
            )
        upload.raise_trouble()
