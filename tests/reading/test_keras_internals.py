"""The private parts of Keras that tfviz uses exist and are unchanged.

A failure here names what Keras has moved.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from tfviz import keras_internals
from tfviz.reading import keras_tracer
from tfviz.reading.trace import NotReadable, Trace


def small() -> keras.Model:
    inputs = keras.Input((6, 6, 3), name="picture")
    conv = layers.Conv2D(3, 3, padding="same", name="conv")
    x = layers.Add(name="total")([conv(inputs), conv(conv(inputs))])
    return keras.Model(inputs, {"flat": layers.Flatten(name="flat")(x), "relu": keras.ops.relu(x)}, name="small")


def test_a_functional_model_is_its_own_graph() -> None:
    model = small()
    assert keras_internals.functional_of(model) is model, (
        "keras.src.models.functional.Functional is no longer the class of a model"
    )


@pytest.mark.parametrize("has_input", [True, False])
def test_a_sequential_model_has_a_graph_once_it_is_built(has_input: bool) -> None:
    model = keras.Sequential([keras.Input((4,))] * has_input + [layers.Dense(2, name="only")])
    if not has_input:
        assert keras_internals.functional_of(model) is None, "Sequential._functional is no longer None before the first call"
        model(np.zeros((1, 4)))
    functional = keras_internals.functional_of(model)
    assert [node.operation.name for node in keras_internals.nodes(functional)] == ["only"], "Sequential._functional has changed"


def test_a_subclass_with_its_own_call_has_no_graph() -> None:
    class Doubled(keras.Model):
        def call(self, x: Any) -> Any:
            return 2 * super().call(x)

    class Renamed(keras.Sequential):
        def call(self, x: Any, **options: Any) -> Any:
            return super().call(x, **options) + 1

    inputs = keras.Input((4,))
    assert keras_internals.functional_of(Doubled(inputs, layers.Dense(2)(inputs))) is None
    assert keras_internals.functional_of(Renamed([keras.Input((4,)), layers.Dense(2)])) is None
    assert keras_internals.functional_of(layers.Dense(2)) is None


def test_nodes_are_in_execution_order_and_hold_their_arguments() -> None:
    model = small()
    nodes = keras_internals.nodes(model)
    assert [node.operation.name for node in nodes].count("conv") == 3, "Functional._nodes_by_depth misses calls of a layer"
    known = {id(tensor) for tensor in model.inputs}
    for node in nodes:
        assert not node.is_input
        assert all(id(tensor) in known for tensor in node.input_tensors), "nodes are no longer in the order of running"
        known.update(id(tensor) for tensor in node.outputs)
    assert all(id(tensor) in known for tensor in model.outputs)


def test_a_node_can_be_run_again_on_other_tensors() -> None:
    x = keras.Input((5,))
    model = keras.Model(x, keras.ops.concatenate([x, keras.ops.clip(x, 0, 1)], axis=-1))
    values = {id(model.inputs[0]): np.array([[-1.0, 0.5, 2.0, 0.0, 3.0]], np.float32)}
    for node in keras_internals.nodes(model):
        args, kwargs = node.arguments.fill_in(values)
        values[id(node.outputs[0])] = node.operation(*args, **kwargs)
    want = [[-1, 0.5, 2, 0, 3, 0, 0.5, 1, 0, 1]]
    np.testing.assert_array_equal(values[id(model.outputs[0])], want, "node.arguments.fill_in has changed")


def test_inputs_and_outputs_keep_their_structure() -> None:
    model = small()
    assert set(keras_internals.output_structure(model)) == {"flat", "relu"}, "Functional._outputs_struct has changed"
    assert keras_internals.output_structure(model)["flat"] is model.output["flat"]
    pair = [keras.Input((2,), name="a"), keras.Input((3,), name="b")]
    assert keras_internals.input_structure(keras.Model(pair, layers.Concatenate()(pair))) == pair, "_inputs_struct has changed"


def test_an_input_has_its_layers_name() -> None:
    model = small()
    assert keras_internals.input_name(model.inputs[0], 0) == "picture", "KerasTensor._keras_history has changed"
    assert keras_internals.input_name(keras.KerasTensor((None, 2)), 3) == "input_3"


def test_operations_lists_everything_in_a_model() -> None:
    names = [operation.name for operation in keras_internals.operations(small())]
    assert names[0] == "picture"
    assert {"conv", "total", "flat"} <= set(names)
    assert len(names) == 5
    assert keras_internals.operations(layers.Dense(2)) == []


def test_the_layers_inside_a_layer_are_found_at_any_depth() -> None:
    inner = layers.Conv1D(2, 1, name="inner")
    names = [one.name for one in keras_internals.layers_of(layers.TimeDistributed(inner, name="outer"))]
    assert sorted(names) == ["inner", "outer"], "Layer._flatten_layers has changed"
    assert keras_internals.layers_of(keras.ops.relu) == []


def test_a_traced_reshape_knows_its_output_shape() -> None:
    class Split(layers.Layer):
        def call(self, x: Any) -> Any:
            return keras.ops.reshape(x, (keras.ops.shape(x)[0], 3, 2))

    class Spread(layers.Layer):
        def call(self, x: Any) -> Any:
            return keras.ops.broadcast_to(x, (keras.ops.shape(x)[0], 6))

    symbol = keras.KerasTensor((None, 6))
    split, spread = Split(), Spread()
    trace = keras_tracer.traced(split, [symbol], lambda: split.call(symbol))
    assert isinstance(trace, Trace)
    assert trace.calls[0].operation.newshape == (-1, 3, 2), "Reshape.newshape has changed"
    refused = keras_tracer.traced(spread, [symbol], lambda: spread.call(symbol))
    assert isinstance(refused, NotReadable), "BroadcastTo.shape has changed"


def test_calls_in_an_unrecorded_block_leave_no_nodes_and_their_results_work() -> None:
    model = small()
    operations = keras_internals.operations(model)
    before = [(len(one._inbound_nodes), len(one._outbound_nodes)) for one in operations]
    with keras_internals.unrecorded(operations):
        more = keras.Model(model.input, [model.output["flat"], keras.ops.sum(model.output["relu"], axis=-1)])
    assert [(len(one._inbound_nodes), len(one._outbound_nodes)) for one in operations] == before, "Keras records elsewhere"
    images = np.ones((2, 6, 6, 3), np.float32)
    np.testing.assert_array_equal(more(images)[0], model(images)["flat"])
    np.testing.assert_array_equal(keras.models.clone_model(more).output_shape[1], (None, 6, 6))


def test_calls_in_an_untouched_block_leave_no_loss_and_no_value() -> None:
    dense = layers.Dense(2, activity_regularizer="l2", name="dense")
    model = keras.Sequential([keras.Input((3,)), dense])
    model(np.ones((1, 3)))
    (before,) = map(float, model.losses)
    with keras_internals.untouched(model):
        dense(np.zeros((1, 3)))
        dense.bias.assign([5.0, 5.0])
    assert list(map(float, model.losses)) == [before], "Layer._losses has changed"
    np.testing.assert_array_equal(dense.bias, 0)


def test_the_losses_come_back_after_an_exception_too() -> None:
    dense = layers.Dense(2, activity_regularizer="l2")
    model = keras.Sequential([keras.Input((3,)), dense])
    model(np.ones((1, 3)))
    (before,) = map(float, model.losses)
    with pytest.raises(KeyError), keras_internals.untouched(model):
        dense(np.zeros((1, 3)))
        raise KeyError
    assert list(map(float, model.losses)) == [before]
