"""List a job's images from folders, globs, lists, TFRecord files and tar archives."""

from __future__ import annotations

import csv
import glob
import io
import struct
import tarfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from tfviz.errors import ImageError, shown
from tfviz.images.folders import find_images
from tfviz.images.formats import EXTENSIONS
from tfviz.jobs.schema import arrow
from tfviz.jobs.storage import is_remote, read_range, remote_files

_PATH_COLUMNS = ("path", "file", "filename", "image", "url")


class Input(NamedTuple):
    """One image.

    Attributes:
        path: the image's name, unique within the job.
        source: the file that contains the image.
        offset, length: the image's byte range in that file, or None for the entire file.
    """

    path: str
    source: str
    offset: int | None = None
    length: int | None = None


def find_inputs(paths: Iterable[str]) -> list[Input]:
    """Find the images at the given paths. Return each image once, sorted by path.

    Args:
        paths: image files, folders, globs such as "photos/**/*.jpg", lists of paths (.txt, .csv,
            .parquet), TFRecord files with `image/encoded` (.tfrecord), WebDataset archives (.tar),
            or URLs of any of these.

    Raises:
        ImageError: a path does not exist or contains no images, or a listed file does not exist.
    """
    found: dict[tuple[str, int | None], Input] = {}
    for path in paths:
        for one in _behind(path):
            found.setdefault((one.source, one.offset), one)  # Paths may repeat.
    return sorted(found.values(), key=lambda one: one.path)


def _behind(path: str) -> Iterator[Input]:
    suffix = Path(path).suffix.lower()
    if suffix in _READERS:
        yield from _READERS[suffix](path)
    elif is_remote(path):
        yield from _remote(path)
    elif glob.has_magic(path) and not Path(path).exists():
        yield from _matching(path)
    else:
        yield from (Input(str(one.path), str(Path(one.path).absolute())) for one in find_images([path]))


def _matching(pattern: str) -> Iterator[Input]:
    found = glob.glob(pattern, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
    files = [path for path in sorted(found) if Path(path).is_file()]
    if not files:
        raise ImageError(
            f"No file matches {shown(pattern)}. Check the pattern, and quote it so that the shell does not expand it."
        )
    for path in files:
        yield from _behind(path) if Path(path).suffix.lower() in _READERS else [Input(path, str(Path(path).absolute()))]


def _remote(url: str) -> Iterator[Input]:
    files, scheme = remote_files(url), url.split("://", 1)[0]
    if glob.has_magic(url):
        names = files.glob(url)
    else:
        names = files.find(url) if files.isdir(url) else [url] if files.exists(url) else []
    names = [name if is_remote(name) else f"{scheme}://{name.lstrip('/') if scheme != 'file' else name}" for name in names]
    images = [name for name in names if Path(name).suffix.lower() in EXTENSIONS or name == url]
    if not images:
        raise ImageError(f"{shown(url)} does not exist or contains no images. Check the URL.")
    yield from (Input(name, name) for name in images)


def _text_list(path: str) -> Iterator[Input]:
    lines = read_range(path, None, None).decode("utf-8").splitlines()
    yield from _listed(path, [line.strip() for line in lines if line.strip() and not line.startswith("#")])


def _csv_list(path: str) -> Iterator[Input]:
    rows = csv.DictReader(io.StringIO(read_range(path, None, None).decode("utf-8-sig")))
    column = _path_column(path, list(rows.fieldnames or []))
    yield from _listed(path, [row[column] for row in rows if row[column]])


def _parquet_list(path: str) -> Iterator[Input]:
    pa = arrow()
    table = pa.parquet.read_table(pa.BufferReader(read_range(path, None, None)))
    column = _path_column(path, table.column_names)
    yield from _listed(path, [str(one) for one in table.column(column).to_pylist() if one])


def _path_column(path: str, columns: list[str]) -> str:
    for name in columns:
        if name and name.lower() in _PATH_COLUMNS:
            return name
    raise ImageError(
        f"{shown(path)} has no column 'path'. Its columns: {', '.join(map(repr, columns)) or 'none'}. Rename the column that "
        "contains the file paths to 'path'."
    )


def _listed(path: str, names: list[str]) -> Iterator[Input]:
    """Yield the listed files. Paths may be relative to the current folder or the list's folder."""
    missing = []
    for name in names:
        beside = name if is_remote(path) else str(Path(path).parent / name)
        at = next((one for one in (name, beside) if is_remote(one) or Path(one).is_file()), None)
        if at is None:
            missing.append(name)
        else:
            yield Input(at, at if is_remote(at) else str(Path(at).absolute()))
    if missing:
        rest = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise ImageError(
            f"{shown(path)} lists {len(missing)} files that do not exist: {', '.join(map(shown, missing[:3]))}{rest}. Remove "
            "them from the list, or check which folder the paths are relative to."
        )
    if not names:
        raise ImageError(f"{shown(path)} lists no files. Write one path per line.")


def _tar(path: str) -> Iterator[Input]:
    """Yield the images in a tar archive, each with its byte range."""
    try:
        with _opened(path) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            members = [one for one in archive if one.isfile() and Path(one.name).suffix.lower() in EXTENSIONS]
    except tarfile.TarError as error:
        raise ImageError(
            f"{shown(path)} is not an uncompressed tar archive ({error}). Unpack it, and pass the folder."
        ) from error
    if not members:
        raise ImageError(f"{shown(path)} contains no images. Supported file extensions: {', '.join(sorted(EXTENSIONS))}.")
    source = path if is_remote(path) else str(Path(path).absolute())
    yield from (Input(f"{path}::{one.name}", source, one.offset_data, one.size) for one in members)


def _tfrecord(path: str) -> Iterator[Input]:
    """Yield the byte range of each TFRecord. `content_of` parses the records later."""
    source = path if is_remote(path) else str(Path(path).absolute())
    with _opened(path) as file:
        number = 0
        while header := file.read(12):
            length = struct.unpack("<Q", header[:8])[0] if len(header) == 12 else None
            at = file.tell()
            if length is None or file.seek(0, io.SEEK_END) < at + length + 4:
                raise ImageError(
                    f"{shown(path)} is not a complete TFRecord file: record {number} is truncated. Copy the file again."
                )
            yield Input(f"{path}::{number}", source, at, length)
            file.seek(at + length + 4)
            number += 1


def _opened(path: str) -> io.BufferedIOBase:
    if is_remote(path):
        opened: io.BufferedIOBase = remote_files(path).open(path, "rb")
        return opened
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise ImageError(f"{shown(path)} cannot be read ({error.strerror}). Check the path and its permissions.") from error


_READERS: dict[str, Callable[[str], Iterator[Input]]] = {
    ".txt": _text_list,
    ".csv": _csv_list,
    ".parquet": _parquet_list,
    ".tar": _tar,
    ".tfrecord": _tfrecord,
    ".tfrecords": _tfrecord,
}


def content_of(one: Input) -> bytes:
    """Return the encoded bytes of an image.

    Raises:
        ImageError: the image cannot be read, or a record contains no image.
    """
    data = read_range(one.source, one.offset, one.length)
    if Path(one.source).suffix.lower() not in (".tfrecord", ".tfrecords"):
        return data
    import tensorflow as tf

    features = tf.train.Example.FromString(data).features.feature
    for key in ("image/encoded", "image", "image_raw", "jpg", "png"):
        if features[key].bytes_list.value:
            return bytes(features[key].bytes_list.value[0])
    raise ImageError(
        f"The record in {shown(one.path)} has no encoded image. Its features: {', '.join(sorted(features)) or 'none'}. Store "
        "the image bytes in the feature 'image/encoded'."
    )
