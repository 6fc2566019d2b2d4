"""Signals and volumes in `plot`: what is drawn where, on which scale, with which texts."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes

from tfviz.errors import ImageError, OptionError
from tfviz.render import plot
from tfviz.render.data_kinds import kind_of
from tfviz.render.overlays import Look, blended

RANDOM = np.random.default_rng(0)
SIGNALS = RANDOM.normal(size=(2, 60, 1))
MAPS = RANDOM.random((2, 12))


def panels_of(figure: Any) -> list[Axes]:
    """Return the panels of signals, without color bars."""
    return [axes for axes in figure.axes if axes.lines]


def bars_of(figure: Any) -> list[Axes]:
    return [axes for axes in figure.axes if axes.axison and not axes.lines]


def ends_of(axes: Axes) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


def words_of(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.texts]


def test_a_panel_shows_the_signal_over_its_map() -> None:
    panels = panels_of(plot(SIGNALS, {"grad_cam": MAPS, "saliency": SIGNALS - 0.5}))
    assert len(panels) == 4
    for signal, (cam, saliency) in enumerate([panels[:2], panels[2:]]):
        for axes in (cam, saliency):
            np.testing.assert_array_equal(axes.lines[0].get_data(), [np.arange(60), SIGNALS[signal, :, 0]])
            # The first element of a map starts half a step before sample 0, and the last one ends
            # half a step behind the last sample.
            assert axes.images[0].get_extent()[:2] == [-0.5, 59.5] == list(axes.get_xlim())
        np.testing.assert_array_equal(cam.images[0].get_array(), MAPS[signal][None])
        np.testing.assert_array_equal(saliency.images[0].get_array(), (SIGNALS[signal, :, 0] - 0.5)[None])


def test_the_colors_run_from_zero_or_around_it_to_the_limit_of_the_bar() -> None:
    figure = plot(SIGNALS[:1], {"grad_cam": MAPS[:1], "saliency": SIGNALS[:1]})
    (cam, saliency), bars = panels_of(figure), bars_of(figure)
    peak = np.abs(MAPS[0]).max()
    assert cam.images[0].get_clim() == (0, peak)
    assert ends_of(bars[0]) == ["0", f"{peak:.3g}"]
    low, high = saliency.images[0].get_clim()
    assert low == -high
    assert ends_of(bars[1]) == [f"{low:.3g}", f"{high:.3g}"]


def test_every_channel_has_its_band_and_its_map() -> None:
    signals = RANDOM.normal(size=(1, 40, 3))
    saliency = RANDOM.normal(size=(1, 40, 3))
    figure = plot(signals, {"saliency": saliency, "grad_cam": MAPS[:1]})
    panel, cam = panels_of(figure)
    np.testing.assert_array_equal(panel.images[0].get_array(), saliency[0].T)
    assert panel.images[0].origin == "upper", "the first row is the top one"
    heights = [np.asarray(line.get_ydata()) for line in panel.lines]
    for channel, line in enumerate(heights):
        assert 2 - channel < line.min() < line.max() < 3 - channel
        label = dict(zip(panel.get_yticks(), panel.get_yticklabels(), strict=True))[2.5 - channel]
        assert label.get_text() == f"channel {channel}"
    spans = np.ptp(signals[0], axis=0)
    np.testing.assert_allclose([np.ptp(line) / np.ptp(heights[0]) for line in heights], spans / spans[0])
    assert cam.images[0].get_array().shape == (1, 12)


def test_titles_state_method_target_score_and_strength() -> None:
    figure = plot(
        SIGNALS[:1], {"grad_cam": {"a": MAPS[:1], "b": MAPS[:1] / 2}}, scores={"a": [2.0], "b": [1.0]}, captions=["x $y$"]
    )
    assert words_of(figure)[:3] == ["x $y$", "Grad-CAM, a – score 2.00", "Grad-CAM, b – score 1.00, peak 50% of a"]
    assert "Background: zero to the strongest value of each map" in words_of(figure)


def test_guided_backprop_is_signed_over_a_signal_and_styles_and_colors_can_be_chosen() -> None:
    signed, positive = panels_of(
        plot(SIGNALS[:1], {"guided_backprop": SIGNALS[:1], "x": SIGNALS[:1]}, styles={"x": "heatmap"}, cmap="gray")
    )
    assert signed.images[0].get_clim()[0] < 0
    assert positive.images[0].get_clim()[0] == 0
    np.testing.assert_array_equal(positive.images[0].get_array(), np.abs(SIGNALS[0].T))
    np.testing.assert_allclose(signed.images[0].cmap(0.0)[:3], 0)


def test_a_map_of_zeros_has_the_color_of_zero() -> None:
    (panel,) = panels_of(plot(SIGNALS[:1], {"grad_cam": np.zeros((1, 12))}))
    low, high = panel.images[0].get_clim()
    assert low == 0 < high


def test_signals_may_differ_in_length_and_one_may_lack_the_batch_axis() -> None:
    listed = [SIGNALS[0], SIGNALS[1, :30]]
    lengths = [len(axes.lines[0].get_xdata()) for axes in panels_of(plot(listed, {"grad_cam": [MAPS[0], MAPS[1, :6]]}))]
    assert lengths == [60, 30]
    assert len(panels_of(plot(SIGNALS[0], {"grad_cam": MAPS[0]}))) == 1


KINDS: dict[str, tuple[Any, Any, str]] = {
    "a batch of images": (np.zeros((2, 9, 9, 3)), np.zeros((2, 3, 3)), "image"),
    "one image": (np.zeros((9, 9, 3)), np.zeros((3, 3)), "image"),
    "one gray image and its saliency": (np.zeros((9, 40, 1)), np.zeros((9, 40, 1)), "image"),
    "one gray image and its map": (np.zeros((9, 40, 1), np.uint8), np.zeros((9, 40)), "image"),
    "a preprocessed image": (RANDOM.normal(size=(30, 40, 3)), np.zeros((30, 40, 3)), "image"),
    "an image and a batch of one map": (np.zeros((9, 9, 3)), np.zeros((1, 3, 3)), "image"),
    "one signal": (np.zeros((50, 1)), np.zeros(50), "signal"),
    "signals of 12 channels": (np.zeros((2, 50, 12)), np.zeros((2, 7)), "signal"),
    "signals and short maps": (np.zeros((2, 50, 1)), np.zeros((2, 7)), "signal"),
    "signals around zero": (SIGNALS, SIGNALS, "signal"),
    "a list of signals": ([np.zeros((50, 1))], np.zeros((1, 7)), "signal"),
    "a list of images": ([np.zeros((9, 9, 3))], np.zeros((1, 7, 7)), "image"),
    "volumes": (np.zeros((2, 5, 9, 9, 1)), np.zeros((2, 2, 3, 3)), "volume"),
    "videos": (np.zeros((2, 5, 9, 9, 3)), np.zeros((2, 2, 3, 3)), "video"),
    "a list of videos": ([np.zeros((5, 9, 9, 3))], np.zeros((1, 2, 3, 3)), "video"),
}


@pytest.mark.parametrize("name", KINDS)
def test_the_axes_tell_images_from_signals_and_volumes(name: str) -> None:
    images, maps, kind = KINDS[name]
    assert kind_of(images, {"a": maps, "b": {"target": maps}}) == kind


def test_a_kind_can_be_given() -> None:
    signals = RANDOM.random((2, 50, 1))
    assert kind_of(signals, {"saliency": signals}) == "image"
    assert len(panels_of(plot(signals, {"saliency": signals}, kind="signal"))) == 2
    with pytest.raises(OptionError, match="Unknown data kind 'sound'"):
        plot(signals, {"saliency": signals}, kind="sound")


@pytest.mark.parametrize(
    ("signals", "maps", "message"),
    [
        (SIGNALS, MAPS[:1], "one map per signal. Received: 1 maps for 2 signals"),
        (SIGNALS, np.zeros((2, 60, 4)), r"shape \(time,\) or \(time, 1\)\. Received: shape \(60, 4\)"),
        (SIGNALS * np.nan, MAPS, "signal contains NaN"),
        (SIGNALS, MAPS * np.inf, "attribution contains NaN or infinite"),
        (SIGNALS[:0], MAPS[:0], "at least one signal to draw. Received: none"),
        ([SIGNALS[0], SIGNALS[:1]], MAPS, r"signal of shape \(time, channels\)\. Received: shape \(1, 60, 1\)"),
    ],
)
def test_what_cannot_be_drawn_is_rejected(signals: Any, maps: Any, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        plot(signals, {"grad_cam": maps}, kind="signal")


# --- volumes --------------------------------------------------------------------------------------

VOLUMES = RANDOM.integers(0, 256, (2, 20, 12, 16, 1), np.uint8)


def pictures_of(figure: Any) -> list[np.ndarray]:
    """Return the slices and maps, row by row."""
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes if not axes.axison]


def slices_of(figure: Any) -> list[int]:
    return [int(re.findall(r"\d+", axes.get_title())[0]) for axes in figure.axes if axes.get_title()]


def test_a_row_of_slices_and_a_row_of_maps_over_them() -> None:
    maps = RANDOM.random((2, 5, 6, 8))
    figure = plot(VOLUMES, {"grad_cam": maps}, slices=[3, 10])
    drawn = pictures_of(figure)
    assert slices_of(figure) == [3, 10, 3, 10]
    assert len(drawn) == 8
    limit = float(np.percentile(maps[1], 99.5, method="higher"))  # of the whole volume
    for place, (index, layer) in enumerate([(3, 0), (10, 2)]):
        plain, over = drawn[4 + place], drawn[6 + place]
        assert abs(plain.mean() - VOLUMES[1, index].mean()) < 2
        np.testing.assert_array_equal(over, blended(plain, maps[1, layer], "heatmap", Look(underlay="gray"), limit))


def test_the_automatic_slices_contain_the_strongest_one() -> None:
    maps = np.zeros((2, 20, 6, 8))
    maps[0, 9], maps[1, 13] = 1, 1
    figure = plot(VOLUMES, {"grad_cam": maps})
    first, second = slices_of(figure)[:6], slices_of(figure)[6:]
    assert 9 in first
    assert 13 in second
    assert first[0] == 0
    assert first[-1] == 19
    assert [len(first), len(second)] == [6, 6]


def test_a_map_without_depth_is_the_same_on_every_slice() -> None:
    gray = np.zeros((1, 3, 12, 16, 1), np.uint8)
    figure = plot(gray, {"grad_cam": RANDOM.random((1, 6, 8))})
    maps = pictures_of(figure)[3:]
    assert all((one == maps[0]).all() for one in maps)
    assert any("one map for" in words for words in words_of(figure))


@pytest.mark.parametrize(("kind", "plane"), [("volume", "slice"), ("video", "frame"), (None, "slice")])
def test_a_volume_has_slices_and_a_video_has_frames(kind: str | None, plane: str) -> None:
    figure = plot(VOLUMES[:1, :4], {"grad_cam": RANDOM.random((1, 6, 8))}, kind=kind, scale="image")
    assert [axes.get_title() for axes in figure.axes[:4]] == [f"{plane} {number} (0–3)" for number in range(4)]
    title, planes, method, meaning = words_of(figure)
    assert title == f"{kind or 'volume'} 0".capitalize()
    assert planes == f"{plane}s".capitalize()
    assert f"one map for all {plane}s" in method.replace("\n", " ")
    assert f"all targets of a {kind or 'volume'} and method, over all {plane}s" in meaning


def test_slices_of_a_volume_share_one_gray_scale() -> None:
    """Hounsfield units: the darkest slice is dark beside the brightest."""
    volume = np.linspace(-1000, 1000, 5)[:, None, None, None] * np.ones((5, 8, 8, 1))
    drawn = pictures_of(plot(volume[None], {"grad_cam": np.ones((1, 5, 4, 4))}))[:5]
    np.testing.assert_allclose([one.mean() for one in drawn], [0, 64, 128, 191, 255], atol=1)


def test_the_sum_of_an_excitation_map_counts_each_layer_once() -> None:
    p = RANDOM.random((1, 2, 3, 3))
    figure = plot(VOLUMES[:1], {"excitation_backprop": p / p.sum()})
    assert any("sum 1.00" in words for words in words_of(figure))


@pytest.mark.parametrize("slices", [[20], [-1], []])
def test_a_slice_that_does_not_exist_is_rejected(slices: list[int]) -> None:
    with pytest.raises(OptionError, match="`slices` must be numbers from 0 to 19"):
        plot(VOLUMES, {"grad_cam": np.ones((2, 2, 2, 2))}, slices=slices)


def test_slices_are_for_volumes() -> None:
    with pytest.raises(OptionError, match="`slices` applies only to volumes"):
        plot(SIGNALS, {"grad_cam": MAPS}, slices=[0])


@pytest.mark.parametrize(
    ("volumes", "maps", "message"),
    [
        (VOLUMES, np.ones((1, 2, 2, 2)), "one map per volume. Received: 1 maps for 2 volumes"),
        (VOLUMES, np.ones((2, 5)), r"depth, height, width.* Received: shape \(5,\)"),
        (VOLUMES, np.full((2, 5, 2, 2), np.nan), "attribution contains NaN"),
        (np.zeros((1, 2, 4, 4, 3)), np.ones((1, 2)), r"one map per video, of shape \(frames, .* for all frames"),
        ([VOLUMES[0], VOLUMES[0, 0]], np.ones((2, 5, 2, 2)), r"Expected a volume of shape .* Received: shape \(12, 16, 1\)"),
    ],
)
def test_volumes_that_cannot_be_drawn_are_rejected(volumes: Any, maps: Any, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        plot(volumes, {"grad_cam": maps})


# --- layout ---------------------------------------------------------------------------------------

FIGURES = {
    "signals": lambda: plot(SIGNALS, {"grad_cam": MAPS, "contrastive_excitation_backprop": MAPS}, captions=["a" * 60, None]),
    "many channels": lambda: plot(RANDOM.normal(size=(1, 90, 40)), {"saliency": RANDOM.normal(size=(1, 90, 40))}),
    "volumes": lambda: plot(VOLUMES, {"contrastive_excitation_backprop": np.ones((2, 5, 6, 8)), "saliency": VOLUMES - 100.0}),
    "two slices": lambda: plot(VOLUMES, {"grad_cam": {"a long name of a class": np.ones((2, 5, 6, 8))}}, slices=[0, 1]),
}


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_is_cut_off_or_covers_another(name: str) -> None:
    figure = FIGURES[name]()
    figure.draw_without_rendering()
    whole = figure.get_tightbbox()  # inches
    assert whole.x0 >= 0 and whole.y0 >= 0
    assert whole.x1 <= figure.get_figwidth() and whole.y1 <= figure.get_figheight()
    labels = [label for axes in bars_of(figure) for label in axes.get_yticklabels()]
    texts = [*figure.texts, *labels, *(axes.title for axes in figure.axes)]
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    for index, box in enumerate(boxes):
        for other in boxes[index + 1 :]:
            assert not (box.x0 < other.x1 - 1 and other.x0 < box.x1 - 1 and box.y0 < other.y1 - 1 and other.y0 < box.y1 - 1)
