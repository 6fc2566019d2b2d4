"""Log snapshots to MLflow.

with mlflow.start_run() as run:
    sink = tfviz.MlflowSink(run)
    callback = tfviz.SnapshotCallback("grad_cam", images, log_dir="runs/1", sinks=[sink])
    model.fit(x, y, callbacks=[callback])
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tfviz.images import read_written
from tfviz.runs.schema import Record
from tfviz.snapshots.sinks.tracker import PREFIX, CaptionedImage, Tracker

if TYPE_CHECKING:
    import mlflow


class MlflowSink(Tracker):
    """Logs images, metrics and the raw maps to an MLflow run.

    MLflow doesn't store captions, so the sink logs each snapshot's captions as a JSON artifact,
    such as "tfviz/captions/00000017.json", with the same keys as the images.

    Args:
        run: the run that `mlflow.start_run` returned, or its id.
        tracking_uri: the address of the tracking server or store. None means MLflow's current
            tracking URI.
    """

    product = "MLflow"
    extra = "mlflow"

    def __init__(self, run: mlflow.ActiveRun | str, *, tracking_uri: str | None = None) -> None:
        super().__init__()
        self._run_id = run if isinstance(run, str) else run.info.run_id
        self._tracking_uri = tracking_uri

    def _connect(self) -> None:
        import mlflow
        import PIL.Image  # noqa: F401

        self._client = mlflow.MlflowClient(self._tracking_uri)
        self._client.get_run(self._run_id)

    def _log(self, record: Record, numbers: dict[str, float], images: list[CaptionedImage]) -> None:
        for name, value in numbers.items():
            self._client.log_metric(self._run_id, name, value, step=record["step"])
        captions = {}
        for image in images:
            key = f"{PREFIX}{image.key}/{image.number}"
            self._client.log_image(self._run_id, read_written(image.path), key=key, step=record["step"])
            captions[key] = image.caption
        self._client.log_dict(self._run_id, captions, f"{PREFIX}captions/{record['number']:08d}.json")

    def _log_folder(self, name: str, folder: Path) -> None:
        self._client.log_artifacts(self._run_id, str(folder), f"{PREFIX}maps")
