"""Damaged, oversized and unusual image files are reported, never explained as if intact."""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from tfviz.errors import ImageError, WeightsError
from tfviz.images import lzw, read_image, shown
from tfviz.models.weights.npy import read_npy

PICTURE = cv2.resize(np.random.default_rng(7).integers(0, 256, (12, 12, 3), dtype=np.uint8), (224, 160))


def encoded(picture: np.ndarray, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, kind, **options)
    return buffer.getvalue()


def read(tmp_path: Path, data: bytes) -> np.ndarray:
    (tmp_path / "file").write_bytes(data)
    return read_image(tmp_path / "file")


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "packbits", "tiff_adobe_deflate", "jpeg"])
def test_a_truncated_tiff_is_rejected(tmp_path: Path, compression: str) -> None:
    data = encoded(PICTURE, "TIFF", compression=compression)
    assert read(tmp_path, data).shape == PICTURE.shape
    with pytest.raises(ImageError, match=r"truncated(,| or) damaged"):
        read(tmp_path, data[: len(data) * 2 // 3])


def test_a_flipped_bit_in_deflate_data_is_rejected(tmp_path: Path, capfd: Any) -> None:
    data = encoded(PICTURE, "TIFF", compression="tiff_adobe_deflate")
    for at in range(len(data) // 4, len(data) * 3 // 4, len(data) // 16):
        damaged = bytearray(data)
        damaged[at] ^= 4
        with pytest.raises(ImageError, match="damaged"):
            read(tmp_path, bytes(damaged))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("compression", "flips", "bursts"),
    [("tiff_lzw", 7, 20), ("packbits", 6, 20), ("group3", 19, 20), ("group4", 13, 19), ("tiff_adobe_deflate", 20, 20)],
)
def test_most_damage_in_a_tiff_is_found(tmp_path: Path, compression: str, flips: int, bursts: int) -> None:
    """One of 20 flipped bits each, or eight random bytes."""
    bilevel = np.where(PICTURE[..., 0] > 128, 255, 0).astype(np.uint8)
    image = Image.fromarray(bilevel if compression in ("packbits", "group3", "group4") else PICTURE)
    buffer = io.BytesIO()
    image.convert("1" if "group" in compression else image.mode).save(buffer, "TIFF", compression=compression)
    data, rng = buffer.getvalue(), np.random.default_rng(0)
    tags = Image.open(buffer).tag_v2
    start, length = tags[273][0], tags[279][0]
    refused = {1: 0, 8: 0}
    for number in range(40):
        size = (1, 8)[number % 2]
        at = start + int(rng.integers(length - size))
        new = rng.bytes(8) if size == 8 else bytes([data[at] ^ 1 << int(rng.integers(8))])
        try:
            read(tmp_path, data[:at] + new + data[at + size :])
        except ImageError:
            refused[size] += 1
    assert refused[1] >= flips and refused[8] >= bursts


def test_lzw_data_of_other_encoders_is_intact() -> None:
    # Clear, A, B, AB, ABA (the entry that the code itself makes), End
    codes = [256, 65, 66, 258, 260, 257]
    bits = "".join(f"{code:09b}" for code in codes)
    packed = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
    assert lzw.is_intact(packed, {7}) and lzw.is_intact(packed[:-2], {4})  # no End code
    assert lzw.is_intact(b"\0\1", {7})  # codes that start at the low bits
    assert not lzw.is_intact(packed, {6}) and not lzw.is_intact(packed, {8})


def test_a_jpeg_that_libjpeg_only_warns_about_is_rejected(tmp_path: Path, capfd: Any) -> None:
    data = encoded(PICTURE, "JPEG", quality=90)
    middle = len(data) // 2
    with pytest.raises(ImageError, match="part of its JPEG data cannot be decoded"):
        read(tmp_path, data[:middle] + data[-2:])
    assert capfd.readouterr().err == ""


def test_messages_of_other_threads_during_a_decode_are_passed_on(capfd: Any) -> None:
    from tfviz.images.decoding import _collected

    lines: list[bytes] = []
    with _collected(lines):
        os.write(2, b"a line of another thread\nCorrupt JPEG data: bad Huffman code\n")
    assert capfd.readouterr().err == "a line of another thread\n" and len(lines) == 1


@pytest.mark.parametrize("bits", [10, 12, 14, 15])
def test_values_of_fewer_bits_in_sixteen_are_scaled_with_a_warning(tmp_path: Path, bits: int) -> None:
    deep = np.linspace(0, (1 << bits) - 1, 4096).astype(np.uint16).reshape(64, 64)
    with pytest.warns(UserWarning, match=rf"values in 0-{(1 << bits) - 1}\. It is read as {bits}-bit data"):
        got = read(tmp_path, cv2.imencode(".png", deep)[1].tobytes())
    np.testing.assert_array_equal(got[..., 0], np.rint(deep * (255 / ((1 << bits) - 1))))


def test_a_dark_image_of_eight_bits_in_sixteen_is_not_brightened(tmp_path: Path) -> None:
    dark = np.arange(128, dtype=np.uint8).reshape(8, 16)
    got = read(tmp_path, cv2.imencode(".png", dark.astype(np.uint16) * 257)[1].tobytes())
    np.testing.assert_array_equal(got[..., 0], dark)


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="needs Linux' peak memory")
@pytest.mark.parametrize(("dtype", "most"), [(np.uint8, 5), (np.uint16, 8)])
def test_reading_takes_little_more_memory_than_the_pixels(tmp_path: Path, dtype: type, most: int) -> None:
    data = cv2.imencode(".png", np.zeros((2000, 2000, 3), dtype), [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()
    Path("/proc/self/clear_refs").write_text("5")  # the peak becomes the present memory
    before = memory("VmRSS")
    assert read(tmp_path, data).shape == (2000, 2000, 3)
    assert (memory("VmHWM") - before) / 2000**2 < most  # bytes per pixel


def memory(field: str) -> int:
    """Return a field of the process's status in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024


def test_files_are_decoded_where_no_file_can_be_kept_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    np.testing.assert_array_equal(read(tmp_path, encoded(PICTURE, "PNG")), PICTURE)


def test_the_scale_of_the_colors_does_not_depend_on_alpha(tmp_path: Path) -> None:
    deep = np.linspace(0, 4095, 4096).astype(np.uint16).reshape(64, 64)
    opaque = np.dstack([deep, deep, deep, np.full_like(deep, 65535)])
    with pytest.warns(UserWarning, match="It is read as 12-bit data"):
        got = read(tmp_path, cv2.imencode(".png", opaque)[1].tobytes())
    np.testing.assert_array_equal(got[..., 0], np.rint(deep * (255 / 4095)))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_tiff_in_which_zero_is_white_is_inverted(tmp_path: Path, dtype: type) -> None:
    white = np.iinfo(dtype).max
    gray = np.linspace(0, white, 256).astype(dtype).reshape(16, 16)
    data = encoded(gray, "TIFF")
    tag = struct.pack("<HHI", 262, 3, 1)  # the photometric interpretation
    data = data.replace(tag + struct.pack("<H", 1), tag + struct.pack("<H", 0))
    np.testing.assert_array_equal(read(tmp_path, data)[..., 0], 255 - np.arange(256).reshape(16, 16))


def test_an_imagej_stack_in_one_directory_has_several_pages(tmp_path: Path) -> None:
    data = encoded(np.zeros((8, 8), np.uint8), "TIFF", tiffinfo={270: "ImageJ=1.54f\nimages=3\nslices=3\n"})
    with pytest.warns(UserWarning, match="TIFF with 3 pages, but only the first is read"):
        read(tmp_path, data + bytes(128))


def test_further_pages_cause_a_warning(tmp_path: Path) -> None:
    pages = [Image.fromarray(np.full((8, 8, 3), value, np.uint8)) for value in (10, 200, 30)]
    buffer = io.BytesIO()
    pages[0].save(buffer, "TIFF", save_all=True, append_images=pages[1:])
    with pytest.warns(UserWarning, match="TIFF with 3 pages, but only the first is read"):
        assert (read(tmp_path, buffer.getvalue()) == 10).all()


def test_a_jpeg_with_a_thousand_scans_is_rejected(tmp_path: Path) -> None:
    data = encoded(PICTURE, "JPEG", progressive=True)
    start = data.rindex(b"\xff\xda")
    with pytest.raises(ImageError, match="at most 100 are supported"):
        read(tmp_path, data[:-2] + data[start:-2] * 1000 + data[-2:])


def test_the_size_of_a_tiff_is_checked_before_it_is_decoded(tmp_path: Path, monkeypatch: Any) -> None:
    for decoder in ("imread", "imdecode"):
        monkeypatch.setattr(cv2, decoder, lambda *_, **__: pytest.fail("decoded"))
    with pytest.raises(ImageError, match="at most 16384"):
        read(tmp_path, encoded(np.zeros((2, 20_000), np.uint8), "TIFF", compression="tiff_adobe_deflate"))


def directory(entries: list[tuple[int, int, int, int]], following: int) -> bytes:
    """Return a TIFF directory with entries (tag, type, number of values, values or offset)."""
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return struct.pack("<H", len(entries)) + packed + struct.pack("<I", following)


SIDES = [(256, 4, 1, 8), (257, 4, 1, 2**32 - 1)]
SHARED = 50_000  # bytes
TIFF_BOMBS = {
    "tags with shared values": directory([(tag, 1, SHARED, 8) for tag in range(40_000, 40_500)], 0),
    "pages with shared values": b"".join(directory([(254, 1, SHARED, 8)], 8 + 18 * (page + 1)) for page in range(500)),
    "one row per strip": directory([*SIDES, (273, 4, 1, 8), (278, 4, 1, 1), (279, 4, 1, 8)], 0),
    "tiles of one pixel": directory([*SIDES, (322, 4, 1, 1), (323, 4, 1, 1), (324, 4, 1, 8), (325, 4, 1, 8)], 0),
    "no samples": directory([*SIDES, (273, 4, 1, 8), (277, 4, 1, 0), (284, 3, 1, 2)], 0),
    "no rows": directory([(256, 4, 1, 8), (257, 4, 1, 0), (273, 4, 1, 8), (279, 4, 1, 8)], 0),
    "many planes": directory([(256, 4, 1, 8), (257, 4, 1, 8), (273, 4, 1, 8), (277, 4, 1, 2**31), (284, 3, 1, 2)], 0),
}


@pytest.mark.parametrize("name", TIFF_BOMBS)
def test_the_directories_of_a_small_tiff_take_little_memory(name: str, tmp_path: Path) -> None:
    import tracemalloc

    tracemalloc.start()
    with pytest.raises(ImageError):
        read(tmp_path, b"II*\0" + struct.pack("<I", 8) + TIFF_BOMBS[name] + bytes(SHARED))
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_messages_show_names_without_control_codes() -> None:
    assert shown("a\x1b[31m\nb\u202e.png") == r"a\x1b[31m\nb\u202e.png"
    assert shown("Zoë и кот 猫.png") == "Zoë и кот 猫.png"


@pytest.mark.parametrize("bomb", [b"\x80\x02Nr\xff\xff\xff\x07.", b"\x80\x05\x96" + struct.pack("<Q", 1 << 33) + b"."])
def test_a_tiny_weights_file_takes_no_memory(tmp_path: Path, bomb: bytes) -> None:
    import tracemalloc

    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|O", "fortran_order": False, "shape": ()})
    (tmp_path / "vgg16.npy").write_bytes(buffer.getvalue() + bomb)
    tracemalloc.start()
    with pytest.raises(WeightsError):
        read_npy(tmp_path / "vgg16.npy")
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()
