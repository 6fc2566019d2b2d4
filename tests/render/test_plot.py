"""The Matplotlib figure: what stands where, and that nothing is cut off."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from tfviz.errors import ImageError, OptionError
from tfviz.render import overlay, plot, title_of

RANDOM = np.random.default_rng(0)
MAPS = RANDOM.random((3, 7, 7))
PICTURES = RANDOM.integers(0, 256, (3, 40, 60, 3), np.uint8)


def pictures_in(figure, rows, columns):
    """The figure's pictures, row by row; the rest of its axes are the legend."""
    axes = figure.axes[: rows * columns]
    return [axes[row * columns : (row + 1) * columns] for row in range(rows)]


def saved(figure):
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=figure.dpi)
    file.seek(0)
    return imread(file)[..., :3]


def texts_of(figure):
    return [text for axes in figure.axes for text in axes.texts if text.get_text()]


def test_pictures_go_down_and_methods_across():
    figure = plot(PICTURES, {"grad_cam": MAPS, "saliency": MAPS[..., None] - 0.5})
    rows = pictures_in(figure, 3, 3)
    for row in range(3):
        shown = [np.asarray(axes.images[0].get_array()) for axes in rows[row]]
        enlarged = shown[0]
        np.testing.assert_array_equal(shown[1], overlay(enlarged, MAPS[row]))
        np.testing.assert_array_equal(shown[2], overlay(enlarged, MAPS[row, ..., None] - 0.5, style="grey"))
    tops = [[round(axes.get_position().y1, 6) for axes in row] for row in rows]
    lefts = [[round(axes.get_position().x0, 6) for axes in row] for row in rows]
    assert all(len(set(row)) == 1 for row in tops) and tops[0][0] > tops[1][0] > tops[2][0]
    assert lefts[0] == lefts[1] == lefts[2] == sorted(lefts[0])


def test_titles_are_methods_in_words_and_captions_stand_below_the_pictures():
    figure = plot(PICTURES, {"grad_cam_plus_plus": MAPS, "guided_backprop": MAPS}, captions=["a", None, "tabby 0.83"])
    rows = pictures_in(figure, 3, 3)
    assert [[text.get_text() for text in axes.texts] for axes in rows[0]] == [
        ["", "a"],
        ["Grad-CAM++"],
        ["Guided backprop"],
    ]
    assert rows[2][0].texts[0].get_text() == "tabby 0.83"


@pytest.mark.parametrize(
    ("key", "title"),
    [("hires_cam", "HiResCAM"), ("guided-grad-cam", "Guided Grad-CAM"), ("my_own_method", "My own method")],
)
def test_a_title_is_made_of_any_key(key, title):
    assert title_of(key) == title


def test_styles_and_alpha_change_what_is_drawn():
    def map_of(**options):
        return np.asarray(plot(PICTURES, {"x": MAPS}, **options).axes[1].images[0].get_array())

    plain = map_of()
    assert (map_of(styles={"x": "signed"}) != plain).any()
    assert (map_of(alpha=0.9) != plain).any()
    np.testing.assert_array_equal(map_of(styles={"x": "heatmap"}, alpha=0.5), plain)


def test_the_legend_names_each_style_once():
    figure = plot(PICTURES, {"a": MAPS, "b": MAPS, "c": MAPS - 0.5, "d": MAPS[..., None]})
    legend = sorted(text.get_text() for axes in figure.axes[15:] for text in axes.texts)
    assert legend == [
        "negative to positive, black is zero",
        "negative to positive, gray is zero",
        "zero to the strongest of each map",
    ]


LONG = "Käfig mit sehr langem Namen und einer_langen_Datei_ohne_jeden_Zwischenraum_2024-01-01.jpg 0.83 猫 " * 3


@pytest.mark.parametrize(
    ("count", "methods", "shape"),
    [(1, 1, (40, 60)), (1, 1, (90, 20)), (1, 1, (20, 200)), (4, 3, (90, 20)), (2, 12, (40, 60)), (30, 1, (20, 200))],
)
def test_no_text_is_cut_off_or_covers_a_picture(count, methods, shape):
    pictures = np.zeros((count, *shape, 3), np.uint8)
    names = ["contrastive_excitation_backprop", *(f"method_{index}" for index in range(1, methods))]
    figure = plot(pictures, {name: np.ones((count, 3, 3)) for name in names}, captions=[LONG] * count)
    figure.draw_without_rendering()
    boxes = [axes.get_window_extent() for axes in figure.axes]
    texts = [text.get_window_extent() for text in texts_of(figure)]
    assert len(texts) == methods + count + 1
    width, height = figure.get_size_inches() * figure.dpi
    for index, box in enumerate(texts):
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
        assert not any(box.overlaps(other) for other in boxes + texts[index + 1 :])
    assert min(text.get_fontsize() for text in texts_of(figure)) >= 8


def test_the_border_of_a_saved_figure_is_empty():
    figure = plot(PICTURES, {"contrastive_excitation_backprop": MAPS}, captions=["g" * 200] * 3)
    drawn = saved(figure)
    edge = np.concatenate([drawn[0], drawn[-1], drawn[:, 0], drawn[:, -1]])
    np.testing.assert_allclose(edge, np.broadcast_to(to_rgb(figure.get_facecolor()), edge.shape))


@pytest.mark.parametrize("shape", [(1, 1), (2, 500), (500, 2), (40, 60)])
def test_pictures_keep_their_shape(shape):
    figure = plot([np.zeros((*shape, 3), np.uint8), PICTURES[0]], {"grad_cam": MAPS[:2]})
    box = figure.axes[0].get_position()
    width, height = figure.get_size_inches()
    drawn = (box.height * height) / (box.width * width)
    assert drawn == pytest.approx(shape[0] / shape[1], rel=0.2)


def test_a_dollar_sign_is_no_formula_and_a_letter_without_a_font_no_warning():
    figure = plot(PICTURES[:1], {"grad_cam": MAPS[:1]}, captions=["$x^2$ \U000f0000"])
    saved(figure)
    assert figure.axes[0].texts[-1].get_text() == "$x^2$ □"


def test_a_single_picture_and_a_list_are_plotted_alike():
    single = plot(PICTURES[0], {"grad_cam": MAPS[0]}, captions="one")
    listed = plot([PICTURES[0]], {"grad_cam": [MAPS[0]]}, captions=["one"])
    np.testing.assert_array_equal(saved(single), saved(listed))


@pytest.mark.parametrize(
    ("attributions", "options", "error", "message"),
    [
        (MAPS, {}, OptionError, "expected a dict from method to its maps.*got ndarray"),
        ({}, {}, OptionError, "got an empty one"),
        ({"grad_cam": MAPS[:2]}, {}, ImageError, "2 maps for 3 pictures"),
        ({"grad_cam": MAPS}, {"captions": ["a"]}, ImageError, "captions: .* got 1 for 3"),
        ({"grad_cam": MAPS}, {"styles": {"gradcam": "grey"}}, OptionError, "Did you mean 'grad_cam'"),
        ({"grad_cam": MAPS}, {"styles": {"grad_cam": "gray"}}, OptionError, "Did you mean 'grey'"),
        ({"grad_cam": MAPS}, {"alpha": 2}, OptionError, "alpha"),
    ],
)
def test_what_does_not_fit_is_refused(attributions, options, error, message):
    with pytest.raises(error, match=message):
        plot(PICTURES, attributions, **options)
