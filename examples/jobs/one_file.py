"""
Explain one file
================

``explain_file`` reads an image file, explains it and writes the overlay.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

import tfviz
from tfviz.shapes import SAMPLES_DIR

output = Path(tempfile.mkdtemp()) / "heart.png"
tfviz.explain_file(SAMPLES_DIR / "heart_star.png", output, method="grad_cam", target="heart")
picture = tfviz.read_image(output)
print(picture.shape, picture.dtype)
figure = plt.figure(figsize=(3, 3))
figure.subplots().imshow(picture)
