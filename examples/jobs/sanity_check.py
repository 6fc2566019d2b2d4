"""
Sanity check
============

Does a map depend on the weights and on the class? The check randomizes a copy of the network from
the output down, and compares the maps.
"""

import tfviz
from tfviz.shapes import SAMPLES_DIR

model = tfviz.load_model("shapes")
images = tfviz.load_images(SAMPLES_DIR, model)[:4]
check = tfviz.sanity_check(model, images, ["guided_backprop", "grad_cam"])
print(check.to_markdown())
figure = check.plot()
figure
