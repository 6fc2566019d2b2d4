"""KerasHub's image classifiers with random weights: correct, or the documented error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.explainers import KEYS, SAMPLED
from support.networks import EXCITATIONS
from support.purity import assert_untouched, snapshot
from support.second_route import SecondRoute, assert_equal, build, call
from support.tape import compiled
from support.zoo import ALL_CAMS, Head, Species, alive, noise

import tfviz
from tfviz.graph.operations import Linear, Product, Relu, Sum

hub = pytest.importorskip("keras_hub", reason="pip install keras-hub")

SHAPE = (32, 32, 3)
ATTENTION = [key for key, method in tfviz.METHODS.items() if method.needs_attention]
RESNET = {
    "input_conv_filters": [64],
    "input_conv_kernel_sizes": [3],
    "stackwise_num_filters": [64, 16],
    "stackwise_num_blocks": [1, 1],
    "stackwise_num_strides": [1, 2],
}
# Without sums and gates: KerasHub creates these layers in `call`, where a twin cannot replace them.
EFFICIENTNET = {
    "stackwise_kernel_sizes": [3, 3],
    "stackwise_num_repeats": [1, 1],
    "stackwise_input_filters": [8, 16],
    "stackwise_output_filters": [16, 8],
    "stackwise_expansion_ratios": [1, 4],
    "stackwise_strides": [1, 2],
    "stackwise_squeeze_and_excite_ratios": [
        0,
        0,
    ],  # KerasHub creates its gates in `call`, where a twin cannot replace them.
    "stackwise_block_types": ["fused", "unfused"],
    "width_coefficient": 1.0,
    "depth_coefficient": 1.0,
}
MOBILENET = {
    "stackwise_expansion": [[8], [16]],
    "stackwise_num_blocks": [1, 1],
    "stackwise_num_filters": [[8], [8]],
    "stackwise_kernel_size": [[3], [5]],
    "stackwise_num_strides": [[1], [2]],
    "stackwise_se_ratio": [[None], [0.25]],
    "stackwise_activation": [["relu"], ["hard_swish"]],
    "stackwise_padding": [[1], [2]],
    "output_num_filters": 16,
    "depthwise_filters": 8,
    "depthwise_stride": 1,
    "depthwise_residual": True,
    "squeeze_and_excite": 0.25,
    "last_layer_filter": 16,
    "input_activation": "hard_swish",
    "output_activation": "hard_swish",
    "input_num_filters": 8,
}
VIT = {"patch_size": 8, "num_layers": 1, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 32}


def lively(model: Any) -> Any:
    """Like `alive`, with positive scales, so that no method's map is zero."""
    alive(model)
    for weight in model.trainable_weights:
        if "gamma" in weight.path:
            weight.assign(abs(weight) + 0.3)
    return model


def classifier(backbone: str, **options: Any) -> Callable[[Head], Any]:
    def make(activation: Head) -> Any:
        body = getattr(hub.models, f"{backbone}Backbone")(image_shape=SHAPE, **options)
        return lively(hub.models.ImageClassifier(backbone=body, num_classes=4, activation=activation))

    return make


NOT_ON_ATTENTION = dict.fromkeys((*EXCITATIONS, "visual_backprop"), "is not defined for attention")

CLASSIFIERS = {
    "ResNet": Species(classifier("ResNet", block_type="basic_block", **RESNET), "stack1_block0_out"),
    "ResNetV2": Species(classifier("ResNet", block_type="bottleneck_block", use_pre_activation=True, **RESNET), "post_relu"),
    "Xception": Species(
        classifier("Xception", stackwise_conv_filters=[[8, 8], [8, 8]], stackwise_pooling=[True, False]),
        "block2_sepconv2_act",
    ),
    "EfficientNetV2": Species(classifier("EfficientNet", **EFFICIENTNET), "top_activation", warns="has none"),
}


@pytest.fixture(scope="module", params=CLASSIFIERS)
def species(request: pytest.FixtureRequest) -> Species:
    return CLASSIFIERS[request.param]


@pytest.fixture(scope="module")
def pair(species: Species) -> tuple[Any, SecondRoute]:
    """Return the classifier and the second route on its twin, which ends in its logits."""
    model = species.model()
    return model, SecondRoute(species, species.twin_of(model), noise(*SHAPE))


@pytest.mark.parametrize("method", [key for key in KEYS if key not in SAMPLED])
def test_a_convolutional_classifier_is_explained_correctly(
    method: str, species: Species, pair: tuple[Any, SecondRoute]
) -> None:
    (model, second), images = pair, noise(*SHAPE)
    before = snapshot(model)
    if method in species.errors:
        with pytest.raises(species.error, match=species.errors[method]):
            build(method, species, model)
    else:
        explainer = build(method, species, model)
        got = call(explainer, images, species.target)
        if method in ALL_CAMS:
            assert explainer.layer_path.split("/")[-1] == species.cam
        assert got.dtype == tf.float32
        assert_equal(got, second.maps(method)[0], species.tolerance)
    assert_untouched(model, before)


def test_custom_block_layers_are_opened() -> None:
    """MobileNet's blocks add and multiply inside their own `call`."""
    species = Species(classifier("MobileNet", **MOBILENET))
    model, images = species.model(), noise(*SHAPE)
    twin = species.twin_of(model)
    second = SecondRoute(species, twin, images)
    for method in ("saliency", "guided_backprop"):
        assert_equal(call(build(method, species, model), images, 1), second.maps(method)[0], 1e-4)
    explainer = tfviz.GradCAM(model)
    block = explainer.layer_path.split("/")[0]
    kinds = {type(step.operation) for step in explainer.graph.steps if step.path.startswith(block)}
    assert {Linear, Relu, Sum, Product} <= kinds
    for method in ("grad_cam", "contrastive_excitation_backprop", "visual_backprop"):
        attribution = call(build(method, species, model), images, 1).numpy()
        assert np.isfinite(attribution).all()
        assert attribution.max() > 0


def test_a_vision_transformer_is_explained_where_methods_are_defined() -> None:
    def make(activation: Head) -> Any:
        body = hub.models.ViTBackbone(image_shape=SHAPE, **VIT)
        return lively(hub.models.ViTImageClassifier(backbone=body, num_classes=4, activation=activation))

    species = Species(make)
    model, images = species.model(), noise(*SHAPE)
    for method, message in NOT_ON_ATTENTION.items():
        with pytest.raises(tfviz.UnsupportedModelError, match=message):
            tfviz.METHODS[method](model)
    assert_equal(
        tfviz.Saliency(model)(images, 1), SecondRoute(species, species.twin_of(model), images).maps("saliency")[0], 1e-4
    )
    assert tfviz.GradCAM(model).layer_path.endswith("transformer_block_1/ln_1")


SWIN = {"patch_size": 2, "embed_dim": 8, "depths": [2, 2], "num_heads": [2, 2], "window_size": 4}
DINO = {"patch_size": 8, "num_layers": 2, "hidden_dim": 16, "num_heads": 2, "intermediate_dim": 24, "num_register_tokens": 2}
SIGLIP = {"patch_size": 8, "hidden_dim": 16, "num_layers": 2, "num_heads": 2, "intermediate_dim": 32}


def headed(backbone: Any, shape: tuple[int, int, int], take: Callable[[Any], Any], key: str | None = None) -> Any:
    image = keras.Input(shape)
    tokens = backbone({key: image} if key else image)
    return lively(keras.Model(image, keras.layers.Dense(4)(take(tokens))))


@pytest.mark.filterwarnings("ignore::UserWarning")  # Keras, while it builds and traces the stages
def test_swin_has_maps_but_no_attention_between_all_patches() -> None:
    model = lively(hub.models.SwinTransformerImageClassifier(hub.models.SwinTransformerBackbone(image_shape=SHAPE, **SWIN), 4))
    for method in ATTENTION:
        with pytest.raises(tfviz.UnsupportedModelError, match=r"attends within windows of the image \(as in Swin\)"):
            tfviz.METHODS[method](model)
    explainer = tfviz.EigenCAM(model)
    assert explainer.layer_path.endswith("stage_1/blocks_1/norm1")
    assert explainer(noise(*SHAPE)).shape == (2, 8, 8)


@pytest.mark.parametrize("shape", [(32, 64, 3), (64, 32, 3)])
def test_dinov3_on_images_that_are_not_square_has_their_grid(shape: tuple[int, int, int]) -> None:
    """KerasHub declares a wrong number of tokens for them."""
    model = headed(hub.models.DINOV3Backbone(image_shape=shape, **DINO), shape, lambda x: x[:, 0], "pixel_values")
    before, images = snapshot(model), noise(*shape)
    for method in (*ATTENTION, "eigen_cam"):
        assert call(tfviz.METHODS[method](model), images, 1).shape == (2, shape[0] // 8, shape[1] // 8)

    def gradient(flat: list[Any]) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(flat)
            score = tf.reduce_sum(model(flat[0])[:, 1])
        return tape.gradient(score, flat)

    assert_equal(tfviz.Saliency(model)(images, 1), compiled(gradient, [images])[0], 1e-4)
    assert_untouched(model, before)


def test_siglips_image_tower_is_explained() -> None:
    from keras_hub.src.models.siglip.siglip_vision_encoder import SigLIPVisionEncoder

    model = headed(SigLIPVisionEncoder(image_shape=SHAPE, **SIGLIP), SHAPE, lambda x: x)
    for method in ATTENTION:
        explainer = tfviz.METHODS[method](model)
        assert len(explainer.transformer.blocks) == 2, "the pooling head is not a block"
        assert call(explainer, noise(*SHAPE), 1).shape == (2, 4, 4)


def test_layers_that_reshape_by_the_batch_size_are_opened_or_opaque() -> None:
    """SegFormer's encoder: attention over a map that is reshaped to tokens and back."""
    options = {"layerwise_num_heads": [1, 1], "layerwise_sr_ratios": [2, 1], "max_drop_path_rate": 0.1, "num_layers": 2}
    options |= {"layerwise_patch_sizes": [3, 3], "layerwise_strides": [2, 2], "layerwise_depths": [1, 1]}
    species = Species(classifier("MiT", hidden_dims=[8, 8], **options))
    model = species.model()
    twin = species.twin_of(model)
    images = noise(*SHAPE, count=3)
    assert_equal(tfviz.Saliency(model)(images, 1), SecondRoute(species, twin, images).maps("saliency")[0], 1e-4)
