"""Log snapshots to Weights & Biases.

with wandb.init(project="flowers") as run:
    sink = tfviz.WandbSink(run)
    callback = tfviz.SnapshotCallback("grad_cam", images, log_dir="runs/1", sinks=[sink])
    model.fit(x, y, callbacks=[callback])
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tfviz.runs.schema import Record
from tfviz.snapshots.sinks.tracker import PREFIX, CaptionedImage, Tracker

if TYPE_CHECKING:
    import wandb

_STEP = f"{PREFIX}step"


class WandbSink(Tracker):
    """Logs images with captions, metrics and the raw maps to a Weights & Biases run.

    W&B accepts only increasing steps and stores one row per step. If a snapshot's step is already
    in use, the snapshot is logged to the next row. "tfviz/step" always holds the number of training
    batches so far and is the x-axis for everything that this sink logs.

    Args:
        run: the run that `wandb.init` returned. Finish it after `fit` returns.
    """

    product = "Weights & Biases"
    extra = "wandb"

    def __init__(self, run: wandb.Run) -> None:
        super().__init__()
        self._wandb_run = run
        self._last_step = -1

    def _connect(self) -> None:
        import wandb  # noqa: F401

        self._wandb_run.define_metric(_STEP, hidden=True)
        self._wandb_run.define_metric(f"{PREFIX}*", step_metric=_STEP)

    def _log(self, record: Record, numbers: dict[str, float], images: list[CaptionedImage]) -> None:
        import wandb

        row: dict[str, object] = {_STEP: record["step"], **numbers}
        for key in dict.fromkeys(image.key for image in images):
            shown = [image for image in images if image.key == key]
            row[PREFIX + key] = [wandb.Image(str(image.path), caption=image.caption) for image in shown]
        self._last_step = max(record["step"], self._wandb_run.step, self._last_step + 1)
        self._wandb_run.log(row, step=self._last_step)

    def _log_folder(self, name: str, folder: Path) -> None:
        import wandb

        artifact = wandb.Artifact(name, type="tfviz-maps", description="Raw maps: one .npz file per snapshot.")
        artifact.add_dir(str(folder))
        self._wandb_run.log_artifact(artifact)
