"""
Contact sheet
=============

``contact_sheet`` draws many images and methods in one picture and returns it as an array.
"""

import tempfile
from pathlib import Path

import tfviz
from tfviz.shapes import SAMPLES_DIR

model = tfviz.load_model("shapes")
images = tfviz.load_images(SAMPLES_DIR, model)[:4]
maps = {key: tfviz.explain(model, images, key) for key in ("saliency", "grad_cam", "visual_backprop")}
sheet = tfviz.contact_sheet(images, maps)
path = tfviz.write_image(Path(tempfile.mkdtemp()) / "sheet.png", sheet)
print(path.name, sheet.shape)
figure = tfviz.plot(images, maps)
figure
