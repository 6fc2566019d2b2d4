"""Draw the loss as a thin curve with a mark at the current step.

If no loss is known, draw only a progress bar.
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
    """A loss curve drawn in a box. In `losses`, None stands for a frame without a loss."""

    def __init__(self, losses: Sequence[float | None], box: Box) -> None:
        self.box = box
        self._xs = np.linspace(box.left, box.left + box.width - 1, max(len(losses), 2))
        self._known = np.array([index for index, loss in enumerate(losses) if loss is not None], int)
        known = np.array([loss for loss in losses if loss is not None], float)
        self._corners = _fixed(np.stack([self._xs[self._known], _rows(known, box)], axis=1))

    def draw(self, frame: Picture, index: int) -> None:
        """Draw the curve on `frame` in place, with a mark at frame number `index`."""
        left, right = self.box.left, self.box.left + self.box.width - 1
        foot, now = self.box.top + self.box.height - 1, round(self._xs[index])
        cv2.line(frame, (left, foot), (right, foot), FUTURE, 1)
        cv2.line(frame, (left, foot), (now, foot), PAST, 2)
        if not len(self._known):
            cv2.line(frame, (now, foot - self.box.height // 4), (now, foot), NOW, 1)
            return
        # The number of losses up to this frame.
        past = int(np.searchsorted(self._known, index, side="right"))
        _draw_line(frame, self._corners[max(past - 1, 0) :], FUTURE)
        _draw_line(frame, self._corners[:past], PAST)
        cv2.line(frame, (now, self.box.top), (now, foot), NOW, 1)
        if past and self._known[past - 1] == index:
            cv2.circle(frame, self._corners[past - 1].tolist(), 3 << _SUBPIXEL_BITS, NOW, -1, cv2.LINE_AA, _SUBPIXEL_BITS)


def _rows(losses: np.ndarray, box: Box) -> np.ndarray:
    """Return the pixel row of each loss in the box.

    The largest loss is at the top of the box, and the smallest is at the bottom.
    """
    span = np.ptp(losses) if len(losses) else 0.0
    share = (losses - losses.min()) / span if span > 0 else np.zeros(len(losses))
    return box.top + 2 + (box.height - 6) * (1 - share)


def _draw_line(frame: Picture, corners: np.ndarray, color: Color) -> None:
    cv2.polylines(frame, [corners], False, color, 1, cv2.LINE_AA, _SUBPIXEL_BITS)


def _fixed(positions: np.ndarray) -> np.ndarray:
    """Convert pixel positions to OpenCV's fixed-point format, in sixteenths of a pixel."""
    return np.rint(positions * (1 << _SUBPIXEL_BITS)).astype(np.int32)
