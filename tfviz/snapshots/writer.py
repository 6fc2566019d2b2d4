"""What happens on the background thread: a snapshot is drawn, put into the folder, and shown to the sinks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from tfviz.errors import TfvizError
from tfviz.render.pictures import Picture
from tfviz.snapshots.drawing import drawn
from tfviz.snapshots.faults import Faults, reason
from tfviz.snapshots.folder import RunFolder
from tfviz.snapshots.named_methods import NamedMethod
from tfviz.snapshots.sinks import Sink
from tfviz.snapshots.snapshot import Exposure, Moment, Snapshot


class Writer:
    """Draws and writes the snapshots of one training. Knows nothing of the callback, so that it can outlive it."""

    def __init__(
        self, folder: RunFolder, sinks: Sequence[Sink], methods: Sequence[NamedMethod], images: list[Picture], faults: Faults
    ) -> None:
        self.folder, self.sinks, self.methods, self.images, self.faults = folder, sinks, methods, images, faults
        self._run_of_sinks = ""

    def write(self, moment: Moment, exposures: Mapping[str, Exposure]) -> None:
        """Draws and writes one snapshot. Raises nothing: what goes wrong is among the faults."""
        try:
            snapshot = self._kept(drawn(moment, exposures, self.methods, self.images))
        except Exception as error:  # Whatever it is, training must go on.
            words = f"The snapshot at step {moment.step} could not be written to {self.folder.path}: {reason(error)}"
            self.faults.add("folder", f"{words}. Such snapshots are left out, until it can be written again.", error)
            return
        self._report_errors(snapshot)
        self._open_sinks()
        for sink in self.sinks:
            self._guarded(sink, "written to", partial(sink.write, snapshot))

    def _kept(self, snapshot: Snapshot) -> Snapshot:
        self._renew_if_removed()
        self.folder.open()
        try:
            return self.folder.add(snapshot)
        except Exception:
            if not self.folder.was_removed():  # while the snapshot was written
                raise
        self._renew_if_removed()
        return self.folder.add(snapshot)

    def _renew_if_removed(self) -> None:
        if self.folder.was_removed():
            words = f"The run in {self.folder.path} was removed. A new one is begun there."
            self.faults.add("removed", words, TfvizError(words))
            self.folder.open()

    def _report_errors(self, snapshot: Snapshot) -> None:
        for name, words in snapshot.record["errors"].items():
            words = f"{name} failed at step {snapshot.record['step']}: {words}."
            self.faults.add(f"method {name}", words, TfvizError(words))

    def _open_sinks(self) -> None:
        """At the first snapshot, and where a new run was begun."""
        if self._run_of_sinks != self.folder.run["id"]:
            is_another, self._run_of_sinks = bool(self._run_of_sinks), self.folder.run["id"]
            for sink in self.sinks:
                if is_another:
                    self._guarded(sink, "closed", sink.close)
                self._guarded(sink, "opened", partial(sink.open, self.folder.run, self.folder.path))

    def close(self) -> None:
        """Closes the sinks and the folder."""
        if self._run_of_sinks:
            for sink in self.sinks:
                self._guarded(sink, "closed", sink.close)
        self.folder.close()

    def _guarded(self, sink: Sink, what: str, work: Callable[[], Any]) -> None:
        try:
            work()
        except Exception as error:  # The user's own code may raise anything.
            said = reason(error)
            words = said if isinstance(error, TfvizError) else f"{type(error).__name__}: {said}"
            words = f"{type(sink).__name__} could not be {what}: {words.removesuffix('.')}."
            self.faults.add(f"sink {id(sink)} {type(error).__name__}", words, error)
