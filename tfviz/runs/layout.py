"""Which file of a run is where.

run.json                               written in one step at the start
snapshots.jsonl                        the index: one line for each snapshot, added when all of its
                                       files are in place
images/0.png                           the images
pictures/00000017/grad_cam/0.png       the map of snapshot 17, method grad_cam, image 0, drawn over
                                       the image
maps/00000017.npz                      the maps themselves
"""

from __future__ import annotations

import os
from pathlib import Path

RUN_FILE = "run.json"
INDEX_FILE = "snapshots.jsonl"
MAX_DEPTH = 3  # how deep below a folder of runs a run may lie
_OWN_FOLDERS = ("images", "pictures", "maps")


def image_path(folder: str | Path, image: int) -> Path:
    """The image itself, as it was given."""
    return Path(folder) / "images" / f"{image}.png"


def picture_path(folder: str | Path, number: int, method: str, image: int) -> Path:
    """The picture of snapshot `number` by `method` of the image."""
    return Path(folder) / "pictures" / f"{number:08d}" / method / f"{image}.png"


def maps_path(folder: str | Path, number: int) -> Path:
    """The maps of snapshot `number`, an .npz file with an array for each method."""
    return Path(folder) / "maps" / f"{number:08d}.npz"


def is_run(folder: str | Path) -> bool:
    """Whether a run lies in this folder itself."""
    try:
        return (Path(folder) / RUN_FILE).is_file()
    except OSError:  # a folder that may not be entered
        return False


def find_runs(folder: str | Path, depth: int = MAX_DEPTH) -> list[Path]:
    """The folders of runs: `folder` itself and those at most `depth` below it, sorted. Links are
    not followed.
    """
    is_one = is_run(folder)
    below = [run for path in _folders_in(folder, is_one) for run in find_runs(path, depth - 1)] if depth else []
    return [Path(folder)] * is_one + below


def _folders_in(folder: str | Path, is_one: bool) -> list[str]:
    """The folders that may hold runs; those of a run's own files do not."""
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)]
    except OSError:  # not there yet, or gone meanwhile
        return []
    return sorted(entry.path for entry in found if not (is_one and entry.name in _OWN_FOLDERS))
