"""Snapshots of what a network looks at, while `fit` runs.

    model.fit(x, y, callbacks=[tfviz.SnapshotCallback(["grad_cam", "visual_backprop"], images,
    log_dir="runs/1")])

The training thread runs the compiled explainers and takes their arrays. Everything else (drawing,
encoding, writing, sending) happens on one background thread.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy.typing as npt

from tfviz.errors import LabelsError, OptionError, shown
from tfviz.images.preprocessing import Preprocessing
from tfviz.models.labels import labels_from
from tfviz.render.overlays import Look, Underlay
from tfviz.runs.folder_lock import FolderInUseError
from tfviz.runs.run_folder import RunFolder, check_folder
from tfviz.runs.schema import MAX_LABELS, MAX_LABELS_BYTES, MAX_TEXT, shortened
from tfviz.snapshots.camera import Camera, checked_target
from tfviz.snapshots.exposure import Moment
from tfviz.snapshots.faults import Faults
from tfviz.snapshots.fixed_images import fixed_images
from tfviz.snapshots.named_methods import NamedMethod, checked_explainers, foreign_to, named_methods
from tfviz.snapshots.progress import Progress
from tfviz.snapshots.schedule import Schedule
from tfviz.snapshots.session import Session, close_other_session
from tfviz.snapshots.sinks import Sink, sinks_for
from tfviz.snapshots.true_classes import true_classes
from tfviz.snapshots.writer import Writer
from tfviz.target_words import in_numbers

Logs = Mapping[str, Any]


class SnapshotCallback(keras.callbacks.Callback):
    """Takes snapshots before training, at every epoch or every N batches, and at the end.

    Args:
        explainers: one or several, as explainers (`tfviz.GradCAM(model, layer=...)`, of the model
            or of another one that shares its layers) or as keys of `tfviz.METHODS` for the model
            that is trained. Weights are read live.
        images: an array (N, H, W, C) as the model takes it, arrays nested as it takes them, or a
            tf.data.Dataset or a keras.utils.PyDataset of images or of tuples that begin with
            images. `max_images` of them are taken, now, and stay the same throughout; reading them
            leaves a shuffled dataset as it was.
        log_dir: the folder of the run. A folder that holds a run with the same images is gone on
            with: numbers and steps count on.
        target: what is explained, as in a call of an explainer; one for each image, or one for all;
            also the name of a class in `labels`. None: the class that the model itself finds at
            each moment.
        every: "epoch", or a number of batches, counted over the whole run. Where
            `steps_per_execution` is more than one, a snapshot is taken after the execution in which
            it falls due.
        max_images: how many images are taken. All of them are run at once.
        choose: which images: "first", or "spread": evenly over an array, which is best if it is
            sorted by class.
        truth: the true class of each image, by number, by name or as a row of zeros and a one.
            None: what a dataset holds beside the images, if that is classes.
        pictures: what maps are drawn over, (N, H, W, 3) or a list of (H, W, 3); None: the images
            themselves, in their true colors where `load_images` returned them.
        preprocessing: how `images` (or `pictures`) were preprocessed, as for `overlay`; it is
            undone before drawing.
        underlay: "gray" or "color", the image below the colors of the maps.
        labels: names of the classes: in order, by number, a data generator's class_indices, or a
            file (see `tfviz.models.labels.read_labels`).
        tensorboard: True writes images and scalars for TensorBoard to log_dir/tensorboard; a path:
            to that folder.
        viewer: the address of a viewer ("http://host:1337") to which the run is sent too.
        token: the viewer's.
        sinks: more places for the snapshots to go (see `tfviz.snapshots.sinks`).
        max_queued: how many snapshots may wait for the background thread. None is ever dropped:
            when so many wait, the training waits too.
        strict: what goes wrong raises in the training thread, in place of one warning each
            (`SnapshotWarning`).

    Raises:
        OptionError, UnknownMethodError, ImageError, TargetError, LabelsError, OutputError: what was
        given cannot be used, or
            exceeds what a run holds (see `tfviz.runs.schema`); before anything is trained.

    Nothing about it disturbs the training: explainers run without dropout or augmentation, draw no
    random numbers and assign no variable. Where other callbacks change the model's weights, put
    this one last.

    What was taken is written also when `fit` is left by an exception or Ctrl-C: soon, at the latest
    when the program ends. `close()` waits for it, and so does the end of a block:

        with tfviz.SnapshotCallback("grad_cam", images, log_dir="runs/1") as snapshots:
            model.fit(x, y, callbacks=[snapshots])
    """

    def __init__(
        self,
        explainers: Any,
        images: Any,
        *,
        log_dir: str | Path,
        target: Any = None,
        every: str | int = "epoch",
        max_images: int = 16,
        choose: str = "first",
        truth: npt.ArrayLike | Sequence[str] | None = None,
        pictures: Any = None,
        preprocessing: Preprocessing | str | None = None,
        underlay: Underlay = "gray",
        labels: Any = None,
        tensorboard: bool | str | Path = False,
        viewer: str | None = None,
        token: str | None = None,
        sinks: Sequence[Sink] = (),
        max_queued: int = 8,
        strict: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(max_queued, int) or max_queued < 1:
            raise OptionError(f"max_queued: expected a whole number of snapshots, 1 at least; got {max_queued!r}")
        if not isinstance(log_dir, (str, os.PathLike)):
            raise OptionError(f"log_dir: expected the path of a folder, such as 'runs/1'; got {log_dir!r}")
        self.log_dir = Path(log_dir)
        self._explainers = checked_explainers(explainers)
        self._schedule = Schedule(every)
        self._images = fixed_images(images, max_images, pictures, choose=choose, preprocessing=preprocessing)
        self._labels = _checked_labels(labels)
        names = labels_from(labels)
        self._target = checked_target(in_numbers(target, lambda: names, len(names) or None), self._images)
        self._truth = true_classes(truth, self._images, names)
        self._look = Look(underlay=underlay)
        self._sinks = sinks_for(self.log_dir, {"tensorboard": tensorboard, "viewer": viewer}, token, sinks)
        self._max_queued, self._strict = max_queued, strict
        check_folder(self.log_dir, self._images.pictures)
        self._methods: list[NamedMethod] = []
        self._methods_of: Any = None
        self._session: Session | None = None
        self._progress = Progress()
        self._has_begun = False
        self._validation: dict[str, Any] = {}

    # --- what Keras calls -------------------------------------------------------------------------

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._close_broken_off()
        close_other_session(self.log_dir)
        if self._methods_of is not self.model:
            self._methods, self._methods_of = named_methods(self._explainers, self.model), self.model
        self._faults = Faults(strict=self._strict)
        for method in self._methods:
            if error := foreign_to(self.model, method):
                self._faults.add(f"foreign {method.name}", str(error), error)
        self._faults.report()
        self._camera = Camera(self._methods, self._images, self._target, self._faults)
        folder = self._opened_folder()
        self._progress.begin(max(self._progress.step, folder.step))
        self._schedule.begin(self._progress.step)
        self._session = Session(
            Writer(folder, self._sinks, self._methods, self._images.pictures, self._faults, self._look),
            self._max_queued,
        )
        self._has_begun, self._validation = False, {}
        self._faults.report()

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._progress.begin_epoch(epoch, self.model)
        # Not before: by now every callback has begun, and one may have restored the weights.
        if not self._has_begun:
            self._has_begun = True
            self._take("start", {})

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._progress.end_batch(batch + 1, self.model)
        if self._schedule.is_due(self._progress.step):
            self._schedule.taken(self._progress.step)
            self._take("batch", logs, self._progress.batch)
        self._faults.report()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self._schedule.of_epochs:
            self._take("epoch", logs)
        else:  # Batches have no validation: the next snapshot tells it.
            self._validation = {name: value for name, value in (logs or {}).items() if name.startswith("val_")}
        self._faults.report()

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self._has_begun:
            self._take("end", logs)
        self.close()

    # ----------------------------------------------------------------------------------------------

    def _opened_folder(self) -> RunFolder:
        about = {
            "model": shortened(self.model.name),
            "labels": self._labels,
            "methods": [method.described() for method in self._methods],
            "true_classes": self._truth,
        }
        folder = RunFolder(self.log_dir, self._images.pictures, about)
        try:
            folder.open()
        except FolderInUseError:
            raise
        except Exception as error:  # A full disk: it is tried again at each snapshot.
            self._faults.add("folder", f"The run in {shown(self.log_dir)} could not be begun: {error}", error)
        return folder

    def _take(self, when: str, logs: Logs | None, batch: int | None = None) -> None:
        if self._session is None:
            raise OptionError("The SnapshotCallback was closed while fit was running. Close it afterwards.")
        # Keras' own dict is shared by all callbacks, and those that come later add to it.
        known = {**(logs or {}), **{name: value for name, value in self._validation.items() if name not in (logs or {})}}
        self._validation = {}
        moment = Moment(when, self._progress.epoch, batch, self._progress.step, time.time(), known)
        self._session.put(moment, self._camera.exposures())

    def close(self) -> None:
        """Waits until all snapshots that were taken are written and the sinks are closed, and says
        what went wrong.
        """
        session, self._session = self._session, None
        if session is not None:
            session.close()
            self._faults.report()

    def __enter__(self) -> SnapshotCallback:
        return self

    def __exit__(self, error: object, *_: object) -> None:
        if error is None:
            self.close()
        else:
            self._close_broken_off()

    def _close_broken_off(self) -> None:
        """After an error in the training, which no other one may hide."""
        if self._session is not None:
            self._faults.strict = False
            self.close()


def _checked_labels(labels: Any) -> list[str] | None:
    """The names of the classes, within the limits of a run. Raises LabelsError."""
    names = list(labels_from(labels).names)
    if len(names) > MAX_LABELS:
        raise LabelsError(f"labels: expected at most {MAX_LABELS} names, as many as a run holds; got {len(names)}")
    for number, name in enumerate(names):
        if len(name) > MAX_TEXT:
            raise LabelsError(
                f"labels: the name of class {number} has {len(name)} characters; expected at most {MAX_TEXT}: {name[:60]!r}…"
            )
    size = sum(len(name.encode("utf-8", "replace")) for name in names)
    if size > MAX_LABELS_BYTES:
        raise LabelsError(f"labels: expected at most {MAX_LABELS_BYTES} bytes of names, got {size}. Give shorter names.")
    return [shortened(name) for name in names] or None
