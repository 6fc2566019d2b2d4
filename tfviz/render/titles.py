"""Look up method titles and wrap text to a width."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from matplotlib import font_manager
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.font_manager import FontProperties

from tfviz.method_looks import LOOKS

# Methods whose title differs from their class name.
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
    "xgrad_cam": "XGrad-CAM",
    "eigen_cam": "Eigen-CAM",
    "eigen_grad_cam": "Eigen-Grad-CAM",
    "gradient_times_input": "Gradient × Input",
    "guided_grad_cam": "Guided Grad-CAM",
    "visual_backprop": "VisualBackProp",
    "score_cam": "Score-CAM",
    "ablation_cam": "Ablation-CAM",
    "integrated_gradients": "Integrated gradients",
    "expected_gradients": "Expected gradients",
    "attention_rollout": "Attention rollout",
    "gradient_attention": "Gradient attention",
}
# Fonts, if installed, for scripts that Matplotlib's default font does not cover.
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
    """Return a method's title, such as "Grad-CAM" for "grad_cam", or other text unchanged."""
    name = key.replace("-", "_")
    look = LOOKS.get(name)
    return TITLES.get(name) or (look.title if look else key)


@functools.cache
def font(size: float) -> FontProperties:
    """Return the font for text in pictures. `size` is in points."""
    return FontProperties(family=_families(), size=size)


def wrapped(text: str, width: float, properties: FontProperties, *, most_lines: int) -> list[str]:
    """Wrap text to a width.

    Lines that fit are unchanged. Words that are too long for a line, such as file names, are
    broken. A character that none of the fonts contains is replaced by "□", as in Matplotlib, but
    without a warning.

    Args:
        text: the text.
        width: the maximum line width in points.
        properties: the font.
        most_lines: the maximum number of lines. Longer text ends in "…".

    Returns:
        The lines.
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
    """Return the number of lines in the longest wrapped text, or 0 if all texts are empty."""
    return max((text.count("\n") + 1 for text in texts if text), default=0)


def widest(text: str, properties: FontProperties) -> float:
    """Return the width of the widest line in `text`, in points."""
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
    """Break a word into pieces that fit, preferably after a file-name separator."""
    pieces = [""]
    for letter in word:
        piece = pieces[-1]
        if piece and _width(piece + letter, properties) > width:
            cut = max(piece.rfind(mark) for mark in "_-./") + 1 or len(piece)
            pieces[-1:] = [piece[:cut], piece[cut:]]
        pieces[-1] += letter
    return pieces


def _width(text: str, properties: FontProperties) -> float:
    """Return the text width in points (pixels at 72 dpi)."""
    return _RENDERER.get_text_width_height_descent(text, properties, False)[0]


@functools.cache
def _families() -> list[str]:
    installed = {entry.name for entry in font_manager.fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in FALLBACK_FONTS if name in installed)]


@functools.cache
def _letters() -> frozenset[int]:
    """Return all code points that at least one of the fonts can draw."""
    paths = [font_manager.findfont(FontProperties(family=family)) for family in _families()]
    return frozenset().union(*(font_manager.get_font(path).get_charmap() for path in paths))


_RENDERER = RendererAgg(1, 1, 72)
