"""The only file that touches what Keras keeps private.

Keras records how a Functional model was made as a graph of nodes, one for each call of an operation. There is no public
way to read it: `clone_model(call_function=...)` comes close, but leaves a new node on the user's layers at each use.
`tests/test_keras_graph.py` fails, and says what changed, when a new Keras moves any of this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import keras
import tensorflow as tf
from keras import tree
from keras.src.models.functional import Functional


def functional_of(operation: Any) -> Any | None:
    """The graph behind a Functional or Sequential model; None for whatever else.

    A subclass with a `call` of its own is not opened: its graph need not be what it computes.
    """
    if isinstance(operation, keras.Sequential) and type(operation).call is keras.Sequential.call:
        return operation._functional
    if isinstance(operation, Functional) and type(operation).call is Functional.call:
        return operation
    return None


def nodes(functional: Any) -> list[Any]:
    """The calls in a graph, each after all that it needs; inputs left out."""
    by_depth = functional._nodes_by_depth
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth] if not node.is_input]


def operations(model: Any) -> list[Any]:
    """Every operation of a Functional or Sequential model, its inputs too."""
    functional = functional_of(model)
    return list(functional.operations) if functional is not None else []


def layers_of(operation: Any) -> list[Any]:
    """A layer and the layers inside it, at any depth; none for an operation that is no layer."""
    return list(operation._flatten_layers()) if isinstance(operation, keras.Layer) else []


def input_structure(functional: Any) -> Any:
    """The graph's symbolic inputs, nested as the user calls the model."""
    return functional._inputs_struct


def output_structure(functional: Any) -> Any:
    """The graph's symbolic outputs, nested as the model returns them."""
    return functional._outputs_struct


def input_name(tensor: Any, number: int) -> str:
    """The name of the InputLayer behind a symbolic input; "input_0" … where there is none."""
    history = getattr(tensor, "_keras_history", None)
    return history.operation.name if history is not None and history.operation is not None else f"input_{number}"


def traced(layer: Any, symbols: Sequence[Any], call: Callable[[], Any]) -> Any | None:
    """The graph of what a layer does in `call`, seen by calling it on symbolic tensors; None where that cannot be done.

    `call` runs the layer's own `call`, or a layer inside it, on the symbols. It cannot be seen where it goes through other
    functions than Keras' own (`tf.nn.relu`), or reads weights in a way that would freeze their present value. Nothing is
    left behind on the layers inside.
    """
    if _owns_variables(layer):
        return None
    inner = [one for one in layers_of(layer) if one is not layer]
    before = [(one, len(one._inbound_nodes), len(one._outbound_nodes)) for one in inner]
    try:
        with untouched(layer):
            outputs = call()
        function = keras.Function(list(symbols), outputs)
    except Exception:  # The user's own code, run on what it was not written for: it may raise anything.
        return None
    finally:
        for one, inbound, outbound in before:
            del one._inbound_nodes[inbound:], one._outbound_nodes[outbound:]
    return None if any(_holds_values(node) or _has_free_size(node) for node in nodes(function)) else function


def _owns_variables(layer: Any) -> bool:
    """Whether a layer has weights of its own, not counting those of the layers inside it."""
    return bool(layer._trainable_variables or layer._non_trainable_variables)


def _holds_values(node: Any) -> bool:
    """Whether a call was given a tensor of values, which may have been computed from weights."""
    flat = tree.flatten((node.arguments.args, node.arguments.kwargs))
    return any(tf.is_tensor(value) and len(value.shape) > 0 for value in flat)


def _has_free_size(node: Any) -> bool:
    """Whether a call was given a shape with a size that is not known before there are images.

    That of the batch in a reshape is what the others leave, which is said instead: the operation is the trace's own.
    """
    operation, sizes = node.operation, node.outputs[0].shape
    if isinstance(operation, keras.Layer) or None not in (*_shape(operation, "newshape"), *_shape(operation, "shape")):
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

    Keras keeps on a layer what its last call gave to `add_loss`; those of a traced call are symbols, and would make
    `model.losses` useless.
    """
    losses = [(part, list(part._losses), set(part._loss_ids)) for part in layers_of(model)]
    # What is not built yet makes its weights in its first call, and keeps them.
    with keras.StatelessScope() if getattr(model, "built", True) else nullcontext():
        try:
            yield
        finally:
            for part, kept, ids in losses:
                part._losses[:], part._loss_ids = kept, ids
