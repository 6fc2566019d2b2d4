"""Define arrays of preprocessed images that also hold the same images as RGB pictures."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np


class LoadedImages(np.ndarray):
    """A float32 array of preprocessed images, or of one image without the batch axis.

    The shape is (N, height, width, channels), or (height, width, channels) for one image.
    `load_images` returns an instance of this class. When images are selected or joined along the
    batch axis, stacked or copied, `pictures` is kept in sync. The result of any other operation,
    such as arithmetic or a reshape, has no pictures, and changing pixels removes them, because the
    pictures might no longer match.

    Attributes:
        pictures: the same images as a uint8 RGB array of shape (N, height, width, 3) or (height,
            width, 3), or None if unknown. `overlay`, `plot`, `contact_sheet` and `SnapshotCallback`
            draw these pictures, because the channel order of the preprocessed images is unknown.
    """

    _pictures: np.ndarray | None
    _checksums: np.ndarray | None  # one per image, computed when its picture was attached

    def __array_finalize__(self, source: np.ndarray | None) -> None:
        self.pictures = None

    @property
    def pictures(self) -> np.ndarray | None:
        # A view, such as the one that rng.shuffle modifies, can change the images without calling
        # any of this array's methods.
        if self._checksums is None or not np.array_equal(self._checksums, _checksums(self)):
            return None
        return self._pictures

    @pictures.setter
    def pictures(self, pictures: np.ndarray | None) -> None:
        self._pictures = pictures
        self._checksums = None if pictures is None else _checksums(self)

    def __getitem__(self, key: Any) -> Any:
        key = _without_full_slices(key)
        chosen = super().__getitem__(key)
        if isinstance(chosen, LoadedImages) and self._pictures is not None and _is_along_batch(key, self.ndim):
            chosen._pictures, chosen._checksums = self._pictures[key], np.asarray(self._checksums)[key]
        return chosen

    def __setitem__(self, key: Any, value: Any) -> None:
        self.pictures = None
        super().__setitem__(key, value)

    def copy(self, order: Any = "C") -> LoadedImages:
        return loaded(super().copy(order), self.pictures)

    def __copy__(self) -> LoadedImages:
        return self.copy()

    def __deepcopy__(self, memo: object) -> LoadedImages:
        return self.copy()

    def __reduce__(self) -> tuple[Any, ...]:
        return loaded, (np.asarray(self), self.pictures)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        targets = options.get("out", ())
        for target in targets:
            if isinstance(target, LoadedImages):
                target.pictures = None
        if targets:
            options["out"] = tuple(map(_plain, targets))
        result = getattr(ufunc, method)(*map(_plain, inputs), **options)
        return targets[0] if len(targets) == 1 else result

    def __array_function__(
        self, function: Callable[..., Any], types: Iterable[type], args: Iterable[Any], options: Mapping[str, Any]
    ) -> Any:
        args = tuple(args)
        result = super().__array_function__(function, types, args, options)
        if function in (np.stack, np.concatenate) and len(args) == 1 and not options and result.ndim == 4:
            parts = [part.pictures for part in args[0] if getattr(part, "pictures", None) is not None]
            if len(parts) == len(args[0]):
                return loaded(result, function(parts))
        return result


def loaded(tensors: np.ndarray, pictures: np.ndarray | None) -> LoadedImages:
    """Attach pictures to an array without copying it."""
    images = np.asarray(tensors).view(LoadedImages)
    images.pictures = pictures
    return images


def _checksums(images: np.ndarray) -> np.ndarray:
    """Return a checksum for each image, or a scalar for a single image."""
    values = np.asarray(images)
    if values.ndim < 4:
        return np.asarray(zlib.crc32(np.ascontiguousarray(values).data), np.uint32)
    return np.array([_checksums(one) for one in values], np.uint32)


def _plain(value: Any) -> Any:
    return value.view(np.ndarray) if isinstance(value, LoadedImages) else value


def _without_full_slices(key: Any) -> Any:
    """Return a simpler index with the same result, such as 0 for (0, :, :)."""
    if key is ...:
        return slice(None)
    if isinstance(key, tuple) and key and all(isinstance(one, slice) and one == slice(None) for one in key[1:]):
        return key[0] if key[0] is not ... else slice(None)
    return key


def _is_along_batch(key: Any, ndim: int) -> bool:
    """Return whether an index selects or reorders images, or adds a batch axis."""
    if ndim == 3:
        return key is None
    if ndim != 4:
        return False
    return isinstance(key, (int, np.integer, slice)) or (isinstance(key, (list, np.ndarray)) and np.ndim(key) == 1)
