"""A tf.data.Dataset to read from without a trace on the one that is trained on."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

# The place of the seed generator among the operation's inputs.
_SEED_GENERATOR = {"ShuffleDatasetV3": 4, "ShuffleAndRepeatDatasetV2": 5, "RandomDatasetV2": 2}
_OWN_SEEDS = "tfviz_own_seeds"
_IGNORE_STATE = 1  # of TensorFlow's policies for what a copy cannot take along; it is not asked to


def unconnected(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """The same dataset with generators of its own.

    A shuffled dataset holds a generator that is moved on by each iteration, so that each epoch has
    another order, and a layer that augments within `map` holds one too. Reading a few images would
    change all that follows. The copy is shuffled as the dataset is the first time. It is made by
    way of the dataset's graph; a dataset that has none (TensorFlow cannot write every operation
    down, nor more than 2 GB) is returned as it is.
    """
    try:
        variant = tf.data.experimental.to_variant(dataset)
        written = tf.raw_ops.DatasetToGraphV2(input_dataset=variant, external_state_policy=_IGNORE_STATE)
        data = written.numpy()
        del written, variant  # Arrays that the dataset was made of are in each of these.
        graph = tf.compat.v1.GraphDef.FromString(data)
        del data
        _give_own_seeds(graph)
        # Bytes as they are would be copied four times.
        data = np.array(graph.SerializeToString(), dtype=object)
        del graph
        data = tf.constant(data)
        variant = tf.raw_ops.DatasetFromGraph(graph_def=data)
    except tf.errors.OpError:
        return dataset
    return tf.data.experimental.from_variant(variant, dataset.element_spec)


def _give_own_seeds(graph: Any) -> None:
    """Points each operation that draws to a new generator."""
    for node in [node for node in graph.node if node.op in _SEED_GENERATOR]:
        node.input[_SEED_GENERATOR[node.op]] = f"{_OWN_SEEDS}_{node.name}"
        graph.node.add(name=f"{_OWN_SEEDS}_{node.name}", op="DummySeedGenerator")
