"""
Film of a training run
======================

``write_film`` turns a run folder into an MP4, GIF or WebP film.
"""

import tempfile
from pathlib import Path

import keras
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

import tfviz
from tfviz.shapes import SAMPLES_DIR

packaged = tfviz.load_model("shapes")
images = tfviz.load_images(SAMPLES_DIR, packaged)[:2]
trunk = keras.Model(packaged.input, packaged.get_layer("block3_pool").output)
network = keras.Sequential([trunk, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2, activation="softmax")])
network.compile("adam", "sparse_categorical_crossentropy")

folder = Path(tempfile.mkdtemp())
snapshots = tfviz.SnapshotCallback(["grad_cam"], images, log_dir=folder / "run", every=1)
network.fit(images, np.array([0, 1]), epochs=4, verbose=0, callbacks=[snapshots])
film = tfviz.write_film(folder / "run", folder / "run.gif")
print(f"{film.snapshots} snapshots, {film.pace.fps:g} per second")

# %%
# The last frame:

with Image.open(film.path) as frames:
    frames.seek(frames.n_frames - 1)
    figure = plt.figure(figsize=(8, 3))
    figure.subplots().imshow(frames.convert("RGB"))
