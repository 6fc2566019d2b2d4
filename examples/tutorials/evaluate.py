"""
Evaluate methods on your model
==============================

Which method should you trust? Measure the methods on your model and your images, and compare them
with controls that do not depend on the network.
"""

import json

import tfviz
from tfviz.metrics.regions import Regions
from tfviz.shapes import SAMPLES_DIR

model = tfviz.load_model("shapes")
images = tfviz.load_images(SAMPLES_DIR, model)
methods = ["saliency", "guided_backprop", "grad_cam"]

# %%
# ``single_deletion`` removes one region at a time, and checks whether the regions that a map ranks
# high matter to the score. It needs 16 forward passes per image, which all methods share.

evaluation = tfviz.evaluate(model, images, methods, "single_deletion")
for row in evaluation.rows:
    print(f"{row['method']:16} {row['value']:+.2f}")

# %%
# Compare each method with the controls ``random`` and ``center``. The plot shows 95 % intervals.

figure = evaluation.plot()
figure

# %%
# If you know where the objects are, check whether the maps point at them. The sample images come
# with boxes.

samples = {sample["file"]: sample for sample in json.loads((SAMPLES_DIR / "samples.json").read_text())["samples"]}


def regions(sample):
    boxes = {}
    for thing in sample["objects"]:
        top, left, bottom, right = thing["box"]
        boxes[thing["class"]] = [[left, top, right, bottom]]
    return Regions(boxes, size=tuple(sample["size"]))


boxes = [regions(samples[name]) for name in sorted(samples)]
pointing = tfviz.evaluate(model, images, methods, "pointing_game", boxes)
print(pointing.to_markdown())

# %%
# The sanity check answers another question: does the map depend on what the network has learned,
# and on the class? Guided backprop barely depends on the class.

check = tfviz.sanity_check(model, images[:4], methods)
print(check.to_markdown())

# %%
# Read the results together. A method that passes the sanity check may still point at the wrong
# place, and a method that points well may ignore the class. :doc:`/metrics` explains when each
# metric misleads, and :doc:`/evaluate` describes the report that ``tfviz evaluate`` writes.
