"""Log snapshots to Trackio.

run = trackio.init(project="flowers")
sink = tfviz.TrackioSink(run)
callback = tfviz.SnapshotCallback("grad_cam", images, log_dir="runs/1", sinks=[sink])
model.fit(x, y, callbacks=[callback])
trackio.finish()
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tfviz.runs.schema import Record
from tfviz.snapshots.sinks.tracker import PREFIX, CaptionedImage, Tracker

if TYPE_CHECKING:
    import trackio


class TrackioSink(Tracker):
    """Logs images with captions, metrics and the raw maps to a Trackio run.

    Args:
        run: the run that `trackio.init` returned. Finish it after `fit` returns.
    """

    product = "Trackio"
    extra = "trackio"

    def __init__(self, run: trackio.Run) -> None:
        super().__init__()
        self._trackio_run = run

    def _connect(self) -> None:
        import trackio  # noqa: F401

    def _log(self, record: Record, numbers: dict[str, float], images: list[CaptionedImage]) -> None:
        import trackio

        shown = {f"{PREFIX}{image.key}/{image.number}": trackio.Image(image.path, caption=image.caption) for image in images}
        self._trackio_run.log({**numbers, **shown}, step=record["step"])

    def _log_folder(self, name: str, folder: Path) -> None:
        self._trackio_run.log_artifact(folder, name=name, type="tfviz-maps")
