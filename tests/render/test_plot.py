"""The Matplotlib figure: its layout and texts, and that nothing is cut off."""

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
    """Return the axes of images and maps, row by row, without legend and color bars."""
    axes = figure.axes[: rows * columns]
    return [axes[row * columns : (row + 1) * columns] for row in range(rows)]


def saved(figure):
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=figure.dpi)
    file.seek(0)
    return imread(file)[..., :3]


def texts_of(figure):
    return [text for axes in figure.axes for text in axes.texts if text.get_text()]


def numbers_of(axes):
    """Return the numbers at the ends of a color bar."""
    return [label.get_text() for label in axes.get_xticklabels()]


def bars_of(figure):
    return [axes for axes in figure.axes if axes.axison]


def test_a_figure_has_a_row_per_image_and_a_column_per_method():
    figure = plot(PICTURES, {"grad_cam": MAPS, "saliency": MAPS[..., None] - 0.5, "deconvnet": MAPS[..., None] - 0.5})
    rows = pictures_in(figure, 3, 4)
    for row in range(3):
        shown = [np.asarray(axes.images[0].get_array()) for axes in rows[row]]
        enlarged = shown[0]
        signed = MAPS[row, ..., None] - 0.5
        np.testing.assert_array_equal(shown[1], overlay(enlarged, MAPS[row], underlay="gray"))
        np.testing.assert_array_equal(shown[2], overlay(enlarged, signed, style="signed", underlay="gray"))
        np.testing.assert_array_equal(shown[3], overlay(enlarged, signed, style="grey"))
    tops = [[round(axes.get_position().y1, 6) for axes in row] for row in rows]
    lefts = [[round(axes.get_position().x0, 6) for axes in row] for row in rows]
    assert all(len(set(row)) == 1 for row in tops) and tops[0][0] > tops[1][0] > tops[2][0]
    assert lefts[0] == lefts[1] == lefts[2] == sorted(lefts[0])


def test_titles_are_method_names_and_captions_are_below_the_images():
    figure = plot(PICTURES, {"grad_cam_plus_plus": MAPS, "guided_backprop": MAPS}, captions=["a", None, "tabby 0.83"])
    rows = pictures_in(figure, 3, 3)
    assert [[text.get_text() for text in axes.texts] for axes in rows[0]] == [
        ["a"],
        ["Grad-CAM++"],
        ["Guided backprop"],
    ]
    assert rows[2][0].texts[0].get_text() == "tabby 0.83"


@pytest.mark.parametrize(
    ("key", "title"),
    [("hires_cam", "HiResCAM"), ("guided-grad-cam", "Guided Grad-CAM"), ("my_own $x^2$ Method", "my_own $x^2$ Method")],
)
def test_a_title_is_the_methods_name_or_the_users_text(key, title):
    assert title_of(key) == title
    assert plot(PICTURES, {key: MAPS}).axes[1].texts[0].get_text() == title


def test_styles_and_alpha_change_what_is_drawn():
    def map_of(**options):
        return np.asarray(plot(PICTURES, {"x": MAPS}, **options).axes[1].images[0].get_array())

    plain = map_of()
    assert (map_of(styles={"x": "signed"}) != plain).any()
    assert (map_of(alpha=0.9) != plain).any()
    np.testing.assert_array_equal(map_of(styles={"x": "heatmap"}, alpha=0.5), plain)


def test_the_legend_explains_each_style_once():
    figure = plot(PICTURES, {"a": MAPS, "b": MAPS, "c": MAPS - 0.5, "d": MAPS[..., None]})
    legend = sorted(text.get_text() for axes in figure.axes[15:] for text in axes.texts)
    assert legend == [
        "negative to positive, dark is zero",
        "negative to positive, gray is zero",
        "zero to the strongest value of each map",
    ]


LONG = "Käfig mit sehr langem Namen und einer_langen_Datei_ohne_jeden_Zwischenraum_2024-01-01.jpg 0.83 猫 " * 3


@pytest.mark.parametrize(
    ("count", "methods", "shape"),
    [(1, 1, (40, 60)), (1, 1, (90, 20)), (1, 1, (20, 200)), (4, 3, (90, 20)), (2, 12, (40, 60)), (30, 1, (20, 200))],
)
def test_no_text_is_cut_off_or_covers_an_image(count, methods, shape):
    pictures = np.zeros((count, *shape, 3), np.uint8)
    names = ["contrastive_excitation_backprop", *(f"method_{index}" for index in range(1, methods))]
    figure = plot(pictures, {name: np.ones((count, 3, 3)) for name in names}, captions=[LONG] * count)
    figure.draw_without_rendering()
    boxes = [axes.get_window_extent() for axes in figure.axes]
    texts = [text.get_window_extent() for text in texts_of(figure)]
    assert len(texts) == methods + count + 1
    numbers = [label.get_window_extent() for axes in bars_of(figure) for label in axes.get_xticklabels()]
    assert len(numbers) == 2 * methods * count
    texts += numbers
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
def test_images_keep_their_aspect_ratio(shape):
    figure = plot([np.zeros((*shape, 3), np.uint8), PICTURES[0]], {"grad_cam": MAPS[:2]})
    box = figure.axes[0].get_position()
    width, height = figure.get_size_inches()
    drawn = (box.height * height) / (box.width * width)
    assert drawn == pytest.approx(shape[0] / shape[1], rel=0.2)


def test_dollar_signs_and_letters_without_a_font_are_plain_text():
    figure = plot(PICTURES[:1], {"grad_cam": MAPS[:1]}, captions=["$x^2$ \U000f0000"])
    saved(figure)
    assert figure.axes[0].texts[-1].get_text() == "$x^2$ □"


def test_a_single_image_and_a_list_of_one_are_plotted_alike():
    single = plot(PICTURES[0], {"grad_cam": MAPS[0]}, captions="one")
    listed = plot([PICTURES[0]], {"grad_cam": [MAPS[0]]}, captions=["one"])
    np.testing.assert_array_equal(saved(single), saved(listed))


TARGETS = {"tabby": MAPS, "goldfish": MAPS * 0.01, "dog": MAPS * 0.3}


def shown_in(figure, count):
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes[:count]]


def notes_of(figure, row=0):
    """Return the texts below the three maps of a row."""
    return [axes.texts[-1].get_text() for axes in figure.axes[4 * row + 1 : 4 * row + 4]]


def test_scores_and_strengths_are_below_the_maps_and_a_nearly_empty_map_is_dim():
    scores = {"tabby": [0.9, 0.5, 0.1], "goldfish": [0, 0, 0], "dog": np.array([[0.1], [0.6], [0.2]])}
    figure = plot(PICTURES, {"grad_cam": TARGETS}, scores=scores)
    assert [axes.texts[0].get_text() for axes in figure.axes[1:4]] == ["Grad-CAM\ntabby", "Grad-CAM\ngoldfish", "Grad-CAM\ndog"]
    assert notes_of(figure) == ["score 0.90", "score 0.00\npeak 1% of tabby (nearly empty)", "score 0.10\npeak 30% of tabby"]
    assert notes_of(figure, 1)[2] == "score 0.60"  # In the second row, "dog" has the highest score.
    tabby, goldfish, dog = shown_in(figure, 4)[1:]
    np.testing.assert_array_equal(tabby, dog)
    weakest = np.full((3, 1, 1), 0.25)  # of the colors
    dim = plot(PICTURES, {"x": {"a": np.ones((3, 1, 1)), "b": weakest}}, scale="image")
    strongest = shown_in(plot(PICTURES, {"x": {"a": np.ones((3, 1, 1)), "b": np.full((3, 1, 1), 0.001)}}), 3)[2]
    np.testing.assert_array_equal(strongest, shown_in(dim, 3)[2])
    assert (goldfish != tabby).any()


def test_one_scale_for_all_targets_of_an_image():
    alone, shared = (plot(PICTURES, {"layer_cam": TARGETS}, scale=scale) for scale in ("map", "image"))
    assert numbers_of(bars_of(alone)[2]) == ["0", f"{0.3 * MAPS[0].max():.3g}"]
    assert {tuple(numbers_of(axes)) for axes in bars_of(shared)[:3]} == {("0", f"{MAPS[0].max():.3g}")}
    np.testing.assert_array_equal(shown_in(alone, 2)[1], shown_in(shared, 2)[1])
    assert (shown_in(alone, 4)[3] != shown_in(shared, 4)[3]).any()
    assert "zero to the strongest value of all targets of an image and method" in [text.get_text() for text in texts_of(shared)]
    with pytest.raises(OptionError, match="Unknown scale 'picture'"):
        plot(PICTURES, {"x": MAPS}, scale="picture")


def test_the_strength_of_excitation_is_its_sum():
    weak = MAPS / MAPS.sum(axis=(1, 2), keepdims=True) * np.array([1, 0.4, 0.001])[:, None, None]
    figure = plot(PICTURES, {"excitation_backprop": weak, "contrastive_excitation_backprop": np.zeros((3, 7, 7))})
    notes = [[axes.texts[-1].get_text() for axes in figure.axes[3 * row + 1 : 3 * row + 3]] for row in range(3)]
    assert [note[0] for note in notes] == ["sum 1.00 of 1", "sum 0.40 of 1", "sum 0.00 of 1 (nearly empty)"]
    assert notes[1][1] == "empty: zero everywhere"


def test_the_underlay_is_gray_or_in_color():
    gray, color = (plot(PICTURES, {"x": MAPS}, alpha=0, underlay=underlay) for underlay in ("gray", "color"))
    drawn = shown_in(gray, 2)[1]
    assert (drawn == drawn[..., :1]).all()
    np.testing.assert_array_equal(*shown_in(color, 2))


def test_a_color_map_applies_to_maps_and_color_bars():
    plain, other = (plot(PICTURES, {"x": MAPS}, cmap=cmap) for cmap in (None, "viridis"))
    assert (shown_in(plain, 2)[1] != shown_in(other, 2)[1]).any()
    assert (bars_of(plain)[0].images[0].get_array() != bars_of(other)[0].images[0].get_array()).any()
    with pytest.raises(OptionError, match=r"Unknown Matplotlib color map 'viridos'\. Did you mean 'viridis'"):
        plot(PICTURES, {"x": MAPS}, cmap="viridos")


def test_a_long_user_title_widens_its_column():
    title = "My_Own   title: $loss$ of VGG-16, second run (cased AS Is)"
    figure = plot(PICTURES, {title: MAPS, "grad_cam": {"tabby, tabby cat, of the second photograph": MAPS}})
    assert [axes.texts[0].get_text() for axes in figure.axes[1:3]] == [
        title,
        "Grad-CAM\ntabby, tabby cat, of the second photograph",
    ]
    figure.draw_without_rendering()
    first, second = (axes.texts[0].get_window_extent() for axes in figure.axes[1:3])
    assert not first.overlaps(second)


def test_suptitle_is_above_everything():
    figure = plot(PICTURES, {"x": MAPS, "y": MAPS})
    shape = figure.axes[0].get_window_extent().size
    figure.suptitle("once")
    title = figure.suptitle("Two lines,\nand one of them is very much longer than the figure is wide at first " + "x" * 60)
    figure.draw_without_rendering()
    np.testing.assert_allclose(figure.axes[0].get_window_extent().size, shape, rtol=1e-6)
    box, (width, height) = title.get_window_extent(), figure.get_size_inches() * figure.dpi
    assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
    others = [text.get_window_extent() for text in texts_of(figure)] + [axes.get_window_extent() for axes in figure.axes]
    assert not any(box.overlaps(other) for other in others)
    assert all(other.x0 >= 0 and other.x1 <= width and other.y0 >= 0 for other in others)


def test_a_notebook_shows_a_figure_once_with_and_without_the_inline_backend():
    shell = pytest.importorskip("IPython.core.interactiveshell").InteractiveShell()
    figure = plot(PICTURES, {"x": MAPS})
    assert shell.display_formatter.format(figure)[0]["image/png"][:4] == b"\x89PNG"
    pyplot = pytest.importorskip("matplotlib.pyplot")
    before = pyplot.get_fignums()
    plot(PICTURES, {"x": MAPS})
    assert pyplot.get_fignums() == before  # The inline backend shows these.
    select = pytest.importorskip("IPython.core.pylabtools").select_figure_formats
    select(shell, {"png"})
    formatted = shell.display_formatter.format(figure)[0]
    assert set(formatted) == {"image/png", "text/plain"} and len(formatted["image/png"])


@pytest.mark.parametrize(
    ("attributions", "options", "error", "message"),
    [
        (MAPS, {}, OptionError, "must be a dict with each method's maps.*Received: ndarray"),
        ({}, {}, OptionError, "Received: an empty dict"),
        ({"grad_cam": MAPS[:2]}, {}, ImageError, "Received: 2 maps for 3 images"),
        ({"grad_cam": MAPS}, {"captions": ["a"]}, ImageError, "`captions` .* Received: 1 captions for 3 images"),
        ({"grad_cam": {}}, {}, OptionError, "at least one target"),
        ({"grad_cam": TARGETS}, {"scores": {"taby": [1, 2, 3]}}, OptionError, "`scores` .*Did you mean 'tabby'"),
        (
            {"grad_cam": TARGETS},
            {"scores": {"tabby": [1, 2]}},
            ImageError,
            "`scores` .* Received: 2 scores for 'tabby' and 3 images",
        ),
        ({"grad_cam": MAPS}, {"underlay": "grey"}, OptionError, "Unknown underlay 'grey'. Did you mean 'gray'"),
        ({"grad_cam": MAPS}, {"styles": {"gradcam": "grey"}}, OptionError, "`styles` .*Did you mean 'grad_cam'"),
        ({"grad_cam": MAPS}, {"styles": {"grad_cam": "gray"}}, OptionError, "Did you mean 'grey'"),
        ({"grad_cam": MAPS}, {"alpha": 2}, OptionError, "alpha"),
    ],
)
def test_invalid_arguments_are_an_error(attributions, options, error, message):
    with pytest.raises(error, match=message):
        plot(PICTURES, attributions, **options)


def test_figures_and_the_command_line_use_the_same_styles():
    from tfviz.methods import METHODS
    from tfviz.render.colors import METHOD_STYLES
    from tfviz.render.titles import title_of

    assert {key: METHOD_STYLES.get(key, "heatmap") for key in METHODS} == {key: one.style for key, one in METHODS.items()}
    assert not [title_of(key) for key in METHODS if "_" in title_of(key)]


def test_a_method_without_rows_in_render_is_drawn_by_its_class():
    from tfviz import method_looks
    from tfviz.methods.cam import CAM
    from tfviz.render.grid import own_style
    from tfviz.render.titles import title_of

    class MaxCAM(CAM):
        key = "max_cam"
        style = "signed"

    try:
        assert (title_of("max_cam"), own_style("max_cam")) == ("MaxCAM", "signed")
        assert (title_of("my_own_method"), own_style("my_own_method")) == ("my_own_method", None)
    finally:
        method_looks.LOOKS.pop(MaxCAM.key)
