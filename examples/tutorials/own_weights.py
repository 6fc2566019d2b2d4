"""
Your own weights
================

A model file doesn't record how its images were preprocessed. This tutorial loads a file, states the
preprocessing and checks that it is right.
"""

import tempfile
from pathlib import Path

import numpy as np

import tfviz
from tfviz.shapes import KINDS, SAMPLES_DIR

# %%
# Here, the packaged network stands in for a model that you trained and saved. It was trained on RGB
# values from −1 to 1.

path = Path(tempfile.mkdtemp()) / "my_model.keras"
tfviz.load_model("shapes").save(path)

# %%
# State the preprocessing when you load the file. The modes are those of ``keras.applications``:
# "tf" is −1 to 1, "unit" is 0 to 1, and "none" is 0 to 255. :doc:`/weights` lists all of them.
# ``labels`` names the classes, so that you can use the names as targets.

model = tfviz.load_model(path, preprocessing="tf", labels=KINDS)
images = tfviz.load_images([SAMPLES_DIR / "heart_star.png", SAMPLES_DIR / "ring_cross.png"], model)
print(f"{images.min():.2f} to {images.max():.2f}")

# %%
# Check the preprocessing with predictions before you look at a map. The first scene shows a heart
# and a star, and the network finds both.

probabilities = model.predict(images, verbose=0)
for row in probabilities:
    print({KINDS[label]: round(float(row[label]), 3) for label in np.argsort(row)[:-4:-1]})

# %%
# With the wrong preprocessing, the predictions change, and so do the maps. Here, the images keep
# values from 0 to 255, which is also the default. A map can look plausible and still be wrong.

wrong = tfviz.load_model(path, preprocessing="none", labels=KINDS)
wrong_images = tfviz.load_images([SAMPLES_DIR / "heart_star.png", SAMPLES_DIR / "ring_cross.png"], wrong)
for row in wrong.predict(wrong_images, verbose=0):
    print({KINDS[label]: round(float(row[label]), 3) for label in np.argsort(row)[:-4:-1]})

# %%
# Now explain a class by its name.

explainer = tfviz.GradCAM(model)
maps = {name: explainer(images[:1], target=name) for name in ("heart", "star")}
figure = tfviz.plot(images[:1], {"grad_cam": maps})
figure

# %%
# On the command line, state the same preprocessing:
#
# .. code-block:: console
#
#    tfviz explain photos --model my_model.keras --preprocess tf --method grad_cam
#
# For weights from torchvision and TensorFlow 1, tfviz knows the preprocessing: see :doc:`/weights`.
