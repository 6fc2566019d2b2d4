"""
Embedding
=========

An embedding model has no classes. ``tfviz.Similarity`` explains the cosine similarity to a
reference: which parts of an image make it similar to another image?
"""

import keras
import numpy as np

import tfviz
from tfviz.shapes import SAMPLES_DIR

packaged = tfviz.load_model("shapes")
model = keras.Model(packaged.input, packaged.get_layer("average").output)

# %%
# Both images show a heart, next to different shapes.

images = tfviz.load_images([SAMPLES_DIR / "heart_star.png", SAMPLES_DIR / "disc_heart.png"], packaged)
embeddings = model.predict(images, verbose=0)
target = tfviz.Similarity(embeddings[::-1])  # each image is compared with the other one
maps = {key: tfviz.explain(model, images, key, target) for key in ("grad_cam", "hires_cam")}
cosine = np.prod(embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True), axis=0).sum()
figure = tfviz.plot(images, maps, captions=[f"similarity {cosine:.2f}"] * 2)
figure
