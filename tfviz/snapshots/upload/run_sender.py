"""Send the parts of a run that the viewer is missing. Each record follows its pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tfviz.errors import SnapshotsError
from tfviz.runs.layout import OWN_IMAGES, RUN_FILE, image_path, picture_path
from tfviz.runs.regular_files import read_regular
from tfviz.runs.run_reader import IndexReader, read_run
from tfviz.runs.schema import Record, Run, line_of
from tfviz.snapshots.upload.viewer_client import ViewerClient, ViewerError, ViewerRejectionError, ViewerUnavailableError

_NOT_NEXT = 409
# The statuses that concern a picture. Others concern the token, the run or the snapshot order.
_PICTURE_STATUSES = (400, 413, 415, 422)
_MAX_CONFLICTS = 3


class RunSender:
    """Sends one run to one viewer.

    Attributes:
        last: the number of the last snapshot that the viewer is known to have.
        omission: the error about the first picture that the viewer rejected, or None. The rest of
            that snapshot is sent without the picture.
    """

    def __init__(self, client: ViewerClient, folder: Path) -> None:
        self.client, self.folder = client, folder
        self.last = -1
        self.omission: ViewerError | None = None
        self._run: Run | None = None  # as registered with the viewer
        self._index = IndexReader(folder)

    def send_all(self, is_over: Callable[[], bool] = lambda: False) -> int:
        """Send the snapshots that the viewer doesn't have and return how many were sent.

        Args:
            is_over: a function that is called before each snapshot. Once it returns True, no more
                snapshots are sent.

        Raises:
            ViewerError: the viewer is unavailable or rejected a request. The next call reads the
                viewer's state again.
        """
        for _ in range(_MAX_CONFLICTS):
            try:
                return self._send(is_over)
            except ViewerRejectionError as rejection:
                self._run = None
                if rejection.status != _NOT_NEXT:
                    raise
                # Another sender is also sending this run, or the viewer has lost parts of it.
                conflict = rejection
            except BaseException:
                self._run = None
                raise
        raise ViewerUnavailableError(str(conflict)) from conflict

    def _send(self, is_over: Callable[[], bool]) -> int:
        try:
            run = self._run or self._register()
        except SnapshotsError:  # the folder is gone; the writer reports this
            return 0
        count = 0
        for record in self._index.poll():
            if is_over():
                self._run = None
                break
            if record["number"] > self.last:
                self._send_snapshot(run, record)
                self.last = record["number"]
                count += 1
        return count

    def _register(self) -> Run:
        """Register the run with the viewer, ask which parts it has, and send missing images."""
        run = read_run(self.folder)
        run_id = run["id"]
        self.client.put_run(run_id, read_regular(self.folder / RUN_FILE))
        state = self.client.state(run_id)
        if state.images < len(run["images"]):
            for image in range(len(run["images"])):
                self._send_picture(image_path(self.folder, image), self.client.put_image, run_id, image)
        self.last = state.last
        self._index = IndexReader(self.folder)
        self._run = run
        return run

    def _send_snapshot(self, run: Run, record: Record) -> None:
        run_id, number = run["id"], record["number"]
        own_images = [OWN_IMAGES] if "images" in record else []
        for method in [*own_images, *record["methods"]]:
            for image in range(len(run["images"])):
                path = picture_path(self.folder, number, method, image)
                self._send_picture(path, self.client.put_picture, run_id, number, self.last, method, image)
        self.client.put_record(run_id, number, self.last, line_of(record))

    def _send_picture(self, path: Path, put: Callable[..., None], *where: Any) -> None:
        """Send a picture, or skip it if it is missing or the viewer rejects it."""
        try:
            content = read_regular(path)
        except OSError:
            return
        try:
            put(*where, content)
        except ViewerRejectionError as rejection:
            if rejection.status not in _PICTURE_STATUSES:
                raise
            if self.omission is None:
                self.omission = ViewerError(f"A picture was skipped. {rejection}")
                self.omission.__cause__ = rejection
