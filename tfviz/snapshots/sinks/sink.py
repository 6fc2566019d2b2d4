"""The base class of sinks.

    class Printed(tfviz.Sink):
        def write(self, snapshot):
            print(snapshot.record["step"], snapshot.record["logs"])

    tfviz.SnapshotCallback("grad_cam", images, log_dir="runs/1", sinks=[Printed()])

A sink may be slow: it is called on a thread of its own, not on the one that trains. It may raise:
the error becomes one warning, the sink is called again with the next snapshot, and training goes
on.
"""

from __future__ import annotations

from pathlib import Path

from tfviz.runs.schema import Run
from tfviz.runs.snapshot import Snapshot


class Sink:
    """A destination for snapshots. All three methods are called on one background thread, in this
    order.
    """

    def open(self, run: Run, folder: Path) -> None:
        """The first snapshot of a training is there. Called again, after `close`, in the next
        training.

        Args:
            run: what run.json says (id, name, methods, images …).
            folder: the log_dir, with `images/`.
        """

    def write(self, snapshot: Snapshot) -> None:
        """A snapshot is complete in the folder."""
        raise NotImplementedError

    def close(self) -> None:
        """The training is over, or was broken off. Everything is written."""
