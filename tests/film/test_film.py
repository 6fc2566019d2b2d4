"""Films, checked by decoding them: the frames, their number, and films of imperfect runs."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import weakref
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.fake_runs import METHODS, FakeTrainer, image_of, map_of

from tfviz.cli.main import main
from tfviz.errors import MissingPackageError, OptionError, OutputError, SnapshotsError
from tfviz.film.film import Film, write_film
from tfviz.film.frame_layout import Box, FrameLayout, layout_for
from tfviz.film.frames import EMPTY, FramePainter, caption_of
from tfviz.film.loss_curve import LossCurve
from tfviz.film.pace import HOLD_S, pace_for
from tfviz.film.typography import line_height, text_width, write_line
from tfviz.images import write_image
from tfviz.render.pictures import shrunk_or_enlarged

ID = "0123456789abcdef" * 2
NAMES = [name for name, _ in METHODS]


@pytest.fixture
def trainer(tmp_path: Path) -> FakeTrainer:
    pytest.importorskip("av")
    return FakeTrainer(tmp_path / "run", ID, total=12)


def frames_of(path: Path) -> list[np.ndarray]:
    """Return all frames, uint8 RGB, decoded by libraries other than the one that encoded them."""
    if path.suffix == ".mp4":
        film, frames = cv2.VideoCapture(str(path)), []
        while (frame := film.read()[1]) is not None:
            frames.append(frame[..., ::-1])
        return frames
    image = pytest.importorskip("PIL.Image")
    sequence = pytest.importorskip("PIL.ImageSequence")
    with image.open(path) as film:
        return [np.array(frame.convert("RGB")) for frame in sequence.Iterator(film)]


def inside(frame: np.ndarray, box: Box) -> np.ndarray:
    return frame[box.top : box.top + box.height, box.left : box.left + box.width].astype(int)


def difference(frame: np.ndarray, box: Box, picture: np.ndarray) -> float:
    """Return the mean difference between the frame's content in the box and a picture, of 255."""
    return float(np.abs(inside(frame, box) - shrunk_or_enlarged(picture, box.height, box.width)).mean())


TITLES = [title for _, title in METHODS]


def layout_of(film: Film, trainer: FakeTrainer, methods: int = 2) -> FrameLayout:
    return layout_for([(trainer.size, trainer.size)] * trainer.images, TITLES[:methods], film.size[1])


@pytest.mark.parametrize(("suffix", "tolerance"), [(".mp4", 4), (".gif", 9), (".webp", 4)])
def test_every_frame_shows_the_images_and_the_maps_of_its_snapshot(
    trainer: FakeTrainer, tmp_path: Path, suffix: str, tolerance: float
) -> None:
    trainer.snap(12)
    film = write_film(trainer.folder, tmp_path / f"film{suffix}", width=400)
    frames, layout = frames_of(film.path), layout_of(film, trainer)
    assert film.pace.shown == list(range(12)) and film.missing == 0
    assert len(frames) >= 12 and all(frame.shape == (*film.size, 3) for frame in frames)
    for number in (0, 5, 11):
        for image in range(2):
            assert difference(frames[number], layout.picture(image, 0), image_of(image)) < tolerance
            for place in range(2):
                shown = [
                    difference(frames[number], layout.picture(image, 1 + place), map_of(image, n, place, 12)) for n in range(12)
                ]
                assert np.argmin(shown) == number and shown[number] < tolerance
    assert np.abs(frames[-1].astype(int) - frames[11]).mean() < 1  # The last frame stays.


def test_browsers_can_play_the_mp4(trainer: FakeTrainer, tmp_path: Path) -> None:
    import av

    trainer.snap(9)
    film = write_film(trainer.folder, tmp_path / "film.mp4", width=333, fps=4)
    with av.open(str(film.path)) as container:
        (stream,) = container.streams
        codec = stream.codec_context
        assert (codec.name, codec.pix_fmt, codec.width, codec.height) == ("h264", "yuv420p", 334, film.size[0])
        # BT.709, as tagged
        assert film.size[0] % 2 == 0 and (codec.colorspace, codec.color_range) == (1, 1)
        assert stream.average_rate == Fraction(4) and stream.frames == 9 + round(HOLD_S * 4)
        assert float(stream.duration * stream.time_base) == film.pace.duration_s == 15 / 4
    content = film.path.read_bytes()
    assert content.find(b"moov") < content.find(b"mdat")  # The film plays while it loads.


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_gif_and_webp_keep_the_pace_and_loop(trainer: FakeTrainer, tmp_path: Path, suffix: str) -> None:
    image = pytest.importorskip("PIL.Image")
    trainer.snap(6)
    film = write_film(trainer.folder, tmp_path / f"film{suffix}", width=200, fps=4)
    with image.open(film.path) as moving:
        duration_ms = 0
        for number in range(moving.n_frames):
            moving.seek(number)
            moving.load()
            duration_ms += moving.info["duration"]
        assert moving.info["loop"] == 0 and abs(duration_ms - 1000 * film.pace.duration_s) <= 10 == 10
    assert film.pace.duration_s == 3


def test_static_parts_of_a_gif_do_not_flicker(trainer: FakeTrainer, tmp_path: Path) -> None:
    trainer.snap(8)
    film = write_film(trainer.folder, tmp_path / "film.gif", width=300)
    box = layout_of(film, trainer).picture(0, 0)
    first, *others = frames_of(film.path)
    assert all(np.array_equal(inside(first, box), inside(other, box)) for other in others)


def test_methods_and_images_are_selected_in_order(trainer: FakeTrainer, tmp_path: Path) -> None:
    trainer.snap(3)
    film = write_film(trainer.folder, tmp_path / "film.mp4", methods=["grad-cam"], images=[1], width=300)
    (first, *_), layout = frames_of(film.path), layout_for([(32, 32)], TITLES[1:], 300)
    assert difference(first, layout.picture(0, 0), image_of(1)) < 4
    assert difference(first, layout.picture(0, 1), map_of(1, 0, 1, 12)) < 4
    film = write_film(trainer.folder, tmp_path / "film.mp4", methods=NAMES[::-1], images=[1, 0], width=300)
    (first, *_), layout = frames_of(film.path), layout_of(film, trainer)
    assert difference(first, layout.picture(0, 0), image_of(1)) < 4
    assert difference(first, layout.picture(1, 1), map_of(0, 0, 1, 12)) < 4


def test_re_chosen_images_change_from_frame_to_frame(trainer: FakeTrainer, tmp_path: Path) -> None:
    for positions in ([5, 9], [9, 5]):
        trainer.snap_images(positions, [0, 1])
    film = write_film(trainer.folder, tmp_path / "film.mp4", width=400)
    frames, box = frames_of(film.path), layout_of(film, trainer).picture(0, 0)
    assert difference(frames[0], box, 255 - image_of(5)) < 6 and difference(frames[-1], box, 255 - image_of(9)) < 6


def test_a_missing_picture_keeps_the_previous_one_darker_and_marked(trainer: FakeTrainer, tmp_path: Path) -> None:
    trainer.snap(2)
    trainer.snap(1, methods=["visual_backprop"], errors={"grad_cam": "NaN"})
    trainer.snap(2)
    (trainer.folder / "pictures" / "00000004" / "grad_cam" / "1.png").write_bytes(b"cut short")
    film = write_film(trainer.folder, tmp_path / "film.mp4", width=400)
    frames, layout = frames_of(film.path), layout_of(film, trainer)
    assert film.missing == 3
    box = layout.picture(0, 2)
    before, stale = (inside(frames[number], box) for number in (1, 2))
    half = box.height // 2
    assert np.abs(stale[half:] - 0.55 * before[half:]).mean() < 3
    assert np.abs(stale[2, 2] - (240, 120, 60)).max() < 40 and np.abs(before[2, 2] - stale[2, 2]).max() > 60
    assert difference(frames[3], box, map_of(0, 3, 1, 12)) < 4  # The next picture is complete.
    assert (
        np.abs(inside(frames[4], layout.picture(1, 2))[half:] - 0.55 * inside(frames[3], layout.picture(1, 2))[half:]).mean()
        < 3
    )


def test_a_picture_without_a_previous_one_is_an_empty_tile(trainer: FakeTrainer, tmp_path: Path) -> None:
    trainer.snap(2, with_pictures=False)
    (trainer.folder / "images" / "0.png").unlink()
    film = write_film(trainer.folder, tmp_path / "film.mp4", width=400)
    first, layout = frames_of(film.path)[0], layout_of(film, trainer)
    assert film.missing == 8
    assert np.abs(inside(first, layout.picture(0, 0)) - EMPTY).mean() < 2
    assert np.abs(inside(first, layout.picture(0, 1))[-20:] - 0.55 * np.array(EMPTY)).mean() < 3


def test_images_of_different_sizes_keep_their_aspect_ratio(trainer: FakeTrainer, tmp_path: Path) -> None:
    sizes, rng = [(21, 63), (50, 31), (33, 33)], np.random.default_rng(0)
    pictures = [
        np.repeat(np.repeat(rng.integers(0, 256, (3, 3, 3), np.uint8), h // 3 + 1, 0), w // 3 + 1, 1)[:h, :w] for h, w in sizes
    ]
    run = {**trainer.run, "images": [{"height": height, "width": width} for height, width in sizes]}
    (trainer.folder / "run.json").write_text(json.dumps(run))
    trainer.snap(2)
    for image, picture in enumerate(pictures):
        write_image(trainer.folder / "images" / f"{image}.png", picture)
    film = write_film(trainer.folder, tmp_path / "film.mp4", methods=["grad_cam"], width=500)
    first, layout = frames_of(film.path)[0], layout_for(sizes, TITLES[1:], 500)
    for image, picture in enumerate(pictures):
        box = layout.picture(image, 0)
        assert abs(math.log(box.width / box.height * sizes[image][0] / sizes[image][1])) < 0.05
        assert difference(first, box, picture) < 8


def test_an_unfinished_run_gives_a_film_of_its_complete_snapshots(trainer: FakeTrainer, tmp_path: Path) -> None:
    trainer.snap(4)
    with (trainer.folder / "snapshots.jsonl").open("a") as index:
        index.write('{"number": 4, "when": "ba')
    assert write_film(trainer.folder, tmp_path / "film.mp4", width=200).snapshots == 4


def test_a_picture_of_another_size_is_missing_and_never_decoded(
    trainer: FakeTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer.snap(4)
    write_image(trainer.folder / "pictures" / "00000001" / "grad_cam" / "1.png", np.zeros((2000, 3000, 3), np.uint8))
    (trainer.folder / "pictures" / "00000002" / "grad_cam" / "1.png").write_bytes(b"\x89PNG" + bytes(1 << 20))
    decode, sizes = cv2.imread, []

    def watched(*args: Any, **options: Any) -> np.ndarray:
        image = decode(*args, **options)
        sizes.append(image.shape)
        return image

    monkeypatch.setattr(cv2, "imread", watched)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    assert write_film(trainer.folder, tmp_path / "film.webp", width=400).missing == 2
    assert set(sizes) == {(trainer.size, trainer.size, 3)}


@pytest.mark.parametrize("damage", [{"logs": 3}, {"predictions": [{"class": "x"}, None]}, {"epoch": None}])
def test_a_damaged_record_only_loses_its_own_frame(trainer: FakeTrainer, tmp_path: Path, damage: dict) -> None:
    trainer.snap(2)
    trainer.snap(1, **damage)
    trainer.snap(2)
    film = write_film(trainer.folder, tmp_path / "film.mp4", width=200, every=1)
    assert (film.snapshots, len(film.pace.shown), film.missing) == (4, 4, 0)


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".webp"])
def test_frames_are_not_kept_in_memory(
    trainer: FakeTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    true, alive, most = FramePainter.draw, [0], [0]

    def draw(self: FramePainter, place: int) -> np.ndarray:
        frame = true(self, place)
        weakref.finalize(frame, lambda: alive.__setitem__(0, alive[0] - 1))
        alive[0] += 1
        most[0] = max(most[0], alive[0])
        return frame

    monkeypatch.setattr(FramePainter, "draw", draw)
    trainer.snap(60)
    write_film(trainer.folder, tmp_path / f"film{suffix}", width=160)
    assert most[0] <= 3


def test_a_failure_keeps_the_old_film_and_leaves_no_other_file(trainer: FakeTrainer, tmp_path: Path) -> None:
    trainer.snap(3)
    (tmp_path / "films").mkdir()
    old = tmp_path / "films" / "film.mp4"
    old.write_bytes(b"old")

    def stop(done: int, total: int) -> None:
        assert old.read_bytes() == b"old"
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_film(trainer.folder, old, width=200, progress=stop)
    assert old.read_bytes() == b"old" and list(old.parent.iterdir()) == [old]
    write_film(trainer.folder, old, width=200)
    assert len(frames_of(old)) > 3 and list(old.parent.iterdir()) == [old]


def test_an_unwritable_path_is_an_error(trainer: FakeTrainer, tmp_path: Path) -> None:
    trainer.snap(2)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"film.mp4 cannot be written \((File exists|Not a directory)\). Choose a writable"):
        write_film(trainer.folder, tmp_path / "file" / "film.mp4")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"output": "film.avi"},
            OutputError,
            r"film.avi must have one of the file extensions .mp4, .gif, .webp. Received: '.avi'",
        ),
        ({"methods": ["gradcam"]}, OptionError, r"no maps for the method 'gradcam'. Did you mean 'grad_cam'"),
        ({"methods": []}, OptionError, r"`methods` must name at least one method. Available: 'visual_backprop', 'grad_cam'"),
        ({"images": [0, 2]}, OptionError, r"has 2 images, so `images` must .* from 0 to 1. Received: \[0, 2\]"),
        ({"images": []}, OptionError, r"The run has 2 images, so `images` must"),
        ({"fps": 0}, OptionError, r"`fps` must be between 0.1 and 50 snapshots per second. Received: 0"),
        ({"fps": math.nan}, OptionError, r"`fps` must be .* Received: nan"),
        ({"every": 0}, OptionError, r"`every` must be a positive integer \(1 shows all snapshots\)\. Received: 0"),
        ({"seconds": 0.5}, OptionError, r"`seconds` must be a finite number of at least 1. Received: 0.5"),
        ({"seconds": math.nan}, OptionError, r"`seconds` must be .* Received: nan"),
        ({"seconds": math.inf}, OptionError, r"`seconds` must be a finite number of at least 1. Received: inf"),
        ({"every": 2, "seconds": 5}, OptionError, r"`every` and `seconds` cannot be combined.* Pass only one"),
        ({"width": 100}, OptionError, r"`width` must be between 160 and 3840 pixels. Received: 100"),
    ],
)
def test_invalid_options_are_an_error(
    trainer: FakeTrainer, tmp_path: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    trainer.snap(2)
    with pytest.raises(error, match=message):
        write_film(trainer.folder, **{"output": tmp_path / "film.mp4", **options})
    assert list(tmp_path.iterdir()) == [trainer.folder]


def test_a_folder_with_no_run_or_several_is_an_error(trainer: FakeTrainer, tmp_path: Path) -> None:
    output = tmp_path / "film.mp4"
    with pytest.raises(SnapshotsError, match=r"There is no run in .*nowhere: run.json cannot be read \(No such file"):
        write_film(tmp_path / "nowhere", output)
    with pytest.raises(SnapshotsError, match=r"The run in .*run has no snapshots yet. Wait for the first snapshot"):
        write_film(trainer.folder, output)
    FakeTrainer(tmp_path / "second", ID[::-1])
    with pytest.raises(SnapshotsError, match=r"contains 2 runs, .* only one. Pass the folder of one run: .*/run, .*/second\."):
        write_film(tmp_path, output)
    trainer.snap()
    shutil.rmtree(tmp_path / "second")
    assert write_film(tmp_path, output, width=200).snapshots == 1  # a single run now


def test_without_pyav_the_error_names_the_install_command(trainer: FakeTrainer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingPackageError, match=r"PyAV, which encodes films, is not installed. Run: pip install av"):
        write_film(trainer.folder, "film.mp4")


# The pace


@pytest.mark.parametrize(
    ("count", "options", "fps", "shown"),
    [
        (1, {}, 2, 1),
        (7, {}, 2, 7),
        (150, {}, 10, 150),
        (400, {}, 15, 400),
        (10_000, {}, 15, 60 * 15 - 22),
        (10_000, {"every": 1}, 15, 10_000),
        (100, {"every": 10}, 2, 11),
        (100, {"seconds": 10}, 10, 85),
        (100, {"seconds": 10, "fps": 2}, 2, 17),
        (40, {"fps": 50}, 50, 40),
    ],
)
def test_a_short_run_is_slow_and_a_long_one_is_thinned_out(count: int, options: dict[str, Any], fps: float, shown: int) -> None:
    pace = pace_for(count, **options)
    assert (pace.fps, len(pace.shown)) == (fps, shown)
    assert pace.shown[0] == 0 and pace.shown[-1] == count - 1 and sorted(set(pace.shown)) == list(pace.shown)
    if "every" not in options:
        assert pace.duration_s <= options.get("seconds", 60) + 1e-9
        assert np.ptp(np.diff(pace.shown)) <= 1 if shown > 1 else True  # evenly spread


@pytest.mark.parametrize(
    ("count", "seconds", "fps", "frames"),
    [
        (1000, 1, None, 15),
        (1000, 1, 50, 50),
        (1000, 20, 0.1, 2),
        (1000, 3, 2, 6),
        (1, 1, None, 2),
        (1, 1, 50, 50),
        (1000, 30, 0.1, 3),
        (5, 3, 2, 6),
    ],
)
def test_a_film_is_not_longer_than_requested(count: int, seconds: float, fps: float | None, frames: int) -> None:
    """The last frame stays for a shorter time, and the first snapshot is always shown."""
    pace = pace_for(count, fps, seconds=seconds)
    assert pace.frames == frames and pace.duration_s <= seconds + 1e-9
    assert pace.shown[0] == 0 and pace.shown[-1] == count - 1
    assert pace.held <= max(frames // 4, frames - count)


def test_the_first_and_last_snapshots_are_shown_even_without_time_for_two() -> None:
    assert pace_for(1000, 0.5, seconds=3).shown == [0, 999]


# The layout


@pytest.mark.parametrize("images", [1, 2, 3, 5, 6, 16])
@pytest.mark.parametrize("methods", [1, 2, 5])
@pytest.mark.parametrize("width", [480, 1281, 3840])
@pytest.mark.parametrize("size", [(32, 32), (40, 90), (90, 40)])
@pytest.mark.parametrize("title", ["Grad-CAM", "Contrastive excitation backprop"])
def test_nothing_overlaps_or_leaves_the_frame(images: int, methods: int, width: int, size: tuple[int, int], title: str) -> None:
    layout = layout_for([size] * images, [title] * methods, width)
    taken = np.zeros((layout.height, layout.width), int)
    assert layout.height % 2 == layout.width % 2 == 0 and layout.width in (width, width + 1)
    boxes = [layout.picture(image, place) for image in range(images) for place in range(1 + methods)] + [layout.curve]
    for box in boxes:
        assert min(box.top, box.left) >= 0 and box.top + box.height <= layout.height and box.left + box.width <= layout.width
        taken[box.top : box.top + box.height, box.left : box.left + box.width] += 1
    for image in range(images):
        under = layout.tile(image, 0)
        taken[
            under.top + under.height : under.top + under.height + layout.line, under.left : under.left + layout.group_width
        ] += 1
    taken[layout.caption_top : layout.caption_top + layout.line] += 1
    taken[layout.titles_top : layout.titles_top + len(layout.title_lines(title)) * layout.line] += 1
    assert taken.max() == 1


def test_too_many_maps_for_the_width_are_an_error() -> None:
    with pytest.raises(OptionError, match="2 images with 20 maps each do not fit into a width of 200 pixels"):
        layout_for([(32, 32)] * 2, TITLES * 10, 200)


def test_a_long_title_wraps() -> None:
    layout = layout_for([(32, 32)] * 6, ["Grad-CAM", "Contrastive excitation backprop"], 900)
    lines = layout.title_lines("Contrastive excitation backprop")
    assert " ".join(lines) == "Contrastive excitation backprop" and len(lines) > 1
    assert layout.tile(0, 1).top == layout.titles_top + len(lines) * layout.line
    alone = layout_for([(32, 32)] * 6, ["Grad-CAM", "Grad-CAM"], 900)
    assert alone.tile(0, 1).top == alone.titles_top + alone.line


# The curve


def test_the_curve_follows_the_loss_and_is_bright_up_to_now() -> None:
    losses, box = [None, 3.0, 2.0, None, 1.0], Box(10, 20, 60, 101)
    frame = np.zeros((100, 140, 3), np.uint8)
    LossCurve(losses, box).draw(frame, 2)
    # the rows of the largest and of the smallest loss
    heights = [int(np.argmax(frame[:68, column].max(1) > 60)) for column in (45, 118)]
    assert heights[0] <= 13 and 60 <= heights[1] <= 68
    assert tuple(frame[30, 70]) == (255, 255, 255)  # the mark of the current step
    past, future = frame[10:66, 55].max(0), frame[10:66, 100].max(0)
    assert past[0] > 150 and past[0] > past[2] + 60 and future.max() < 100  # orange and gray
    for losses in ([None, None], [2.0], [1.0, 1.0]):  # There is no range of losses.
        LossCurve(losses, box).draw(frame, len(losses) - 1)


# Text


def test_captions_state_epoch_step_and_logs() -> None:
    record = {"epoch": 2, "step": 1250, "logs": {"loss": 0.41234, "lr": 0.00001, "auc": None}}
    assert caption_of(record) == ["epoch 3", "step 1,250", "loss 0.412", "lr 1.00e-05", "auc –"]
    assert caption_of({"epoch": 0, "step": 0, "logs": {}}) == ["before training", "step 0"]


def test_caption_prediction_and_curve_change_with_the_snapshot(trainer: FakeTrainer, tmp_path: Path) -> None:
    trainer.snap(12)
    film = write_film(trainer.folder, tmp_path / "film.mp4", width=600)
    frames, layout = frames_of(film.path), layout_of(film, trainer)
    caption = Box(layout.caption_top, 0, layout.line, layout.width)
    under = layout.tile(0, 0)
    prediction = Box(under.top + under.height, under.left, layout.line, under.width)
    curve = layout.curve
    for box in (caption, prediction, curve):
        assert np.abs(inside(frames[1], box) - inside(frames[10], box)).max() > 100
    now = [int(np.argmax(inside(frames[number], curve)[:, :, 2].sum(0))) for number in (0, 6, 11)]
    assert np.allclose(now, np.array((0, 6 / 11, 1)) * (curve.width - 1), atol=2)


def test_lines_are_aligned_and_cut_off() -> None:
    for align, x, (first, last) in (("left", 10, (10, 99)), ("right", 90, (0, 90)), ("center", 50, (0, 99))):
        picture = np.zeros((40, 100, 3), np.uint8)
        write_line(picture, "Text", x, 5, 14, (255, 0, 0), align=align)
        rows, columns = np.nonzero(picture[..., 0])
        assert first <= columns.min() and columns.max() <= last and 5 <= rows.min() <= rows.max() < 5 + line_height(14)
        assert picture[..., 0].max() > 200 and picture[..., 1:].max() == 0
        assert abs(columns.max() - columns.min() - text_width("Text", 14)) < 4
    wide = np.zeros((40, 400, 3), np.uint8)
    write_line(wide, "a very long line of words", 0, 0, 14, (255, 255, 255), width=60)
    assert 30 < np.nonzero(wide)[1].max() <= 60
    write_line(wide, "partly outside", 380, 35, 14, (255, 255, 255))
    write_line(wide, "", 0, 0, 14, (255, 255, 255))


# The command


def test_the_command_prints_a_summary(trainer: FakeTrainer, tmp_path: Path, capsys: Any) -> None:
    trainer.snap(30)
    (trainer.folder / "pictures" / "00000010" / "grad_cam" / "0.png").unlink()
    words = ["--images", "1", "--methods", "grad_cam", "--every", "5", "--fps", "5", "--width", "300"]
    assert main(["film", str(trainer.folder), "--output", str(tmp_path / "film.mp4"), *words]) == 0
    output = capsys.readouterr()
    assert output.out.splitlines()[0].startswith(f"{tmp_path / 'film.mp4'}: 3.0 s, 300x")
    assert output.out.splitlines()[1:] == [
        "The film shows 7 of 30 snapshots. To show all of them, pass --every 1.",
        "1 picture is missing. The previous one is shown instead, darkened and with a marked corner.",
    ]
    assert output.err == "" and len(frames_of(tmp_path / "film.mp4")) == 15


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("film runs", "required: --output"),
        (
            "film runs --output a.mp4 --images 0,x",
            "--images: Expected comma-separated numbers, such as 1,3,6. Received: '0,x'.",
        ),
        ("film runs --output a.mp4 --every 0", "--every: Expected a positive integer. Received: '0'."),
        ("film runs --output a.mp4 --every 2 --seconds 3", "not allowed with"),
        ("film runs --output a.mp4 --images 0,2", "--images: Image numbers start at 1, as on the live page. Received: '0,2'."),
        ("film RUN --output a.mp4 --seconds inf", "`seconds` must be a finite number of at least 1. Received: inf."),
        ("film nowhere --output a.mp4", "tfviz film: error: There is no run in nowhere"),
    ],
)
def test_invalid_arguments_are_reported_in_one_line(trainer: FakeTrainer, capsys: Any, words: str, message: str) -> None:
    trainer.snap()
    assert main(words.replace("RUN", str(trainer.folder)).split()) == 2
    output = capsys.readouterr()
    assert output.out == "" and message in output.err.splitlines()[-1]


def test_progress_is_reported(trainer: FakeTrainer, tmp_path: Path) -> None:
    trainer.snap(3)
    seen: list[tuple[int, int]] = []
    write_film(trainer.folder, tmp_path / "film.gif", width=160, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_writing_a_film_needs_no_tensorflow() -> None:
    code = "import sys, tfviz.film.film, tfviz.cli.film; sys.exit(bool({'tensorflow', 'keras'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)
