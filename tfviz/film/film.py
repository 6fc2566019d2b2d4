"""Write a film that shows how a run's maps change during training.

    tfviz.write_film("runs/1", "run.mp4")

Each image is shown next to its maps, with its prediction below it. The epoch, step and loss are at
the top, and the loss curve is at the bottom. If the run is still in progress, the film shows the
snapshots that exist so far.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfviz.errors import OptionError, SnapshotsError, near_matches
from tfviz.film.film_files import film_file, kind_of, pyav
from tfviz.film.frame_layout import layout_for
from tfviz.film.frames import FramePainter, titles_of
from tfviz.film.pace import Pace, pace_for
from tfviz.images import shown
from tfviz.render.pictures import Picture
from tfviz.runs.layout import find_runs
from tfviz.runs.run_reader import read_records, read_run
from tfviz.runs.schema import Run, names_of

_SAMPLES = 12  # the number of frames that determine a GIF's colors
_LISTED_RUNS = 8  # the maximum number of runs in an error message


@dataclass(frozen=True)
class Film:
    """The properties of a finished film.

    Attributes:
        path: the film's file.
        size: the frame size (height, width).
        pace: the snapshots shown in the film, and their speed.
        snapshots: the number of snapshots in the run.
        missing: the number of pictures missing from the shown snapshots.
    """

    path: Path
    size: tuple[int, int]
    pace: Pace
    snapshots: int
    missing: int


def write_film(
    log_dir: str | Path,
    output: str | Path,
    *,
    methods: Sequence[str] | None = None,
    images: Sequence[int] | None = None,
    fps: float | None = None,
    every: int | None = None,
    seconds: float | None = None,
    width: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Film:
    """Write a film of a training run. PyAV (`pip install av`) must be installed.

    If a picture is missing, the film shows the previous picture. It is darkened, and a corner is
    marked.

    Args:
        log_dir: a SnapshotCallback's log_dir.
        output: the file to write: .mp4 (H.264, which browsers play), .gif or .webp. An existing
            file is replaced once the film is complete.
        methods: the names of the methods to show, in display order, as in run.json (for example,
            "grad_cam"). None means all methods.
        images: the numbers of the images to show, counted from 0, in display order. None means all
            images.
        fps: the number of snapshots per second, from 0.1 to 50. None chooses 2 to 15, so that the
            film lasts about 15 seconds.
        every: show every `every`-th snapshot and the last one.
        seconds: the maximum length of the film in seconds. Longer runs are sampled evenly. None
            means 60, or no limit if `every` is given.
        width: the frame width in pixels, from 160 to 3840. An odd width is increased by one. None
            means 1280 for .mp4 and 800 otherwise.
        progress: a function that is called with the number of snapshots drawn so far and the total.

    Returns:
        A description of the film.

    Raises:
        SnapshotsError: the folder contains no run or more than one, or the run has no snapshots
            yet.
        OptionError: an option has an invalid value.
        OutputError: the file cannot be written.
        MissingPackageError: PyAV is not installed.
    """
    kind, _ = kind_of(output), pyav()
    folder = the_run(log_dir)
    run, records = read_run(folder), read_records(folder)
    chosen_images, chosen_methods = _chosen_images(run, images), _chosen_methods(run, methods)
    if not records:
        raise SnapshotsError(f"The run in {shown(folder)} has no snapshots yet. Wait for the first snapshot, and try again.")
    pace = pace_for(len(records), fps, every, seconds)
    sizes = [(run["images"][image]["height"], run["images"][image]["width"]) for image in chosen_images]
    titles = titles_of(run)
    layout = layout_for(sizes, [titles[name] for name in chosen_methods], kind.usual_width if width is None else width)
    scenes = [records[index] for index in pace.shown]
    painter, sampler = (FramePainter(folder, run, chosen_images, chosen_methods, layout, scenes) for _ in range(2))
    with film_file(output, (layout.height, layout.width), pace.fps, _samples(sampler)) as film:
        for index in range(len(scenes)):
            film.add(painter.draw(index), times=1 + pace.held if index == len(scenes) - 1 else 1)
            if progress is not None:
                progress(index + 1, len(scenes))
    return Film(Path(output), (layout.height, layout.width), pace, len(records), painter.missing)


def the_run(log_dir: str | Path) -> Path:
    """Return the folder of the single run in `log_dir`.

    Raises:
        SnapshotsError: the folder contains no run, or more than one.
    """
    runs = find_runs(log_dir)
    if not runs:
        read_run(log_dir)  # This raises an error that names the missing file.
    if len(runs) > 1:
        raise SnapshotsError(
            f"{shown(log_dir)} contains {len(runs)} runs, but a film shows only one. Pass the folder of one run: "
            f"{', '.join(map(shown, runs[:_LISTED_RUNS]))}{', …' if len(runs) > _LISTED_RUNS else '.'}"
        )
    return runs[0]


def _chosen_methods(run: Run, names: Sequence[str] | None) -> list[str]:
    known = names_of(run)
    if names is None:
        return known
    chosen = [name.replace("-", "_") if name not in known else name for name in names]
    for name in chosen:
        if name not in known:
            raise OptionError(f"The run has no maps for the method {name!r}. {near_matches(name, known)}")
    if not chosen:
        raise OptionError(f"`methods` must name at least one method. {near_matches('', known)}")
    return list(dict.fromkeys(chosen))


def _chosen_images(run: Run, numbers: Sequence[int] | None) -> list[int]:
    count = len(run["images"])
    chosen = list(range(count)) if numbers is None else list(dict.fromkeys(numbers))
    if not chosen or not all(0 <= number < count for number in chosen):
        raise OptionError(
            f"The run has {count} images, so `images` must contain numbers from 0 to {count - 1}. Received: {numbers!r}."
        )
    return chosen


def _samples(painter: FramePainter) -> Iterator[Picture]:
    """Draw a few evenly spaced frames."""
    indices = np.linspace(0, len(painter.records) - 1, min(_SAMPLES, len(painter.records)))
    return (painter.draw(index) for index in indices.round().astype(int).tolist())
