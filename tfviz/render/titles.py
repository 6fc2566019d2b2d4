"""Methods in words, and words that fit a width."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from matplotlib import font_manager
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.font_manager import FontProperties

TITLES = {
    "saliency": "Saliency",
    "guided_backprop": "Guided backprop",
    "deconvnet": "Deconvnet",
    "excitation_backprop": "Excitation backprop",
    "contrastive_excitation_backprop": "Contrastive excitation backprop",
    "grad_cam": "Grad-CAM",
    "grad_cam_plus_plus": "Grad-CAM++",
    "layer_cam": "Layer-CAM",
    "hires_cam": "HiResCAM",
    "guided_grad_cam": "Guided Grad-CAM",
    "visual_backprop": "VisualBackProp",
    "score_cam": "Score-CAM",
    "ablation_cam": "Ablation-CAM",
    "smooth_grad": "SmoothGrad",
    "rise": "RISE",
}
# Fonts for scripts that Matplotlib's own font lacks; those that are installed are used.
FALLBACK_FONTS = (
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Hiragino Sans",
    "PingFang SC",
    "Apple SD Gothic Neo",
    "Microsoft YaHei",
    "Yu Gothic",
    "Malgun Gothic",
    "WenQuanYi Zen Hei",
    "Noto Sans Arabic",
    "Noto Sans Hebrew",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
)


def title_of(key: str) -> str:
    """A method's name in words, "grad_cam" -> "Grad-CAM"; anything else, such as a title of the user's, as it is."""
    return TITLES.get(key.replace("-", "_"), key)


@functools.cache
def font(size: float) -> FontProperties:
    """The font of all text in pictures, `size` in points."""
    return FontProperties(family=_families(), size=size)


def wrapped(text: str, width: float, properties: FontProperties, *, most_lines: int) -> list[str]:
    """`text` in lines of at most `width` points; what goes beyond `most_lines` ends in "…".

    Lines of `text` that fit stay as they are. Words that are too long for a line, such as file names, are broken. A letter
    that no installed font has becomes "□", which is what Matplotlib would draw, after a warning.
    """
    text = "".join(letter if letter.isspace() or ord(letter) in _letters() else "□" for letter in text)
    lines = [line for part in text.split("\n") for line in _lines(part, width, properties)]
    if len(lines) <= most_lines:
        return lines
    last = lines[most_lines - 1]
    while last and _width(last + "…", properties) > width:
        last = last[:-1]
    return [*lines[: most_lines - 1], last.rstrip() + "…"]


def most_lines_of(texts: Sequence[str]) -> int:
    """How many lines the longest of the already wrapped `texts` has; 0 where all are empty."""
    return max((text.count("\n") + 1 for text in texts if text), default=0)


def widest(text: str, properties: FontProperties) -> float:
    """The width of the longest line of `text`, in points."""
    return max(_width(line, properties) for line in text.split("\n"))


def _lines(text: str, width: float, properties: FontProperties) -> list[str]:
    if _width(text, properties) <= width:
        return [text]
    lines = [""]
    for word in text.split():
        joined = f"{lines[-1]} {word}".strip()
        if _width(joined, properties) <= width:
            lines[-1] = joined
            continue
        if lines[-1]:
            lines.append("")
        *full, rest = _pieces(word, width, properties)
        lines[-1:] = [*full, rest]
    return lines


def _pieces(word: str, width: float, properties: FontProperties) -> list[str]:
    """A word in pieces that fit, broken after a mark that file names have, or else anywhere."""
    pieces = [""]
    for letter in word:
        piece = pieces[-1]
        if piece and _width(piece + letter, properties) > width:
            cut = max(piece.rfind(mark) for mark in "_-./") + 1 or len(piece)
            pieces[-1:] = [piece[:cut], piece[cut:]]
        pieces[-1] += letter
    return pieces


def _width(text: str, properties: FontProperties) -> float:
    """In points, since a point is a pixel at 72 dpi."""
    return _RENDERER.get_text_width_height_descent(text, properties, False)[0]


@functools.cache
def _families() -> list[str]:
    installed = {entry.name for entry in font_manager.fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in FALLBACK_FONTS if name in installed)]


@functools.cache
def _letters() -> frozenset[int]:
    """Every code point that one of the fonts can draw."""
    paths = [font_manager.findfont(FontProperties(family=family)) for family in _families()]
    return frozenset().union(*(font_manager.get_font(path).get_charmap() for path in paths))


_RENDERER = RendererAgg(1, 1, 72)
