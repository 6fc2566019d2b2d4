"""Image files: all common kinds are read correctly, and damaged files are named in the error."""

from __future__ import annotations

import contextlib
import io
import os
import re
import stat
import struct
import unicodedata
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageOps

from tfviz.atomic_files import write_atomically
from tfviz.errors import ImageError, OutputError
from tfviz.images import find_images, read_image, write_image
from tfviz.images.formats import describe

LOSSLESS: dict[str, dict[str, Any]] = {"PNG": {}, "BMP": {}, "WEBP": {"lossless": True, "exact": True}, "TIFF": {}}
FORMATS = {**LOSSLESS, "JPEG": {"quality": 100, "subsampling": 0}}


def smooth(height: int = 40, width: int = 60) -> np.ndarray:
    """Return an image without sharp edges, which JPEG would blur, and with distinct corners."""
    coarse = np.random.default_rng(7).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)


def encoded(picture: np.ndarray | Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(buffer, kind, **{**FORMATS.get(kind, {}), **options})
    return buffer.getvalue()


def read(tmp_path: Path, data: bytes, name: str = "picture.jpg") -> np.ndarray:
    path = tmp_path / name
    path.write_bytes(data)
    return read_image(path)


def with_orientation(number: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = number
    return exif


# Reading


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_read_as_rgb(tmp_path: Path, kind: str) -> None:
    picture = smooth()
    got = read(tmp_path, encoded(picture, kind))
    assert got.dtype == np.uint8
    assert got.flags.c_contiguous
    assert np.abs(got.astype(int) - picture).max() <= (4 if kind == "JPEG" else 0)


@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied(tmp_path: Path, kind: str, number: int) -> None:
    data = encoded(smooth(), kind, exif=with_orientation(number))
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    got = read(tmp_path, data)
    assert got.shape == expected.shape
    assert np.abs(got.astype(int) - expected).max() <= (3 if kind == "JPEG" else 0)


@pytest.mark.parametrize("number", [1, 3, 6])
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_transparency_is_blended_with_white_and_rotated_with_the_image(tmp_path: Path, kind: str, number: int) -> None:
    picture = smooth()
    alpha = np.linspace(0, 255, picture[..., 0].size).reshape(picture.shape[:2]).astype(np.uint8)
    data = encoded(np.dstack([picture, alpha]), kind, exif=with_orientation(number))
    rgba = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data)))).astype(float)
    share = rgba[..., 3:] / 255
    expected = rgba[..., :3] * share + 255 * (1 - share)
    # libtiff rounds the product once more
    assert np.abs(read(tmp_path, data) - expected).max() <= 1


def test_a_palette_with_transparency_is_blended_with_white(tmp_path: Path) -> None:
    palette = Image.fromarray(np.repeat(np.uint8([[0, 1]]), 4, axis=0).repeat(4, axis=1), "P")
    palette.putpalette([255, 0, 0, 0, 0, 255])
    got = read(tmp_path, encoded(palette, "PNG", transparency=0))
    assert got[0, 0].tolist() == [255, 255, 255]
    assert got[0, -1].tolist() == [0, 0, 255]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_become_the_nearest_eight(tmp_path: Path, kind: str) -> None:
    deep = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = np.rint(deep / 257).astype(np.uint8)
    got = read(tmp_path, encoded(Image.fromarray(deep), kind))
    assert np.array_equal(got, np.dstack([expected] * 3))


def test_sixteen_bits_with_color_and_alpha(tmp_path: Path) -> None:
    bgra = np.zeros((4, 4, 4), np.uint16)
    bgra[..., 2], bgra[..., 3] = 65535, 65535 * 3 // 5
    _, data = cv2.imencode(".png", bgra)
    assert read(tmp_path, data.tobytes())[0, 0].tolist() == [255, 102, 102]


@pytest.mark.parametrize("mode", ["L", "1", "LA", "P"])
def test_gray_bilevel_and_palette_images_become_rgb(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(smooth()).convert(mode)
    assert np.array_equal(read(tmp_path, encoded(picture, "PNG")), np.asarray(picture.convert("RGB")))


def test_a_cmyk_jpeg_is_read_in_its_colors(tmp_path: Path) -> None:
    got = read(tmp_path, encoded(Image.fromarray(smooth()).convert("CMYK"), "JPEG"))
    assert np.abs(got.astype(int) - smooth()).mean() < 3


def test_a_progressive_jpeg_is_read(tmp_path: Path) -> None:
    got = read(tmp_path, encoded(smooth(), "JPEG", progressive=True))
    assert np.abs(got.astype(int) - smooth()).max() <= 4


def test_the_content_determines_the_format_not_the_extension(tmp_path: Path) -> None:
    assert np.array_equal(read(tmp_path, encoded(smooth(), "PNG"), "really a png.jpg"), smooth())


@pytest.mark.parametrize("name", ["mit Leerzeichen.png", "猫 и кот.png", unicodedata.normalize("NFD", "Zoë.png"), "Zoë.png"])
def test_any_name_can_be_written_and_read(tmp_path: Path, name: str) -> None:
    path = write_image(tmp_path / "a folder ü" / name, smooth())
    assert np.array_equal(read_image(path), smooth())
    assert np.array_equal(read_image(str(path)), smooth())


@pytest.mark.parametrize("kind", FORMATS)
def test_bytes_after_the_end_of_a_file_are_ignored(tmp_path: Path, kind: str) -> None:
    data = encoded(smooth(), kind)
    assert np.array_equal(read(tmp_path, data + b"\0" * 9 + b"a maker's own data" * 50), read(tmp_path, data))


@pytest.mark.parametrize("kind", FORMATS)
def test_the_size_is_read_from_the_header(kind: str) -> None:
    found = describe(encoded(smooth(30, 50), kind))
    assert found is not None and found.is_whole
    assert found.size == (30, 50)


@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 80}, {"lossless": True, "exif": with_orientation(1)}])
def test_the_size_is_read_from_all_three_kinds_of_webp(options: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    Image.fromarray(smooth(30, 50)).save(buffer, "WEBP", **options)
    found = describe(buffer.getvalue())
    assert found is not None and found.size == (30, 50)


# Rejected files


def refusal(tmp_path: Path, data: bytes, name: str = "holiday.jpg") -> str:
    with pytest.raises(ImageError) as caught:
        read(tmp_path, data, name)
    assert name in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99, "one byte less"])
@pytest.mark.parametrize("kind", FORMATS)
def test_a_truncated_file_is_rejected_by_name(tmp_path: Path, kind: str, share: Any, capfd: Any) -> None:
    data = encoded(smooth(200, 300), kind)
    cut = data[:-1] if isinstance(share, str) else data[: int(len(data) * share)]
    assert re.search("truncated(,| or) damaged", refusal(tmp_path, cut))
    assert capfd.readouterr().err == ""  # and no decoder prints anything


def test_a_jpeg_truncated_after_its_thumbnail_is_rejected(tmp_path: Path) -> None:
    thumbnail = encoded(smooth(8, 8), "JPEG")
    segment = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 8) + b"Exif\0\0" + thumbnail
    data = encoded(smooth(200, 300), "JPEG")
    whole = data[:2] + segment + data[2:]
    assert read(tmp_path, whole).shape == (200, 300, 3)
    assert "truncated" in refusal(tmp_path, whole[:-500])


def test_a_jpeg_whose_end_is_filled_with_zeros_is_rejected(tmp_path: Path) -> None:
    data = encoded(smooth(200, 300), "JPEG")
    assert "truncated" in refusal(tmp_path, data[: len(data) // 2] + b"\0" * (len(data) // 2))


def test_a_png_with_a_flipped_bit_is_rejected(tmp_path: Path, capfd: Any) -> None:
    data = bytearray(encoded(smooth(200, 300), "PNG"))
    data[len(data) // 2] ^= 4
    assert "damaged" in refusal(tmp_path, bytes(data), "flipped.png")
    assert capfd.readouterr().err == ""


def test_a_damaged_bmp_or_tiff_is_rejected_without_opencv_output(tmp_path: Path, capfd: Any) -> None:
    assert "OpenCV cannot read" in refusal(tmp_path, encoded(smooth(), "BMP")[:26] + b"\1" * 200, "x.bmp")
    assert "OpenCV cannot read" in refusal(tmp_path, b"II*\0" + b"\1" * 200, "x.tiff")
    assert capfd.readouterr().err == ""


def test_a_text_file_named_jpg_is_rejected(tmp_path: Path) -> None:
    message = refusal(tmp_path, b"Dear diary, today")
    assert "is not a JPEG, PNG, BMP, WebP or TIFF file. It starts with b'Dear diary, '" in message


def test_other_image_formats_are_rejected(tmp_path: Path) -> None:
    assert "is not a JPEG" in refusal(tmp_path, encoded(Image.fromarray(smooth()).convert("P"), "GIF"), "a.gif")


def test_an_empty_file_is_rejected(tmp_path: Path) -> None:
    assert "is an empty file (0 bytes)" in refusal(tmp_path, b"")


def test_a_missing_file_and_a_folder_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"The file .*nowhere\.png does not exist"):
        read_image(tmp_path / "nowhere.png")
    with pytest.raises(ImageError, match=r"is a folder, not an image file"):
        read_image(tmp_path)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_single_pixel_is_rejected(tmp_path: Path, kind: str) -> None:
    assert "1 pixels wide and 1 high, but each side must have at least 2" in refusal(tmp_path, encoded(smooth()[:1, :1], kind))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "JPEG"])
def test_a_very_wide_image_is_rejected(tmp_path: Path, kind: str) -> None:
    wide = np.zeros((2, 20_000, 3), np.uint8)
    assert "20000 pixels wide and 2 high, but each side may have at most 16384 pixels" in refusal(tmp_path, encoded(wide, kind))


def test_a_size_that_opencv_rejects_is_an_image_error(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 10**6, 10**6, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0")), (b"IEND", b""))
    body = [struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks]
    assert "at most 16384" in refusal(tmp_path, b"\x89PNG\r\n\x1a\n" + b"".join(body))


def test_floating_point_images_are_rejected(tmp_path: Path) -> None:
    message = refusal(tmp_path, encoded(Image.fromarray(smooth()[..., 0].astype(np.float32)), "TIFF"), "depth.tif")
    assert "float32 values, but only images with 8 or 16 bits" in message


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted(FORMATS)), st.binary(max_size=120), st.integers(0, 400))
def test_arbitrary_bytes_raise_nothing_but_an_image_error(tmp_path: Path, kind: str, noise: bytes, at: int) -> None:
    data = bytearray(encoded(smooth(6, 6), kind))
    data[at : at + len(noise)] = noise
    with contextlib.suppress(ImageError):
        assert read(tmp_path, bytes(data)).dtype == np.uint8


# Writing


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    arrays(np.uint8, st.tuples(st.integers(2, 9), st.integers(2, 9), st.just(3))),
    st.sampled_from([".png", ".bmp", ".tiff"]),
)
def test_a_written_image_is_read_back_unchanged(tmp_path: Path, picture: np.ndarray, suffix: str) -> None:
    assert np.array_equal(read_image(write_image(tmp_path / f"picture{suffix}", picture)), picture)


@pytest.mark.parametrize("suffix", [".JPG", ".jfif", ".webp", ".tif"])
def test_the_extension_determines_the_format_that_is_written(tmp_path: Path, suffix: str) -> None:
    path = write_image(tmp_path / f"picture{suffix}", smooth())
    found = describe(path.read_bytes())
    assert found is not None and found.kind[:2].lower() == suffix.lower()[1:3].replace("jf", "jp")


@pytest.mark.parametrize("wrong", [smooth().astype(np.float32), smooth()[..., 0], smooth()[None], smooth()[:0], [[1]]])
def test_only_images_are_written(tmp_path: Path, wrong: Any) -> None:
    with pytest.raises(ImageError, match=r"Expected an image as a uint8 RGB array of shape \(height, width, 3\)\. Received: "):
        write_image(tmp_path / "a.png", wrong)


def test_an_unknown_extension_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"its file extension is unknown\. Use one of \.bmp"):
        write_image(tmp_path / "picture.xyz", smooth())


def test_a_path_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file where a folder is wanted")
    with pytest.raises(OutputError, match=r"results.*cannot be written \(.+\)\. Pass a writable folder"):
        write_image(tmp_path / "results" / "a.png", smooth())


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: Any) -> None:
    path = write_image(tmp_path / "a.png", smooth())

    def half(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(KeyboardInterrupt):
        write_image(path, 255 - smooth())
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]
    assert np.array_equal(read_image(path), smooth())


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_written_files_have_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    path = write_atomically(tmp_path / "text.html", "grün")
    assert path.read_bytes() == "grün".encode()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "usual").stat().st_mode)


# Finding


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in [
        "b.PNG",
        "a.jpg",
        "in/c d.webp",
        "in/deeper/e.tiff",
        ".hidden.png",
        ".git/f.png",
        "notes.txt",
        "empty/x.md",
    ]:
        (tmp_path / "pictures" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pictures" / name).write_bytes(b"")
    return tmp_path / "pictures"


def relatives(*paths: Path) -> list[str]:
    return [found.relative.as_posix() for found in find_images(paths)]


def test_a_folder_is_walked_in_order_and_keeps_its_structure(tree: Path) -> None:
    assert relatives(tree) == ["a.jpg", "b.PNG", "in/c d.webp", "in/deeper/e.tiff"]
    assert find_images(str(tree))[0].path == tree / "a.jpg"


def test_several_paths_are_kept_apart(tree: Path) -> None:
    other = tree.parent / "other" / "in"
    write_image(other / "c d.webp", smooth())
    assert relatives(tree / "in", other) == ["in/c d.webp", "in/deeper/e.tiff", "in-2/c d.webp"]
    assert relatives(tree / "a.jpg", tree / "in") == ["a.jpg", "in/c d.webp", "in/deeper/e.tiff"]
    assert relatives(tree / "in/c d.webp", other / "c d.webp") == ["c d.webp", "c d-2.webp"]


def test_names_that_some_file_systems_equate_are_kept_apart(tmp_path: Path) -> None:
    names = ["Zoë.png", unicodedata.normalize("NFD", "Zoë.png"), "ZOË.png"]
    files = [write_image(tmp_path / str(number) / name, smooth()) for number, name in enumerate(names)]
    keys = {unicodedata.normalize("NFC", relative).casefold() for relative in relatives(*files)}
    assert len(keys) == 3


def test_a_file_that_is_named_twice_is_found_once(tree: Path) -> None:
    assert relatives(tree / "a.jpg", tree / "in" / ".." / "a.jpg") == ["a.jpg"]
    assert relatives(tree / "a.jpg", tree).count("a.jpg") == 1


def test_an_explicit_file_counts_regardless_of_its_name(tree: Path) -> None:
    assert relatives(tree / "notes.txt") == ["notes.txt"]


def test_a_path_that_does_not_exist_is_rejected(tree: Path) -> None:
    with pytest.raises(ImageError, match=r"The file or folder .*nothing here does not exist"):
        find_images([tree, tree / "nothing here"])


def test_a_folder_without_images_is_rejected(tree: Path) -> None:
    with pytest.raises(ImageError, match=r"empty contains no images\. Supported file extensions: \.bmp"):
        find_images([tree / "empty"])


def test_a_folder_that_cannot_be_read_is_rejected(tree: Path, monkeypatch: Any) -> None:
    def refuse(path: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ImageError, match=r"pictures cannot be read \(Permission denied\)"):
        find_images([tree])
