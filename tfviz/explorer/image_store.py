"""Store the images from a folder and from uploads."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfviz.errors import ImageError, shown
from tfviz.explorer.limits import ExplorerLimits
from tfviz.images.batches import shrunk
from tfviz.images.files import image_from_bytes, read_image
from tfviz.images.folders import FoundImage
from tfviz.images.formats import describe
from tfviz.images.preprocessing import Preprocessing
from tfviz.render.pictures import MAX_DRAWN_SIDE_PX
from tfviz.viewer import http_errors
from tfviz.viewer.http_errors import HttpError

THUMBNAIL_PX = 96
_KEPT_TENSORS = 8
Stamp = tuple[int, int]
# Limits concurrent decoding, because a decoded image may need 150 MB, many times its file size.
_decoders = threading.BoundedSemaphore(2)


@dataclass(frozen=True)
class NetworkImage:
    """An image in the forms needed by the network and the page.

    Attributes:
        tensor: the network's input, a float32 array of shape (1, height, width, channels).
        picture: the region that the network sees, a uint8 RGB array to draw maps on.
        stamp: the size and modification time of the image file, or None for an upload, which cannot
            change.
    """

    tensor: np.ndarray
    picture: np.ndarray
    stamp: Stamp | None


@dataclass(frozen=True)
class _Upload:
    data: bytes
    name: str


class ImageStore:
    """Images, keyed by id: "file/NAME" for the images in a folder, "upload/DIGEST" for uploads.

    All methods are thread-safe. When there are too many uploads, the least recently used one is
    dropped.

    Args:
        found: the images in a folder.
        preprocessing: converts images to tensors.
        limits: limits on sizes and counts.
    """

    def __init__(self, found: Sequence[FoundImage], preprocessing: Preprocessing, limits: ExplorerLimits) -> None:
        self._files = {f"file/{shown(one.relative)}": one.path for one in found[: limits.listed]}
        self.left_out = len(found) - len(self._files)
        self._preprocessing, self._limits = preprocessing, limits
        self._uploads: OrderedDict[str, _Upload] = OrderedDict()
        self._images: OrderedDict[str, NetworkImage] = OrderedDict()
        self._lock = threading.Lock()

    def listed(self) -> list[dict[str, str]]:
        """Return the id and name of each image from the folder."""
        return [{"id": one, "name": one.removeprefix("file/")} for one in self._files]

    def add(self, data: bytes, name: str) -> str:
        """Store an uploaded image file, and return its id.

        Raises:
            ImageError: the file is not an image that the network can explain.
        """
        id = f"upload/{hashlib.sha256(data).hexdigest()}"
        with _decoders:
            image = self._network_image(self._decoded(data, shown(name)), shown(name), None)
        with self._lock:
            self._uploads[id] = _Upload(data, name)
            self._uploads.move_to_end(id)
            self._keep(id, image)
            while len(self._uploads) > self._limits.uploads or self._upload_bytes() > self._limits.kept_bytes:
                self._images.pop(self._uploads.popitem(last=False)[0], None)
        return id

    def image(self, id: str) -> NetworkImage:
        """Return an image, decoding it if it is not cached or its file has changed.

        Raises:
            HttpError: the image does not exist, or is no longer stored.
            ImageError: the image file cannot be read or is too large.
        """
        upload = self._upload(id)
        stamp = None if upload is not None else _stamp_of(self._files[id])
        with self._lock:
            if id in self._images and self._images[id].stamp == stamp:
                self._images.move_to_end(id)
                return self._images[id]
        with _decoders:
            image = self._network_image(self._read(id, upload), id, stamp)
        with self._lock:
            self._keep(id, image)
        return image

    def thumbnail(self, id: str) -> np.ndarray:
        """Return a small uint8 RGB copy of an image. Raises the same errors as `image`."""
        with self._lock:
            known = self._images.get(id)
        if known is not None:
            return shrunk(known.picture, THUMBNAIL_PX)
        with _decoders:
            return shrunk(self._preprocessing.picture(self._read(id, self._upload(id))), THUMBNAIL_PX)

    def path_of(self, id: str) -> str:
        """Return an image's path for use in Python code. For an upload, this is the file name."""
        upload = self._upload(id)
        return str(self._files[id]) if upload is None else upload.name

    def _upload(self, id: str) -> _Upload | None:
        """Return the uploaded image with this id, or None if the image is a file in the folder."""
        if id in self._files:
            return None
        with self._lock:
            if id in self._uploads:
                self._uploads.move_to_end(id)
                return self._uploads[id]
        if id.startswith("upload/"):
            reason = "The server no longer has this image. Drop its file on the page again."
            raise HttpError(http_errors.NOT_FOUND, reason, is_ordinary=True)
        raise HttpError(http_errors.NOT_FOUND, f"There is no image {shown(id[:100])!r}. Choose an image on the page.")

    def _read(self, id: str, upload: _Upload | None) -> np.ndarray:
        if upload is not None:
            return self._decoded(upload.data, shown(upload.name))
        rgb = read_image(self._files[id])
        self._require_few_pixels(rgb.shape[:2], id)
        return rgb

    def _decoded(self, data: bytes, name: str) -> np.ndarray:
        """Decode an image file. If it declares its width and height, check them first."""
        container = describe(data)
        if container is not None and container.size is not None:
            self._require_few_pixels(container.size, name)
        rgb = image_from_bytes(data, name)
        self._require_few_pixels(rgb.shape[:2], name)
        return rgb

    def _require_few_pixels(self, size: tuple[int, ...], name: str) -> None:
        height, width = size
        if height * width > self._limits.image_pixels:
            raise ImageError(
                f"{name} is {width} pixels wide and {height} high, but an image may have at most {self._limits.image_pixels} "
                "pixels. Downscale it first."
            )

    def _network_image(self, rgb: np.ndarray, name: str, stamp: Stamp | None) -> NetworkImage:
        picture = self._preprocessing.picture(rgb)
        height, width = self._preprocessing.output_size or picture.shape[:2]
        if self._preprocessing.output_size is None and height * width > self._limits.network_pixels:
            raise ImageError(
                f"{name} is {width} pixels wide and {height} high. The network accepts any size, but the explorer runs it on "
                f"at most {self._limits.network_pixels} pixels. Restart with a fixed size, such as --image-size 512x512."
            )
        tensor = self._preprocessing.tensor(rgb)[None]
        return NetworkImage(tensor, np.ascontiguousarray(shrunk(picture, MAX_DRAWN_SIDE_PX)), stamp)

    def _keep(self, id: str, image: NetworkImage) -> None:
        self._images[id] = image
        self._images.move_to_end(id)
        while len(self._images) > _KEPT_TENSORS:
            self._images.popitem(last=False)

    def _upload_bytes(self) -> int:
        return sum(len(one.data) for one in self._uploads.values())


def _stamp_of(path: Path) -> Stamp | None:
    """Return a file's size and modification time, or None if the file cannot be accessed."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
