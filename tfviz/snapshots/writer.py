"""The work of the background thread: draw and write each snapshot and pass it to the sinks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from tfviz.errors import ImageError, TfvizError, shown
from tfviz.render.canvas import Canvas
from tfviz.render.overlays import Look
from tfviz.render.pictures import Picture
from tfviz.render.strength import strengths_of
from tfviz.runs.run_folder import RunFolder
from tfviz.runs.schema import MAX_ERROR_TEXT, MAX_LOGS, Prediction, shortened
from tfviz.runs.snapshot import Snapshot
from tfviz.snapshots.exposure import Exposure, Moment
from tfviz.snapshots.faults import Faults, reason
from tfviz.snapshots.fixed_images import FixedImages
from tfviz.snapshots.named_methods import NamedMethod
from tfviz.snapshots.sinks import Sink


class Writer:
    """Draws and writes the snapshots of one training run.

    A writer holds no reference to the callback and can outlive it.
    """

    def __init__(
        self,
        folder: RunFolder,
        sinks: Sequence[Sink],
        methods: Sequence[NamedMethod],
        faults: Faults,
        look: Look,
    ) -> None:
        self.look = look
        self.folder, self.sinks, self.methods, self.faults = folder, sinks, methods, faults
        self._sinks_run_id: str | None = None  # the run that the sinks were opened for

    def write(self, moment: Moment, exposures: Mapping[str, Exposure], images: FixedImages) -> None:
        """Draw and write one snapshot.

        This method never raises exceptions. Failures are added to `faults`.
        """
        try:
            snapshot = self._stored(self._draw(moment, exposures, images))
        except Exception as error:  # training must continue after any error
            words = f"The snapshot at step {moment.step} could not be written to {shown(self.folder.path)}: {reason(error)}"
            self.faults.add("folder", f"{words.removesuffix('.')}. Snapshots are skipped until writing succeeds again.", error)
            return
        self._open_sinks()
        for sink in self.sinks:
            self._guarded(sink, "written to", partial(sink.write, snapshot))

    def _draw(self, moment: Moment, exposures: Mapping[str, Exposure], images: FixedImages) -> Snapshot:
        """Draw the snapshot for one moment. The run folder assigns its number later."""
        errors = {name: exposure.error for name, exposure in exposures.items() if exposure.error is not None}
        maps = {name: exposure.maps for name, exposure in exposures.items() if exposure.maps is not None}
        pictures: dict[str, list[Picture]] = {}
        strengths: dict[str, list[str]] = {}
        for method in self.methods:
            if method.name in maps:
                try:
                    pictures[method.name], strengths[method.name] = self._pictures(method, maps[method.name], images.canvas)
                except ImageError as error:  # usually NaN, because training has diverged
                    errors[method.name] = reason(error)
                    words = f"{method.name} failed at step {moment.step}: {reason(error).removesuffix('.')}."
                    self.faults.add(f"method {method.name}", words, error)
        record: dict[str, Any] = {
            "when": moment.when,
            "epoch": moment.epoch,
            "batch": moment.batch,
            "step": moment.step,
            "time": moment.time,
            "logs": self._logs(moment.logs),
            "predictions": self._predictions(exposures, len(images)),
            "methods": list(pictures),
            "errors": {name: shortened(words, MAX_ERROR_TEXT) for name, words in errors.items()},
        }
        record |= self._explained(exposures)
        if images.positions is not None and images.labels is not None:
            record |= {"images": images.positions, "true_classes": [int(label) for label in images.labels]}
        if known := {name: words for name, words in strengths.items() if any(words)}:
            record["strengths"] = known
        return Snapshot(record, images.pictures, pictures, maps, images.canvas)

    def _pictures(self, method: NamedMethod, attribution: np.ndarray, canvas: Canvas) -> tuple[list[Picture], list[str]]:
        """Return a method's maps drawn over the images, with descriptions of their strength."""
        key, style = method.explainer.key, canvas.style(method.explainer.style)
        strengths = [strengths_of(key, [one], [""], style, None)[0] for one in canvas.maps(list(attribution))]
        rows = enumerate(zip(attribution, strengths, strict=True))
        drawn = [
            canvas.drawn(canvas.placed(one, index), index, style, self.look, strength.limit) for index, (one, strength) in rows
        ]
        return drawn, [one.words for one in strengths]

    def _explained(self, exposures: Mapping[str, Exposure]) -> dict[str, list[Prediction | None]]:
        """Return a dict with the explained classes and scores, or {} if no class was chosen."""
        for method in self.methods:
            exposure = exposures[method.name]
            if exposure.target is not None:
                return {"explained": method.scores_of(exposure.target, exposure.outputs)}
        return {}

    def _predictions(self, exposures: Mapping[str, Exposure], count: int) -> list[Prediction | None]:
        """Return predictions from the first method that has outputs, or a list of None values."""
        for method in self.methods:
            outputs = exposures[method.name].outputs
            if outputs is not None:
                return method.predictions(outputs)
        return [None] * count

    def _logs(self, logs: Mapping[str, Any]) -> dict[str, float | None]:
        """Return the numeric logs, up to the maximum number allowed by the schema."""
        numbers = {shortened(str(name)): value for name, value in _finite(logs).items()}
        if len(numbers) > MAX_LOGS:
            words = f"The logs contain {len(numbers)} numbers, but a snapshot keeps only the first {MAX_LOGS}."
            self.faults.add("logs", words, TfvizError(words))
        return dict(list(numbers.items())[:MAX_LOGS])

    def _stored(self, snapshot: Snapshot) -> Snapshot:
        self._restart_if_removed()
        self.folder.open()
        try:
            return self.folder.add(snapshot)
        except Exception:
            if not self.folder.was_removed():
                raise
        self._restart_if_removed()
        return self.folder.add(snapshot)

    def _restart_if_removed(self) -> None:
        if self.folder.was_removed():
            words = f"The run in {shown(self.folder.path)} was removed. A new run is started in the same folder."
            self.faults.add("removed", words, TfvizError(words))
            self.folder.open()

    def _open_sinks(self) -> None:
        """Open the sinks for the first snapshot, and again if a new run was started."""
        run = self.folder.run
        if run is not None and run["id"] != self._sinks_run_id:
            was_open, self._sinks_run_id = self._sinks_run_id is not None, run["id"]
            for sink in self.sinks:
                if was_open:
                    self._guarded(sink, "closed", sink.close)
                self._guarded(sink, "opened", partial(sink.open, run, self.folder.path))

    def close(self) -> None:
        """Close the sinks and the folder."""
        if self._sinks_run_id is not None:
            for sink in self.sinks:
                self._guarded(sink, "closed", sink.close)
        self.folder.close()

    def _guarded(self, sink: Sink, what: str, work: Callable[[], Any]) -> None:
        try:
            work()
        except Exception as error:  # a user's sink may raise any exception
            said = reason(error)
            words = said if isinstance(error, TfvizError) else f"{type(error).__name__}: {said}"
            words = f"{type(sink).__name__} could not be {what}: {words.removesuffix('.')}."
            self.faults.add(f"sink {id(sink)} {type(error).__name__}", words, error)


def _finite(logs: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the numbers in the logs, with None for NaN and infinity, which JSON forbids."""
    numbers = {name: _number(value) for name, value in logs.items()}
    return {name: value if math.isfinite(value) else None for name, value in numbers.items() if value is not None}


def _number(value: Any) -> float | None:
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):  # a ragged list
        return None
    return float(array.item()) if array.size == 1 and array.dtype.kind in "fiub" else None
