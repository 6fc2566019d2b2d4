"""Where snapshots go beside the folder.

    class Printed(tfviz.Sink):
        def write(self, snapshot):
            print(snapshot.record["step"], snapshot.record["logs"])

    tfviz.SnapshotCallback("grad_cam", images, log_dir="runs/1", sinks=[Printed()])

A sink may be slow: it is called on a thread of its own, not on the one that trains. It may raise: there is one warning, it
is asked again at the next snapshot, and training goes on.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tfviz.errors import OptionError
from tfviz.snapshots.snapshot import Snapshot


class Sink:
    """Something that takes snapshots. All three are called on one background thread, in this order."""

    def open(self, run: Mapping[str, Any], folder: Path) -> None:
        """The first snapshot of a training is there. Called again, after `close`, in the next training.

        Args:
            run: what run.json says (id, name, methods, images …).
            folder: the log_dir, with `images/`.
        """

    def write(self, snapshot: Snapshot) -> None:
        """A snapshot is complete in the folder."""
        raise NotImplementedError

    def close(self) -> None:
        """The training is over, or was broken off. Everything is written."""


def own_sinks(
    log_dir: Path, tensorboard: bool | str | Path, viewer: str | None, token: str | None, others: Iterable[Sink]
) -> list[Sink]:
    """The sinks that a callback's arguments ask for, and the user's own.

    Raises OptionError for what is none.
    """
    if isinstance(others, Sink) or not isinstance(others, Iterable):
        raise OptionError(f"sinks: expected a list, such as sinks=[sink]; got {others!r}")
    others = list(others)
    if not isinstance(tensorboard, (bool, str, os.PathLike)):
        raise OptionError(f"tensorboard: expected True, False or the path of a folder; got {tensorboard!r}")
    sinks: list[Sink] = []
    if tensorboard:
        from tfviz.snapshots.tensorboard import TensorBoardSink

        sinks.append(TensorBoardSink(log_dir / "tensorboard" if tensorboard is True else tensorboard))
    if viewer is not None:
        from tfviz.snapshots.uploading import ViewerSink

        sinks.append(ViewerSink(viewer, token))
    elif token is not None:
        raise OptionError("token: is a viewer's; give its address too, viewer='http://host:1337'")
    for sink in others:
        if not isinstance(sink, Sink):
            raise OptionError(f"sinks: expected objects of a class that derives from tfviz.Sink; got {sink!r}")
    return [*sinks, *others]
