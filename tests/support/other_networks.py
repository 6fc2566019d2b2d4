"""Small networks of the kinds that keras.applications lacks, with random weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from support.zoo import Head, alive, conv1d

IMAGE = (32, 48, 3)
SQUARE = (32, 32, 3)
BLOCKS = 2
NO_ATTENTION = "there is no attention"
ON_ATTENTION = "is not defined for attention"
IN_WINDOWS = "attends within windows of the image"


@dataclass(frozen=True)
class Network:
    """A network, and what its second route needs.

    Attributes:
        build: creates the model for a final activation.
        size: of the images.
        cam: the name of the automatic layer of a CAM.
        grid: rows and columns of the patches, if that layer has tokens; None if it has maps.
        prefix: the number of tokens before those of the patches.
        reads: the token that the head reads; None means all.
        branches: for each block, the names of the layers without whose outputs the block is the
            identity.
        score: maps the outputs to the score that is explained.
        refused: per group of methods, the reason that the error must name.
    """

    build: Callable[[Head], keras.Model]
    size: tuple[int, ...] = IMAGE
    cam: str = ""
    grid: tuple[int, int] | None = None
    prefix: int = 0
    reads: int | None = None
    branches: tuple[tuple[str, ...], ...] = ()
    score: Callable[[Any], Any] = lambda outputs: outputs[:, 1]
    refused: dict[str, str] = field(default_factory=dict)

    def images(self, count: int = 2) -> np.ndarray:
        return np.random.default_rng(1).normal(size=(count, *self.size)).astype(np.float32)


def lively(model: keras.Model, seed: int = 0) -> keras.Model:
    """Set random weights with positive scales, so that no map is all zero."""
    alive(model, seed)
    for weight in model.trainable_weights:
        if "gamma" in weight.path:
            weight.assign(abs(weight) + 0.3)
    return model


# --- vision transformers --------------------------------------------------------------------------


def of_kerashub(backbone: str, key: str | None = None, size: tuple[int, ...] = IMAGE, **options: Any) -> Callable[[Head], Any]:
    """Return a builder of a KerasHub backbone with a classifier that reads the class token."""

    def build(activation: Head) -> keras.Model:
        import keras_hub

        image = keras.Input(size)
        body = getattr(keras_hub.models, f"{backbone}Backbone")(image_shape=size, **options)
        tokens = body({key: image} if key else image)
        return lively(keras.Model(image, layers.Dense(4, activation=activation, name="out")(tokens[:, 0])))

    return build


def block(x: Any, number: int) -> Any:
    """A block as in the example of keras.io."""
    y = layers.LayerNormalization(epsilon=1e-6, name=f"norm_{number}a")(x)
    y = layers.MultiHeadAttention(2, 8, dropout=0.1, name=f"attention_{number}")(y, y)
    x = layers.Add(name=f"sum_{number}")([y, x])
    y = layers.LayerNormalization(epsilon=1e-6, name=f"norm_{number}b")(x)
    y = layers.Dense(32, activation="gelu", name=f"up_{number}")(y)
    y = layers.Dense(16, activation="gelu", name=f"down_{number}")(layers.Dropout(0.1)(y))
    return layers.Add(name=f"end_{number}")([y, x])


class Positions(layers.Layer):
    """Adds a learned vector to each token."""

    def build(self, shape: Any) -> None:
        self.position_embedding = self.add_weight(shape=(1, *shape[1:]), name="positions")

    def call(self, x: Any) -> Any:
        return x + self.position_embedding


def plain_vit(activation: Head) -> keras.Model:
    """The ViT of keras.io: patches cut by an operation, no class token, and a flattened end."""
    image = keras.Input(IMAGE)
    x = ops.reshape(ops.transpose(ops.reshape(image, (-1, 4, 8, 6, 8, 3)), (0, 1, 3, 2, 4, 5)), (-1, 24, 192))
    x = Positions()(layers.Dense(16, name="projection")(x))
    for number in range(BLOCKS):
        x = block(x, number)
    x = layers.Flatten()(layers.LayerNormalization(epsilon=1e-6, name="norm")(x))
    x = layers.Dense(12, activation="gelu", name="hidden")(x)
    return lively(keras.Model(image, layers.Dense(4, activation=activation, name="out")(x)))


def cct(activation: Head) -> keras.Model:
    """A compact convolutional transformer: a convolutional tokenizer and sequence pooling."""
    image = keras.Input(IMAGE)
    x = image
    for number in range(3):
        x = layers.Conv2D(16, 3, padding="same", activation="relu", name=f"tokenizer_{number}")(x)
        x = layers.MaxPooling2D(name=f"pool_{number}")(x)
    x = Positions()(layers.Reshape((24, 16))(x))
    for number in range(BLOCKS):
        x = block(x, number)
    x = layers.LayerNormalization(epsilon=1e-5, name="norm")(x)
    weights = ops.softmax(layers.Dense(1, name="pooling")(x), axis=1)
    x = ops.squeeze(ops.matmul(ops.transpose(weights, (0, 2, 1)), x), axis=1)
    return lively(keras.Model(image, layers.Dense(4, activation=activation, name="out")(x)), seed=2)


VIT = {"patch_size": 8, "num_layers": BLOCKS, "num_heads": 2, "hidden_dim": 16}
DINO = VIT | {"intermediate_dim": 24, "num_register_tokens": 2}
ON_TOKENS = {"excitation": ON_ATTENTION, "VisualBackProp": ON_ATTENTION}

# --- detection, segmentation, volumes -------------------------------------------------------------

RESNET = {
    "input_conv_filters": [64],
    "input_conv_kernel_sizes": [3],
    "stackwise_num_filters": [64, 8, 8, 8],
    "stackwise_num_blocks": [1, 1, 1, 1],
    "stackwise_num_strides": [1, 2, 2, 2],
    "block_type": "basic_block",
}


def swin(activation: Head) -> keras.Model:
    import keras_hub

    body = keras_hub.models.SwinTransformerBackbone(
        image_shape=SQUARE, patch_size=2, embed_dim=8, depths=[2, 2], num_heads=[2, 2], window_size=4
    )
    return lively(keras_hub.models.SwinTransformerImageClassifier(body, num_classes=4, activation=activation))


def retinanet(activation: Head) -> keras.Model:
    import keras_hub

    shape = (64, 64, 3)
    encoder = keras_hub.models.ResNetBackbone(image_shape=shape, **RESNET)
    body = keras_hub.models.RetinaNetBackbone(encoder, min_level=3, max_level=4, use_p5=False, image_shape=shape)
    detector = keras_hub.models.RetinaNetObjectDetector(
        body, num_classes=3, bounding_box_format="yxyx", pre_logits_num_conv_layers=1, activation=activation
    )
    return lively(detector)


def deeplab(activation: Head) -> keras.Model:
    import keras_hub

    shape = (64, 64, 3)
    encoder = keras_hub.models.ResNetBackbone(image_shape=shape, **RESNET)
    body = keras_hub.models.DeepLabV3Backbone(
        encoder,
        spatial_pyramid_pooling_key="P4",
        upsampling_size=4,
        dilation_rates=[2],
        low_level_feature_key="P2",
        projection_filters=8,
        image_shape=shape,
    )
    return lively(keras_hub.models.DeepLabV3ImageSegmenter(body, num_classes=3, activation=activation))


def volumes(activation: Head) -> keras.Model:
    """Without pooling windows, which TensorFlow lacks in 3-D and float64."""
    image = keras.Input((8, 8, 6, 2))
    x = layers.Conv3D(5, 3, strides=2, padding="same", activation="relu", name="c1")(image)
    x = layers.Conv3D(5, 3, padding="same", activation="relu", name="last")(x)
    x = layers.GlobalAveragePooling3D(name="pool")(x)
    return alive(keras.Model(image, layers.Dense(4, activation=activation, name="out")(x)), 2)


def with_relu_layers(model: keras.Model) -> keras.Model:
    """Make the ReLU that a layer of layers calls itself a layer, which a second route sees."""
    for part in model._flatten_layers():
        is_leaf = len(list(part._flatten_layers(include_self=False))) == 0
        if not is_leaf and getattr(part, "activation", None) is keras.activations.relu:
            part._tracker.unlock()
            part.activation = layers.ReLU()
    return model


def blocks_named(*names: str) -> tuple[tuple[str, ...], ...]:
    """Return the branches of each block; {0} and {1} are its number from 0 and from 1."""
    return tuple(tuple(name.format(n, n + 1) for name in names) for n in range(BLOCKS))


PLAIN_BRANCHES = blocks_named("attention_{0}", "down_{0}")
NETWORKS = {
    "KerasHub ViT": Network(
        of_kerashub("ViT", mlp_dim=24, **VIT),
        cam="ln_1",
        grid=(4, 6),
        prefix=1,
        reads=0,
        branches=blocks_named("transformer_block_{1}/mha", "transformer_block_{1}/mlp"),
        refused=ON_TOKENS,
    ),
    "KerasHub DeiT": Network(
        of_kerashub("DeiT", intermediate_dim=24, **VIT),
        cam="ln_1",
        grid=(4, 6),
        prefix=2,
        reads=0,
        branches=blocks_named("transformer_block_{1}/mha", "transformer_block_{1}/output_layer/output"),
        refused=ON_TOKENS,
    ),
    "KerasHub DINOv2": Network(
        of_kerashub("DINOV2", "images", SQUARE, **DINO),
        SQUARE,
        cam="norm1",
        grid=(4, 4),
        prefix=3,
        reads=0,
        branches=blocks_named("layers_{0}/layer_scale1", "layers_{0}/layer_scale2"),
        refused=ON_TOKENS,
    ),
    "KerasHub DINOv3": Network(
        of_kerashub("DINOV3", "pixel_values", **DINO),
        cam="norm1",
        grid=(4, 6),
        prefix=3,
        reads=0,
        branches=blocks_named("layers_{0}/layer_scale1", "layers_{0}/layer_scale2"),
        refused=ON_TOKENS,
    ),
    "keras.io ViT": Network(plain_vit, cam="norm_1a", grid=(4, 6), branches=PLAIN_BRANCHES, refused=ON_TOKENS),
    "CCT": Network(cct, cam="norm_1a", grid=(4, 6), branches=PLAIN_BRANCHES, refused={"excitation": ON_ATTENTION}),
    "KerasHub Swin": Network(swin, SQUARE, cam="norm1", grid=(8, 8), refused=ON_TOKENS | {"attention": IN_WINDOWS}),
    "KerasHub RetinaNet": Network(
        retinanet,
        (64, 64, 3),
        cam="stack1_block0_out",
        score=lambda outputs: outputs["cls_logits"][:, 7, 1],
        refused={"attention": NO_ATTENTION},
    ),
    "KerasHub DeepLabV3": Network(
        deeplab,
        (64, 64, 3),
        cam="segmentation_head_relu",
        score=lambda outputs: outputs[:, 10, 12, 1],
        refused={"attention": NO_ATTENTION},
    ),
    "1-D convolutions": Network(conv1d, (24, 3), cam="last", refused={"attention": NO_ATTENTION}),
    "3-D convolutions": Network(volumes, (8, 8, 6, 2), cam="last", refused={"attention": NO_ATTENTION}),
}
