"""A tf.data.Dataset to read from without a trace on the one that is trained on."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

_SEED_GENERATOR = {"ShuffleDatasetV3": 4, "ShuffleAndRepeatDatasetV2": 5}  # its place among the operation's inputs
_OWN_SEEDS = "tfviz_own_seeds"
_IGNORE_STATE = 1  # of TensorFlow's policies for what a copy cannot take along; it is not asked to


def unconnected(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """The same dataset with seed generators of its own.

    A shuffled dataset holds a generator that is moved on by each iteration, so that each epoch has another order. Reading a
    few images from it would change the order of all epochs that follow. The copy starts where the dataset itself started.
    It is made by way of the dataset's graph; a dataset that has none (TensorFlow cannot write every operation down) is
    returned as it is.
    """
    try:
        variant = tf.data.experimental.to_variant(dataset)
        written = tf.raw_ops.DatasetToGraphV2(input_dataset=variant, external_state_policy=_IGNORE_STATE)
        graph = tf.compat.v1.GraphDef.FromString(written.numpy())
        if not _give_own_seeds(graph):
            return dataset
        variant = tf.raw_ops.DatasetFromGraph(graph_def=graph.SerializeToString())
    except tf.errors.OpError:
        return dataset
    return tf.data.experimental.from_variant(variant, dataset.element_spec)


def _give_own_seeds(graph: Any) -> bool:
    """Points each shuffle to a new generator. Returns whether there was a shuffle."""
    shuffles = [node for node in graph.node if node.op in _SEED_GENERATOR]
    for node in shuffles:
        node.input[_SEED_GENERATOR[node.op]] = f"{_OWN_SEEDS}_{node.name}"
        graph.node.add(name=f"{_OWN_SEEDS}_{node.name}", op="DummySeedGenerator")
    return bool(shuffles)
