"""Store uploaded runs in folders with the same layout as a SnapshotCallback's run folder.

Runs that other processes write are never modified. Uploads of such runs are still accepted, because
a training run may also upload to the server that watches its folder. Files that the folder already
contains count as received.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from tfviz.atomic_files import write_atomically
from tfviz.errors import OutputError, shown
from tfviz.runs import png
from tfviz.runs.index import add_line, cut_partial_line
from tfviz.runs.layout import INDEX_FILE, OWN_IMAGES, RUN_FILE
from tfviz.runs.regular_files import is_inside
from tfviz.runs.schema import Record, Run, names_of
from tfviz.runs.validation import record_fault
from tfviz.viewer import http_errors
from tfviz.viewer.http_errors import HttpError
from tfviz.viewer.known_run import RECEIVED_FILE, KnownRun
from tfviz.viewer.limits import Limits
from tfviz.viewer.log import log
from tfviz.viewer.store import News, Store

_MAX_NAME_LENGTH = 60  # The folder name contains at most this many characters of the run's name.
# The folder name also contains 8 characters of the id, or 32 if that name is taken.
_PREFIXES = (8, 32)


def receive_run(store: Store, limits: Limits, run: Run) -> list[News]:
    """Store a new run or update the run.json of an uploaded one, and return any news."""
    with store.lock:
        known = store.runs.get(run["id"])
        if known is None:
            if len(store.runs) >= limits.runs:
                raise HttpError(
                    http_errors.TOO_MANY,
                    f"The viewer already has {len(store.runs)} runs, the maximum. Remove some of their folders.",
                )
            folder = _new_folder(store.folder, run)
            log.info("Storing run %s in %s", run["id"], shown(folder))
        elif known.is_received and known.run != run:
            _check_change(known, run)
            folder = known.folder
        else:
            return []
        with _writing():
            write_atomically(folder / RECEIVED_FILE, b"")
            write_atomically(folder / RUN_FILE, json.dumps(run, allow_nan=False, ensure_ascii=False, indent=1) + "\n")
        news = store.learn(folder)
        return [news] if news else []


def _new_folder(root: Path, run: Run) -> Path:
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", run["name"]).strip(".-_")[:_MAX_NAME_LENGTH] or "run"
    for prefix in _PREFIXES:
        folder = root / f"{plain}-{run['id'][:prefix]}"
        if not os.path.lexists(folder):
            return folder
    raise HttpError(
        http_errors.CONFLICT, f"The folder {folder.name} already exists but contains no valid run. Remove the folder."
    )


def _check_change(known: KnownRun, run: Run) -> None:
    """Reject changes to anything that existing records refer to."""
    if known.lines and (run["images"] != known.run["images"] or not set(known.method_names) <= set(names_of(run))):
        raise HttpError(
            http_errors.UNPROCESSABLE, "A run with snapshots cannot change its images or remove methods. Start a new run."
        )


def receive_image(known: KnownRun, image: int, data: bytes) -> None:
    """Store one of a run's images."""
    _receive_picture(known, known.image(image), image, data)


def receive_picture(known: KnownRun, number: int, before: int, method: str, image: int, data: bytes) -> None:
    """Store a picture of the next snapshot, which follows snapshot `before`.

    Pictures of earlier snapshots are also accepted. Pictures that are already stored are kept.
    """
    known.poll()
    if number > known.last != before:
        raise _not_next(known)
    if method not in (OWN_IMAGES, *known.method_names):
        raise HttpError(
            http_errors.UNPROCESSABLE, f"The run has no method {method}. Its methods: {', '.join(known.method_names)}."
        )
    _receive_picture(known, known.picture(number, method, image), image, data)


def largest_picture_bytes(known: KnownRun, image: int) -> int:
    """Return the maximum size in bytes for a PNG of this image or of a map drawn over it."""
    if image >= len(known.run["images"]):
        raise HttpError(
            http_errors.UNPROCESSABLE, f"The run has {len(known.run['images'])} images, numbered from 0. Received: {image}."
        )
    return png.largest_png_bytes(known.run["images"][image])


def _receive_picture(known: KnownRun, path: Path, image: int, data: bytes) -> None:
    fault = png.fault_of(data, known.run["images"][image])
    if fault is not None:
        raise HttpError(http_errors.UNPROCESSABLE, fault)
    if known.is_received and not path.is_file():
        _require_regular_place(path, known.folder)
        with _writing():
            write_atomically(path, data)


def receive_record(known: KnownRun, number: int, before: int, record: Record) -> list[News]:
    """Add the record of the snapshot after `before`. Its pictures must have been sent first."""
    if record["number"] != number:
        raise HttpError(
            http_errors.UNPROCESSABLE, f"The URL names snapshot {number}, but the record is for snapshot {record['number']}."
        )
    if (fault := record_fault(record, known.run)) is not None:
        raise HttpError(http_errors.UNPROCESSABLE, f"The record does not match the run: {fault}.")
    with known.lock:
        had_news = known.poll()
        if number > known.last:
            if known.last != before or not known.is_received:
                raise _not_next(known)
            _append(known.folder / INDEX_FILE, record, known.folder)
            had_news = known.poll()
        return [News(known.run["id"], known.last)] if had_news else []


def _not_next(known: KnownRun) -> HttpError:
    return HttpError(
        http_errors.CONFLICT, f"The next snapshot must be number {known.last + 1}.", is_ordinary=True, last=known.last
    )


def _append(path: Path, record: Record, folder: Path) -> None:
    """Append a record atomically, after removing a partial line left by a power failure."""
    _require_regular_place(path, folder)
    with _writing():
        path.touch()
        cut_partial_line(path)
        add_line(path, record)


def _require_regular_place(path: Path, folder: Path) -> None:
    if not is_inside(path, folder) or (path.exists() and not path.is_file()):
        raise HttpError(http_errors.CONFLICT, "The destination is not a regular file. Remove it.")


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except (OSError, OutputError) as error:
        fault = getattr(error.__cause__ or error, "strerror", None) or type(error).__name__
        words = f"The viewer cannot write to its folder ({fault}). Free some disk space, or check its permissions."
        raise HttpError(http_errors.FULL, words) from error
