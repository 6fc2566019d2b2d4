"""
Compare layers
==============

This example applies Layer-CAM at several layers. Lower layers have finer maps, which are less
specific to the class. The last map is the product of the others: it keeps the regions on which all
layers agree.
"""

import tfviz
from tfviz.shapes import SAMPLES_DIR

model = tfviz.load_model("shapes")
images = tfviz.load_images([SAMPLES_DIR / "heart_star.png", SAMPLES_DIR / "ring_cross.png"], model)
layers = ["block2_pool", "block3_pool", "block4_conv2"]
maps = {layer: tfviz.LayerCAM(model, layer=layer)(images) for layer in layers}
maps["product"] = tfviz.LayerCAM(model, layer=layers, combine="product")(images)
figure = tfviz.plot(images, maps)
figure
