"""
Vision transformers
===================

Attention is not an explanation by itself: it shows what a network reads, not what supports a class.
This tutorial compares methods that use attention in different ways.
"""

import numpy as np
from shape_transformer import preprocessing, trained_transformer

import tfviz
from tfviz.shapes import KINDS, SAMPLES_DIR

# %%
# ``scripts/shape_transformer.py`` builds a small transformer with 12 × 12 tokens and trains it in
# seconds. If you download this tutorial, put that file beside it. You can use any transformer built
# from Keras layers instead.

model = trained_transformer()
images = tfviz.load_images([SAMPLES_DIR / "heart_star.png", SAMPLES_DIR / "ring_cross.png"], preprocessing())
for row in model.predict(images, verbose=0):
    print({KINDS[label]: round(float(row[label]), 3) for label in np.argsort(row)[:-3:-1]})

# %%
# Attention rollout multiplies the attention matrices of all blocks. The map is the same for every
# class.

figure = tfviz.plot(images, {"attention_rollout": tfviz.AttentionRollout(model)(images)})
figure

# %%
# Gradient attention weights the attention by its effect on the score. LeGrad shows where more
# attention would raise the score. Compare how much each map changes with the class.

maps = {}
for key in ("gradient_attention", "legrad", "grad_cam"):
    explainer = tfviz.METHODS[key](model, class_names=KINDS)
    maps[key] = {name: explainer(images[:1], target=name) for name in ("heart", "star")}
figure = tfviz.plot(images[:1], maps)
figure

# %%
# CAMs also work on tokens: tfviz arranges the tokens on the patch grid.
# :doc:`/transformers` lists the formulas and the supported architectures.
