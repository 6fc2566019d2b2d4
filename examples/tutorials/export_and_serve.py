"""
Export and serve
================

An exported explainer runs without tfviz: in TensorFlow Serving, in JAX, on a phone or in
onnxruntime. This tutorial exports Grad-CAM as a SavedModel and calls it as a server would.
"""

import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf

import tfviz
from tfviz.shapes import KINDS, SAMPLES_DIR

model = tfviz.load_model("shapes")
explainer = tfviz.GradCAM(model)
folder = Path(tempfile.mkdtemp()) / "explainer"

# %%
# ``include="image"`` and ``overlay=True`` add signatures that accept JPEG and PNG files and return
# finished pictures.

explainer.export(folder, format="saved_model", include="image", overlay=True)
print(sorted(path.name for path in folder.iterdir()))

# %%
# Anything that loads a SavedModel can use the folder. From here on, only TensorFlow is needed.

overlay = tf.saved_model.load(str(folder)).signatures["overlay"]
photo = tf.io.read_file(str(SAMPLES_DIR / "heart_star.png"))
answer = overlay(image_bytes=photo[None])
print("explained class:", KINDS[int(answer["target"][0])])
print(f"{len(answer['overlay_bytes'].numpy()[0]):,} bytes of PNG")

# %%
# Compare the export with the Python explainer before you rely on it.

images = tfviz.load_images(SAMPLES_DIR / "heart_star.png", model)
exported = tfviz.load_explainer(folder)
difference = np.abs(exported(images, target=7) - explainer(images, target=7)).max()
print(f"largest difference: {difference:.1e}")

figure = tfviz.plot(images, {"grad_cam": exported(images, target=7)})
figure

# %%
# TensorFlow Serving loads the folder unchanged:
#
# .. code-block:: console
#
#    docker run -p 8501:8501 -v "$PWD/explainer:/models/explainer/1" \
#        -e MODEL_NAME=explainer tensorflow/serving
#
# :doc:`/export` shows a client, and describes the other formats and what each of them supports.
