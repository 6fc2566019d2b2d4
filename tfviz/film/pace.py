"""Choose the snapshots to show in a film, and their speed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tfviz.errors import OptionError

# By default, short runs are shown slowly, long runs faster, and very long runs are sampled.
USUAL_S, LONGEST_S = 15.0, 60.0
SLOWEST_FPS, FASTEST_FPS = 2.0, 15.0
HOLD_S = 1.5  # The last frame is held to show the final state.
# GIF stores durations in hundredths of a second, and players ignore durations below two hundredths.
LEAST_FPS, MOST_FPS = 0.1, 50.0


@dataclass(frozen=True)
class Pace:
    """The snapshots shown in a film, and their speed.

    Attributes:
        shown: the indices of the snapshots in ascending order, including the last snapshot.
        fps: snapshots per second.
        held: the number of additional frames that show the last snapshot.
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
    """Choose the pace for a run of `count` snapshots.

    The first and the last snapshot are always shown, even if `seconds` is too short for two frames.

    Args:
        count: the number of snapshots.
        fps: snapshots per second.
        every: show every `every`-th snapshot, regardless of the film's length.
        seconds: the maximum length of the film in seconds. Longer runs are sampled evenly. Without
            `every` and `seconds`, the maximum is 60.

    Returns:
        The pace.

    Raises:
        OptionError: a value is invalid, or both `every` and `seconds` are given.
    """
    _check(fps, every, seconds)
    if every is not None:
        shown = sorted({*range(0, count, every), count - 1})
        fps = fps or _usual_fps(len(shown), USUAL_S)
        return Pace(shown, fps, _held(fps))
    fps = fps or _usual_fps(count, USUAL_S if seconds is None else seconds)
    frames = int((LONGEST_S if seconds is None else seconds) * fps + 1e-9)
    # If the film is too short for all snapshots, the last frame fills at most a quarter of it.
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
        raise OptionError(f"`fps` must be between {LEAST_FPS:g} and {MOST_FPS:g} snapshots per second. Received: {fps!r}.")
    if every is not None and every < 1:
        raise OptionError(f"`every` must be a positive integer (1 shows all snapshots). Received: {every!r}.")
    if seconds is not None and not 1 <= seconds < math.inf:
        raise OptionError(f"`seconds` must be a finite number of at least 1. Received: {seconds!r}.")
    if every is not None and seconds is not None:
        raise OptionError("`every` and `seconds` cannot be combined, because both select snapshots. Pass only one.")
