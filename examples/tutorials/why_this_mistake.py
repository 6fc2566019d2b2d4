"""
Why this mistake?
=================

A network made a mistake. Which part of the image misled it? This tutorial finds mistakes, compares
the maps of the wrong and the right class, and tests the explanation.
"""

import numpy as np

import tfviz
from tfviz.models import preprocessing_of
from tfviz.shapes import KINDS, draw_scene

model = tfviz.load_model("shapes")
preprocessing = preprocessing_of(model)

# %%
# Draw new scenes with four shapes, and keep those in which the network finds a shape that isn't
# there.

rng = np.random.default_rng(4)
scenes = [draw_scene(rng, rng.choice(KINDS, 4, replace=False).tolist()) for _ in range(150)]
present = np.array([[any(thing.kind == kind for thing in scene.objects) for kind in KINDS] for scene in scenes])
images = np.stack([preprocessing.tensor(scene.image) for scene in scenes])
probabilities = model.predict(images, verbose=0)
wrong = np.flatnonzero((~present & (probabilities > 0.5)).any(axis=1))
print(f"The network finds a shape that isn't there in {len(wrong)} of {len(scenes)} scenes")

# %%
# Choose the most confident mistake.

absent = np.where(present, 0, probabilities)
number, label = np.unravel_index(absent.argmax(), absent.shape)
scene, kind = scenes[number], KINDS[label]
print(f"The network finds a {kind} with p = {absent[number, label]:.2f}")
print("In the scene:", [thing.kind for thing in scene.objects])

# %%
# Where does the network see that shape? ``Against`` subtracts the scores of the most similar
# classes, so the map shows what distinguishes the class from them.

one = images[number : number + 1]
explainer = tfviz.GradCAM(model)
maps = {
    kind: explainer(one, target=kind),
    f"{kind} against its rivals": explainer(one, target=tfviz.Against(int(label))),
}
figure = tfviz.plot([scene.image], {"grad_cam": maps})
figure

# %%
# Test the explanation by covering each object in turn. If the map is right, the score falls most
# when the object that the map highlights is covered.

covered = []
for thing in scene.objects:
    pixels = scene.image.copy()
    pixels[thing.mask] = np.median(scene.image[~thing.mask], axis=0)
    covered.append(preprocessing.tensor(pixels))
for thing, scores in zip(scene.objects, model.predict(np.stack(covered), verbose=0), strict=True):
    print(f"without the {thing.kind}: p = {scores[label]:.2f}")

# %%
# Compare the scores with the map. A map is a hypothesis, and covering pixels tests it.
# ``tfviz evaluate`` runs such tests on many images: see :doc:`evaluate`.
