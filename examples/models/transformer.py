"""
Vision transformer
==================

tfviz reads a transformer's attention and arranges its tokens on the patch grid. The tutorial
:doc:`/tutorials/vision_transformers` compares the methods. This example needs
``shape_transformer.py`` from the project's ``scripts`` folder.
"""

from shape_transformer import preprocessing, trained_transformer

import tfviz
from tfviz.shapes import SAMPLES_DIR

model = trained_transformer()
images = tfviz.load_images([SAMPLES_DIR / "heart_star.png", SAMPLES_DIR / "ring_cross.png"], preprocessing())
maps = {key: tfviz.explain(model, images, key) for key in ("attention_rollout", "gradient_attention", "legrad")}
figure = tfviz.plot(images, maps)
figure
