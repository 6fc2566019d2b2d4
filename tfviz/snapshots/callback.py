"""The callback that takes snapshots of what a network looks at while `fit` runs.

    snapshots = tfviz.SnapshotCallback(["grad_cam", "visual_backprop"], images, log_dir="runs/1")
    model.fit(x, y, callbacks=[snapshots])

The training thread runs the compiled explainers and copies their results. Everything else (drawing,
encoding, writing, sending) happens on one background thread.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from tfviz.errors import LabelsError, OptionError, shown
from tfviz.images.preprocessing import Preprocessing
from tfviz.keras_internals import require_tensorflow
from tfviz.methods.explainer import Explainer
from tfviz.models.labels import labels_from
from tfviz.notebooks import is_notebook
from tfviz.render.overlays import Look, Underlay
from tfviz.runs.folder_lock import FolderInUseError
from tfviz.runs.run_folder import RunFolder, check_folder
from tfviz.runs.schema import MAX_LABELS, MAX_LABELS_BYTES, MAX_TEXT, shortened
from tfviz.snapshots.camera import Camera, checked_target
from tfviz.snapshots.exposure import Moment
from tfviz.snapshots.faults import Faults, reason
from tfviz.snapshots.fixed_images import fixed_images
from tfviz.snapshots.image_choice import ImageChoice
from tfviz.snapshots.named_methods import NamedMethod, checked_explainers, named_methods, unrelated_model_error
from tfviz.snapshots.progress import Progress
from tfviz.snapshots.schedule import Schedule
from tfviz.snapshots.session import Session, finish_previous_session
from tfviz.snapshots.sinks import Sink
from tfviz.snapshots.sinks.arguments import sinks_for
from tfviz.snapshots.sinks.notebook import NotebookSink
from tfviz.snapshots.true_classes import true_classes
from tfviz.snapshots.worst_images import WorstImages
from tfviz.snapshots.writer import Writer
from tfviz.target_words import in_numbers
from tfviz.targets import At

Logs = Mapping[str, Any]


class SnapshotCallback(keras.callbacks.Callback):
    """Takes snapshots before training, after every epoch or every N batches, and after training.

    The callback does not affect training: explainers run without dropout or augmentation, draw no
    random numbers and assign no variables. If other callbacks change the model's weights, put this
    one last.

    If an exception or Ctrl-C ends `fit`, the snapshots taken so far are still written before the
    program exits. `close()` waits for them, and so does the end of a `with` block:

        with tfviz.SnapshotCallback("grad_cam", images, log_dir="runs/1") as snapshots:
            model.fit(x, y, callbacks=[snapshots])

    Args:
        explainers: one or more explainers, such as `tfviz.GradCAM(model, layer=...)`, for the
            trained model or for a model that shares its layers. Keys of `tfviz.METHODS` explain the
            trained model. Each snapshot uses the current weights.
        images: an array of shape (N, H, W, C) in the model's format, arrays nested like the model's
            inputs, or a tf.data.Dataset or keras.utils.PyDataset whose elements are images or
            tuples that start with images. The callback reads at most `max_images` images, once, in
            the constructor. Reading does not affect the order of a shuffled dataset. If
            `tfviz.images_from` chose the images, the callback uses all of them.
        log_dir: the run folder. If it contains a run with the same images, the callback continues
            that run, including its snapshot numbers and step count.
        target: what to explain, as in an explainer call: one target for all images or one per
            image, or a class name from `labels`. None means each image's top class at the time of
            the snapshot.
        every: "epoch", or the number of batches between snapshots, counted over the entire run.
            With `steps_per_execution` > 1, a snapshot is taken after the execution in which it
            becomes due.
        max_images: the maximum number of images. Each explainer processes all of them in one batch.
        choose: "first" selects the first images. "spread" selects evenly spaced images from an
            array, which suits arrays sorted by class.
        truth: the true class of each image, as numbers, names or one-hot rows. None means the
            dataset's labels, if they are classes.
        pictures: the images to draw maps over, as an array of shape (N, H, W, 3) or a list of
            images. None means `images`. The images are drawn in their original colors if
            `load_images` returned them or if their preprocessing is known.
        kind: "signal" for signals of shape (N, T, C), which are drawn as lines, or "volume" or
            "video" for volumes or videos of shape (N, D, H, W, C), which are drawn as slices or
            frames. If None, the number of axes distinguishes images from volumes, and arrays of
            shape (N, D, H, W, 3) are videos.
        preprocessing: how `images` (or `pictures`) were preprocessed, in a form that `overlay`
            accepts. The preprocessing is undone before drawing. For `images`, None means the
            preprocessing that `load_model` recorded for the explained model.
        underlay: "gray" or "color", how to draw the images under the maps.
        labels: the class names: a sequence in class order, a mapping from class numbers, a data
            generator's class_indices, or a file (see `tfviz.models.labels.read_labels`).
        tensorboard: True writes images and scalars for TensorBoard to log_dir/tensorboard, and a
            path writes them to that folder.
        viewer: the address of the viewer that receives the run, such as "http://host:1337".
        token: the viewer's token.
        notebook: whether to show the newest snapshot below the running cell of a notebook. Outside
            a notebook, this has no effect.
        sinks: additional destinations for the snapshots, such as `tfviz.WandbSink(run)` or
            instances of your own subclasses of `tfviz.Sink`.
        max_queued: the number of snapshots that may wait for the background thread. Snapshots are
            never dropped: when the queue is full, training waits.
        strict: whether to raise errors in the training thread instead of issuing a
            `SnapshotWarning`.

    Raises:
        OptionError, UnknownMethodError, ImageError, TargetError, LabelsError, OutputError: an
            argument is invalid, or exceeds a run's limits (see `tfviz.runs.schema`).
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
        kind: str | None = None,
        preprocessing: Preprocessing | str | None = None,
        underlay: Underlay = "gray",
        labels: Any = None,
        tensorboard: bool | str | Path = False,
        viewer: str | None = None,
        token: str | None = None,
        notebook: bool = True,
        sinks: Sequence[Sink] = (),
        max_queued: int = 8,
        strict: bool = False,
    ) -> None:
        super().__init__()
        require_tensorflow()
        if not isinstance(max_queued, int) or max_queued < 1:
            raise OptionError(f"`max_queued` must be a positive integer. Received: {max_queued!r}.")
        if not isinstance(log_dir, (str, os.PathLike)):
            raise OptionError(f"`log_dir` must be the path of a folder, such as 'runs/1'. Received: {log_dir!r}.")
        self.log_dir = Path(log_dir)
        self._explainers = checked_explainers(explainers)
        self._schedule = Schedule(every)
        fixed = partial(fixed_images, preprocessing=preprocessing, kind=kind)
        models = [one.model for one in self._explainers if isinstance(one, Explainer)]
        # Keys explain the trained model, which is unknown until `fit` starts.
        is_all = len(models) == len(self._explainers)
        self._images = fixed(images, max_images, pictures, choose=choose, models=models if is_all else None)
        self._worst: WorstImages | None = None
        if isinstance(images, ImageChoice) and images.is_rechosen:
            _require_no_rows(target=target, truth=truth, pictures=pictures)
            self._worst = WorstImages(images, lambda choice, model: fixed(choice, max_images, models=[*models, model]))
        self._labels = _checked_labels(labels)
        names = labels_from(labels)
        self._target = checked_target(in_numbers(target, lambda: names, len(names) or None), self._images)
        self._truth = None if self._worst else true_classes(truth, self._images, names)
        self._look = Look(underlay=underlay)
        self._sinks = sinks_for(self.log_dir, tensorboard, viewer, token, sinks)
        if notebook and is_notebook():
            self._sinks.append(NotebookSink(self._images.canvas, self._look, viewer))
        self._max_queued, self._strict = max_queued, strict
        self._check_folder()
        self._methods: list[NamedMethod] = []
        self._methods_model: Any = None
        self._session: Session | None = None
        self._progress = Progress()
        self._has_started = False
        self._epoch_of_images: int | None = None
        self._validation: dict[str, Any] = {}

    # --- called by Keras --------------------------------------------------------------------------

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._close_after_error()
        finish_previous_session(self.log_dir)
        if self._methods_model is not self.model:
            self._methods, self._methods_model = named_methods(self._explainers, self.model), self.model
        self._faults = Faults(strict=self._strict)
        for method in self._methods:
            if error := unrelated_model_error(self.model, method):
                self._faults.add(f"foreign {method.name}", str(error), error)
        self._faults.report()
        if self._images.undrawn is not None:
            self._images = self._images.drawn_for([one.explainer.model for one in self._methods])
            self._check_folder()
        self._camera = Camera(self._methods, self._images, self._target, self._faults)
        folder = self._opened_folder()
        self._progress.begin(max(self._progress.step, folder.step))
        self._schedule.begin(self._progress.step)
        self._session = Session(
            Writer(folder, self._sinks, self._methods, self._faults, self._look),
            self._max_queued,
        )
        self._has_started, self._validation = False, {}
        self._faults.report()

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._progress.begin_epoch(epoch, self.model)
        # on_train_begin would be too early, because a later callback may restore the weights there.
        if not self._has_started:
            self._has_started = True
            self._take("start", {})

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._progress.end_batch(batch + 1, self.model)
        if self._schedule.is_due(self._progress.step):
            self._schedule.mark_taken(self._progress.step)
            self._take("batch", logs, self._progress.batch)
        self._faults.report()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self._schedule.is_by_epoch:
            self._take("epoch", logs)
        else:  # Batches have no validation metrics, so the next snapshot records this epoch's.
            self._validation = {name: value for name, value in (logs or {}).items() if name.startswith("val_")}
        self._faults.report()

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self._has_started:
            self._take("end", logs)
        self.close()

    # ----------------------------------------------------------------------------------------------

    def _check_folder(self) -> None:
        has_other_images = self._worst is not None or self._images.undrawn is not None
        check_folder(self.log_dir, self._images.pictures, is_rechosen=has_other_images)

    def _opened_folder(self) -> RunFolder:
        about = {
            "model": shortened(self.model.name),
            "labels": self._labels,
            "methods": [method.run_entry(self._images.canvas) for method in self._methods],
            "true_classes": self._truth,
            "kind": self._images.canvas.noun,
        }
        folder = RunFolder(self.log_dir, self._images.pictures, about)
        try:
            folder.open()
        except FolderInUseError:
            raise
        except Exception as error:  # For example, the disk is full. The next snapshot retries this.
            words = f"The run in {shown(self.log_dir)} could not be started: {reason(error).removesuffix('.')}."
            self._faults.add("folder", words, error)
        return folder

    def _take(self, when: str, logs: Logs | None, batch: int | None = None) -> None:
        if self._session is None:
            raise OptionError("The SnapshotCallback was closed while fit() was running. Close it after fit() returns.")
        # Copy the logs, because all callbacks share the dict, and later ones add to it.
        known = {**(logs or {}), **{name: value for name, value in self._validation.items() if name not in (logs or {})}}
        self._validation = {}
        moment = Moment(when, self._progress.epoch, batch, self._progress.step, time.time(), known)
        self._rechoose(when)
        self._session.put(moment, self._camera.exposures(), self._camera.images)

    def _rechoose(self, when: str) -> None:
        """Reselect the images. Snapshots taken after batches of one epoch use the same images."""
        if self._worst is not None and (when != "batch" or self._progress.epoch != self._epoch_of_images):
            self._camera.rechoose(self._worst.choose)
            self._epoch_of_images = self._progress.epoch

    def close(self) -> None:
        """Wait until all snapshots are written and the sinks are closed, then report failures."""
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
            self._close_after_error()

    def _close_after_error(self) -> None:
        """Close the callback after a training error without raising an error that hides it."""
        if self._session is not None:
            self._faults.strict = False
            self.close()


def _require_no_rows(**arguments: object) -> None:
    """Raise OptionError if an argument has one row per image.

    Call this when the images are reselected during training.
    """
    for name, value in arguments.items():
        if value is not None and (name != "target" or not _is_one_target(value)):
            raise OptionError(
                f"`{name}` has one value per image, but images_from(worst=True) selects new images during training. Omit "
                f"`{name}`, or use images_from(per_class=True)."
            )


def _is_one_target(value: object) -> bool:
    """Return whether a target is the same for all images."""
    is_one = callable(value) or isinstance(value, (At, str)) or np.ndim(value) == 0  # type: ignore[arg-type]
    return is_one and getattr(value, "rows", None) is None


def _checked_labels(labels: Any) -> list[str] | None:
    """Return the class names, or raise LabelsError if they exceed a run's limits."""
    names = list(labels_from(labels).names)
    if len(names) > MAX_LABELS:
        raise LabelsError(f"A run can have at most {MAX_LABELS} labels. Received: {len(names)} labels. Pass fewer labels.")
    for number, name in enumerate(names):
        if len(name) > MAX_TEXT:
            raise LabelsError(
                f"The name of class {number} in `labels` has {len(name)} characters, but at most {MAX_TEXT} are allowed. It "
                f"starts with {name[:60]!r}. Shorten it."
            )
    size = sum(len(name.encode("utf-8", "replace")) for name in names)
    if size > MAX_LABELS_BYTES:
        raise LabelsError(f"`labels` may have at most {MAX_LABELS_BYTES} bytes. Received: {size} bytes. Shorten the names.")
    return [shortened(name) for name in names] or None
