"""
Volume
======

Volumes and videos (N, D, H, W, C) are drawn as rows of slices.
"""

import keras
import numpy as np

import tfviz

# %%
# The volume is noise with a bright ball inside. A convolution with fixed weights detects the ball.

rng = np.random.default_rng(0)
volumes = rng.uniform(0, 0.4, (1, 12, 32, 32, 1)).astype("float32")
z, y, x = np.ogrid[:12, :32, :32]
volumes[0, (z - 5) ** 2 * 4 + (y - 12) ** 2 + (x - 20) ** 2 < 36] = 1
convolution = keras.layers.Conv3D(1, 3, padding="same", activation="relu", name="smooth")
model = keras.Sequential(
    [keras.Input((12, 32, 32, 1)), convolution, keras.layers.GlobalMaxPooling3D(), keras.layers.Dense(1, name="score")]
)
convolution.set_weights([np.full((3, 3, 3, 1, 1), 1 / 27), np.array([-0.5])])
model.get_layer("score").set_weights([np.ones((1, 1)), np.zeros(1)])

# %%
maps = {key: tfviz.explain(model, volumes, key, 0) for key in ("grad_cam", "saliency")}
figure = tfviz.plot(volumes, maps)
figure
