"""
Watch a training run
====================

``SnapshotCallback`` explains the same images repeatedly while a network trains. The maps show when
the network starts to look at the right regions.
"""

import json
import tempfile
from pathlib import Path

import keras
import numpy as np

import tfviz
from tfviz.models import preprocessing_of
from tfviz.shapes import KINDS, SAMPLES_DIR, draw_scene

packaged = tfviz.load_model("shapes")
preprocessing = preprocessing_of(packaged)
rng = np.random.default_rng(0)
scenes = [draw_scene(rng) for _ in range(256)]
x = np.stack([preprocessing.tensor(scene.image) for scene in scenes])
y = np.array([[any(thing.kind == kind for thing in scene.objects) for kind in KINDS] for scene in scenes], "float32")

# %%
# This network starts with the packaged network's first layers, so a few epochs are enough.

keras.utils.set_random_seed(0)
trunk = keras.Model(packaged.input, packaged.get_layer("block4_conv1").output)
trunk.trainable = False
network = keras.Sequential(
    [
        trunk,
        keras.layers.Conv2D(64, 3, padding="same", activation="relu"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(len(KINDS), activation="sigmoid"),
    ]
)
network.compile(keras.optimizers.Adam(3e-3), "binary_crossentropy")

# %%
# The callback takes a snapshot before training, every four batches and at the end. It needs the
# images, one or more methods, and a folder. The callback does not affect the weights.

images = tfviz.load_images([SAMPLES_DIR / "heart_star.png", SAMPLES_DIR / "ring_cross.png"], packaged)
folder = Path(tempfile.mkdtemp()) / "runs" / "1"
snapshots = tfviz.SnapshotCallback(["grad_cam"], images, log_dir=folder, every=4, labels=KINDS, target=7)
network.fit(x, y, epochs=4, batch_size=32, verbose=0, callbacks=[snapshots])

# %%
# The run folder contains an index with one line per snapshot, the pictures, and the raw maps.

records = [json.loads(line) for line in (folder / "snapshots.jsonl").read_text().splitlines()]
for record in records[:: len(records) - 1]:
    print(record["when"], record["step"], record["predictions"][0])

# %%
# These are the first and the last map for the heart class:

maps = {
    f"step {record['step']}": np.load(folder / "maps" / f"{record['number']:08}.npz") for record in records[:: len(records) - 1]
}
figure = tfviz.plot(images, {"grad_cam": {step: arrays[arrays.files[0]] for step, arrays in maps.items()}})
figure

# %%
# You can watch the run live in a browser during training, and make a film of it afterwards:
#
# .. code-block:: console
#
#    tfviz watch runs
#    tfviz film runs/1 --output run.mp4
#
# See :doc:`/snapshots` for TensorBoard, other machines and your own sinks.
