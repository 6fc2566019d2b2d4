"""The private parts of TensorFlow that tfviz uses exist and are unchanged.

A failure here names what TensorFlow has moved.
"""

from __future__ import annotations

import gc
import threading

import pytest
import tensorflow as tf

from tfviz import tensorflow_internals


@tf.function
def doubled(x: tf.Tensor) -> tf.Tensor:
    return 2 * x


@tf.custom_gradient
def halved(x: tf.Tensor) -> tuple:
    return x / 2, lambda p: p


def calls_a_function() -> bool:
    """Return whether a call of a tf.function remains a call in the caller's graph."""
    graph = tf.function(lambda x: doubled(x), autograph=False).get_concrete_function(tf.TensorSpec([3])).graph
    return any("PartitionedCall" in operation.type for operation in graph.get_operations())


def test_a_tf_function_is_inlined_in_this_thread_only() -> None:
    elsewhere: list[bool] = []
    with tensorflow_internals.inlined_functions():
        thread = threading.Thread(target=lambda: elsewhere.append(calls_a_function()))
        thread.start()
        thread.join()
        assert not calls_a_function(), "the class of a tf.function, its `__call__` or its `python_function` has changed"
    assert elsewhere == [True]
    assert calls_a_function()


def test_a_custom_gradient_is_visible_in_the_graph() -> None:
    graph = tensorflow_internals.wrapped(halved, [tf.TensorSpec([3])]).graph
    own = [tensorflow_internals.has_own_gradient(operation) for operation in graph.get_operations()]
    assert own.count(True) == 1, "the attribute `_gradient_op_type` of the end of a tf.custom_gradient has changed"


def test_a_wrapped_function_can_be_pruned_to_any_of_its_tensors() -> None:
    function = tensorflow_internals.wrapped(lambda x: tf.square(x + 1), [tf.TensorSpec([])])
    (total,) = (one.outputs[0] for one in function.graph.get_operations() if one.type in ("Add", "AddV2"))
    assert float(function.prune(function.inputs[0], total)(tf.constant(2.0))) == 3


def test_a_stablehlo_program_becomes_portable() -> None:
    pytest.importorskip("tensorflow.compiler.mlir.stablehlo")
    text = "module { func.func @main(%x: tensor<2xf32>) -> tensor<2xf32> { return %x : tensor<2xf32> } }"
    assert tensorflow_internals.portable_stablehlo(text, "1.0.0").startswith(b"ML\xefR")


def test_operations_are_defined_and_unknown_ones_are_not() -> None:
    definition = tensorflow_internals.operation_definition("WriteFile")
    assert definition.is_stateful and [one.name for one in definition.input_arg] == ["filename", "contents"]
    assert tensorflow_internals.operation_definition("NoSuchOperation") is None


def test_gradients_that_a_module_registers_during_a_trace_stay() -> None:
    """TensorFlow imports some of its modules when their functions are first called."""

    def traced(x: tf.Tensor) -> tf.Tensor:
        with tensorflow_internals.collectable_gradients():
            tf.no_gradient("TfvizTestOperation")
            return halved(x)

    tf.function(traced, autograph=False).get_concrete_function(tf.TensorSpec([3]))
    gc.collect()
    assert "TfvizTestOperation" in tensorflow_internals.ops.gradient_registry._registry


def test_the_body_of_a_loop_is_found() -> None:
    function = tf.function(
        lambda x: tf.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, 2.0 * y), (0, x))[1], autograph=False
    )
    operations = function.get_concrete_function(tf.TensorSpec([3])).graph.get_operations()
    loop = next(operation for operation in operations if "While" in operation.type)
    body = tensorflow_internals.function_graph(loop, "body")
    assert len(body.inputs) == len(body.outputs) == len(loop.outputs)
