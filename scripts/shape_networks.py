"""Build the networks that scripts/train_shapes trains, with one sigmoid unit per kind of shape.

`cnn` is the packaged network. `silu` has no ReLU, and `vit` is a vision transformer, so some
methods treat these two differently. All networks use only built-in Keras layers, so their files
load without custom code.
"""

from __future__ import annotations

import keras
from keras import layers

from tfviz.shapes import KINDS

SIZE = 96  # height and width of the images in pixels
# The filters of each 3x3 convolution, with 2x2 max pooling between the groups.
FILTERS = ((24,), (32,), (64, 64), (96, 128))
STEM = (24, 48)  # filters of two 3x3 convolutions with stride 2; a third computes the tokens
BLOCKS, HEADS, WIDTH = 4, 4, 96


def cnn(activation: str = "relu") -> keras.Model:
    """Build a plain convolutional network with feature maps that are easy to interpret."""
    x = picture = layers.Input((SIZE, SIZE, 3), name="picture")
    for block, group in enumerate(FILTERS, start=1):
        if block > 1:
            x = layers.MaxPooling2D(name=f"block{block - 1}_pool")(x)
        for place, filters in enumerate(group, start=1):
            name = f"block{block}_conv{place}"
            convolution = layers.Conv2D(
                filters, 3, padding="same", activation=activation, kernel_initializer="he_normal", name=name
            )
            x = convolution(x)
    return _detector(picture, layers.GlobalAveragePooling2D(name="average")(x), "shapes")


def silu() -> keras.Model:
    """Build the same network as `cnn`, but with SiLU instead of ReLU."""
    return cnn("silu")


def vit() -> keras.Model:
    """Build a vision transformer with four blocks, whose tokens are patches of 8 x 8 pixels.

    Three convolutions compute the patches instead of a single 8 x 8 convolution, because a
    transformer then learns faster (Xiao et al., 2021).
    """
    x = picture = layers.Input((SIZE, SIZE, 3), name="picture")
    for place, filters in enumerate(STEM, start=1):
        x = layers.Conv2D(filters, 3, 2, padding="same", activation="gelu", name=f"stem{place}")(x)
    x = layers.Conv2D(WIDTH, 3, 2, padding="same", name="patches")(x)
    x = layers.Reshape((-1, WIDTH), name="tokens")(x)
    # A dense layer with a separate bias for each token serves as the position embedding.
    x = layers.EinsumDense("bnc,cd->bnd", x.shape[1:], bias_axes="nd", bias_initializer="random_normal", name="positions")(x)
    for block in range(1, BLOCKS + 1):
        x = _transformer_block(x, f"block{block}")
    x = layers.LayerNormalization(name="norm")(x)
    return _detector(picture, layers.GlobalAveragePooling1D(name="average")(x), "shapes_vit")


def _transformer_block(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    normalized = layers.LayerNormalization(name=f"{name}_norm1")(x)
    attention = layers.MultiHeadAttention(HEADS, WIDTH // HEADS, name=f"{name}_attention")
    x = layers.Add(name=f"{name}_add1")([x, attention(normalized, normalized)])
    y = layers.LayerNormalization(name=f"{name}_norm2")(x)
    y = layers.Dense(2 * WIDTH, "gelu", name=f"{name}_dense1")(y)
    y = layers.Dense(WIDTH, name=f"{name}_dense2")(y)
    return layers.Add(name=f"{name}_add2")([x, y])


def _detector(picture: keras.KerasTensor, features: keras.KerasTensor, name: str) -> keras.Model:
    logits = layers.Dense(len(KINDS), bias_initializer=keras.initializers.Constant(-1), name="logits")(features)
    return keras.Model(picture, layers.Activation("sigmoid", name="predictions")(logits), name=name)


NETWORKS = {"cnn": cnn, "silu": silu, "vit": vit}
