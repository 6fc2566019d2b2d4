"""Send snapshots to a viewer on another machine.

    tfviz.SnapshotCallback(
        "grad_cam", images, log_dir="runs/1", viewer="http://192.168.1.7:1337", token="…"
    )

A separate thread reads the snapshots from the folder, asks the viewer which snapshots it has, and
sends the missing ones in order. Training never waits for this thread. After an outage, the viewer
receives the snapshots it missed.
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
    """Sends snapshots to a viewer.

    If sending fails, the next call to `open`, `write` or `close` raises a ViewerError, once per
    outage. When sending resumes, a line is printed to stderr.

    Args:
        url: the viewer's address.
        token: the token that the viewer was started with, if any.
        timeout_s: the time limit for each step of a request.
        drain_timeout_s: the maximum time that `close` waits for the remaining snapshots to be sent.

    Raises:
        OptionError: `url` or `token` is invalid.
    """

    def __init__(self, url: str, token: str | None = None, *, timeout_s: float = 10.0, drain_timeout_s: float = 10.0) -> None:
        self._new_client = lambda: ViewerClient(url, token, timeout_s)
        self.url, self.drain_timeout_s = self._new_client().url, drain_timeout_s
        self._upload: UploadThread | None = None

    def open(self, run: Run, folder: Path) -> None:
        self._upload = UploadThread(RunSender(self._new_client(), Path(folder)))
        self._upload.start()
        # Wait briefly for the first response, to detect a mistyped address.
        self._upload.has_attempted.wait(_FIRST_CONTACT_S)
        self._upload.raise_trouble()

    def write(self, snapshot: Snapshot) -> None:
        if self._upload is not None:
            self._upload.wake()
            self._upload.raise_trouble()

    def close(self) -> None:
        """Wait until everything is sent, but no longer than `drain_timeout_s`.

        Raises:
            ViewerError: some snapshots were not sent.
        """
        upload, self._upload = self._upload, None
        if upload is None:
            return
        upload.finish(self.drain_timeout_s)
        left, folder = upload.count_left(), upload.sender.folder
        if left:
            raise ViewerError(
                f"{left} snapshot{'s were' if left > 1 else ' was'} not sent to the viewer at {self.url}. "
                f"{f'{upload.trouble} ' if upload.trouble else ''}Nothing is lost: all snapshots are in {shown(folder)}. The "
                f"next training run with this folder sends the missing snapshots, and `tfviz watch {shown(folder)}` shows all "
                "of them."
            )
        upload.raise_trouble()
