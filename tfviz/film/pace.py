"""Which snapshots a film shows, and how fast."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tfviz.errors import OptionError

# Unless the caller asks for something else: a short run is shown slowly, a long one faster, a very
# long one in part.
USUAL_S, LONGEST_S = 15.0, 60.0
SLOWEST_FPS, FASTEST_FPS = 2.0, 15.0
HOLD_S = 1.5  # the last frame stays, for one wants to see how it ended
# GIF counts in hundredths of a second, and players take less than two for a mistake
LEAST_FPS, MOST_FPS = 0.1, 50.0


@dataclass(frozen=True)
class Pace:
    """shown: which snapshots, by their places, rising, the last one among them. fps: how many of
    them a second.

    held: for how many frames more the last one stays.
    """

    shown: Sequence[int]
    fps: float
    held: int

    @property
    def frames(self) -> int:
        return len(self.shown) + self.held

    @property
    def duration_s(self) -> float:
        return self.frames / self.fps


def pace_for(count: int, fps: float | None = None, every: int | None = None, seconds: float | None = None) -> Pace:
    """The pace for a run of `count` snapshots.

    fps: snapshots a second. every: show each so many-th, however long that takes. seconds: show so
        many, evenly spread,
    that the film is not longer. Neither: as if seconds were 60, and all of them where they fit. The
    first and the last snapshot are always shown, even where `seconds` has no room for two frames.

    Raises OptionError for values that cannot be, and for `every` together with `seconds`.
    """
    _check(fps, every, seconds)
    if every is not None:
        shown = sorted({*range(0, count, every), count - 1})
        fps = fps or _usual_fps(len(shown), USUAL_S)
        return Pace(shown, fps, _held(fps))
    fps = fps or _usual_fps(count, USUAL_S if seconds is None else seconds)
    frames = int((LONGEST_S if seconds is None else seconds) * fps + 1e-9)
    # Of a film that is too short for all, most is not standstill.
    held = min(_held(fps), max(frames - count, frames // 4))
    most = max(2, frames - held)
    shown = sorted(set(np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()))
    return Pace(shown, fps, held)


def _usual_fps(count: int, wanted_s: float) -> float:
    return min(max(round(count / wanted_s), SLOWEST_FPS), FASTEST_FPS)


def _held(fps: float) -> int:
    return max(1, round(HOLD_S * fps))


def _check(fps: float | None, every: int | None, seconds: float | None) -> None:
    if fps is not None and not LEAST_FPS <= fps <= MOST_FPS:
        raise OptionError(f"fps: expected {LEAST_FPS:g} to {MOST_FPS:g} snapshots a second, got {fps!r}.")
    if every is not None and every < 1:
        raise OptionError(f"every: expected a whole number, 1 at least (1 shows each snapshot), got {every!r}.")
    if seconds is not None and not 1 <= seconds < math.inf:
        raise OptionError(f"seconds: expected a length in seconds, 1 at least, got {seconds!r}.")
    if every is not None and seconds is not None:
        raise OptionError("every and seconds both say how many snapshots are shown: give one of them.")
