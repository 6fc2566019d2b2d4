"""Sending a run from its folder: what the viewer lacks, in order, each snapshot's record after its
pictures.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tfviz.errors import SnapshotsError
from tfviz.runs.layout import RUN_FILE, image_path, picture_path
from tfviz.runs.regular_files import read_regular
from tfviz.runs.run_reader import IndexReader, read_run
from tfviz.runs.schema import Record, Run, line_of
from tfviz.snapshots.upload.viewer_client import ViewerAwayError, ViewerClient, ViewerError, ViewerRefusalError

_NOT_NEXT = 409
_ABOUT_THE_PICTURE = (400, 413, 415, 422)  # the others are about the token, the run or the order
_MOST_SURPRISES = 3


class RunSender:
    """Sends one run to one viewer.

    last: the number of the last snapshot that the viewer has, as far as is known. left_out: about
    the first picture that the viewer did not take; the other pictures of that snapshot, and its
    record, are sent without it.
    """

    def __init__(self, client: ViewerClient, folder: Path) -> None:
        self.client, self.folder = client, folder
        self.last = -1
        self.left_out: ViewerError | None = None
        self._run: Run | None = None  # as the viewer was told of it
        self._index = IndexReader(folder)

    def send_all(self, is_over: Callable[[], bool] = lambda: False) -> int:
        """Sends what the folder has and the viewer lacks, and returns how many snapshots that were.

        is_over: asked before each snapshot; where it says so, the rest is left. Raises ViewerError
        when the viewer does not take something; the next call asks anew what it has.
        """
        for _ in range(_MOST_SURPRISES):
            try:
                return self._send(is_over)
            except ViewerRefusalError as refusal:
                self._run = None
                if refusal.status != _NOT_NEXT:
                    raise
                # somebody else sends this run too, or the viewer has lost some of it
                surprise = refusal
            except BaseException:
                self._run = None
                raise
        raise ViewerAwayError(str(surprise)) from surprise

    def _send(self, is_over: Callable[[], bool]) -> int:
        try:
            run = self._run or self._introduced()
        except SnapshotsError:  # the folder is gone: there is nothing to send, and others say so
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

    def _introduced(self) -> Run:
        """Tells the viewer of the run and sends the images it lacks; from then on its state is
        known.
        """
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
        for method in record["methods"]:
            for image in range(len(run["images"])):
                path = picture_path(self.folder, number, method, image)
                self._send_picture(path, self.client.put_picture, run_id, number, self.last, method, image)
        self.client.put_record(run_id, number, self.last, line_of(record))

    def _send_picture(self, path: Path, put: Callable[..., None], *where: Any) -> None:
        """Sends a picture that is there; one that is lost, or that the viewer does not take, is no
        reason to stop.
        """
        try:
            content = read_regular(path)
        except OSError:
            return
        try:
            put(*where, content)
        except ViewerRefusalError as refusal:
            if refusal.status not in _ABOUT_THE_PICTURE:
                raise
            if self.left_out is None:
                self.left_out = ViewerError(f"A picture was left out: {refusal}")
                self.left_out.__cause__ = refusal
