"""A run as a film: where the network looked, from before training to the end.

    tfviz.write_film("runs/1", "run.mp4")

Each image stands beside its maps; above is the moment (epoch, step, loss), below what the network
says of each image and the loss as a curve. The run may still be going on: the film shows what is
there.
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

_SAMPLES = 12  # frames that choose the colors of a GIF
_LISTED_RUNS = 8  # in an error


@dataclass(frozen=True)
class Film:
    """A film that was written.

    size: (height, width). pace: which of the run's `snapshots` it shows, and how fast. missing: how
    many pictures of these were not there.
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
    """Writes a film of the run in `log_dir`, and says what is in it. Needs PyAV (`pip install av`).

    Args:
        log_dir: the folder of a SnapshotCallback.
        output: the file: .mp4 (H.264, which browsers play), .gif or .webp. An older one is replaced
            when the film is whole.
        methods: which maps, as run.json names them ("grad_cam"), in this order; None: all.
        images: which images, by number from 0, in this order; None: all.
        fps: snapshots a second, 0.1 to 50. None: 2 to 15, so that the film is about 15 s long.
        every: show each so many-th snapshot, and the last.
        seconds: how long the film may be; of a longer run, snapshots spread evenly are shown. None:
            60, or as `every` says.
        width: of the frames in pixels, 160 to 3840; None: 1280 for .mp4, else 800. An odd one is
            made even.
        progress: called with how many snapshots are drawn, and of how many.

    A picture that is missing leaves the last one before it in its place, darker and with a marked
    corner.

    Raises:
        SnapshotsError: no run, several of them, or no snapshot yet. OptionError: a value that
            cannot be.
        OutputError: a file that cannot be written. MissingPackageError: PyAV is not installed.
    """
    kind, _ = kind_of(output), pyav()
    folder = the_run(log_dir)
    run, records = read_run(folder), read_records(folder)
    chosen_images, chosen_methods = _chosen_images(run, images), _chosen_methods(run, methods)
    if not records:
        raise SnapshotsError(f"The run in {shown(folder)} has no snapshot yet. Try again when it has.")
    pace = pace_for(len(records), fps, every, seconds)
    sizes = [(run["images"][image]["height"], run["images"][image]["width"]) for image in chosen_images]
    titles = titles_of(run)
    layout = layout_for(sizes, [titles[name] for name in chosen_methods], kind.usual_width if width is None else width)
    scenes = [records[place] for place in pace.shown]
    painter, sampler = (FramePainter(folder, run, chosen_images, chosen_methods, layout, scenes) for _ in range(2))
    with film_file(output, (layout.height, layout.width), pace.fps, _samples(sampler)) as film:
        for place in range(len(scenes)):
            film.add(painter.draw(place), times=1 + pace.held if place == len(scenes) - 1 else 1)
            if progress is not None:
                progress(place + 1, len(scenes))
    return Film(Path(output), (layout.height, layout.width), pace, len(records), painter.missing)


def the_run(log_dir: str | Path) -> Path:
    """The folder of the one run in `log_dir`. Raises SnapshotsError where there is none, and where
    there are several.
    """
    runs = find_runs(log_dir)
    if not runs:
        read_run(log_dir)  # its error says what is missing
    if len(runs) > 1:
        raise SnapshotsError(
            f"There are {len(runs)} runs in {shown(log_dir)}; a film shows one. Name its folder: "
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
            raise OptionError(f"methods: the run has no maps of {name!r}. {near_matches(name, known)}")
    if not chosen:
        raise OptionError(f"methods: expected one at least. {near_matches('', known)}")
    return list(dict.fromkeys(chosen))


def _chosen_images(run: Run, numbers: Sequence[int] | None) -> list[int]:
    count = len(run["images"])
    chosen = list(range(count)) if numbers is None else list(dict.fromkeys(numbers))
    if not chosen or not all(0 <= number < count for number in chosen):
        raise OptionError(f"images: the run has {count} images; expected numbers from 0 to {count - 1}, got {numbers!r}.")
    return chosen


def _samples(painter: FramePainter) -> Iterator[Picture]:
    """Some of the frames, evenly spread."""
    places = np.linspace(0, len(painter.records) - 1, min(_SAMPLES, len(painter.records)))
    return (painter.draw(place) for place in places.round().astype(int).tolist())
