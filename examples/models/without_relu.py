"""
Network without ReLU
====================

Guided backprop, guided Grad-CAM and deconvnet change how the gradient passes through ReLUs. On a
network without ReLUs, such as EfficientNet or ConvNeXt, they use the plain gradient and issue a
warning. ``activations="all"`` changes the gradient at other activations as well. CAMs and gradient
methods don't need this option.
"""

import keras

import tfviz
from tfviz.shapes import SAMPLES_DIR

packaged = tfviz.load_model("shapes")


def with_swish(layer):
    """Replace a ReLU with x · sigmoid(8x), which is so similar that the same weights work."""
    config = layer.get_config()
    if config.get("activation") != "relu":
        return layer.__class__.from_config(config)
    linear = layer.__class__.from_config(config | {"activation": None})
    return keras.Sequential([linear, keras.layers.Lambda(lambda x: x * keras.ops.sigmoid(8 * x))])


model = keras.models.clone_model(packaged, clone_function=with_swish)
model.set_weights(packaged.get_weights())
images = tfviz.load_images([SAMPLES_DIR / "heart_star.png", SAMPLES_DIR / "ring_cross.png"], packaged)
maps = {
    "grad_cam": tfviz.GradCAM(model)(images),
    "guided_backprop": tfviz.GuidedBackprop(model, activations="all")(images),
}
figure = tfviz.plot(images, maps)
figure
