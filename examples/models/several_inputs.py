"""
Several inputs
==============

Pass images in the model's input structure. The attributions are returned in the same structure.
"""

import keras

import tfviz
from tfviz.shapes import SAMPLES_DIR

# %%
# This model compares two images with a shared backbone.

packaged = tfviz.load_model("shapes")
backbone = keras.Model(packaged.input, packaged.get_layer("average").output)
left, right = keras.Input((96, 96, 3), name="left"), keras.Input((96, 96, 3), name="right")
similarity = keras.layers.Dot(axes=1, normalize=True)([backbone(left), backbone(right)])
model = keras.Model({"left": left, "right": right}, similarity)

# %%
first = tfviz.load_images(SAMPLES_DIR / "heart_star.png", packaged)
second = tfviz.load_images(SAMPLES_DIR / "disc_heart.png", packaged)
attribution = tfviz.GradientTimesInput(model)({"left": first, "right": second}, target=lambda outputs: outputs[:, 0])
print({name: found.shape for name, found in attribution.items()})
left_figure = tfviz.plot(first, {"gradient_times_input": attribution["left"]})
left_figure

# %%
# The map of the second input:

right_figure = tfviz.plot(second, {"gradient_times_input": attribution["right"]})
right_figure
