"""Define the paths of the files in a run.

run.json                               written atomically at the start
snapshots.jsonl                        the index: one line per snapshot, appended once all of the
                                       snapshot's files are in place
images/0.png                           the images
pictures/00000017/grad_cam/0.png       snapshot 17, method grad_cam, image 0: the map, drawn over
                                       the image
pictures/00000017/_images/0.png        image 0 of snapshot 17, in a run whose images change
maps/00000017.npz                      the raw maps
"""

from __future__ import annotations

import os
from pathlib import Path

from tfviz.runs.schema import Record

RUN_FILE = "run.json"
INDEX_FILE = "snapshots.jsonl"
OWN_IMAGES = "_images"  # replaces a method name in the path; no method has this name
MAX_DEPTH = 3  # the number of folder levels that are searched for runs
_OWN_FOLDERS = ("images", "pictures", "maps")


def image_path(folder: str | Path, image: int) -> Path:
    """Return the path of an input image."""
    return Path(folder) / "images" / f"{image}.png"


def picture_path(folder: str | Path, number: int, method: str, image: int) -> Path:
    """Return the path of the picture that a method drew for an image in snapshot `number`."""
    return Path(folder) / "pictures" / f"{number:08d}" / method / f"{image}.png"


def shown_image_path(folder: str | Path, record: Record, image: int) -> Path:
    """Return the path of the input image shown in a snapshot."""
    if "images" in record:
        return picture_path(folder, record["number"], OWN_IMAGES, image)
    return image_path(folder, image)


def maps_folder(folder: str | Path) -> Path:
    """Return the path of the folder that holds the maps of all snapshots."""
    return Path(folder) / "maps"


def maps_path(folder: str | Path, number: int) -> Path:
    """Return the path of the maps in snapshot `number`, an .npz file with one array per method."""
    return maps_folder(folder) / f"{number:08d}.npz"


def is_run(folder: str | Path) -> bool:
    """Return whether the folder itself contains a run."""
    try:
        return (Path(folder) / RUN_FILE).is_file()
    except OSError:  # no permission to enter the folder
        return False


def find_runs(folder: str | Path, depth: int = MAX_DEPTH) -> list[Path]:
    """Return all runs in `folder` and up to `depth` levels below it, in sorted order.

    Symbolic links are not followed.
    """
    is_one = is_run(folder)
    below = [run for path in _folders_in(folder, is_one) for run in find_runs(path, depth - 1)] if depth else []
    return [Path(folder)] * is_one + below


def _folders_in(folder: str | Path, is_one: bool) -> list[str]:
    """Return the subfolders that may contain runs.

    If `is_one` is true, the folder itself is a run, and the subfolders with its files are skipped.
    """
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)]
    except OSError:  # The folder does not exist yet or was just removed.
        return []
    return sorted(entry.path for entry in found if not (is_one and entry.name in _OWN_FOLDERS))
