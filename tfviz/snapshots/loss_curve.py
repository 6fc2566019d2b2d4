"""The loss over a film, as a thin curve with the present moment marked; a bar of the time where there is no loss."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from tfviz.render.pictures import Picture
from tfviz.snapshots.frame_layout import Box
from tfviz.snapshots.lettering import Color

PAST: Color = (240, 180, 90)
FUTURE: Color = (78, 82, 90)
NOW: Color = (255, 255, 255)
_SUBPIXEL_BITS = 4


class LossCurve:
    """Draws the losses of all frames into `box`; None where a frame has none."""

    def __init__(self, losses: Sequence[float | None], box: Box) -> None:
        self.box = box
        self._known = [place for place, loss in enumerate(losses) if loss is not None]
        self._xs = np.linspace(box.left, box.left + box.width - 1, max(len(losses), 2))
        self._ys = self._heights(np.array([np.nan if loss is None else loss for loss in losses], float))

    def _heights(self, losses: np.ndarray) -> np.ndarray:
        """The row of each loss: the largest at the top of the box, the smallest at its foot."""
        if not self._known:
            return losses
        low, high = np.nanmin(losses), np.nanmax(losses)
        share = (losses - low) / (high - low) if high > low else np.where(np.isnan(losses), np.nan, 0.0)
        return self.box.top + 2 + (self.box.height - 6) * (1 - share)

    def draw(self, frame: Picture, place: int) -> None:
        """Draws curve and mark into `frame`, in place, as of the frame at `place`."""
        foot = self.box.top + self.box.height - 1
        now = round(self._xs[place])
        cv2.line(frame, (self.box.left, foot), (self.box.left + self.box.width - 1, foot), FUTURE, 1)
        cv2.line(frame, (self.box.left, foot), (now, foot), PAST, 2)
        self._draw_part([known for known in self._known if known >= place], frame, FUTURE)
        self._draw_part([known for known in self._known if known <= place], frame, PAST)
        top = self.box.top if self._known else foot - self.box.height // 4
        cv2.line(frame, (now, top), (now, foot), NOW, 1)
        if self._known and not np.isnan(self._ys[place]):
            centre = _fixed(self._xs[place]), _fixed(self._ys[place])
            cv2.circle(frame, centre, 3 << _SUBPIXEL_BITS, NOW, -1, cv2.LINE_AA, _SUBPIXEL_BITS)

    def _draw_part(self, places: Sequence[int], frame: Picture, color: Color) -> None:
        points = np.stack([self._xs[list(places)], self._ys[list(places)]], axis=1) if places else np.zeros((0, 2))
        corners = np.rint(points * (1 << _SUBPIXEL_BITS)).astype(np.int32)
        cv2.polylines(frame, [corners], False, color, 1, cv2.LINE_AA, _SUBPIXEL_BITS)


def _fixed(position: float) -> int:
    return round(position * (1 << _SUBPIXEL_BITS))
