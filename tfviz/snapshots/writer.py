"""What happens on the background thread: a snapshot is drawn, put into the folder, and shown to the sinks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from tfviz.errors import ImageError, TfvizError, shown
from tfviz.render.overlays import Look, blended
from tfviz.render.pictures import Picture, maps_of
from tfviz.render.strength import strengths_of
from tfviz.runs.run_folder import RunFolder
from tfviz.runs.schema import MAX_ERROR_TEXT, MAX_LOGS, Prediction, shortened
from tfviz.runs.snapshot import Snapshot
from tfviz.snapshots.exposure import Exposure, Moment
from tfviz.snapshots.faults import Faults, reason
from tfviz.snapshots.named_methods import NamedMethod
from tfviz.snapshots.sinks import Sink


class Writer:
    """Draws and writes the snapshots of one training. Knows nothing of the callback, so that it can outlive it."""

    def __init__(
        self,
        folder: RunFolder,
        sinks: Sequence[Sink],
        methods: Sequence[NamedMethod],
        images: list[Picture],
        faults: Faults,
        look: Look,
    ) -> None:
        self.look = look
        self.folder, self.sinks, self.methods, self.images, self.faults = folder, sinks, methods, images, faults
        self._id_of_sinks: str | None = None  # of the run that they were opened for

    def write(self, moment: Moment, exposures: Mapping[str, Exposure]) -> None:
        """Draws and writes one snapshot. Raises nothing: what goes wrong is among the faults."""
        try:
            snapshot = self._kept(self._drawn(moment, exposures))
        except Exception as error:  # Whatever it is, training must go on.
            words = f"The snapshot at step {moment.step} could not be written to {shown(self.folder.path)}: {reason(error)}"
            self.faults.add("folder", f"{words}. Such snapshots are left out, until it can be written again.", error)
            return
        self._open_sinks()
        for sink in self.sinks:
            self._guarded(sink, "written to", partial(sink.write, snapshot))

    def _drawn(self, moment: Moment, exposures: Mapping[str, Exposure]) -> Snapshot:
        """The snapshot of a moment, without a number: the folder gives it one."""
        errors = {name: exposure.error for name, exposure in exposures.items() if exposure.error is not None}
        maps = {name: exposure.maps for name, exposure in exposures.items() if exposure.maps is not None}
        pictures: dict[str, list[Picture]] = {}
        strengths: dict[str, list[str]] = {}
        for method in self.methods:
            if method.name in maps:
                try:
                    pictures[method.name], strengths[method.name] = self._pictures(method, maps[method.name])
                except ImageError as error:  # NaN, above all: the training has diverged
                    errors[method.name] = reason(error)
                    words = f"{method.name} failed at step {moment.step}: {reason(error)}."
                    self.faults.add(f"method {method.name}", words, error)
        record: dict[str, Any] = {
            "when": moment.when,
            "epoch": moment.epoch,
            "batch": moment.batch,
            "step": moment.step,
            "time": moment.time,
            "logs": self._logs(moment.logs),
            "predictions": self._predictions(exposures),
            "methods": list(pictures),
            "errors": {name: shortened(words, MAX_ERROR_TEXT) for name, words in errors.items()},
        }
        record |= self._explained(exposures)
        if known := {name: words for name, words in strengths.items() if any(words)}:
            record["strengths"] = known
        return Snapshot(record, self.images, pictures, maps)

    def _pictures(self, method: NamedMethod, attribution: np.ndarray) -> tuple[list[Picture], list[str]]:
        """The maps of a method over the images, and how strong each is in words."""
        key, style = method.explainer.key, method.explainer.style
        maps = maps_of(list(attribution), count=len(self.images))
        strengths = [strengths_of(key, [one], [""], style, None)[0] for one in maps]
        rows = zip(self.images, maps, strengths, strict=True)
        return [blended(image, one, style, self.look, strength.limit) for image, one, strength in rows], [
            strength.words for strength in strengths
        ]

    def _explained(self, exposures: Mapping[str, Exposure]) -> dict[str, list[Prediction | None]]:
        """The class that is explained and its score, where the user asked for one."""
        for method in self.methods:
            exposure = exposures[method.name]
            if exposure.target is not None:
                return {"explained": method.scores_of(exposure.target, exposure.outputs)}
        return {}

    def _predictions(self, exposures: Mapping[str, Exposure]) -> list[Prediction | None]:
        """Those of the first method that has any."""
        for method in self.methods:
            outputs = exposures[method.name].outputs
            if outputs is not None:
                return method.predictions(outputs)
        return [None] * len(self.images)

    def _logs(self, logs: Mapping[str, Any]) -> dict[str, float | None]:
        """The numbers among the logs, as many as the schema allows."""
        numbers = {shortened(str(name)): value for name, value in _finite(logs).items()}
        if len(numbers) > MAX_LOGS:
            words = f"The logs hold {len(numbers)} numbers; a snapshot keeps the first {MAX_LOGS}."
            self.faults.add("logs", words, TfvizError(words))
        return dict(list(numbers.items())[:MAX_LOGS])

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
            words = f"The run in {shown(self.folder.path)} was removed. A new one is begun there."
            self.faults.add("removed", words, TfvizError(words))
            self.folder.open()

    def _open_sinks(self) -> None:
        """At the first snapshot, and where a new run was begun."""
        run = self.folder.run
        if run is not None and run["id"] != self._id_of_sinks:
            is_another, self._id_of_sinks = self._id_of_sinks is not None, run["id"]
            for sink in self.sinks:
                if is_another:
                    self._guarded(sink, "closed", sink.close)
                self._guarded(sink, "opened", partial(sink.open, run, self.folder.path))

    def close(self) -> None:
        """Closes the sinks and the folder."""
        if self._id_of_sinks is not None:
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


def _finite(logs: Mapping[str, Any]) -> dict[str, float | None]:
    """The numbers among the logs; None for NaN and infinity, which JSON does not have."""
    numbers = {name: _number(value) for name, value in logs.items()}
    return {name: value if math.isfinite(value) else None for name, value in numbers.items() if value is not None}


def _number(value: Any) -> float | None:
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):  # a ragged list
        return None
    return float(array.item()) if array.size == 1 and array.dtype.kind in "fiub" else None
