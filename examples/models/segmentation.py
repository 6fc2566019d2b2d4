"""
Segmentation
============

The output has a score for each pixel and class: (N, H, W, classes). ``tfviz.At`` explains a class
at the pixels in a mask.
"""

import keras
import numpy as np

import tfviz
from tfviz.shapes import KINDS, SAMPLES_DIR

# %%
# Apply the packaged network's head to each position instead of to the mean over positions.

packaged = tfviz.load_model("shapes")
kernel, bias = packaged.get_layer("logits").get_weights()
head = keras.layers.Conv2D(len(KINDS), 1, name="head")
scores = head(packaged.get_layer("block4_conv2").output)
head.set_weights([kernel[None, None], bias])
scores = keras.layers.UpSampling2D(8, interpolation="bilinear")(scores)
model = keras.Model(packaged.input, keras.layers.Softmax()(scores))

# %%
# Which pixels make the network call this region a heart?

images = tfviz.load_images(SAMPLES_DIR / "heart_star.png", packaged)
heart = KINDS.index("heart")
mask = np.asarray(model(images))[0].argmax(-1) == heart
target = tfviz.At(heart, mask)
maps = {key: tfviz.explain(model, images, key, target) for key in ("grad_cam", "saliency")}
figure = tfviz.plot(images, maps, captions=[f"heart at {mask.sum()} pixels"])
figure
