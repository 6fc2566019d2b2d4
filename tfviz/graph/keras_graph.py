"""The only file that touches what Keras keeps private of models and layers.

Keras records how a Functional model was made as a graph of nodes, one for each call of an operation. There is no public
way to read it: `clone_model(call_function=...)` comes close, but leaves a new node on the user's layers at each use.
`tests/test_keras_graph.py` fails, and says what changed, when a new Keras moves any of this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf
from keras import tree
from keras.src.backend.common.masking import get_keras_mask, set_keras_mask
from keras.src.models.functional import Functional
from keras.src.ops.symbolic_arguments import SymbolicArguments


@dataclass(frozen=True)
class Call:
    """One call of an operation, as a node of Keras' own graphs tells of it."""

    operation: Any
    arguments: SymbolicArguments
    outputs: list[Any]

    @property
    def input_tensors(self) -> list[Any]:
        return self.arguments.keras_tensors


@dataclass(frozen=True)
class Calls:
    """A graph that Keras did not record: calls in the order in which they run, and the symbols they lead from and to."""

    nodes: list[Call]
    inputs: Any
    outputs: Any


def called(operation: Any, args: Any, kwargs: Any, outputs: list[Any]) -> Call:
    """A call with these arguments, symbolic tensors among them."""
    return Call(operation, SymbolicArguments(*args, **kwargs), outputs)


def functional_of(operation: Any) -> Any | None:
    """The graph behind a Functional or Sequential model; None for whatever else.

    A subclass with a `call` of its own is not opened: its graph need not be what it computes.
    """
    if isinstance(operation, keras.Sequential) and type(operation).call is keras.Sequential.call:
        return operation._functional
    if isinstance(operation, Functional) and type(operation).call is Functional.call:
        return operation
    return None


def recorded_inputs(model: Any) -> Any | None:
    """The symbolic inputs that a model was made from, nested as it takes them; None where it was not made from any."""
    functional = model if isinstance(model, Functional) else getattr(model, "_functional", None)
    return None if functional is None else functional._inputs_struct


def nodes(functional: Any) -> list[Any]:
    """The calls in a graph, each after all that it needs; inputs left out."""
    if isinstance(functional, Calls):
        return functional.nodes
    by_depth = functional._nodes_by_depth
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth] if not node.is_input]


def operations(model: Any) -> list[Any]:
    """Every operation of a Functional or Sequential model, its inputs too."""
    functional = functional_of(model)
    return list(functional.operations) if functional is not None else []


def layers_of(operation: Any) -> list[Any]:
    """A layer and the layers inside it, at any depth; none for an operation that is no layer."""
    return list(operation._flatten_layers()) if isinstance(operation, keras.Layer) else []


_STATE = ("activation", "call", "mean", "lora_enabled", "_dtype_policy", "_functional")


def state_of(layers: Iterable[Any]) -> list[Any]:
    """What users change of a layer that is built: its activation, quantize(), enable_lora(), adapt(), a Sequential's pop()."""
    return [vars(layer).get(name) for layer in layers for name in _STATE]


def input_structure(functional: Any) -> Any:
    """The graph's symbolic inputs, nested as the user calls the model."""
    return functional.inputs if isinstance(functional, Calls) else functional._inputs_struct


def output_structure(functional: Any) -> Any:
    """The graph's symbolic outputs, nested as the model returns them."""
    return functional.outputs if isinstance(functional, Calls) else functional._outputs_struct


def inputs_for(functional: Any, node: Any) -> list[Any]:
    """The symbolic tensors that a call gives to a nested model, in the order of the model's own inputs.

    A dict may be given to a model that takes a list: Keras then goes by the names of the inputs.
    """
    given = node.arguments.args[0] if node.arguments.args else node.arguments.kwargs["inputs"]
    symbols = input_structure(functional)
    if isinstance(given, dict) and isinstance(symbols, dict):
        return tree.flatten({name: given[name] for name in symbols})
    if isinstance(given, dict):
        return [given[input_name(symbol, number)] for number, symbol in enumerate(tree.flatten(symbols))]
    return tree.flatten(given)


def fitted(symbol: Any, x: Any) -> Any:
    """x in the type and rank of a nested model's symbolic input, as Keras brings it there when it calls the model."""
    y = x
    if len(x.shape) == len(symbol.shape) + 1:
        y = keras.ops.squeeze(x, axis=-1)
    elif len(x.shape) == len(symbol.shape) - 1:
        y = keras.ops.expand_dims(x, axis=-1)
    return with_mask_of(x, keras.ops.cast(y, symbol.dtype))


def masks_on(values: dict[int, Any]) -> dict[int, Any]:
    """The masks over time that Keras keeps on some of these tensors, which a function does not return with them."""
    return {value: mask for value, x in values.items() if (mask := get_keras_mask(x)) is not None}


def with_masks(values: dict[int, Any], masks: dict[int, Any]) -> dict[int, Any]:
    """These tensors, with the masks that were on them."""
    for value, mask in masks.items():
        set_keras_mask(values[value], mask)
    return values


def with_mask_of(x: Any, y: Any) -> Any:
    """y, and on it the mask over time that Keras keeps on x, where there is one and y has none."""
    mask = get_keras_mask(x)
    if mask is not None and y is not x and get_keras_mask(y) is None:
        set_keras_mask(y, mask)
    return y


def input_name(tensor: Any, number: int) -> str:
    """The name of the InputLayer behind a symbolic input; "input_0" … where there is none."""
    history = getattr(tensor, "_keras_history", None)
    return history.operation.name if history is not None and history.operation is not None else f"input_{number}"


def traced(layer: Any, symbols: Any, call: Callable[[], Any]) -> Any | None:
    """The graph of what a layer does in `call`, seen by calling it on symbolic tensors; None where that cannot be done.

    `call` runs the layer's own `call`, or a layer inside it, on the symbols. It cannot be seen where it goes through other
    functions than Keras' own (`tf.nn.relu`), or reads weights in a way that would freeze their present value. Nothing is
    left behind on the layers inside.
    """
    if layer is not None and _owns_variables(layer):
        return None
    inner = [one for one in layers_of(layer) if one is not layer]
    before = [(one, len(one._inbound_nodes), len(one._outbound_nodes)) for one in inner]
    try:
        with untouched(layer):
            outputs = call()
        function = keras.Function(symbols, outputs)
    except Exception:  # The user's own code, run on what it was not written for: it may raise anything.
        return None
    finally:
        for one, inbound, outbound in before:
            del one._inbound_nodes[inbound:], one._outbound_nodes[outbound:]
    _forget(function)
    own = {id(one) for one in layers_of(layer)}
    is_frozen = any(_holds_values(node) or _has_free_size(node, own) for node in nodes(function))
    return None if is_frozen else function


def _forget(function: Any) -> None:
    """Takes the calls of a graph off the layers in it: some are not the traced layer's own, but caught in a closure."""
    own = {id(node) for node in nodes(function)}
    for operation in function.operations:
        for marks in (operation._inbound_nodes, operation._outbound_nodes):
            marks[:] = [node for node in marks if id(node) not in own]


def _owns_variables(layer: Any) -> bool:
    """Whether a layer has weights of its own, not counting those of the layers inside it."""
    return bool(layer._trainable_variables or layer._non_trainable_variables)


def _holds_values(node: Any) -> bool:
    """Whether a call was given a tensor of values, which may have been computed from weights."""
    return any(tf.is_tensor(value) for value in tree.flatten((node.arguments.args, node.arguments.kwargs)))


_SIZES = ("height", "width", "size", "target_shape", "pool_size", "output_size")


def _has_free_size(node: Any, own: set[int]) -> bool:
    """Whether a call was given a shape with a size that is not known before there are images.

    That of the batch in a reshape is what the others leave, which is said instead: the operation is the trace's own. A layer
    may have been made for the call, of such sizes; `own` has the ids of those that were not.
    """
    operation, sizes = node.operation, node.outputs[0].shape
    if isinstance(operation, keras.Layer):
        given = [getattr(operation, name) for name in _SIZES if hasattr(operation, name)]
        return id(operation) not in own and None in tree.flatten(given)
    if None not in (*_shape(operation, "newshape"), *_shape(operation, "shape")):
        return False
    if hasattr(operation, "newshape") and None not in sizes[1:]:
        operation.newshape = (-1, *sizes[1:])
        return False
    return True


def _shape(operation: Any, name: str) -> Sequence[Any]:
    shape = getattr(operation, name, ())
    return shape if isinstance(shape, (tuple, list)) else ()


@contextmanager
def unrecorded(operations: Iterable[Any]) -> Iterator[None]:
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


@contextmanager
def untouched(model: Any) -> Iterator[None]:
    """Lets layers be called in the block without a trace of it on them: no loss added or lost, no variable assigned.

    Keras keeps on a layer what its last call gave to `add_loss`, and users keep there what they like (`self.attention = …`);
    of a traced call those are symbols, and would be of no use to anybody.
    """
    losses = [(part, part._loss_ids, list(part._losses), set(part._loss_ids)) for part in layers_of(model)]
    kept = [(part, dict(vars(part)), _contents(part)) for part in layers_of(model) if part.built]
    # What is not built yet makes its weights in its first call, and keeps them.
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


def _put_back(part: Any, before: dict[str, Any]) -> None:
    """A layer's attributes as they were, where a call has left a tensor there."""
    for name, value in list(vars(part).items()):
        if value is not before.get(name) and any(_is_tensor(one) for one in tree.flatten(value)):
            if name in before:
                vars(part)[name] = before[name]
            else:
                del vars(part)[name]


def _contents(part: Any) -> list[tuple[Any, Any]]:
    """What a user's own lists and dicts on a layer hold."""
    own = [value for name, value in vars(part).items() if name[0] != "_" and isinstance(value, (list, dict))]
    return [(value, (dict if isinstance(value, dict) else list)(value)) for value in own]


def _put_contents_back(contents: list[tuple[Any, Any]]) -> None:
    """Lists and dicts as they were, where a call has left a tensor in them. Keras' own way to change them keeps a record."""
    for value, before in contents:
        kind = dict if isinstance(value, dict) else list
        if len(value) != len(before) or any(map(_is_tensor, tree.flatten(kind(value)))):
            kind.clear(value)
            (dict.update if kind is dict else list.extend)(value, before)


def _is_tensor(value: Any) -> bool:
    return isinstance(value, keras.KerasTensor) or tf.is_tensor(value)
