"""The base class of sinks.

    class Printer(tfviz.Sink):
        def write(self, snapshot):
            print(snapshot.record["step"], snapshot.record["logs"])

    tfviz.SnapshotCallback("grad_cam", images, log_dir="runs/1", sinks=[Printer()])

A sink may be slow, because it is called on a background thread. If a sink raises an exception, one
warning is issued, training continues, and the sink is called again for the next snapshot.
"""

from __future__ import annotations

from pathlib import Path

from tfviz.runs.schema import Run
from tfviz.runs.snapshot import Snapshot


class Sink:
    """A destination for snapshots.

    All methods are called on one background thread: first `open`, then `write` for each snapshot,
    then `close`.
    """

    def open(self, run: Run, folder: Path) -> None:
        """Prepare for the snapshots of a `fit` call. This is called before the first snapshot.

        Args:
            run: the contents of run.json (id, name, methods, images and so on).
            folder: the callback's `log_dir`, which already contains `images/`.
        """

    def write(self, snapshot: Snapshot) -> None:
        """Handle a snapshot. All of its files are already in the folder.

        Args:
            snapshot: the snapshot.

        Raises:
            NotImplementedError: the subclass does not define `write`.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Release resources. This is called after the last `write`, even if training is aborted."""
