"""
Classifier
==========

This model is a convolutional network with one unit per class. All methods for convolutional
networks support it.
"""

import tfviz
from tfviz.shapes import SAMPLES_DIR

model = tfviz.load_model("shapes")
images = tfviz.load_images([SAMPLES_DIR / "disc_heart.png", SAMPLES_DIR / "ring_cross.png"], model)
maps = {key: tfviz.explain(model, images, key) for key in ("grad_cam", "guided_grad_cam", "visual_backprop")}
figure = tfviz.plot(images, maps)
figure
