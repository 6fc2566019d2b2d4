"""The base class for all methods. It reads the model, then compiles and runs the computation."""

from __future__ import annotations

import abc
import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import keras
import numpy.typing as npt
import tensorflow as tf
from keras import tree

from tfviz import targets
from tfviz.errors import OptionError, UnsupportedModelError
from tfviz.graph.backprop import Values, run
from tfviz.graph.graph import Graph, Value
from tfviz.graph.logits import checked_score
from tfviz.method_looks import LOOKS, MethodLook
from tfviz.methods import batches
from tfviz.methods.blank_maps import warn_of_empty_maps
from tfviz.methods.compilation import MOST_KEPT, CompiledFunctions, Computation
from tfviz.methods.explanation import Explanation
from tfviz.methods.inputs import checked_images, warn_of_preprocessor
from tfviz.methods.prepared_call import PreparedCall
from tfviz.models.labels import Labels, LabelSource, labels_from
from tfviz.models.loading import ModelNotes, labels_of, notes_of, set_notes
from tfviz.nesting import Nested
from tfviz.reading.constant_model import ConstantModel
from tfviz.reading.read_model import ReadModel, read_model
from tfviz.seeds import ChoosingTarget
from tfviz.target_functions.detection import for_detector
from tfviz.target_words import ClassOrRank, in_numbers

if TYPE_CHECKING:
    from tfviz.images.preprocessing import Preprocessing
    from tfviz.render.panel import Panel
    from tfviz.row_columns import Row

FROZEN_DTYPES = ("float32", "bfloat16")
_STATE = ("batch_size", "_has_warned", "_has_warned_of_error")  # copied to a frozen explainer
_TRIED = (24, 96)  # pixels: image side lengths to test before exporting an explainer for any size


class Explainer(abc.ABC):
    """Explains one model with one method. Create an explainer once and call it repeatedly.

    An explainer never changes the model. It reads the weights on each call, so it stays valid while
    the model trains.

    If you modify the model's layers (for example, with `quantize`, `enable_lora`, a new
    `activation`, or `pop` and `add` on a Sequential model), the explainer re-reads the model on its
    next call. The explainer compiles one function per image size, for batches of any size.

    Attributes:
        model: the model.
        options: the constructor arguments, except the model, that differ from their defaults.
        traces: the number of functions compiled so far.
    """

    key: ClassVar[str]
    question: ClassVar[str]
    needs_layer: ClassVar[bool] = False
    needs_attention: ClassVar[bool] = False
    takes_target: ClassVar[bool] = True
    accepts_opaque: ClassVar[bool] = False  # whether the method supports untraceable models
    style: ClassVar[str] = "heatmap"
    reads_kernels: bool = False  # whether the method's rules read kernels directly
    takes_copies: ClassVar[bool] = False  # whether the method runs perturbed copies of each image
    options: dict[str, Any]

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if "key" in vars(cls):
            LOOKS[cls.key] = MethodLook(cls.__name__, cls.style)

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
        """Read the model into a graph.

        Args:
            model: a built Functional, Sequential or subclassed keras.Model.
            score: "logits" explains the outputs before the final softmax or sigmoid; "outputs"
                explains them after it.
            output: the name, dict key or index of the output to explain. If None, all outputs are
                kept, so that a target function can use them.
            class_names: class names for targets such as "goldfish": a sequence in output order, or
                a labels file. If None, the explainer uses the names from `load_model`, or
                ImageNet's names for a keras.applications network with 1000 classes.

        Raises:
            UnsupportedModelError: the method cannot explain this model. The message gives the
                reason and an alternative.
            OptionError: `score` or `output` has an invalid value.
        """
        warn_of_preprocessor(model, self.key)
        self.model = model
        self._labels = None if class_names is None else labels_from(class_names)
        self.score = score
        self.read: ReadModel = read_model(model, accept_opaque=self.accepts_opaque)
        self.whole = self.read.with_output(output)
        score = checked_score(score)
        # This graph shares its values with `whole`. A method without a target has no score, so its
        # graph ends at the outputs.
        self.graph = self.read.scored(score if self.takes_target else "outputs", output)
        self._differing_values = _differing(self.whole, self.graph)
        self._functions = CompiledFunctions(self._compiled)
        # target functions, each with a batch size for which it was checked
        self._checked: list[tuple[Callable[..., Any], int]] = []
        self._has_warned = False

    @property
    def explained(self) -> list[Value]:
        """The graph values that the maps explain; empty if they explain the images."""
        return []

    def freeze(self, dtype: str = "float32") -> Explainer:
        """Return a faster copy of the explainer in which the model's weights are constants.

        Later changes to the model do not affect the copy. BatchNormalizations are folded into the
        convolutions and Dense layers before them, and excitation backprop's positive kernels are
        computed once. In float32, the copy's maps equal the original's up to rounding. The copy
        shares memory with the model's weights until the model changes; folded weights need
        additional memory.

        Args:
            dtype: "float32" keeps the model's precision. "bfloat16" computes in bfloat16, which
                reduces accuracy and is faster only on processors that support it.

        Returns:
            The frozen explainer.

        Raises:
            OptionError: `dtype` is neither "float32" nor "bfloat16".
            UnsupportedModelError: the model is not a keras.Model, so its weights are unknown.
        """
        if dtype not in FROZEN_DTYPES:
            raise OptionError(f"`dtype` must be one of {', '.join(FROZEN_DTYPES)}. Received: {dtype!r}.")
        if not isinstance(self.model, keras.Model):
            raise UnsupportedModelError(
                "Only a keras.Model can be frozen, because the weights of other callables are unknown. Received: "
                f"{type(self.model).__name__}. Use the explainer without freezing it."
            )
        self._read_again_if_changed()
        return self._on(ConstantModel(self.read, self.explained, None if dtype == "float32" else dtype))

    def replica(self) -> Explainer:
        """Copy the explainer and its model's weights to the current device.

        Returns:
            The replica. Its results are bit-identical to this explainer's, unlike those of a frozen
            explainer.
        """
        form = self.read.form if isinstance(self.read, ConstantModel) else (None, False)
        return self._on(ConstantModel(self.read, self.explained, *form))

    def _on(self, constant: ConstantModel) -> Explainer:
        """Return a copy of the explainer with constant weights."""
        with constant.in_place(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # this explainer already issued these warnings
            frozen = type(self)(self.model, **self.options)
        vars(frozen).update({name: vars(self)[name] for name in _STATE if name in vars(self)})
        return frozen

    @property
    def is_frozen(self) -> bool:
        """Whether the weights are constants (see `freeze`)."""
        return isinstance(self.read, ConstantModel)

    @property
    def traces(self) -> int:
        """The number of functions compiled so far."""
        return self._functions.traces

    @abc.abstractmethod
    def attribute(self, images: list[tf.Tensor], seed: targets.Seed) -> tuple[Nested[tf.Tensor], Values]:
        """Compute one batch's attribution.

        Args:
            images: one tensor of shape (N, H, W, C) per model input.
            seed: the score's gradient with respect to the outputs (see `targets`).

        Returns:
            The attribution, and the graph values that were computed for it.

        Raises:
            ImageError: the method cannot explain images of this shape.
        """

    def __call__(self, images: Any, target: targets.Target | str = None) -> Any:
        """Explain one batch.

        Inside a `tf.function`, the call is traced as part of that function. An explainer warns once
        about maps that are zero everywhere or not finite.

        Args:
            images: a preprocessed batch of shape (N, H, W, C), channels last. For a model with
                several inputs, arrays nested like its inputs.
            target: what to explain. None selects the top class of each image, an int selects one
                class for all images, ints of shape (N,) select one class per image, a float array
                of shape (N, classes) weights the outputs, and a function maps the outputs to scores
                of shape (N,). The target can also be a string: a class name (or one name per
                image), or "top3" for the three highest classes.

        Returns:
            The raw float32 attribution, neither resized nor scaled. Each method documents its
            shape. For "top3", the result is a dict {"top1": attribution, "top2": …, "top3": …}.
            `tfviz.plot` accepts such a dict.

        Raises:
            ImageError: the images have the wrong rank, size or number of channels, or contain NaN
                or infinity.
            TargetError: the target does not match the outputs.
            UnsupportedModelError: the model's outputs differ from the traced graph's outputs.
        """
        self._read_again_if_changed()
        named = self.named_target(target)
        if isinstance(named, dict):
            return {name: self.prepare(images, one).result() for name, one in named.items()}
        return self.prepare(images, named).result()

    def prepare(self, images: Any, target: targets.Target = None) -> PreparedCall:
        """Check and compile one call without running it.

        Another thread can then run the prepared call while the next one is compiled.

        Args:
            images: the batch, as in a call.
            target: what to explain, as in a call. Strings such as "top3" are not accepted.

        Returns:
            The prepared call.

        Raises:
            ImageError: see `__call__`.
            TargetError: see `__call__`.
            UnsupportedModelError: see `__call__`.
        """
        self._read_again_if_changed()
        flat = checked_images(self.graph, images)
        run, check = self._bound(flat, target, self._attribution), partial(self._check, flat, target)
        return PreparedCall(run, check, self.rows_for(flat) if tf.executing_eagerly() else 0)

    def prepare_with_outputs(self, images: Any, target: targets.Target = None) -> PreparedCall:
        """Check and compile a `with_outputs` call without running it.

        Args:
            images: the batch, as in a call.
            target: what to explain, as in `prepare`.

        Returns:
            The prepared call. Its result is a pair: an `Explanation`, and the logits if the same
            pass computes them (otherwise None).

        Raises:
            ImageError: see `__call__`.
            TargetError: see `__call__`.
            UnsupportedModelError: see `__call__`.
        """
        self._read_again_if_changed()
        flat = checked_images(self.graph, images)
        if self.takes_copies:
            whole = self._bound(flat, target, self.compute)
            run = lambda: (whole(), None)  # noqa: E731
        else:
            run = self._bound(flat, target, self._compute_with_logits)
        return PreparedCall(run, lambda results: self._check(flat, target, results[0].attribution))

    def rows_for(self, images: list[tf.Tensor]) -> int:
        """Return how many rows of perturbed copies a call runs.

        Args:
            images: one tensor or tensor spec per model input.

        Returns:
            The number of rows, or 0 for methods without perturbed copies.
        """
        return 0

    def start_at(self, first: int | None) -> None:
        """Set the index of a batch's first image, for options that have one row per image.

        Args:
            first: the index of the first image; None if the images are not split into parts.
        """
        return

    def _check_batch(self, images: list[tf.Tensor], target: targets.Target, attribution: Nested[Any]) -> None:
        """Warn about method-specific problems in the results. This is not called during tracing."""
        return

    def _check(self, images: list[tf.Tensor], target: targets.Target, attribution: Nested[tf.Tensor]) -> None:
        if tf.executing_eagerly():
            self._check_batch(images, target, attribution)
        if not self._has_warned:  # warn only once, because the diagnosis needs another run
            self._has_warned = warn_of_empty_maps(self, attribution, images, target)

    def with_outputs(self, images: Any, target: targets.Target | str = None) -> Any:
        """Explain one batch and return the model's outputs from the same pass.

        Args:
            images: the batch, as in a call.
            target: what to explain, as in a call.

        Returns:
            An `Explanation` with the outputs, the explained class and the attribution. For a target
            such as "top2", the result is a dict of explanations.

        Raises:
            ImageError: see `__call__`.
            TargetError: see `__call__`.
            UnsupportedModelError: see `__call__`.
        """
        self._read_again_if_changed()
        target = self.named_target(target)
        if isinstance(target, dict):
            return {name: self.with_outputs(images, one) for name, one in target.items()}
        return self._run(checked_images(self.graph, images), target, self.compute)

    def compute(self, images: list[tf.Tensor], target: targets.Prepared = None) -> Explanation:
        """Compute an explanation from unchecked tensors. Compiled and exported functions call this.

        Args:
            images: one tensor per model input, in the model's dtype.
            target: a prepared target: None, a function, an int32 array of classes with shape (N,)
                or (1,), or a float32 array of weights with shape (N or 1, …, classes).

        Returns:
            The outputs, the explained class and the attribution.
        """
        with self.read.tracing():
            attribution, values = self.attribute(images, targets.seed_for(target))
            return self._explanation(target, values, _float32(attribution))

    def _compute_with_logits(
        self, images: list[tf.Tensor], target: targets.Prepared = None
    ) -> tuple[Explanation, Nested[tf.Tensor] | None]:
        """Compute an explanation, and the logits if the method uses them."""
        with self.read.tracing():
            attribution, values = self.attribute(images, targets.seed_for(target))
            explanation = self._explanation(target, values, _float32(attribution))
            if not self.takes_target or self.score != "logits":
                return explanation, None
            values = run(values, self.graph.before(self.graph.outputs, given=values))
            return explanation, _float32(tree.map_structure(lambda value: values[value], self.graph.output_structure))

    def _explanation(self, target: targets.Prepared, values: Values, attribution: Nested[tf.Tensor]) -> Explanation:
        """Combine an attribution with the outputs and the explained class."""
        values = run(values, self.graph.before(self.graph.outputs, given=values))
        shared = {value: x for value, x in values.items() if value not in self._differing_values}
        whole = run(shared, self.whole.before(self.whole.outputs, given=shared))
        outputs = tree.map_structure(lambda value: whole[value], self.whole.output_structure)
        return Explanation(_float32(outputs), self._class(target, values), attribution)

    def _attribution(self, images: list[tf.Tensor], target: targets.Prepared = None) -> Nested[tf.Tensor]:
        with self.read.tracing():
            return _float32(self.attribute(images, targets.seed_for(target))[0])

    def _class(self, target: targets.Prepared, values: Values) -> tf.Tensor | None:
        """Return the explained class of each image, or None if there are no classes."""
        scores = values[self.graph.outputs[0]]
        is_classifier = isinstance(self.graph.output_structure, Value) and tf.is_tensor(scores) and len(scores.shape) == 2
        if is_classifier and isinstance(target, ChoosingTarget):
            return target.explained_classes(scores)
        if not is_classifier or callable(target) or (target is not None and target.dtype != tf.int32):
            return None
        if target is None:
            return tf.argmax(scores, axis=-1, output_type=tf.int32)
        return tf.broadcast_to(target, tf.shape(scores)[:1])

    def explain(
        self,
        images: Any,
        target: targets.Target | str = None,
        *,
        batch_size: int = 32,
        verbose: int | str = "auto",
        devices: str | None = None,
    ) -> Any:
        """Explain any number of images, batch by batch.

        Args:
            images: an array of shape (N, H, W, C), or a tf.data.Dataset or keras.utils.PyDataset,
                batched or not, whose elements are images or tuples that start with images.
            target: what to explain, as in a call. Arrays with one class or one row of weights per
                image are matched to the images by position.
            batch_size: the maximum number of images to run at once, regardless of a dataset's
                batches.
            verbose: 0 is silent, 1 or "auto" shows Keras' progress bar, and 2 shows only its last
                line.
            devices: "all" distributes the batches over all GPUs or, if there are none, all logical
                CPU devices. For this call, each device gets a copy of the weights and compiles its
                own function. If None, TensorFlow's default device is used.

        Returns:
            The attributions for all images as one NumPy array or, for a model with several inputs,
            as arrays nested like the inputs. For a target such as "top2", the result is a dict of
            such attributions.

        Raises:
            ImageError: there are no images, or they don't match the model's input.
            TargetError: the target does not match the outputs or the number of images.
            OptionError: `batch_size` is not a positive integer, or `devices` is neither "all" nor
                None.
        """
        target = self.named_target(target)
        options: dict[str, Any] = {"batch_size": batch_size, "verbose": verbose, "devices": devices}
        if isinstance(target, dict):
            return {name: self.explain(images, one, **options) for name, one in target.items()}
        return batches.explain(self, images, target, **options)

    def explain_files(
        self,
        paths: str | Path | Iterable[str | Path],
        target: targets.Target | str = None,
        *,
        batch_size: int = 32,
        preprocessing: Preprocessing | None = None,
    ) -> Iterator[Row]:
        """Explain image files and return one row of results per image and target.

        The rows have the same columns as the tables from `tfviz explain` (see docs/tables.md), so
        `pandas.DataFrame(rows)` works. An image that cannot be read or explained gets one row with
        `status` "failed" and the reason in `error`. Files are read while the model runs.

        Args:
            paths: image files, and folders to search for image files.
            target: what to explain, as in a call; one target for all images.
            batch_size: the maximum number of images to run at once.
            preprocessing: converts images to the model's input. None means the preprocessing from
                `load_model`.

        Returns:
            An iterator over the rows, in file order. `map` is the raw float32 attribution without
            the batch axis, or None for an image that failed.

        Raises:
            ImageError: a path does not exist, or a folder contains no images.
            TargetError: the target does not match the outputs, or has one entry per image.
            OptionError: `batch_size` is not a positive integer.
        """
        from tfviz.image_rows import explain_files

        return explain_files(self, paths, target, batch_size=batch_size, preprocessing=preprocessing)

    def show(
        self,
        images: npt.ArrayLike,
        target: targets.Target | str = None,
        *,
        batch_size: int = 32,
        pictures: npt.ArrayLike | Sequence[npt.ArrayLike] | None = None,
        captions: Sequence[str | None] | None = None,
        scale: str = "map",
        alpha: float = 0.5,
        underlay: Literal["color", "gray"] = "gray",
        preprocessing: Preprocessing | str | None = None,
    ) -> Panel:
        """Explain images and show them beside their maps in a notebook.

        A slider above the maps sets their opacity, and tabs switch between several targets, such as
        "top3". Below each map are the explained class, its score and the map's strength (see
        `tfviz.plot`).

        Args:
            images: an array of shape (N, H, W, C) with at most 64 preprocessed images.
            target: what to explain, as in a call.
            batch_size: the maximum number of images to run at once.
            pictures: the images to draw the maps over, with shape (N, H, W, 3). None means
                `images`. Images from `load_images` are drawn in their original colors.
            captions: one text per image. None means the top class and its score.
            scale: as for `tfviz.plot`.
            alpha: as for `tfviz.plot`.
            underlay: as for `tfviz.plot`.
            preprocessing: as for `tfviz.plot`. None means the preprocessing from `load_model`.

        Returns:
            The panel. A notebook displays it as the result of a cell, and its `save` method writes
            it to a page.

        Raises:
            ImageError: the model has several inputs, or the images are invalid (see `__call__` and
                `tfviz.show`).
            TargetError: see `__call__`.
            OptionError: `batch_size` is not a positive integer, or another option is invalid (see
                `tfviz.show`).
        """
        from tfviz.panels import panel_of

        return panel_of(
            self,
            images,
            target,
            batch_size=batch_size,
            pictures=pictures,
            captions=captions,
            scale=scale,
            alpha=alpha,
            underlay=underlay,
            preprocessing=preprocessing,
        )

    @property
    def labels(self) -> Labels:
        """The class names; empty if they are unknown."""
        return self._labels or labels_of(self.model)

    def named_target(self, target: targets.Target | str) -> targets.Target | dict[str, ClassOrRank]:
        """Replace the class names in a target with class numbers.

        Args:
            target: what to explain, as in a call.

        Returns:
            The target, or a dict of targets for a string such as "top2".

        Raises:
            TargetError: there is no such class.
        """
        if not self.takes_target:
            return cast("targets.Target", target)
        shape = self.graph.output_structure.shape if isinstance(self.graph.output_structure, Value) else None
        classes = shape[-1] if shape and len(shape) > 1 else None
        return in_numbers(target, lambda: self.labels, classes)

    def export(self, path: str | Path, format: str = "saved_model", **options: Any) -> Path:
        """Export the explainer to a folder that can be used without tfviz.

        Args:
            path: the folder to create.
            format: "saved_model", "stablehlo", "litert" or "onnx".
            **options: the format's options (see `tfviz.export.export`).

        Returns:
            The path to the folder.

        Raises:
            ExportError: the explainer cannot be exported in this format.
        """
        from tfviz.export import export

        self._read_again_if_changed()
        sizes = [value.shape[1:] for value in self.graph.inputs]
        for side in _TRIED:
            self.read.require_faithful((), tuple(tuple(n or side for n in size) for size in sizes))
        return export(self, path, format=format, **options)

    def _read_again_if_changed(self) -> None:
        """Re-read the model if its layers were modified."""
        if not self.read.is_current():
            functions = self._functions
            type(self).__init__(self, self.model, **self.options)
            self._functions.traces = functions.traces

    def _compiled(self, computation: Computation, specs: list[tf.TensorSpec], target: targets.Prepared) -> Callable[..., Any]:
        """Compile a computation (see `CompiledFunctions`)."""
        return self._functions.compiled(computation, specs, target)

    def _run(self, images: list[tf.Tensor], target: targets.Target, computation: Callable[..., Any]) -> Any:
        """Run a compiled computation on checked images."""
        return self._bound(images, target, computation)()

    def _bound(self, images: list[tf.Tensor], target: targets.Target, computation: Callable[..., Any]) -> Callable[[], Any]:
        """Compile a computation for checked images and bind its arguments."""
        if not self.takes_target and target is not None:
            raise targets.TargetError(
                f"{self.key} is class-agnostic and does not accept a target. Received: target={target!r}. Omit the target."
            )
        prepared = self.prepared_target(images, target) if self.takes_target else None
        self.read.require_faithful(images, tuple(tuple(x.shape[1:]) for x in images))
        if callable(prepared):
            self._check_function(prepared, images[0].shape[0])
        return self._functions.bound(computation, self.graph, images, prepared)

    def prepared_target(self, images: list[tf.Tensor], target: targets.Target) -> targets.Prepared:
        """Check a target against a batch and convert it (see `targets.prepare`).

        Args:
            images: the checked images.
            target: what to explain, as in a call.

        Returns:
            The prepared target.

        Raises:
            TargetError: the target does not match the batch or the outputs.
        """
        target = for_detector(target, self.model, tuple(images[0].shape))
        return targets.prepare(target, self._output_shapes(), images[0].shape[0])

    def _check_function(self, target: Callable[..., Any], count: int | None) -> None:
        """Check a target function once per batch size, if the output sizes are known."""
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
        """Return the class, model, options and model notes from which pickle rebuilds a copy.

        The copy compiles its functions again.
        """
        if self.is_frozen:
            raise TypeError("A frozen explainer cannot be pickled or copied. Copy the original, and freeze the copy.")
        options = {name: _by_path(self.graph, value) for name, value in self.options.items()}
        return _rebuilt, (type(self), self.model, options, notes_of(self.model))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.graph.model_name!r}{', frozen' if self.is_frozen else ''})"


def _by_path(graph: Graph, option: Any) -> Any:
    """Replace layers in an option with their paths, which stay valid in a copy of the model."""
    if isinstance(option, (list, tuple)):
        return type(option)(_by_path(graph, one) for one in option)
    if not isinstance(option, keras.Layer):
        return option
    return next(path for path, layer in graph.layers.items() if layer is option)


def _rebuilt(cls: type[Explainer], model: keras.Model, options: dict[str, Any], notes: ModelNotes | None) -> Explainer:
    if notes is not None:
        set_notes(model, notes)
    return cls(model, **options)


def _differing(whole: Graph, graph: Graph) -> set[Value]:
    """Return the values that the full graph computes differently from the score graph."""
    reads = {step.outputs: step.inputs for step in graph.steps}
    return whole.after(v for step in whole.steps if reads.get(step.outputs, step.inputs) != step.inputs for v in step.outputs)


def like_inputs(graph: Graph, tensors: list[tf.Tensor]) -> Nested[tf.Tensor]:
    """Nest tensors like the model's inputs. For a single input, return its tensor unchanged."""
    return tensors[0] if len(tensors) == 1 else tree.pack_sequence_as(graph.input_structure, tensors)


def _options_of(cls: type, args: tuple[Any, ...], options: dict[str, Any]) -> dict[str, Any]:
    """Return the constructor arguments, except the model, that differ from their defaults."""
    signature = inspect.signature(cls.__init__)  # type: ignore[misc]
    try:
        given = signature.bind_partial(None, *args, **options).arguments
    except TypeError:  # the constructor reports the error
        return {}
    defaults = {name: parameter.default for name, parameter in signature.parameters.items()}
    keywords = {name for name, parameter in signature.parameters.items() if parameter.kind is parameter.VAR_KEYWORD}
    own = {name: value for name, value in given.items() if name not in ("self", "model", *keywords)}
    changed = {name: value for name, value in own.items() if value is not defaults[name]}
    return changed | {name: value for keyword in keywords for name, value in given.get(keyword, {}).items()}


def _float32(structure: Nested[tf.Tensor]) -> Nested[tf.Tensor]:
    return tree.map_structure(lambda x: tf.cast(x, tf.float32), structure)
