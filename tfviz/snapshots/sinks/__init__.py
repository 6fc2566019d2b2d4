"""Destinations for snapshots, in addition to the run folder.

To add a sink, add its file to this folder, then import it and add it to `SINKS` below. Public names
such as `tfviz.WandbSink` are derived from `SINKS`. The run folder itself is not a sink. The run
folder numbers the snapshots, and the sinks forward its contents.
"""

from __future__ import annotations

from tfviz.snapshots.sinks.mlflow import MlflowSink as MlflowSink
from tfviz.snapshots.sinks.sink import Sink as Sink
from tfviz.snapshots.sinks.tensorboard import TensorBoardSink as TensorBoardSink
from tfviz.snapshots.sinks.trackio import TrackioSink as TrackioSink
from tfviz.snapshots.sinks.viewer import ViewerSink as ViewerSink
from tfviz.snapshots.sinks.wandb import WandbSink as WandbSink

SINKS: dict[str, type[Sink]] = {
    "tensorboard": TensorBoardSink,
    "viewer": ViewerSink,
    "wandb": WandbSink,
    "mlflow": MlflowSink,
    "trackio": TrackioSink,
}
