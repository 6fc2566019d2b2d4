"""Define the base class for loaded explainers, which are called like the original explainers.

This module imports no machine learning framework. The module for each format imports the runtime
that it needs.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tfviz.errors import ExportError, ImageError, TargetError, TfvizError, first_line
from tfviz.export.manifest import Input, Manifest, flat_names, nested
from tfviz.models.labels import Labels
from tfviz.nesting import Nested

TOP_CLASS = -1


class LoadedExplanation(NamedTuple):
    """The results of one call, as NumPy arrays.

    Attributes:
        outputs: the model's outputs in float32, nested as the model returns them.
        target: the explained classes, an int32 array of shape (N,), or None if no class was
            explained.
        attribution: the attribution in float32, with the shape that the method returns.
    """

    outputs: Any
    target: np.ndarray | None
    attribution: Any


class LoadedExplainer(abc.ABC):
    """An exported explainer, loaded from a folder.

    Attributes:
        manifest: the contents of the folder's tfviz.json.
        key, style, takes_target, labels, preprocessing: the corresponding values in the manifest.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.key = manifest.method
        self.style = manifest.style
        self.takes_target = manifest.takes_target
        self.labels = Labels(tuple(manifest.labels or ()))
        self.preprocessing = manifest.picture_preprocessing

    @abc.abstractmethod
    def _run(self, images: list[np.ndarray], target: np.ndarray | None) -> tuple[Any, np.ndarray | None, Any]:
        """Return the outputs, the target and the attribution, nested as in the manifest.

        `_nested` converts a program's results to this form.

        Args:
            images: one array per input, with the input's shape and type.
            target: N int32 classes, float32 weights for the outputs, or None for the top class or
                the target fixed by the export.
        """

    def __call__(self, images: Nested[npt.ArrayLike], target: npt.ArrayLike | None = None) -> Any:
        """Return the attribution for a batch of images as a float32 NumPy array.

        Args:
            images: images of shape (N, H, W, C), preprocessed for the model (see `preprocessing`).
                For several inputs, arrays nested like the model's inputs.
            target: None (the top class of each image, or the target fixed by the export), an int or
                N ints. If `manifest.targets` contains "weights", floats shaped like the outputs are
                also accepted.

        Returns:
            The attribution.

        Raises:
            ImageError: the images do not have the shape that the export expects, or they contain
                values that are not finite.
            TargetError: the export cannot explain this target.
        """
        return self.with_outputs(images, target).attribution

    def with_outputs(self, images: Nested[npt.ArrayLike], target: npt.ArrayLike | None = None) -> LoadedExplanation:
        """Return the model's outputs, the explained class, and the attribution.

        Args:
            images: the batch, as for `__call__`.
            target: what to explain, as for `__call__`.

        Returns:
            The explanation.

        Raises:
            ImageError: see `__call__`.
            TargetError: see `__call__`.
            ExportError: the runtime failed.
        """
        arrays = self._images(images)
        classes = self._target(target, len(arrays[0]))
        try:
            return LoadedExplanation(*self._run(arrays, classes))
        except TfvizError:
            raise
        except Exception as error:  # the runtime may raise anything
            raise ExportError(
                f"The exported explainer failed ({type(error).__name__}: {first_line(error)}). If the batch is large, pass "
                "fewer images at a time. Otherwise, export the explainer again."
            ) from error

    def _nested(self, results: Mapping[str, npt.ArrayLike]) -> tuple[Any, np.ndarray | None, Any]:
        """Convert the results of a program, keyed by name, to the tuple returned by `_run`."""
        arrays = {name: np.asarray(value) for name, value in results.items()}
        manifest = self.manifest
        outputs, attribution = (nested(part, arrays.__getitem__) for part in (manifest.outputs, manifest.attribution))
        return outputs, arrays.get("target"), attribution

    def _images(self, images: Any) -> list[np.ndarray]:
        inputs = self.manifest.inputs
        by_name = self._by_name(images)
        arrays = [_image(one, by_name[one.name]) for one in inputs]
        if len({len(array) for array in arrays}) > 1:
            raise ImageError(f"All inputs must have the same number of images. Received: {[len(array) for array in arrays]}.")
        return arrays

    def _by_name(self, images: Any) -> dict[str, Any]:
        """Return the value of each input, keyed by the input's name.

        If `images` is a dict, its keys must be those of the model's input dict or, if the model's
        inputs are not a dict, the input names.
        """
        structure, inputs = self.manifest.input_structure, self.manifest.inputs
        names = flat_names(structure)
        if len(inputs) == 1 and not isinstance(images, dict):
            return {names[0]: images[0] if _is_structure_of_one(images, len(inputs[0].shape)) else images}
        if isinstance(images, dict) or isinstance(structure, dict):
            keys = structure if isinstance(structure, dict) else names
            if not isinstance(images, dict) or set(images) != set(keys):
                received = f"the keys {', '.join(map(repr, images))}" if isinstance(images, dict) else type(images).__name__
                raise ImageError(f"The export expects a dict with the keys {', '.join(map(repr, keys))}. Received: {received}.")
            if keys is names:
                return images
        found = _flat(images)
        if len(found) != len(inputs):
            raise ImageError(
                f"The export expects {len(inputs)} inputs. Received: {len(found)}. Arrange them like the model's inputs: "
                f"{structure}."
            )
        return dict(zip(names, found, strict=True))

    def _target(self, target: npt.ArrayLike | None, count: int) -> np.ndarray | None:
        if target is None:
            return None
        if not self.takes_target:
            raise TargetError(
                f"{self.key} is class-agnostic and does not accept a target. Received: target={target!r}. Omit the target."
            )
        taken = self.manifest.targets
        if callable(target) or type(target).__name__ == "At":
            raise TargetError(
                "An exported explainer does not accept a function or tfviz.At as a target. Set such a target when you export: "
                "explainer.export(path, target=...)."
            )
        array = np.asarray(target)
        form = {"i": "class", "u": "class", "f": "weights"}.get(array.dtype.kind)
        if form not in taken:
            raise TargetError(
                f"This export accepts these targets: {_described(taken)}. Received: {type(target).__name__} {str(target)[:60]}."
            )
        return self._classes(array, count) if form == "class" else _weights(array, count, self.manifest.scores)

    def _classes(self, array: np.ndarray, count: int) -> np.ndarray:
        classes = self.manifest.classes
        if array.ndim > 1 or array.size not in (1, count):
            raise TargetError(
                f"Expected the target as an int, or as {count} ints, one per image. Received: an array of shape {array.shape}."
            )
        if array.min() < 0 or (classes is not None and array.max() >= classes):
            wrong = array.min() if array.min() < 0 else array.max()
            valid = (
                f"The model has {classes} classes (0 to {classes - 1})" if classes is not None else "Class numbers start at 0"
            )
            raise TargetError(f"Target {wrong} is out of range. {valid}.")
        return np.ascontiguousarray(np.broadcast_to(array.reshape(-1), count), np.int32)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.key!r} on {self.manifest.model!r})"


def _weights(array: np.ndarray, count: int, scores: list[int | None] | None) -> np.ndarray:
    expected_shape = [None, *(scores or [None])[1:]]
    fits = array.ndim > 1 and (not scores or _fits(expected_shape, array.shape))
    if not fits or len(array) not in (1, count):
        expected = _sizes(tuple(expected_shape)) if scores else "(N, classes)"
        raise TargetError(
            f"Expected weights of shape {expected}, with one row for each of the {count} images or a single row for all of "
            f"them. Received: shape {array.shape}."
        )
    if not np.isfinite(array).all():
        raise TargetError(
            "Expected finite weights for the outputs. Received: NaN or infinity. Replace them with finite values."
        )
    return np.ascontiguousarray(np.broadcast_to(array, (count, *array.shape[1:])), np.float32)


def _is_structure_of_one(images: object, rank: int) -> bool:
    """Return whether `images` is a list that contains a single array with `rank` axes."""
    return isinstance(images, (list, tuple)) and len(images) == 1 and len(getattr(images[0], "shape", ())) == rank


def _image(expected: Input, images: npt.ArrayLike) -> np.ndarray:
    array = np.asarray(images)
    takes_strings = expected.dtype == "string"
    if not (_are_strings(array) if takes_strings else array.dtype.kind in "biuf"):
        what = "strings" if takes_strings else "numbers"
        raise ImageError(f"`{expected.name}` must be an array of {what}. Received: {type(images).__name__}.")
    expected_shape = expected.shape
    if not _fits(expected_shape, array.shape):
        raise ImageError(
            f"The export expects {expected.name} of shape {_sizes(expected_shape)}. Received: {_sizes(array.shape)}. Resize "
            "the images, or export the explainer again for this size."
        )
    if array.shape[0] == 0:
        raise ImageError(f"Expected at least one image. Received: an empty batch of shape {_sizes(array.shape)}.")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ImageError(
            "The images contain NaN or infinity, which would make the attributions NaN. Check the preprocessing for errors "
            "such as division by zero."
        )
    return np.ascontiguousarray(array, _numpy_type(expected.dtype))


def _are_strings(array: np.ndarray) -> bool:
    return array.dtype.kind in "US" or (array.dtype.kind == "O" and all(isinstance(x, (str, bytes)) for x in array.flat))


def _numpy_type(dtype: str) -> Any:
    if dtype == "string":
        return np.dtype(object)
    if dtype == "bfloat16":
        import ml_dtypes  # installed with TensorFlow and JAX

        return ml_dtypes.bfloat16
    return np.dtype(dtype)


def _fits(expected_shape: Sequence[int | None], shape: tuple[int, ...]) -> bool:
    return len(expected_shape) == len(shape) and all(n in (None, m) for n, m in zip(expected_shape, shape, strict=True))


def _sizes(shape: tuple[int | None, ...]) -> str:
    return f"({', '.join('any' if n is None else str(n) for n in shape)})"


def _described(forms: list[str]) -> str:
    descriptions = {
        "top": "None (the top class)",
        "class": "an int or (N,) ints",
        "weights": "floats shaped like the outputs",
        "fixed": "None",
    }
    return ", ".join(descriptions[form] for form in forms) or "None"


def _flat(structure: Any) -> list[Any]:
    """Flatten lists and dicts in Keras' order, which sorts dicts by key."""
    if isinstance(structure, dict):
        structure = [structure[key] for key in sorted(structure)]
    if not isinstance(structure, (list, tuple)):
        return [structure]
    return [one for part in structure for one in _flat(part)]
