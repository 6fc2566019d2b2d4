"""What all methods share: reading the model once, checking what comes in, compiling once, running over data."""

from __future__ import annotations

import abc
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, cast

import keras
import tensorflow as tf
from keras import tree

from tfviz import keras_internals, targets
from tfviz.graph.backprop import Values, run
from tfviz.graph.graph import Graph, Value
from tfviz.graph.logits import checked_score
from tfviz.methods import batches
from tfviz.methods.blank_maps import warn_of_empty_maps
from tfviz.methods.compilation import MOST_KEPT, CompiledFunctions
from tfviz.methods.explanation import Explanation
from tfviz.methods.inputs import checked_images, warn_of_preprocessor
from tfviz.models.labels import LabelSource, labels_from
from tfviz.models.loading import labels_of
from tfviz.nesting import Nested
from tfviz.reading.read_model import ReadModel, read_model
from tfviz.target_words import ClassOrRank, in_numbers

_TRIED = (24, 96)  # pixels: the sides of what an explainer of free image size is tried on before it is exported


class Explainer(abc.ABC):
    """One method on one model: built once, called many times. The model is read, never changed.

    Args:
        model: a Functional or Sequential keras.Model, nested to any depth. Weights are read live: an explainer built
            before `fit` shows the network as it is now. Where its layers themselves are changed (`quantize`, `enable_lora`,
            another `activation`, a Sequential's `pop` and `add`) it is read again at the next call.
        score: "logits" explains the outputs before their final softmax or sigmoid; "outputs" explains them with it.
        output: of a model with several outputs the one to explain, by its name, its key in a dict, or its number. None
            leaves all of them, for a target that is a function of them.
        class_names: the names of the classes, for targets such as "goldfish": in order, by number, or a labels file. None:
            those that `tfviz.load_model` knows, and ImageNet's for a network of keras.applications with 1000 classes.

    Raises:
        UnsupportedModelError: when the method cannot explain this model; the message says why and what else works.

    A call compiles once for each image size; batches of any length share it. `traces` counts the compilations, and
    `options` holds what was given to the constructor beside the model.
    """

    key: ClassVar[str]
    question: ClassVar[str]
    needs_layer: ClassVar[bool] = False
    takes_target: ClassVar[bool] = True
    accepts_opaque: ClassVar[bool] = False  # whether it explains a model that cannot be traced, too
    style: ClassVar[str] = "heatmap"
    options: dict[str, Any]

    def __new__(cls, *args: Any, **options: Any) -> Explainer:
        explainer = super().__new__(cls)
        explainer.options = _options_of(cls, args, options)
        return explainer

    def __init__(
        self,
        model: keras.Model,
        *,
        score: str = "logits",
        output: str | int | None = None,
        class_names: LabelSource = None,
    ) -> None:
        warn_of_preprocessor(model, self.key)
        self.model = model
        self._labels = None if class_names is None else labels_from(class_names)
        self.score = score
        self.read: ReadModel = read_model(model, accept_opaque=self.accepts_opaque)
        self.whole = self.read.with_output(output)
        score = checked_score(score)
        # Shares its values with `whole`. A method without a target looks at no score.
        self.graph = self.read.scored(score if self.takes_target else "outputs", output)
        self._behind_the_score = _differing(self.whole, self.graph)
        self._functions = CompiledFunctions()
        self._checked: list[tuple[Callable[..., Any], int]] = []  # target functions, and the batch sizes they were checked for
        self._has_warned = False

    @property
    def traces(self) -> int:
        """How many functions were compiled so far."""
        return self._functions.traces

    @abc.abstractmethod
    def attribute(self, images: list[tf.Tensor], seed: targets.Seed) -> tuple[Nested[tf.Tensor], Values]:
        """The attribution of one batch, as tensors, and the values of the graph that were computed for it.

        Args:
            images: one tensor for each input of the model, (N, H, W, C).
            seed: what starts at the outputs (see `targets`).
        """

    def __call__(self, images: Any, target: targets.Target | str = None) -> Any:
        """Explains one batch.

        Args:
            images: (N, H, W, C), what the model itself takes: preprocessed, channels last.
            target: None (the top class of each image), an int, (N,) ints, a float array (N, classes) that weights the
                outputs, or a function outputs -> (N,); or in words: the name of a class, one name for each image, or "top3"
                for the three highest classes.

        Returns:
            The raw attribution, a tensor, not resized and not scaled; its shape is the method's. For "top3" a dict
            {"top1": attribution, "top2": ..., "top3": ...}, which `tfviz.plot` takes.

        Raises:
            ImageError: images of the wrong rank, size or channels, or not finite.
            TargetError: a target that does not fit the outputs.
            UnsupportedModelError: code in the model computes something else than what was read of it.

        Warns, once: of maps that are zero everywhere or not finite, and why.
        """
        self._read_again_if_changed()
        target = self.named_target(target)
        if isinstance(target, dict):
            return {name: self(images, one) for name, one in target.items()}
        flat = checked_images(self.graph, images)
        attribution = self._run(flat, target, self._attribution)
        if not self._has_warned:  # to look for the reason takes a run of its own
            self._has_warned = warn_of_empty_maps(self, attribution, flat, target)
        return attribution

    def with_outputs(self, images: Any, target: targets.Target | str = None) -> Any:
        """Explains one batch and returns the model's outputs with it: one pass through the model gives both.

        Args, Raises: as for a call.

        Returns an Explanation, or for several targets ("top2") a dict of them.
        """
        self._read_again_if_changed()
        target = self.named_target(target)
        if isinstance(target, dict):
            return {name: self.with_outputs(images, one) for name, one in target.items()}
        return self._run(checked_images(self.graph, images), target, self.compute)

    def compute(self, images: list[tf.Tensor], target: targets.Prepared = None) -> Explanation:
        """The whole computation on tensors, neither checked nor compiled: what other functions compile or export.

        Args:
            images: one tensor for each input of the model, of the type that it takes.
            target: None, a function, int32 (N,) or (1,), or float32 (N or 1, …, classes).
        """
        with keras_internals.untouched(self.model):
            attribution, values = self.attribute(images, targets.seed_for(target))
            values = run(values, self.graph.before(self.graph.outputs, given=values))
            shared = {value: x for value, x in values.items() if value not in self._behind_the_score}
            whole = run(shared, self.whole.before(self.whole.outputs, given=shared))
            outputs = tree.map_structure(lambda value: whole[value], self.whole.output_structure)
            return Explanation(_float32(outputs), self._class(target, values), _float32(attribution))

    def _attribution(self, images: list[tf.Tensor], target: targets.Prepared = None) -> Nested[tf.Tensor]:
        with keras_internals.untouched(self.model):
            return _float32(self.attribute(images, targets.seed_for(target))[0])

    def _class(self, target: targets.Prepared, values: Values) -> tf.Tensor | None:
        """The class that is explained, (N,) int32; None where it is not one class."""
        scores = values[self.graph.outputs[0]]
        is_classifier = isinstance(self.graph.output_structure, Value) and tf.is_tensor(scores) and len(scores.shape) == 2
        if is_classifier and isinstance(target, targets.Rank):
            return target.classes(scores)
        if not is_classifier or callable(target) or (target is not None and target.dtype != tf.int32):
            return None
        if target is None:
            return tf.argmax(scores, axis=-1, output_type=tf.int32)
        return tf.broadcast_to(target, tf.shape(scores)[:1])

    def explain(
        self, images: Any, target: targets.Target | str = None, *, batch_size: int = 32, verbose: int | str = "auto"
    ) -> Any:
        """Explains any number of images, batch by batch.

        Args:
            images: an array (N, H, W, C), a tf.data.Dataset or a keras.utils.PyDataset, batched or not, whose elements
                are images or tuples that begin with images.
            target: as in a call; (N,) ints and (N, classes) weights go along with the images.
            batch_size: the most images that are run at once, whatever the batches of a dataset.
            verbose: 0 is silent; 1 or "auto" shows Keras' progress bar; 2 shows its last line only.

        Returns:
            The attributions of all images, a NumPy array; for a model of several inputs one for each, nested as they are. For
            "top2" a dict of them.
        """
        target = self.named_target(target)
        if isinstance(target, dict):
            return {name: self.explain(images, one, batch_size=batch_size, verbose=verbose) for name, one in target.items()}
        return batches.explain(self, images, target, batch_size=batch_size, verbose=verbose)

    def named_target(self, target: targets.Target | str) -> targets.Target | dict[str, ClassOrRank]:
        """The target with names of classes replaced by their numbers; for "top2" a dict of targets."""
        if not self.takes_target:
            return cast("targets.Target", target)
        shape = self.graph.output_structure.shape if isinstance(self.graph.output_structure, Value) else None
        classes = shape[-1] if shape and len(shape) > 1 else None
        return in_numbers(target, lambda: self._labels or labels_of(self.model), classes)

    def export(self, path: str | Path, format: str = "saved_model", **options: Any) -> Path:
        """Writes the explainer to a folder that runs without tfviz (see `tfviz.export.export`)."""
        from tfviz.export import export

        self._read_again_if_changed()
        sizes = [value.shape[1:] for value in self.graph.inputs]
        for side in _TRIED:
            self.read.require_faithful((), tuple(tuple(n or side for n in size) for size in sizes))
        return export(self, path, format=format, **options)

    def _read_again_if_changed(self) -> None:
        """Reads a model again whose layers were modified since."""
        if not self.read.is_current():
            functions = self._functions
            type(self).__init__(self, self.model, **self.options)
            self._functions.traces = functions.traces

    def _run(self, images: list[tf.Tensor], target: targets.Target, computation: Callable[..., Any]) -> Any:
        """Runs a compiled computation on images that were checked."""
        if not self.takes_target and target is not None:
            raise targets.TargetError(f"{self.key} explains no single class and takes no target. Received: {target!r}.")
        prepared = targets.prepare(target, self._output_shapes(), images[0].shape[0]) if self.takes_target else None
        self.read.require_faithful(images, tuple(tuple(x.shape[1:]) for x in images))
        if callable(prepared):
            self._check_function(prepared, images[0].shape[0])
        return self._functions.run(computation, self.graph, images, prepared)

    def _check_function(self, target: Callable[..., Any], count: int | None) -> None:
        """Checks a target function once for each batch size, where the sizes of the outputs are known."""
        if count is None or (target, count) in self._checked or any(not value.shape for value in self.graph.outputs):
            return
        specs = tree.map_structure(
            lambda value: tf.TensorSpec((count, *value.shape[1:]), value.dtype or "float32"), self.graph.output_structure
        )
        targets.check_function(target, specs)
        self._checked = [*self._checked[-MOST_KEPT:], (target, count)]

    def _output_shapes(self) -> Any:
        return tree.map_structure(lambda value: value.shape, self.graph.output_structure)

    def __reduce__(self) -> tuple[Callable[..., Explainer], tuple[Any, ...]]:
        """An explainer is pickled and copied as its class, its model and its options; it compiles anew."""
        return _rebuilt, (type(self), self.model, self.options)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.graph.model_name!r})"


def _rebuilt(cls: type[Explainer], model: keras.Model, options: dict[str, Any]) -> Explainer:
    return cls(model, **options)


def _differing(whole: Graph, graph: Graph) -> set[Value]:
    """The values of a whole graph that differ in the one of its score: they read an activation that was removed there."""
    reads = {step.outputs: step.inputs for step in graph.steps}
    return whole.after(v for step in whole.steps if reads.get(step.outputs, step.inputs) != step.inputs for v in step.outputs)


def like_inputs(graph: Graph, tensors: list[tf.Tensor]) -> Nested[tf.Tensor]:
    """One tensor for each input, nested as the model takes its inputs; for a model of one input the tensor itself."""
    return tensors[0] if len(tensors) == 1 else tree.pack_sequence_as(graph.input_structure, tensors)


def _options_of(cls: type, args: tuple[Any, ...], options: dict[str, Any]) -> dict[str, Any]:
    """The constructor's arguments after the model, by name; those left at their defaults are not among them."""
    signature = inspect.signature(cls.__init__)  # type: ignore[misc]
    try:
        given = signature.bind_partial(None, *args, **options).arguments
    except TypeError:  # The constructor itself says what is wrong.
        return {}
    defaults = {name: parameter.default for name, parameter in signature.parameters.items()}
    return {name: value for name, value in given.items() if name not in ("self", "model") and value is not defaults[name]}


def _float32(structure: Nested[tf.Tensor]) -> Nested[tf.Tensor]:
    return tree.map_structure(lambda x: tf.cast(x, tf.float32), structure)
