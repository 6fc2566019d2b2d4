"""
Compare classes
===============

This example draws several classes' maps on one scale. ``Against`` subtracts the scores of a class's
nearest rivals, so the map shows what distinguishes the class from them.
"""

import tfviz
from tfviz.shapes import KINDS, SAMPLES_DIR

model = tfviz.load_model("shapes")
images = tfviz.load_images(SAMPLES_DIR / "crescent_arrow_star_ring.png", model)
explainer = tfviz.GradCAM(model)
maps = {name: explainer(images, target=name) for name in ("crescent", "star", "ring")}
maps["ring against its rivals"] = explainer(images, target=tfviz.Against(KINDS.index("ring")))
figure = tfviz.plot(images, {"grad_cam": maps}, scale="image")
figure
