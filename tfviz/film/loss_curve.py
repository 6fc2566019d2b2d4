"""The loss over a film, as a thin curve with the present moment marked; a bar of the time where
there is no loss.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from tfviz.film.frame_layout import Box
from tfviz.film.typography import Color
from tfviz.render.pictures import Picture

PAST: Color = (240, 180, 90)
FUTURE: Color = (78, 82, 90)
NOW: Color = (255, 255, 255)
_SUBPIXEL_BITS = 4


class LossCurve:
    """Draws the losses of all frames into `box`; None where a frame has none."""

    def __init__(self, losses: Sequence[float | None], box: Box) -> None:
        self.box = box
        self._xs = np.linspace(box.left, box.left + box.width - 1, max(len(losses), 2))
        self._known = np.array([place for place, loss in enumerate(losses) if loss is not None], int)
        known = np.array([loss for loss in losses if loss is not None], float)
        self._corners = _fixed(np.stack([self._xs[self._known], _rows(known, box)], axis=1))

    def draw(self, frame: Picture, place: int) -> None:
        """Draws curve and mark into `frame`, in place, as of the frame at `place`."""
        left, right = self.box.left, self.box.left + self.box.width - 1
        foot, now = self.box.top + self.box.height - 1, round(self._xs[place])
        cv2.line(frame, (left, foot), (right, foot), FUTURE, 1)
        cv2.line(frame, (left, foot), (now, foot), PAST, 2)
        if not len(self._known):
            cv2.line(frame, (now, foot - self.box.height // 4), (now, foot), NOW, 1)
            return
        # how many of the known losses
        past = int(np.searchsorted(self._known, place, side="right"))
        _draw_line(frame, self._corners[max(past - 1, 0) :], FUTURE)
        _draw_line(frame, self._corners[:past], PAST)
        cv2.line(frame, (now, self.box.top), (now, foot), NOW, 1)
        if past and self._known[past - 1] == place:
            cv2.circle(frame, self._corners[past - 1].tolist(), 3 << _SUBPIXEL_BITS, NOW, -1, cv2.LINE_AA, _SUBPIXEL_BITS)


def _rows(losses: np.ndarray, box: Box) -> np.ndarray:
    """The row of each loss: the largest near the top of the box, the smallest near its foot."""
    span = np.ptp(losses) if len(losses) else 0.0
    share = (losses - losses.min()) / span if span > 0 else np.zeros(len(losses))
    return box.top + 2 + (box.height - 6) * (1 - share)


def _draw_line(frame: Picture, corners: np.ndarray, color: Color) -> None:
    cv2.polylines(frame, [corners], False, color, 1, cv2.LINE_AA, _SUBPIXEL_BITS)


def _fixed(positions: np.ndarray) -> np.ndarray:
    """Positions in pixels as OpenCV takes them, in sixteenths."""
    return np.rint(positions * (1 << _SUBPIXEL_BITS)).astype(np.int32)
