"""Build the networks that scripts/train_shapes trains, with one sigmoid unit per kind of shape.

`cnn` is the packaged network. `silu` has no ReLU, and `vit` is a vision transformer, so some
methods treat these two differently. All networks use only built-in Keras layers, so their files
load without custom code.
"""

from __future__ import annotations

import keras
from keras import layers

import tfviz
from tfviz.shapes import KINDS

SIZE = 96  # height and width of the images in pixels
# The number of filters in each 3x3 convolution, with 2x2 max pooling between the groups.
FILTERS = ((24,), (32,), (64, 64), (96, 128))
STEM_END = "block3_pool"  # the packaged network's layer that outputs the patches of `vit`
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
    """Build a vision transformer with four blocks. Its 12 × 12 tokens are patches of 8 × 8 pixels.

    The packaged network's first four convolutions compute the patches, and are not trained. With
    convolutional patches, a transformer learns faster (Xiao et al., 2021). Training from pixels
    would take more than an hour on two CPU cores.
    """
    x = picture = layers.Input((SIZE, SIZE, 3), name="picture")
    for layer in _stem():
        x = layer(x)
    x = layers.Conv2D(WIDTH, 1, name="patches")(x)
    x = layers.Reshape((-1, WIDTH), name="tokens")(x)
    # A dense layer with a separate bias for each token serves as the position embedding.
    x = layers.EinsumDense("bnc,cd->bnd", x.shape[1:], bias_axes="nd", bias_initializer="random_normal", name="positions")(x)
    for block in range(1, BLOCKS + 1):
        x = _transformer_block(x, f"transformer{block}")
    x = layers.LayerNormalization(name="norm")(x)
    return _detector(picture, layers.GlobalAveragePooling1D(name="average")(x), "shapes_vit")


def _stem() -> list[layers.Layer]:
    """Return the packaged network's layers up to STEM_END, with their weights frozen."""
    packaged = tfviz.load_model("shapes")
    names = [layer.name for layer in packaged.layers]
    stem = packaged.layers[1 : names.index(STEM_END) + 1]
    for layer in stem:
        layer.trainable = False
    return stem


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
