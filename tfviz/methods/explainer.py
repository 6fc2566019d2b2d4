"""What all methods share: reading the model once, checking what comes in, compiling once, running over data."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, ClassVar

import tensorflow as tf
from keras import tree

from tfviz import targets
from tfviz.graph import keras_graph
from tfviz.graph.head import scored, with_output
from tfviz.graph.layers import model_name
from tfviz.graph.places import Graph
from tfviz.graph.reading import graph_of
from tfviz.methods import batches
from tfviz.methods.inputs import checked_images

_MOST_COMPILED = 32  # functions kept; each new lambda as a target is one more


class Explainer(abc.ABC):
    """One method on one model: built once, called many times. The model is read, never changed.

    Args:
        model: a Functional or Sequential keras.Model, nested to any depth. Weights are read live: an explainer built
            before `fit` shows the network as it is now.
        score: "logits" takes a last softmax or sigmoid off before explaining; "outputs" explains the outputs as they are.
        output: of a model with several outputs the one to explain, by its name, its key in a dict, or its number. None
            leaves all of them, for a target that is a function of them.

    Raises:
        UnsupportedModelError: when the method cannot explain this model; the message says why and what else works.

    A call compiles once for each image size; batches of any length share it. `traces` counts the compilations.
    """

    key: ClassVar[str]
    question: ClassVar[str]
    needs_layer: ClassVar[bool] = False
    takes_target: ClassVar[bool] = True
    style: ClassVar[str] = "heatmap"

    def __init__(self, model: Any, *, score: str = "logits", output: str | int | None = None) -> None:
        self.model = model
        self.score = score
        self.graph = scored(with_output(self._read(model), output), score)
        self.traces = 0
        self._compiled: dict[Any, Callable[..., Any]] = {}

    def _read(self, model: Any) -> Graph:
        return graph_of(model)

    @abc.abstractmethod
    def attribute(self, images: list[Any], seed: targets.Seed) -> Any:
        """The attribution of one batch, as tensors.

        Args:
            images: one tensor for each input of the model, (N, H, W, C).
            seed: what starts at the outputs (see `targets`).
        """

    def __call__(self, images: Any, target: Any = None) -> tf.Tensor:
        """Explains one batch.

        Args:
            images: (N, H, W, C), what the model itself takes: preprocessed, channels last.
            target: None (the top class of each image), an int, (N,) ints, a float array (N, classes) that weights the
                outputs, or a function outputs -> (N,).

        Returns:
            The raw attribution, not resized and not scaled; its shape is the method's.

        Raises:
            ImageError: images of the wrong rank, size or channels, or not finite.
            TargetError: a target that does not fit the outputs.
        """
        flat = checked_images(self.graph, images)
        if not self.takes_target and target is not None:
            raise targets.TargetError(f"{self.key} explains no single class and takes no target; got {target!r}")
        prepared = targets.prepare(target, self._output_shapes(), flat[0].shape[0]) if self.takes_target else None
        run = self._compile([tuple(x.shape[1:]) for x in flat], prepared)
        return run(flat) if prepared is None or callable(prepared) else run(flat, prepared)

    def explain(self, images: Any, target: Any = None, *, batch_size: int = 32, verbose: int | str = "auto") -> Any:
        """Explains any number of images, batch by batch.

        Args:
            images: an array (N, H, W, C), a tf.data.Dataset or a keras.utils.PyDataset, batched or not, whose elements
                are images or tuples that begin with images.
            target: as in a call; (N,) ints and (N, classes) weights go along with the images.
            batch_size: the most images that are run at once, whatever the batches of a dataset.
            verbose: 0 is silent; 1 or "auto" shows Keras' progress bar; 2 shows its last line only.

        Returns:
            The attributions of all images, a NumPy array; for a model of several inputs one for each, nested as they are.
        """
        return batches.explain(self, images, target, batch_size=batch_size, verbose=verbose)

    def _output_shapes(self) -> Any:
        return tree.map_structure(lambda value: self.graph.shapes[value], self.graph.output_structure)

    def _compile(self, shapes: list[tuple[int | None, ...]], target: Any) -> Callable[..., Any]:
        """The compiled method for images of this shape and this form of target."""
        form = target if target is None or callable(target) else target.dtype
        key = (tuple(shapes), form)
        if key not in self._compiled:
            while len(self._compiled) >= _MOST_COMPILED:
                self._compiled.pop(next(iter(self._compiled)))
            signature = [[self._image_spec(i, shape) for i, shape in enumerate(shapes)]]
            if tf.is_tensor(target):
                signature.append(tf.TensorSpec([None] * len(target.shape), target.dtype))
            self._compiled[key] = tf.function(self._traced(target), autograph=False).get_concrete_function(*signature)
        return self._compiled[key]

    def _traced(self, target: Any) -> Callable[..., Any]:
        def run(images: list[Any], target_tensor: Any = None) -> Any:
            self.traces += 1
            with keras_graph.untouched(self.model):
                seed = targets.seed_for(target if target_tensor is None else target_tensor)
                return tree.map_structure(lambda x: tf.cast(x, tf.float32), self.attribute(images, seed))

        if tf.is_tensor(target):
            return lambda images, target_tensor: run(images, target_tensor)
        return lambda images: run(images)

    def _image_spec(self, number: int, shape: tuple[int | None, ...]) -> tf.TensorSpec:
        tensor = self.graph.tensors[self.graph.inputs[number]]
        return tf.TensorSpec((None, *shape), tensor.dtype if tensor is not None else tf.float32)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({model_name(self.graph)!r})"


def like_inputs(graph: Graph, tensors: list[Any]) -> Any:
    """One tensor for each input, nested as the model takes its inputs; for a model of one input the tensor itself."""
    return tensors[0] if len(tensors) == 1 else tree.pack_sequence_as(graph.input_structure, tensors)
