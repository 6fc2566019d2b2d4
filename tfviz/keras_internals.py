"""Access private parts of Keras' models, layers and tensors. No other module uses them.

Keras records a Functional model as a graph of nodes, one per operation call. No public API reads
this graph. `clone_model(call_function=...)` comes close, but each use adds a node to the user's
layers. If a new Keras version changes any of these parts, `tests/reading/test_keras_internals.py`
fails and identifies the change.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf
from keras import tree
from keras.src.backend.common import global_state
from keras.src.backend.common.masking import get_keras_mask, set_keras_mask
from keras.src.models.functional import Functional
from keras.src.ops.symbolic_arguments import SymbolicArguments
from keras.src.saving.serialization_lib import SafeModeScope

from tfviz.errors import UnsupportedModelError
from tfviz.variable_copies import variable_to_read

if TYPE_CHECKING:
    from keras.src.ops.node import Node

    from tfviz.nesting import Nested


# --- recorded graphs ------------------------------------------------------------------------------


def functional_of(operation: object) -> keras.Model | None:
    """Return the graph of a Functional or Sequential model, or None for any other object.

    For a subclass that overrides `call`, the result is None, because it may compute something other
    than its graph.
    """
    if isinstance(operation, keras.Sequential) and type(operation).call is keras.Sequential.call:
        return operation._functional
    if isinstance(operation, Functional) and type(operation).call is Functional.call:
        return operation
    return None


def recorded_inputs(model: keras.Model) -> Nested[keras.KerasTensor] | None:
    """Return a model's recorded symbolic inputs with their nesting, or None if there are none."""
    functional = model if isinstance(model, Functional) else getattr(model, "_functional", None)
    return None if functional is None else functional._inputs_struct


def nodes(functional: keras.Model | keras.Function) -> list[Node]:
    """Return a graph's operation calls in execution order, excluding the inputs."""
    by_depth = functional._nodes_by_depth
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth] if not node.is_input]


def call_numbers(functional: keras.Model | keras.Function) -> dict[int, int]:
    """Return the index of each call among the calls of its operation, keyed by the node's id."""
    called = {id(node.operation): node.operation for node in nodes(functional)}
    return {id(node): number for one in called.values() for number, node in enumerate(one._inbound_nodes)}


def input_structure(functional: keras.Model | keras.Function) -> Nested[keras.KerasTensor]:
    """Return a graph's symbolic inputs, nested like the arguments of the model."""
    return functional._inputs_struct


def output_structure(functional: keras.Model | keras.Function) -> Nested[keras.KerasTensor]:
    """Return a graph's symbolic outputs, nested like the result of the model."""
    return functional._outputs_struct


def symbolic_arguments(args: Sequence[object], kwargs: Mapping[str, object]) -> SymbolicArguments:
    """Wrap a call's arguments, which may contain symbolic tensors, as Keras' nodes do."""
    return SymbolicArguments(*args, **kwargs)


def input_name(tensor: keras.KerasTensor, number: int) -> str:
    """Return the name of a symbolic input's InputLayer, or "input_<number>" if it has none."""
    history = getattr(tensor, "_keras_history", None)
    return history.operation.name if history is not None and history.operation is not None else f"input_{number}"


def operations(model: keras.Model) -> list[keras.Operation]:
    """Return all operations in a Functional or Sequential model, including its inputs."""
    functional = functional_of(model)
    return list(functional.operations) if functional is not None else []


# --- layers ---------------------------------------------------------------------------------------


def layers_of(operation: object) -> list[keras.Layer]:
    """Return a layer and all its sublayers at any depth, or [] for any other object."""
    return list(operation._flatten_layers()) if isinstance(operation, keras.Layer) else []


_STATE = ("activation", "call", "mean", "lora_enabled", "_dtype_policy", "_functional")


def state_of(layers: Iterable[keras.Layer]) -> list[object]:
    """Return the values of the attributes that users can change on built layers."""
    return [vars(layer).get(name) for layer in layers for name in _STATE]


def own_variables(layer: keras.Layer) -> list[keras.Variable]:
    """Return a layer's weights without those of its sublayers, in the order that files use."""
    return [*layer._trainable_variables, *layer._non_trainable_variables]


def owns_variables(layer: keras.Layer) -> bool:
    """Return whether a layer has weights of its own, apart from those of its sublayers."""
    return bool(own_variables(layer))


@contextmanager
def computing_in(model: keras.Model, dtype: str, precise: Collection[object] = ()) -> Iterator[None]:
    """Make a model's float32 layers compute in another dtype, as mixed precision does.

    Layers in `precise` keep their dtype.
    """
    policy = keras.DTypePolicy(f"mixed_{dtype}")
    parts = [part for part in layers_of(model) if part.compute_dtype == "float32" and part not in precise]
    before = [(vars(part), part.dtype_policy) for part in parts]
    try:
        for attributes, _ in before:
            attributes["_dtype_policy"] = policy  # bypasses Keras' change tracking
        yield
    finally:
        for attributes, own in before:
            attributes["_dtype_policy"] = own


# --- files ----------------------------------------------------------------------------------------


def safe_mode() -> AbstractContextManager[None]:
    """Prevent deserialization from running code in a file. Keras then rejects Lambda layers."""
    return SafeModeScope(True)


# --- masks over time ------------------------------------------------------------------------------


def masks_on(tensors: Sequence[tf.Tensor]) -> dict[int, tf.Tensor]:
    """Return the tensors' Keras masks, keyed by position."""
    return {number: mask for number, x in enumerate(tensors) if (mask := get_keras_mask(x)) is not None}


def set_masks(tensors: Sequence[tf.Tensor], masks: Mapping[int, tf.Tensor]) -> None:
    """Set masks on tensors by position (see `masks_on`)."""
    for number, mask in masks.items():
        set_keras_mask(tensors[number], mask)


def with_mask_of(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Copy the Keras mask from x to y, unless y already has a mask, and return y."""
    mask = get_keras_mask(x)
    if mask is not None and y is not x and get_keras_mask(y) is None:
        set_keras_mask(y, mask)
    return y


# --- symbolic calls -------------------------------------------------------------------------------


def symbolic_graph(
    layer: keras.Layer | None, symbols: Nested[keras.KerasTensor], call: Callable[[], Nested[keras.KerasTensor]]
) -> tuple[keras.Function, dict[int, int]]:
    """Record the graph of `call`, which runs a layer's code on symbolic tensors.

    The call is not recorded on the sublayers. Errors in the code propagate.

    Args:
        layer: the layer, or None for a function.
        symbols: the symbolic tensors that `call` uses as inputs.
        call: a function that runs the code.

    Returns:
        The graph and its `call_numbers`.
    """
    inner = [one for one in layers_of(layer) if one is not layer]
    before = [(one, len(one._inbound_nodes), len(one._outbound_nodes)) for one in inner]
    try:
        with untouched(layer):
            outputs = call()
        function = keras.Function(symbols, outputs)
        numbers = call_numbers(function)
    finally:
        for one, inbound, outbound in before:
            del one._inbound_nodes[inbound:], one._outbound_nodes[outbound:]
    _remove_calls(function)
    return function, numbers


def _remove_calls(function: keras.Function) -> None:
    """Remove a graph's calls from its layers, including layers referenced only by a closure."""
    own = {id(node) for node in nodes(function)}
    for operation in function.operations:
        for marks in (operation._inbound_nodes, operation._outbound_nodes):
            marks[:] = [node for node in marks if id(node) not in own]


@contextmanager
def unrecorded(operations: Iterable[keras.Operation]) -> Iterator[None]:
    """Remove the calls that the block records on the given operations.

    A new graph that starts from a user's symbolic tensors adds a node to the operations that
    created them. Keras never reads that node, because it traverses graphs backward from the
    outputs. Removing the node restores the user's model.
    """
    before = [(operation, len(operation._outbound_nodes)) for operation in operations]
    try:
        yield
    finally:
        for operation, count in before:
            del operation._outbound_nodes[count:]


# --- keeping the user's model unchanged ---------------------------------------------------------


class _Scope(keras.StatelessScope):
    """A scope that makes Keras discard assignments and read copies of variables, if any exist."""

    def get_current_value(self, variable: keras.Variable) -> tf.Tensor | None:
        assigned, own = super().get_current_value(variable), variable._value
        if assigned is not None or not isinstance(own, tf.Variable):
            return assigned
        copy = variable_to_read(own)
        return None if copy is own else tf.convert_to_tensor(copy)


def tensorflow_variables(model: keras.Model) -> list[tf.Variable]:
    """Return the TensorFlow variables that store a model's weights and states."""
    return [variable._value for variable in model.variables]


@contextmanager
def untouched(model: object) -> Iterator[None]:
    """Undo side effects of layer calls in the block, such as added losses and assigned variables.

    Keras stores `add_loss` losses on the layer, and user code may set attributes there
    (`self.attention = …`). Tracing would leave useless symbolic tensors in both places.
    """
    losses = [(part, part._loss_ids, list(part._losses), set(part._loss_ids)) for part in layers_of(model)]
    kept = [(part, dict(vars(part)), _contents(part)) for part in layers_of(model) if part.built]
    # An unbuilt layer creates its weights in its first call, and these must remain.
    with _Scope() if getattr(model, "built", True) else nullcontext():
        try:
            yield
        finally:
            for part, before, contents in kept:
                _restore_attributes(part, before)
                _restore_contents(contents)
            for part, kept_ids, given, ids in losses:
                part._losses[:] = given
                kept_ids.clear()
                kept_ids.update(ids)


def _restore_attributes(part: keras.Layer, before: dict[str, object]) -> None:
    """Restore boolean attributes, and any attributes that a call set to tensors.

    For example, GroupQueryAttention stores whether its last call returned the scores.
    """
    for name, value in list(vars(part).items()):
        if isinstance(before.get(name), bool):
            vars(part)[name] = before[name]
        elif value is not before.get(name) and any(_is_tensor(one) for one in tree.flatten(value)):
            if name in before:
                vars(part)[name] = before[name]
            else:
                del vars(part)[name]


_Contents = list[tuple[Any, Any]]  # a user's list or dict and a copy of it


def _contents(part: keras.Layer) -> _Contents:
    """Return the lists and dicts that users set on a layer, each with a copy."""
    own = [value for name, value in vars(part).items() if name[0] != "_" and isinstance(value, (list, dict))]
    return [(value, (dict if isinstance(value, dict) else list)(value)) for value in own]


def _restore_contents(contents: _Contents) -> None:
    """Restore lists and dicts that a call added tensors to, bypassing Keras' change tracking."""
    for value, before in contents:
        kind = dict if isinstance(value, dict) else list
        if len(value) != len(before) or any(map(_is_tensor, tree.flatten(kind(value)))):
            kind.clear(value)
            (dict.update if kind is dict else list.extend)(value, before)


def _is_tensor(value: object) -> bool:
    return isinstance(value, keras.KerasTensor) or tf.is_tensor(value)


# --- global state ---------------------------------------------------------------------------------

_GENERATOR = "global_seed_generator"


def global_generator() -> keras.random.SeedGenerator | None:
    """Return `keras.random`'s generator for unseeded draws, or None before the first draw."""
    return global_state.get_global_attribute(_GENERATOR)


def forget_global_generator() -> None:
    """Remove the global generator. Keras creates a new one on the next draw."""
    global_state.set_global_attribute(_GENERATOR, None)


# --- layers of keras.applications -----------------------------------------------------------------


def application_layers() -> dict[str, type[keras.Layer]]:
    """Return the layer classes that keras.applications defines, keyed by name."""
    from keras.src.applications import convnext, inception_resnet_v2

    return {
        "LayerScale": convnext.LayerScale,
        "StochasticDepth": convnext.StochasticDepth,
        "CustomScaleLayer": inception_resnet_v2.CustomScaleLayer,
    }


def require_tensorflow(model: object = None) -> None:
    """Raise UnsupportedModelError for non-TensorFlow backends, Keras 2 and disabled eager mode."""
    if keras.backend.backend() != "tensorflow":
        raise UnsupportedModelError(
            f"tfviz needs Keras with the TensorFlow backend, but the backend is {keras.backend.backend()}. Set the environment "
            "variable KERAS_BACKEND=tensorflow before importing keras, and load the model again. The model file needs no "
            "conversion."
        )
    if not tf.compat.v1.executing_eagerly_outside_functions():
        raise UnsupportedModelError(
            "tfviz needs TensorFlow's eager execution, but it is disabled. Remove the call to "
            "tf.compat.v1.disable_eager_execution() or tf.compat.v1.disable_v2_behavior()."
        )
    if not isinstance(model, keras.Layer) and any(cls.__module__.startswith("tf_keras.") for cls in type(model).__mro__):
        raise UnsupportedModelError(
            f"'{getattr(model, 'name', 'model')}' is a Keras 2 model (tf_keras), but tfviz supports only Keras 3 models. Save "
            "the model with model.save('model.h5'), and load the file with tfviz.load_model('model.h5')."
        )
