"""
Detector
========

The outputs are boxes (N, A, 4) and class scores (N, A, classes). ``tfviz.Detection`` explains the
class score of the prediction nearest to a box.
"""

import keras
import numpy as np

import tfviz
from tfviz.shapes import KINDS, SAMPLES_DIR

# %%
# This detector has no box regression: each of the 36 cells has a fixed box and predicts its class
# scores.

packaged = tfviz.load_model("shapes")
kernel, bias = packaged.get_layer("logits").get_weights()
head = keras.layers.Dense(len(KINDS), name="scores")
cells = keras.layers.AveragePooling2D(2)(packaged.get_layer("block4_conv2").output)
scores = head(keras.layers.Reshape((36, 128))(cells))
head.set_weights([kernel, bias])
corners = np.stack(np.meshgrid(np.arange(6), np.arange(6), indexing="ij"), -1).reshape(36, 2) * 16.0
grid = np.concatenate([corners, corners + 16], -1).astype("float32")  # y0, x0, y1, x1
boxes = keras.layers.Lambda(lambda s: keras.ops.zeros_like(s[..., :4]) + grid, output_shape=(36, 4))(scores)
model = keras.Model(packaged.input, {"boxes": boxes, "scores": keras.layers.Activation("sigmoid")(scores)})

# %%
# The heart is in the lower left of the image. Which pixels support its detection?

images = tfviz.load_images(SAMPLES_DIR / "heart_star.png", packaged)
target = tfviz.Detection((48, 32, 64, 48), KINDS.index("heart"))
maps = {key: tfviz.explain(model, images, key, target) for key in ("saliency", "grad_cam")}
figure = tfviz.plot(images, maps)
figure
