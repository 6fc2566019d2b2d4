"""The only module that touches what Keras keeps private of models, layers and tensors.

Keras records how a Functional model was made as a graph of nodes, one for each call of an operation. There is no public
way to read it: `clone_model(call_function=...)` comes close, but leaves a new node on the user's layers at each use.
`tests/reading/test_keras_internals.py` fails, and names what changed, when a new Keras moves any of this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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

if TYPE_CHECKING:
    from keras.src.ops.node import Node

    from tfviz.nesting import Nested


# --- recorded graphs --------------------------------------------------------------------------------------------------


def functional_of(operation: object) -> keras.Model | None:
    """The graph behind a Functional or Sequential model; None for anything else.

    A subclass with a `call` of its own is not opened: its graph need not be what it computes.
    """
    if isinstance(operation, keras.Sequential) and type(operation).call is keras.Sequential.call:
        return operation._functional
    if isinstance(operation, Functional) and type(operation).call is Functional.call:
        return operation
    return None


def recorded_inputs(model: keras.Model) -> Nested[keras.KerasTensor] | None:
    """The symbolic inputs that a model was made from, nested as it takes them; None where it was not made from any."""
    functional = model if isinstance(model, Functional) else getattr(model, "_functional", None)
    return None if functional is None else functional._inputs_struct


def nodes(functional: keras.Model | keras.Function) -> list[Node]:
    """The calls in a graph, each after all that it needs; inputs left out."""
    by_depth = functional._nodes_by_depth
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth] if not node.is_input]


def call_numbers(functional: keras.Model | keras.Function) -> dict[int, int]:
    """The position of each call among all calls of its operation, in the order in which they were made, by the node's id."""
    called = {id(node.operation): node.operation for node in nodes(functional)}
    return {id(node): number for one in called.values() for number, node in enumerate(one._inbound_nodes)}


def input_structure(functional: keras.Model | keras.Function) -> Nested[keras.KerasTensor]:
    """The graph's symbolic inputs, nested as the user calls the model."""
    return functional._inputs_struct


def output_structure(functional: keras.Model | keras.Function) -> Nested[keras.KerasTensor]:
    """The graph's symbolic outputs, nested as the model returns them."""
    return functional._outputs_struct


def symbolic_arguments(args: Sequence[object], kwargs: Mapping[str, object]) -> SymbolicArguments:
    """The arguments of a call, symbolic tensors among them, as Keras' own nodes hold them."""
    return SymbolicArguments(*args, **kwargs)


def input_name(tensor: keras.KerasTensor, number: int) -> str:
    """The name of the InputLayer behind a symbolic input; "input_0" … where there is none."""
    history = getattr(tensor, "_keras_history", None)
    return history.operation.name if history is not None and history.operation is not None else f"input_{number}"


def operations(model: keras.Model) -> list[keras.Operation]:
    """Every operation of a Functional or Sequential model, its inputs too."""
    functional = functional_of(model)
    return list(functional.operations) if functional is not None else []


# --- layers -----------------------------------------------------------------------------------------------------------


def layers_of(operation: object) -> list[keras.Layer]:
    """A layer and the layers inside it, at any depth; none for an operation that is no layer."""
    return list(operation._flatten_layers()) if isinstance(operation, keras.Layer) else []


_STATE = ("activation", "call", "mean", "lora_enabled", "_dtype_policy", "_functional")


def state_of(layers: Iterable[keras.Layer]) -> list[object]:
    """What users change of a built layer: its activation, quantize(), enable_lora(), adapt(), a Sequential's pop()."""
    return [vars(layer).get(name) for layer in layers for name in _STATE]


def own_variables(layer: keras.Layer) -> list[keras.Variable]:
    """A layer's weights in the order in which files number them, without those of the layers inside it."""
    return [*layer._trainable_variables, *layer._non_trainable_variables]


def owns_variables(layer: keras.Layer) -> bool:
    """Whether a layer has weights of its own, not counting those of the layers inside it."""
    return bool(own_variables(layer))


# --- files ------------------------------------------------------------------------------------------------------------


def safe_mode() -> AbstractContextManager[None]:
    """Deserialization in this block runs no code of the file's: Keras refuses Lambda layers there."""
    return SafeModeScope(True)


# --- masks over time --------------------------------------------------------------------------------------------------


def masks_on(tensors: Sequence[tf.Tensor]) -> dict[int, tf.Tensor]:
    """The masks that Keras keeps on some of these tensors, by position: a function does not return them with its tensors."""
    return {number: mask for number, x in enumerate(tensors) if (mask := get_keras_mask(x)) is not None}


def set_masks(tensors: Sequence[tf.Tensor], masks: Mapping[int, tf.Tensor]) -> None:
    """Puts masks on tensors by position (see `masks_on`)."""
    for number, mask in masks.items():
        set_keras_mask(tensors[number], mask)


def with_mask_of(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """y, and on it the mask over time that Keras keeps on x, where there is one and y has none."""
    mask = get_keras_mask(x)
    if mask is not None and y is not x and get_keras_mask(y) is None:
        set_keras_mask(y, mask)
    return y


# --- symbolic calls ---------------------------------------------------------------------------------------------------


def symbolic_graph(
    layer: keras.Layer | None, symbols: Nested[keras.KerasTensor], call: Callable[[], Nested[keras.KerasTensor]]
) -> tuple[keras.Function, dict[int, int]]:
    """The graph that Keras records while `call` runs a layer's code on symbolic tensors, and its `call_numbers`.

    Nothing is left behind on the layers inside. What the code raises is raised.
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
    _forget(function)
    return function, numbers


def _forget(function: keras.Function) -> None:
    """Takes the calls of a graph off the layers in it: some are not the traced layer's own, but caught in a closure."""
    own = {id(node) for node in nodes(function)}
    for operation in function.operations:
        for marks in (operation._inbound_nodes, operation._outbound_nodes):
            marks[:] = [node for node in marks if id(node) not in own]


@contextmanager
def unrecorded(operations: Iterable[keras.Operation]) -> Iterator[None]:
    """Forgets, at the end, the calls that were recorded on these operations inside the block.

    A new graph that starts from a user's symbolic tensors leaves a mark on the operations that made them. Nothing reads
    it (Keras walks its graphs from the outputs back), so that taking it away leaves the user's model as it was.
    """
    before = [(operation, len(operation._outbound_nodes)) for operation in operations]
    try:
        yield
    finally:
        for operation, count in before:
            del operation._outbound_nodes[count:]


# --- leaving the user's model as it is --------------------------------------------------------------------------------


@contextmanager
def untouched(model: object) -> Iterator[None]:
    """Lets layers be called in the block without a trace of it on them: no loss added or lost, no variable assigned.

    Keras keeps on a layer what its last call gave to `add_loss`, and users keep there what they like (`self.attention = …`);
    of a traced call those are symbols, and would be of no use to anybody.
    """
    losses = [(part, part._loss_ids, list(part._losses), set(part._loss_ids)) for part in layers_of(model)]
    kept = [(part, dict(vars(part)), _contents(part)) for part in layers_of(model) if part.built]
    # An unbuilt layer makes its weights in its first call, and keeps them.
    with keras.StatelessScope() if getattr(model, "built", True) else nullcontext():
        try:
            yield
        finally:
            for part, before, contents in kept:
                _put_back(part, before)
                _put_contents_back(contents)
            for part, kept_ids, given, ids in losses:
                part._losses[:] = given
                kept_ids.clear()
                kept_ids.update(ids)


def _put_back(part: keras.Layer, before: dict[str, object]) -> None:
    """Restores a layer's attributes where a call has left a tensor there."""
    for name, value in list(vars(part).items()):
        if value is not before.get(name) and any(_is_tensor(one) for one in tree.flatten(value)):
            if name in before:
                vars(part)[name] = before[name]
            else:
                del vars(part)[name]


_Contents = list[tuple[Any, Any]]  # a user's list or dict, and a copy of it


def _contents(part: keras.Layer) -> _Contents:
    """What a user's own lists and dicts on a layer hold."""
    own = [value for name, value in vars(part).items() if name[0] != "_" and isinstance(value, (list, dict))]
    return [(value, (dict if isinstance(value, dict) else list)(value)) for value in own]


def _put_contents_back(contents: _Contents) -> None:
    """Restores lists and dicts where a call has left a tensor in them. Keras' own way to change them keeps a record."""
    for value, before in contents:
        kind = dict if isinstance(value, dict) else list
        if len(value) != len(before) or any(map(_is_tensor, tree.flatten(kind(value)))):
            kind.clear(value)
            (dict.update if kind is dict else list.extend)(value, before)


def _is_tensor(value: object) -> bool:
    return isinstance(value, keras.KerasTensor) or tf.is_tensor(value)


# --- global state -----------------------------------------------------------------------------------------------------

_GENERATOR = "global_seed_generator"


def global_generator() -> keras.random.SeedGenerator | None:
    """The generator behind `keras.random` without a seed; None where nothing was drawn from it yet."""
    return global_state.get_global_attribute(_GENERATOR)


def forget_global_generator() -> None:
    """Removes that generator; Keras makes a new one at the next draw."""
    global_state.set_global_attribute(_GENERATOR, None)


# --- layers of keras.applications -------------------------------------------------------------------------------------


def application_layers() -> dict[str, type[keras.Layer]]:
    """The layers that keras.applications defines for its own networks, by name."""
    from keras.src.applications import convnext, inception_resnet_v2

    return {
        "LayerScale": convnext.LayerScale,
        "StochasticDepth": convnext.StochasticDepth,
        "CustomScaleLayer": inception_resnet_v2.CustomScaleLayer,
    }
