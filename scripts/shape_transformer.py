"""Train a small vision transformer on the scenes of shapes in seconds.

Two transformer blocks process a class token and the packaged network's last feature map, which has
12 × 12 tokens. Only the blocks and the head are trained. `scripts/train_shapes --architecture vit`
trains a transformer from pixels in minutes.
"""

from __future__ import annotations

from functools import cache

import keras
import numpy as np
from keras import layers

import tfviz
from tfviz.models import preprocessing_of
from tfviz.shapes import KINDS, draw_scene

WIDTH, HEADS, BLOCKS = 64, 4, 2
BATCH_SIZE = 32


def preprocessing() -> tfviz.Preprocessing:
    """Return the packaged network's preprocessing, which the transformer shares."""
    return preprocessing_of(tfviz.load_model("shapes"))


@cache
def trained_transformer(scenes: int = 400, epochs: int = 5) -> keras.Model:
    """Build and train the transformer.

    The transformer accepts images (N, 96, 96, 3), and has one sigmoid unit per kind of shape.

    Args:
        scenes: the number of training images.
        epochs: the number of passes over the images.

    Returns:
        The trained model.
    """
    keras.utils.set_random_seed(0)
    trunk = _trunk()
    images, kinds = _scenes(scenes)
    features = trunk.predict(images, verbose=0)
    head = _head(features.shape[1:])
    head.compile(keras.optimizers.AdamW(2e-3), "binary_crossentropy")
    head.fit(features, kinds, batch_size=BATCH_SIZE, epochs=epochs, verbose=0)
    return keras.Model(trunk.inputs, head(trunk.outputs[0]), name="shape_transformer")


def _trunk() -> keras.Model:
    packaged = tfviz.load_model("shapes")
    return keras.Model(packaged.input, packaged.get_layer("block4_conv2").output, name="trunk")


def _scenes(count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    prepared = preprocessing()
    drawn = [draw_scene(rng) for _ in range(count)]
    images = np.stack([prepared.tensor(scene.image) for scene in drawn])
    kinds = [[any(thing.label == label for thing in scene.objects) for label in range(len(KINDS))] for scene in drawn]
    return images, np.array(kinds, "float32")


def _head(shape: tuple[int, ...]) -> keras.Model:
    x = features = layers.Input(shape)
    x = layers.Reshape((-1, WIDTH))(layers.Conv2D(WIDTH, 1)(x))
    x = layers.ZeroPadding1D((1, 0))(x)  # add the class token
    # A dense layer with a separate bias for each token serves as the position embedding.
    x = layers.EinsumDense("bnc,cd->bnd", x.shape[1:], bias_axes="nd", bias_initializer="random_normal")(x)
    for _ in range(BLOCKS):
        y = layers.LayerNormalization()(x)
        x = layers.Add()([x, layers.MultiHeadAttention(HEADS, WIDTH // HEADS)(y, y)])
        y = layers.Dense(2 * WIDTH, "gelu")(layers.LayerNormalization()(x))
        x = layers.Add()([x, layers.Dense(WIDTH)(y)])
    class_token = layers.LayerNormalization()(x)[:, 0]
    return keras.Model(features, layers.Dense(len(KINDS), "sigmoid")(class_token), name="blocks")
