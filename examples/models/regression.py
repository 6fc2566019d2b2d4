"""
Regression
==========

A steering network has one output and no classes. ``target=0`` explains the predicted number: the
saliency map is positive where larger pixel values would increase that number. VisualBackProp needs
no target, and shows which pixels the network reads.
"""

import keras
import numpy as np

import tfviz
from tfviz.models import preprocessing_of
from tfviz.shapes import SAMPLES_DIR, draw_scene

# %%
# This network predicts the column of a disc. It is a linear layer after the packaged convolutions,
# fitted by least squares.

packaged = tfviz.load_model("shapes")
preprocessing = preprocessing_of(packaged)
features = keras.layers.Flatten()(keras.layers.AveragePooling2D(2)(packaged.get_layer("block4_conv2").output))
trunk = keras.Model(packaged.input, features)
rng = np.random.default_rng(0)
scenes = [draw_scene(rng, ["disc"]) for _ in range(200)]
columns = np.array([np.mean(scene.objects[0].box[1::2]) / 48 - 1 for scene in scenes])
x = trunk.predict(np.stack([preprocessing.tensor(scene.image) for scene in scenes]), verbose=0)
weights = x.T @ np.linalg.solve(x @ x.T + 0.1 * np.eye(len(x)), columns)
head = keras.layers.Dense(1)
model = keras.Model(trunk.input, head(trunk.output))
head.set_weights([weights[:, None], np.zeros(1)])

# %%
images = tfviz.load_images([SAMPLES_DIR / "arrow_disc.png", SAMPLES_DIR / "disc_heart.png"], packaged)
captions = [f"column {value:+.2f}" for value in model.predict(images, verbose=0)[:, 0]]
maps = {"visual_backprop": tfviz.VisualBackProp(model)(images), "saliency": tfviz.Saliency(model)(images, target=0)}
figure = tfviz.plot(images, maps, captions=captions)
figure
