"""Runs of real experiment trackers, started locally and read back through each package."""

from __future__ import annotations

import abc
import json
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tfviz
from tfviz.images import read_written


@dataclass
class Logged:
    """What a tracker stored.

    Attributes:
        images: (step, key, number) -> (caption, picture), in the order logged.
        numbers: metric -> [(step, value), …].
        files: name -> content of each file in the artifact.
    """

    images: list[tuple[int, str, int, str, np.ndarray]] = field(default_factory=list)
    numbers: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)


class TrackerRun(abc.ABC):
    """A run that was just started."""

    sink: tfviz.Sink

    @abc.abstractmethod
    def finish(self) -> Logged:
        """End the run, and read it back."""


class WandbRun(TrackerRun):
    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
            patch.setenv(name, str(folder / "data"))
        import wandb

        settings = wandb.Settings(silent=True, console="off", x_disable_stats=True)
        self.run = wandb.init(project="tfviz", dir=folder, mode="offline", settings=settings)
        self.sink = tfviz.WandbSink(self.run)

    def finish(self) -> Logged:
        import wandb

        files = Path(self.run.dir)
        self.run.finish()
        wandb.teardown()  # its service writes the file until it ends
        logged = Logged()
        for record in wandb_records(next(files.parent.glob("*.wandb"))):
            if record.HasField("history"):
                row: dict[str, Any] = {}
                for item in record.history.item:
                    name, *inner = item.nested_key or [item.key]
                    value = json.loads(item.value_json)
                    row[name] = {**row.get(name, {}), inner[0]: value} if inner else value
                self._read_row(row, logged)
            elif record.HasField("artifact"):
                for entry in record.artifact.manifest.contents:
                    logged.files[entry.path] = Path(entry.local_path).read_bytes()
        return logged

    def _read_row(self, row: dict[str, Any], logged: Logged) -> None:
        step = row.get("tfviz/step")
        for name, value in row.items():
            if isinstance(value, dict) and value["_type"] == "images/separated":
                for number, (file, caption) in enumerate(zip(value["filenames"], value["captions"], strict=True)):
                    picture = read_written(Path(self.run.dir) / file)
                    logged.images.append((step, name.removeprefix("tfviz/"), number, caption, picture))
            elif name.startswith("tfviz/") and name != "tfviz/step":
                logged.numbers.setdefault(name, []).append((step, value))


def wandb_records(path: Path) -> Iterator[Any]:
    """Yield the records of an offline run.

    wandb has no reader in Python. The file is a LevelDB log of its protocol buffers.
    """
    from wandb.proto.wandb_internal_pb2 import Record

    block, header = 32768, 7
    data, at, parts = path.read_bytes(), header, b""
    while at + header <= len(data):
        if block - at % block < header:
            at += block - at % block
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + header])
        parts += data[at + header : at + header + length]
        at += header + length
        if kind in (1, 4):  # a full record, or the last part of one
            yield Record.FromString(parts)
            parts = b""


class MlflowRun(TrackerRun):
    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        import mlflow

        self.client = mlflow.MlflowClient(folder.as_uri())
        self.id = self.client.create_run(self.client.create_experiment("tfviz")).info.run_id
        self.sink = tfviz.MlflowSink(self.id, tracking_uri=folder.as_uri())
        self.folder = folder / "read"

    def finish(self) -> Logged:
        self.client.set_terminated(self.id)
        self.folder.mkdir()
        place = Path(self.client.download_artifacts(self.id, "", str(self.folder)))
        captions = [json.loads(path.read_text("utf-8")) for path in sorted((place / "tfviz/captions").iterdir())]
        logged = Logged(files={path.name: path.read_bytes() for path in (place / "tfviz/maps").iterdir()})
        found: dict[str, list[tuple[int, int, Path]]] = {}
        for path in (place / "images").glob("*.png"):
            key, _, step, _, milliseconds, _ = path.name.split("+")
            found.setdefault(key.replace("~", "/"), []).append((int(milliseconds), int(step), path))
        for key, entries in found.items():
            written = [one[key] for one in captions if key in one]
            for caption, (_, step, path) in zip(written, sorted(entries), strict=True):
                name, _, number = key.removeprefix("tfviz/").rpartition("/")
                logged.images.append((step, name, int(number), caption, read_written(path)))
        for name in self.client.get_run(self.id).data.metrics:
            logged.numbers[name] = [(one.step, one.value) for one in self.client.get_metric_history(self.id, name)]
        return logged


class TrackioRun(TrackerRun):
    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        patch.setenv("HF_HUB_OFFLINE", "1")
        if "trackio" not in sys.modules:  # it reads the variable once
            patch.setenv("TRACKIO_DIR", str(folder))
        import trackio

        self.folder = folder
        self.run = trackio.init(project=f"tfviz-{folder.name}", embed=False, auto_log_gpu=False, auto_log_cpu=False)
        self.sink = tfviz.TrackioSink(self.run)

    def finish(self) -> Logged:
        import trackio
        from trackio.sqlite_storage import SQLiteStorage
        from trackio.utils import MEDIA_DIR

        trackio.finish()
        logged = Logged()
        for row in SQLiteStorage.get_logs(self.run.project, self.run.name):
            for name, value in row.items():
                if isinstance(value, dict) and value.get("_type") == "trackio.image":
                    key, _, number = name.removeprefix("tfviz/").rpartition("/")
                    picture = read_written(MEDIA_DIR / value["file_path"])
                    logged.images.append((row["step"], key, int(number), value["caption"], picture))
                elif name.startswith("tfviz/"):
                    logged.numbers.setdefault(name, []).append((row["step"], value))
        (artifact,) = SQLiteStorage.get_artifacts(self.run.project)
        maps = Path(self.run.use_artifact(artifact["name"]).download(self.folder / "read"))
        logged.files = {path.name: path.read_bytes() for path in maps.iterdir()}
        return logged
